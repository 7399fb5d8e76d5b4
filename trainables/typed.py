"""Plain data read as what a type hint says: a record, or a setting, of another form is named with its place in it."""

from __future__ import annotations

import dataclasses
import functools
import reprlib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NotRequired

WHOLE_NUMBERS = 2**63  # what tables and file formats hold; more was mistyped, or is damage
_WORDS = {int: "a whole number of less than 2**63", float: "a number", str: "text", bool: "true or false"}


class FormError(ValueError):
    """A value that is not of its type; the message begins with its place."""


def read(hint: Any, value: Any, place: str = "") -> Any:
    """``value``, from JSON or Python, as ``hint``: lists become tuples and objects dataclasses where it says so.

    Raises FormError. An object that a TypedDict describes may have further keys, one of a dataclass may not.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return None if value is None else read(next(one for one in arguments if one is not type(None)), value, place)
    if origin is Literal:
        return _require(value in arguments if isinstance(value, str) else False, value, place, " or ".join(arguments))
    if origin in (tuple, list):
        return _items(origin, arguments, value, place)
    if origin is dict:
        _require(isinstance(value, Mapping), value, place, "an object")
        return {key: read(arguments[1], one, _within(place, key)) for key, one in value.items()}
    if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        return _fields(hint, value, place)
    if hint is float:
        return _require(_is_number(value), value, place, _WORDS[float])
    if hint is int:
        return _require(_is_number(value) and isinstance(value, int), value, place, _WORDS[int])
    return _require(isinstance(value, hint), value, place, _WORDS.get(hint, hint.__name__))


def _is_number(value: Any) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and -WHOLE_NUMBERS <= value < WHOLE_NUMBERS
    return isinstance(value, float)


def _items(origin: type, arguments: tuple[Any, ...], value: Any, place: str) -> Any:
    _require(isinstance(value, list | tuple), value, place, "a list")
    if origin is tuple and arguments[-1] is not ...:
        _require(len(value) == len(arguments), value, place, f"a list of {len(arguments)}")
        hints: Iterable[Any] = arguments
    else:
        if _are_rows(arguments[0], value):
            return origin(map(tuple, value))
        hints = [arguments[0]] * len(value)
    return origin(read(hint, one, _within(place, i)) for i, (hint, one) in enumerate(zip(hints, value, strict=True)))


def _are_rows(hint: Any, value: Any) -> bool:
    """Whether all items are rows of such a tuple, seen column by column: tables take 30 times as long one by one.

    False also where it takes a closer look to say so.
    """
    columns = _columns(hint)
    if not columns or not value or set(map(type, value)) != {list} or set(map(len, value)) != {len(columns)}:
        return False
    for column, kinds in zip(zip(*value, strict=True), columns, strict=True):
        if not set(map(type, column)) <= kinds:
            return False
        if int in kinds and any(one is not None and not _is_number(one) for one in set(column)):
            return False
    return True


@functools.cache
def _columns(hint: Any) -> tuple[frozenset[type], ...]:
    """The types of each place of a tuple of words and floats, perhaps None; empty for any other hint."""
    if typing.get_origin(hint) is not tuple or ... in typing.get_args(hint):
        return ()
    found = [frozenset(typing.get_args(one) or (one,)) for one in typing.get_args(hint)]
    return tuple(found) if all(kinds <= {str, int, float, type(None)} for kinds in found) else ()


def _fields(hint: Any, value: Any, place: str) -> Any:
    if not typing.is_typeddict(hint) and isinstance(value, hint):
        return value
    _require(
        isinstance(value, Mapping), value, place, "an object" if typing.is_typeddict(hint) else f"a {hint.__name__}"
    )
    hints, required = _described(hint)
    if lacking := sorted(required - value.keys()):
        raise FormError(f"{place or 'it'}: {lacking[0]} is missing")
    found = {key: read(hints[key], one, _within(place, key)) if key in hints else one for key, one in value.items()}
    if typing.is_typeddict(hint):
        return found
    if unknown := sorted(map(str, value.keys() - hints.keys())):
        raise FormError(f"{place or 'it'}: {unknown[0]} is none of {', '.join(hints)}")
    try:
        return hint(**found)
    except FormError:
        raise
    except ValueError as error:  # what the dataclass itself refuses
        raise FormError(f"{place or 'it'}: {error}") from error


@functools.cache
def _described(hint: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of the fields, by name, and those that must be there."""
    if typing.is_typeddict(hint):  # its own __required_keys__ take annotations for what they are as text
        hints = typing.get_type_hints(hint, include_extras=True)
        needed = (name for name, one in hints.items() if typing.get_origin(one) is not NotRequired)
        return typing.get_type_hints(hint), frozenset(needed)
    given = (dataclasses.MISSING, dataclasses.MISSING)
    needed = (item.name for item in dataclasses.fields(hint) if (item.default, item.default_factory) == given)
    return typing.get_type_hints(hint), frozenset(needed)


def _within(place: str, part: object) -> str:
    return f"{place}.{part}" if place else f"{part}"


def _require(holds: bool, value: Any, place: str, wanted: str) -> Any:
    if not holds:
        raise FormError(f"{place or 'it'}: must be {wanted}, not {reprlib.repr(value)}")
    return value
