"""Search spaces by name. A module here with one public function ``search_space()`` is one; no list to edit."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from orchestrator.spec import SpecError, Sweep, suggest


def names() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def find(name: str) -> Callable[[], Sweep]:
    """The function of a search space. Raises SpecError for an unknown name."""
    if name not in names():
        raise SpecError(f"{name}: no such search space.{suggest(name, names())}")
    function: Callable[[], Sweep] = importlib.import_module(f"{__name__}.{name}").search_space
    return function


def describe(name: str) -> str:
    """The first line of the search space's docstring."""
    return (find(name).__doc__ or "").strip().splitlines()[0]
