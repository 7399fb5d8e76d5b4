"""An early value that says more of the end than the early loss is found, and none where none does."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.prediction import prediction
from orchestrator.analysis.trials import LOSS, Steps, final
from tests.orchestrator.analysis import planted

BUDGETS = (1e9, 1e10, 1e11, 1e12)


def _predict(
    about: pd.DataFrame, random: np.random.Generator, columns: planted.Columns, hidden: np.ndarray
) -> tuple[pd.DataFrame, list[str]]:
    """Final losses that compute, the early loss and ``hidden`` make."""
    decades = np.log10(about["budget_flops"].to_numpy(dtype=float))
    early = 1.8 - 0.02 * decades + 0.02 * random.normal(size=len(about))
    end = 0.7 * early - 0.05 * decades + 0.02 * hidden + 0.004 * random.normal(size=len(about))
    frame, ends = planted.results(about, {(LOSS, None): np.exp(end)}, {(LOSS, None): np.exp(early), **columns})
    steps = Steps.of(frame, ends)
    return prediction(steps, final(steps))


def test_what_says_more_is_found() -> None:
    about, random = planted.grid(8, BUDGETS), np.random.default_rng(0)
    hidden = random.normal(size=len(about))
    columns = {("tells", 1): 3 + 0.1 * hidden, ("tells_nothing", 1): random.normal(size=len(about))}
    found, remarks = _predict(about, random, columns, hidden)
    rows = found[found["at"] == 0.1].set_index("metric")
    assert rows.loc["tells", "gain"] > 0.6
    assert rows.loc["tells", "q"] < 0.01
    assert rows.loc["tells", "low"] < rows.loc["tells", "gain"] < rows.loc["tells", "high"]
    assert rows.loc["tells", "error"] == pytest.approx(0.004, rel=0.5)
    assert rows.loc["tells_nothing", "q"] > 0.05
    assert not remarks


@pytest.mark.parametrize("seeds", [3, 8])
def test_without_more_to_say_discoveries_are_rare(seeds: int) -> None:
    random, false = np.random.default_rng(seeds), []
    for _ in range(12):
        about = planted.grid(seeds, BUDGETS)
        found, _ = _predict(about, random, planted.null(about, 30, random), random.normal(size=len(about)))
        false += [(rows["q"] < 0.05).any() for _, rows in found.groupby("at")]
    assert np.mean(false) <= 0.1


@pytest.mark.parametrize(("seeds", "budgets"), [(3, BUDGETS[:2]), (2, BUDGETS), (3, BUDGETS[:3])])
def test_too_little_is_said(seeds: int, budgets: tuple[float, ...]) -> None:
    about, random = planted.grid(seeds, budgets), np.random.default_rng(0)
    found, remarks = _predict(about, random, planted.null(about, 2, random), random.normal(size=len(about)))
    assert found.empty
    assert "prediction of m's final loss from 10% of the steps: not said" in remarks[0]
    assert f"there are {len(budgets)} budgets, {seeds} seeds, {len(about)} trials" in remarks[0]


def test_without_early_checkpoints_nothing_is_predicted() -> None:
    about = planted.grid(4, BUDGETS)
    frame, ends = planted.results(about, {(LOSS, None): np.linspace(3, 4, len(about))})
    steps = Steps.of(frame, ends)
    found, remarks = prediction(steps, final(steps))
    assert found.empty
    assert "there are 0 budgets, 0 seeds, 0 trials with a checkpoint by then" in remarks[0]
