"""Gives Ray Tune the trials of a search one by one: those that are left first, then what the search chooses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.search import Searcher

POLL_S = 0.5  # Tune asks in every round of its loop; scores come from files of the store


class Feed(Searcher):  # type: ignore[misc]
    """more: further trials' ids, an empty list as long as there may be some later, None once there are none; lost: told
    of a trial that Tune has given up."""

    def __init__(self, first: Sequence[str], more: Callable[[], list[str] | None], lost: Callable[[str], None]) -> None:
        super().__init__()
        self._waiting, self._more, self._lost = list(first), more, lost
        self._running: dict[str, str] = {}
        self._asked = 0.0

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's configuration; None as long as there is none."""
        if not self._waiting:
            if time.monotonic() - self._asked < POLL_S:
                return None
            found = self._more()
            self._asked = time.monotonic()
            if found is None:
                return str(Searcher.FINISHED)
            self._waiting += found
        if not self._waiting:
            return None
        self._running[trial_id] = self._waiting.pop(0)
        return {"trial": self._running[trial_id]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Results are read from the store."""
        if error:
            self._lost(self._running[trial_id])

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, likewise: a Tuner is pickled when it is made."""
        return {}

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: a killed search goes on from the store, and Ray's pickle of this is never read."""
