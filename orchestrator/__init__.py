"""Plan, drive and collect a sweep. Nothing here touches a tensor; Ray is imported only where it is used.

From a notebook: ``from orchestrator import run, load_results``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.notebook import load_results, run

__all__ = ["load_results", "run"]


def __getattr__(name: str) -> Any:
    """What notebooks import, once they do: the command line need not wait for pandas."""
    if name in __all__:
        from orchestrator import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
