"""Plain data read as what a type hint says: a record, or a setting, of another form is named with its place in it."""

from __future__ import annotations

import dataclasses
import functools
import reprlib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NoReturn, NotRequired

WHOLE_NUMBERS = 2**63  # what tables and file formats hold; more was mistyped, or is damage
_WORDS = {int: "a whole number of less than 2**63", float: "a number", str: "text", bool: "true or false"}
Reader = Callable[[Any], Any]


class FormError(ValueError):
    """A value that is not of its type; the message begins with its place."""


class _WrongError(Exception):
    """Of a value somewhere inside; who reads what is around it says where."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.place: list[str] = []


def read(hint: Any, value: Any, place: str = "") -> Any:
    """``value``, from JSON or Python, as ``hint``: lists become tuples and objects dataclasses where it says so.

    Raises FormError. An object that a TypedDict describes may have further keys, one of a dataclass may not.
    """
    try:
        return _reader(hint)(value)
    except _WrongError as wrong:
        where = ".".join([*([place] if place else []), *reversed(wrong.place)]) or "it"
        raise FormError(f"{where}: {wrong}") from wrong.__cause__


@functools.cache
def _reader(hint: Any) -> Reader:
    """Made once for each type: a store has millions of values."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return lambda value: value
    if origin in (typing.Union, types.UnionType):
        inner = _reader(next(one for one in arguments if one is not type(None)))
        return lambda value: None if value is None else inner(value)
    if origin is Literal:
        words = " or ".join(arguments)
        return lambda value: value if isinstance(value, str) and value in arguments else _refuse(value, words)
    if origin in (tuple, list):
        return _of_tuple(arguments) if origin is tuple and arguments[-1] is not ... else _of_list(origin, arguments[0])
    if origin is dict:
        return _of_dict(_reader(arguments[1]))
    if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        return _of_fields(hint)
    if hint is float:
        return lambda value: value if _is_number(value) else _refuse(value, _WORDS[float])
    if hint is int:
        return lambda value: value if _is_number(value) and isinstance(value, int) else _refuse(value, _WORDS[int])
    wanted = _WORDS.get(hint, hint.__name__)
    return lambda value: value if isinstance(value, hint) else _refuse(value, wanted)


def _is_number(value: Any) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and -WHOLE_NUMBERS <= value < WHOLE_NUMBERS
    return isinstance(value, float)


def _within(taken: Reader, value: Any, part: object) -> Any:
    try:
        return taken(value)
    except _WrongError as wrong:
        wrong.place.append(f"{part}")
        raise


def _of_tuple(arguments: tuple[Any, ...]) -> Reader:
    readers = [_reader(one) for one in arguments]

    def taken(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            _refuse(value, "a list")
        if len(value) != len(readers):
            _refuse(value, f"a list of {len(readers)}")
        return tuple(_within(one, item, i) for i, (one, item) in enumerate(zip(readers, value, strict=True)))

    return taken


def _of_list(origin: type, argument: Any) -> Reader:
    inner, columns = _reader(argument), _columns(argument)

    def taken(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            _refuse(value, "a list")
        if columns and _are_rows(columns, value):
            return origin(map(tuple, value))
        return origin(_within(inner, item, i) for i, item in enumerate(value))

    return taken


def _of_dict(inner: Reader) -> Reader:
    def taken(value: Any) -> Any:
        if not isinstance(value, Mapping):
            _refuse(value, "an object")
        return {key: _within(inner, one, key) for key, one in value.items()}

    return taken


def _are_rows(columns: tuple[frozenset[type], ...], value: Sequence[Any]) -> bool:
    """Whether all items are rows of such a tuple, seen column by column: tables take 30 times as long one by one.

    False also where it takes a closer look to say so.
    """
    if not value or set(map(type, value)) != {list} or set(map(len, value)) != {len(columns)}:
        return False
    for column, kinds in zip(zip(*value, strict=True), columns, strict=True):
        if not set(map(type, column)) <= kinds:
            return False
        if int in kinds and any(one is not None and not _is_number(one) for one in set(column)):
            return False
    return True


def _columns(hint: Any) -> tuple[frozenset[type], ...]:
    """The types of each place of a tuple of words and numbers, perhaps None; empty for any other hint."""
    if typing.get_origin(hint) is not tuple or ... in typing.get_args(hint):
        return ()
    found = [frozenset(typing.get_args(one) or (one,)) for one in typing.get_args(hint)]
    return tuple(found) if all(kinds <= {str, int, float, type(None)} for kinds in found) else ()


def _of_fields(hint: Any) -> Reader:
    typed = typing.is_typeddict(hint)
    hints, required = _described(hint)
    readers = {name: _reader(one) for name, one in hints.items()}
    wanted = "an object" if typed else f"a {hint.__name__}"

    def taken(value: Any) -> Any:
        if not typed and isinstance(value, hint):
            return value
        if not isinstance(value, Mapping):
            _refuse(value, wanted)
        if lacking := sorted(required - value.keys()):
            raise _WrongError(f"{lacking[0]} is missing")
        found = {key: _within(readers[key], one, key) if key in readers else one for key, one in value.items()}
        if typed:
            return found
        if unknown := sorted(map(str, value.keys() - hints.keys())):
            raise _WrongError(f"{unknown[0]} is none of {', '.join(hints)}")
        try:
            return hint(**found)
        except FormError:
            raise
        except ValueError as error:  # what the dataclass itself refuses
            raise _WrongError(f"{error}") from error

    return taken


def _described(hint: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of the fields, by name, and those that must be there."""
    if typing.is_typeddict(hint):  # its own __required_keys__ take annotations for what they are as text
        hints = typing.get_type_hints(hint, include_extras=True)
        needed = (name for name, one in hints.items() if typing.get_origin(one) is not NotRequired)
        return typing.get_type_hints(hint), frozenset(needed)
    given = (dataclasses.MISSING, dataclasses.MISSING)
    needed = (item.name for item in dataclasses.fields(hint) if (item.default, item.default_factory) == given)
    return typing.get_type_hints(hint), frozenset(needed)


def _refuse(value: Any, wanted: str) -> NoReturn:
    raise _WrongError(f"must be {wanted}, not {reprlib.repr(value)}")
