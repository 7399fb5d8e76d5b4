"""Search spaces by name. A module here with one public function ``search_space()`` is one; no list to edit."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import reprlib
import traceback
from collections.abc import Callable

from orchestrator.spec import Sweep
from orchestrator.words import SpecError, suggest


def names() -> tuple[str, ...]:
    """Modules with a leading underscore are helpers."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def find(name: str) -> Callable[[], Sweep]:
    """The function of a search space, which raises SpecError where it gives no sweep, naming its file.

    Raises SpecError for an unknown name, and a module that cannot be used.
    """
    if name not in names():
        raise SpecError(f"{name}: no such search space.{suggest(name, names())}")
    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except Exception as error:
        raise SpecError(f"search_spaces/{name}.py: {_place(error, name)}{type(error).__name__}: {error}") from error
    function = getattr(module, "search_space", None)
    if not callable(function):
        raise SpecError(f"search_spaces/{name}.py: has no function search_space()")

    @functools.wraps(function)
    def search_space() -> Sweep:
        try:
            sweep = function()
        except Exception as error:
            what = str(error) if isinstance(error, SpecError) else f"{type(error).__name__}: {error}"
            raise SpecError(f"search_spaces/{name}.py: {_place(error, name)}{what}") from error
        if not isinstance(sweep, Sweep):
            raise SpecError(
                f"search_spaces/{name}.py: search_space() returns {reprlib.repr(sweep)}; return a Sweep(...)"
            )
        return sweep

    return search_space


def _place(error: Exception, name: str) -> str:
    """``line 3: `` of the search space's own file, where the error came through it."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(f"/{name}.py")
    ]
    own = error.lineno if isinstance(error, SyntaxError) else (lines[-1] if lines else None)
    return f"line {own}: " if own else ""


def describe(name: str) -> str:
    """The first line of the search space's docstring, nothing where it has none."""
    return ((find(name).__doc__ or "").strip().splitlines() or [""])[0]
