"""Typed ``key=value`` overrides of the command line: each text is read as its field's type."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence

from orchestrator.spec import Sweep
from orchestrator.words import assigned


def override(sweep: Sweep, assignments: Sequence[str]) -> Sweep:
    """A new sweep with ``key=value`` texts applied, each read as its field's type. Raises SpecError."""
    return dataclasses.replace(sweep, **assigned(assignments, typing.get_type_hints(Sweep)))
