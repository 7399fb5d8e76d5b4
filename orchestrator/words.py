"""Words of a command line, and of a record: read as the types that they are for, or refused with what is allowed."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from trainables.budget import Budget
from trainables.storage import refuse_unprintable


class SpecError(ValueError):
    """A sweep that cannot be: an unknown key, a value of the wrong type, or fields that contradict each other."""


def suggest(word: str, allowed: Sequence[str]) -> str:
    """`` Did you mean ...? Allowed: ...`` for an error message."""
    near = difflib.get_close_matches(word, allowed, n=1, cutoff=0.5)
    return (f" Did you mean {near[0]!r}?" if near else "") + f" Allowed: {', '.join(allowed)}."


def assigned(assignments: Sequence[str], hints: Mapping[str, Any]) -> dict[str, Any]:
    """The values of ``key=value`` texts, each read as the type of its key. Raises SpecError."""
    changes = {}
    for text in assignments:
        try:
            refuse_unprintable(text)
        except ValueError as error:
            raise SpecError(f"{text.partition('=')[0]!r}: {error}") from error
        key, equals, value = text.partition("=")
        if not equals:
            raise SpecError(f"{text!r} is not an override; write key=value, for example seeds=0,1,2")
        if key not in hints:
            raise SpecError(f"{key or repr(text)}: no such setting.{suggest(key, tuple(hints))}")
        if key in changes:
            raise SpecError(f"{key}: given twice")
        try:
            changes[key] = parse(value, hints[key])
        except ValueError as error:
            raise SpecError(f"{key}={value}: {error}") from error
    return changes


def parse(text: str, hint: Any) -> Any:
    """A text as the type that an annotation names. Raises ValueError."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if text.lower() == "none":
            return ()
        parts = [part.strip() for part in text.split(",")]
        if not all(parts):
            raise ValueError(f"needs at least one value{' between commas' if len(parts) > 1 else ', or `none`'}")
        return tuple(parse(part, arguments[0]) for part in parts)
    if origin in (typing.Union, types.UnionType):
        return None if text.lower() == "none" else parse(text, arguments[0])
    if origin is Literal:
        if text not in arguments:
            raise ValueError(f"unknown.{suggest(text, arguments)}")
        return text
    if hint is Budget:
        return Budget.parse(text)
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return text.lower() == "true"
    if hint is int:
        return _number(text, int, "a whole number")
    if hint is float:
        return _number(text, float, "a number")
    return text


def _number(text: str, kind: type[int] | type[float], said: str) -> int | float:
    """Python reads other alphabets' digits, and 1_0 as ten; whoever types that means something else."""
    try:
        if text.isascii() and "_" not in text:
            return kind(text)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not {said}")


def type_name(hint: Any) -> str:
    """A field's type as users write it: ``int,int,...`` for a tuple, ``cosine|wsd`` for a choice."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return f"{type_name(arguments[0])},..."
    if origin in (typing.Union, types.UnionType):
        return f"{type_name(arguments[0])}|none"
    if origin is Literal:
        return "|".join(arguments)
    return "text" if hint is str else hint.__name__.lower()
