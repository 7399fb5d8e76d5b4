"""Planted effects of compute are found, and none where none is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.effects import effects
from orchestrator.analysis.trials import LOSS, Steps, Trials, final
from tests.orchestrator.analysis import planted

BUDGETS = (1e9, 1e10, 1e11, 1e12)


def _trials(about: pd.DataFrame, columns: planted.Columns) -> Trials:
    loss = {(LOSS, None): 5 - 0.1 * np.log10(about["budget_flops"].to_numpy(dtype=float))}
    return final(Steps.of(*planted.results(about, {**loss, **columns})))


@pytest.mark.parametrize("seeds", [3, 10])
def test_slopes_are_recovered_and_intervals_cover_them(seeds: int) -> None:
    random, about = np.random.default_rng(seeds), planted.grid(seeds, BUDGETS)
    decades = np.log10(about["budget_flops"].to_numpy(dtype=float))
    columns = {
        ("depth", layer): 0.3 * decades
        + random.normal(size=seeds)[about["seed"]]  # how a seed differs at all budgets
        + 0.2 * random.normal(size=seeds)[about["seed"]] * decades  # and more with compute
        + 0.1 * random.normal(size=len(about))
        for layer in range(600)
    }
    found, remarks = effects(_trials(about, columns))
    found = found[found["metric"] == "depth"]
    assert not remarks
    assert np.median(found["per_decade"]) == pytest.approx(0.3, abs=0.02)
    assert np.mean((found["low"] <= 0.3) & (found["high"] >= 0.3)) == pytest.approx(0.95, abs=0.03)
    assert set(found["seeds"]) == {seeds}
    assert set(found["budgets"]) == {4}


def test_without_an_effect_discoveries_are_rare() -> None:
    random, about, false = np.random.default_rng(0), planted.grid(4, BUDGETS), []
    for _ in range(20):
        columns = {("nothing", layer): random.normal(size=len(about)) for layer in range(60)}
        trials = _trials(about, columns)
        found, _ = effects(Trials(trials.about, trials.values[["nothing"]]))
        false.append((found["q"] < 0.05).any())
    assert np.mean(false) <= 0.15  # 0.05 in the long run; 3 of 20 or more are seen once in 13 such tests


def test_spread_and_share_have_their_closed_forms() -> None:
    about = planted.grid(3, (1e9, 1e10))
    values = np.array([0.0, 10.0, 1.0, 11.0, 2.0, 12.0])  # a seed's two budgets beside each other
    found, _ = effects(_trials(about, {("depth", 1): values}))
    row = found.set_index("metric").loc["depth"]
    assert row["seed_std"] == pytest.approx(1.0)
    assert row["share"] == pytest.approx((150 - 1.0) / (154 + 1.0))  # between 150, within 4 on 4 degrees of freedom
    assert row["per_decade"] == pytest.approx(10.0)
    assert np.isnan(row["p"])  # three slopes that are all one


def test_missing_values_leave_the_others_alone() -> None:
    about, random = planted.grid(5, BUDGETS), np.random.default_rng(3)
    values = np.log10(about["budget_flops"].to_numpy(dtype=float)) + 0.01 * random.normal(size=len(about))
    values[:5] = np.nan
    found, _ = effects(_trials(about, {("depth", 1): values, ("constant", 1): np.full(len(about), 7.0)}))
    assert "constant" not in set(found["metric"])
    row = found.set_index("metric").loc["depth"]
    assert (row["trials"], row["seeds"]) == (15, 4)
    assert row["per_decade"] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("seeds", "budgets"), [(2, BUDGETS), (5, (1e9,))])
def test_too_little_is_said(seeds: int, budgets: tuple[float, ...]) -> None:
    about = planted.grid(seeds, budgets)
    found, remarks = effects(_trials(about, {("depth", 1): np.arange(len(about), dtype=float)}))
    assert found.empty
    assert f"there are {len(budgets)} budgets, {seeds} seeds" in remarks[0]
