"""A sweep from Python: run it, and have its results as pandas frames."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console

from orchestrator import driver, report, results
from orchestrator.analysis import Analysis, analyse
from orchestrator.overrides import override
from orchestrator.spec import Sweep
from orchestrator.store import Store


@dataclass(frozen=True)
class Results:
    """What a store holds.

    values: every measurement, a row each (columns: :data:`orchestrator.results.COLUMNS`). final: the mean over blocks
    at the end of each trial that is done. by_budget: mean and standard deviation over seeds of the headline metrics, by
    model, variant and budget. failures: of the run that made it, one line each. store: where it is.
    """

    values: pd.DataFrame
    final: pd.DataFrame
    by_budget: pd.DataFrame
    failures: tuple[str, ...]
    store: str

    @functools.cached_property
    def analysis(self) -> Analysis:
        """Effects of compute, correlations with the loss, scaling fits; made when it is first asked for."""
        return analyse(self.values, results.ends(Store.existing(self.store)))


def run(sweep: Sweep, store: str, *, name: str = "notebook", address: str | None = None, **settings: Any) -> Results:
    """Train and measure what the store lacks, as ``python sweep.py run`` does; its results.

    sweep: of a search space (``from search_spaces.quickstart import search_space``), or one's own. store: a folder or
    URI. settings: those of ``sweep.py run --help``, as text or as Python values (``seeds=(0, 1)``,
    ``budgets="5e10,1e11"``, ``metrics=["held_out"]``). name: what the store calls the search space. address: of a
    running Ray, from one of its machines; else one of its own. Raises SpecError for what cannot be run. An interrupt
    keeps everything, and the same call goes on. Call it in the main thread, which hears of signals.
    """
    sweep = override(sweep, [f"{key}={_words(value)}" for key, value in settings.items()])
    place = Store.open(store)
    place.require_writable()
    failures = driver.run(sweep, name, place, address=address, console=Console())
    found = _collect(place, failures)
    results.write(place, found.values)
    report.write(place, found.values, found.analysis)
    return found


def load_results(store: str) -> Results:
    """What is in a store, finished or not. Raises SpecError where there is none."""
    return _collect(Store.existing(store), ())


def _collect(store: Store, failures: Sequence[str]) -> Results:
    values = results.collect(store)
    final = results.at_budget(store, values)
    return Results(values, final, results.by_budget(final), tuple(failures), store.uri)


def _words(value: Any) -> str:
    """A Python value as the command line has it."""
    if isinstance(value, list | tuple | range):
        return ",".join(map(_words, value)) or "none"
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
