"""Typed ``key=value`` overrides of the command line: each text is read as its field's type."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal

from orchestrator.spec import SpecError, Sweep, suggest
from trainables.budget import Budget
from trainables.storage import refuse_unprintable


def override(sweep: Sweep, assignments: Sequence[str]) -> Sweep:
    """A new sweep with ``key=value`` texts applied, each read as its field's type. Raises SpecError."""
    hints = typing.get_type_hints(Sweep)
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
            changes[key] = _parse(value, hints[key])
        except ValueError as error:
            raise SpecError(f"{key}={value}: {error}") from error
    return dataclasses.replace(sweep, **changes)


def _parse(text: str, hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if text.lower() == "none":
            return ()
        parts = [part.strip() for part in text.split(",")]
        if not all(parts):
            raise ValueError(f"needs at least one value{' between commas' if len(parts) > 1 else ', or `none`'}")
        return tuple(_parse(part, arguments[0]) for part in parts)
    if origin in (typing.Union, types.UnionType):
        return None if text.lower() == "none" else _parse(text, arguments[0])
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
