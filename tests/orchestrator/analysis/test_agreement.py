"""Orders of variants and seeds at small and large budgets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from orchestrator.analysis.agreement import agreement
from orchestrator.analysis.trials import LOSS, Steps, Trials, final
from tests.orchestrator.analysis import planted

BUDGETS = (1e9, 1e10, 1e11)
VARIANTS = [f"learning_rate={number}" for number in range(7)]


def _trials(quality: dict[float, np.ndarray], seeds: int = 2) -> Trials:
    about = pd.concat([planted.grid(seeds, BUDGETS, variant=name) for name in VARIANTS]).reset_index(drop=True)
    place = about["variant"].map({name: number for number, name in enumerate(VARIANTS)})
    loss = np.array([quality[b][v] for b, v in zip(about["budget_flops"], place, strict=True)]) + 0.01 * about["seed"]
    depth = {("twonn_dimension", layer): 5 - loss.to_numpy() + layer for layer in (0, 1, 2)}
    return final(Steps.of(*planted.results(about, {(LOSS, None): loss.to_numpy(), **depth})))


def test_orders_are_compared_with_the_largest_budgets() -> None:
    best = 3 + 0.1 * np.arange(7)
    mixed = 3 + 0.1 * np.array([1, 0, 2, 4, 3, 6, 5])
    found, _ = agreement(_trials({1e9: mixed, 1e10: best[::-1], 1e11: best}))
    found = found[found["of"] == "variants"].set_index(["metric", "small"])
    assert set(found["large"]) == {1e11}
    assert found.loc[(LOSS, 1e9), "tau"] == pytest.approx(stats.kendalltau(mixed, best).statistic) == 15 / 21
    assert found.loc[(LOSS, 1e10), "tau"] == -1
    assert found.loc[("twonn_dimension", 1e9), "tau"] == pytest.approx(15 / 21)
    row = found.loc[(LOSS, 1e9)]
    assert row["low"] < row["tau"] < row["high"]
    assert row["ranked"] == 7


def test_seeds_are_ordered_too() -> None:
    seeds = planted.grid(6, BUDGETS)
    values = seeds["seed"].to_numpy() * 0.1 + 3 - 0.2 * np.log10(seeds["budget_flops"].to_numpy(dtype=float)) / 10
    found, remarks = agreement(final(Steps.of(*planted.results(seeds, {(LOSS, None): values}))))
    assert set(found["of"]) == {"seeds"}
    assert found["tau"].tolist() == pytest.approx([1.0, 1.0])
    assert not remarks


def test_random_orders_agree_by_chance_alone() -> None:
    random = np.random.default_rng(0)
    taus = [
        agreement(_trials({budget: 3 + random.normal(size=7) for budget in BUDGETS}))[0].query("of == 'variants'")
        for _ in range(20)
    ]
    found = pd.concat(taus)
    found = found[found["metric"] == LOSS]
    assert abs(found["tau"].mean()) < 0.15
    assert np.mean((found["low"] <= 0) & (found["high"] >= 0)) >= 0.9


def test_too_few_are_said() -> None:
    found, remarks = agreement(_trials({budget: np.arange(7.0) + 3 for budget in BUDGETS}))
    assert set(found["of"]) == {"variants"}
    assert remarks == [
        "order of m's seeds across budgets: not compared, it needs 5 seeds and 2 budgets; there are 2 and 3"
    ]
