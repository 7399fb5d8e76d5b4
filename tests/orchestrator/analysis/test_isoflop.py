"""Planted minima and exponents are found, with intervals that cover them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.isoflop import isoflop, points
from orchestrator.analysis.trials import LOSS, Steps, Trials, final
from tests.orchestrator.analysis import planted

BUDGETS = (1e15, 1e16, 1e17, 1e18)
SIZES = np.array([-0.8, -0.5, -0.2, 0.1, 0.4, 0.7])  # in decades about the best


def _trials(random: np.random.Generator, noise: float, bend: float = 0.1, seeds: int = 2, off: float = 0.0) -> Trials:
    """Parabolas whose best size is 0.1 C^0.5."""
    rows = [
        {"seed": seed, "budget_flops": budget, "n_params": 0.1 * budget**0.5 * 10**size, "apart": size - off}
        for budget in BUDGETS
        for size in SIZES
        for seed in range(seeds)
    ]
    about = pd.DataFrame(rows)
    about["tokens"] = about["budget_flops"] / (6 * about["n_params"])
    loss = 3 + bend * about.pop("apart").to_numpy() ** 2 + noise * random.normal(size=len(about))
    return final(Steps.of(*planted.results(about, {(LOSS, None): loss})))


def test_minima_and_exponents_are_found() -> None:
    minima, growth, remarks = isoflop(_trials(np.random.default_rng(0), noise=0.002))
    assert not remarks
    np.testing.assert_allclose(minima["n_params"], 0.1 * np.sqrt(BUDGETS), rtol=0.1)
    np.testing.assert_allclose(minima["tokens"], np.array(BUDGETS) / (6 * minima["n_params"]), rtol=1e-6)
    np.testing.assert_allclose(minima["loss"], 3, atol=0.003)
    np.testing.assert_allclose(minima["curvature"], 0.2, rtol=0.1)
    exponents = growth.set_index("quantity")
    assert exponents.loc["n_params", "value"] == pytest.approx(0.5, abs=0.03)
    assert exponents.loc["n_params", "low"] < 0.5 < exponents.loc["n_params", "high"]
    assert exponents.loc["tokens", "value"] == pytest.approx(0.5, abs=0.03)


def test_intervals_cover_the_minimum_as_often_as_they_say() -> None:
    random, covered = np.random.default_rng(1), []
    for _ in range(40):
        minima, _, _ = isoflop(_trials(random, noise=0.01))
        best = 0.1 * np.sqrt(minima["budget_flops"])
        covered += list((minima["low"] <= best) & (minima["high"] >= best))
    assert len(covered) == 160
    assert np.mean(covered) == pytest.approx(0.95, abs=0.05)


@pytest.mark.parametrize(
    ("bend", "off", "why"),
    [(-0.1, 0.0, "do not bend upwards"), (0.0, 0.0, "do not bend upwards"), (0.1, 1.5, "beyond the largest size")],
)
def test_no_minimum_is_no_statement(bend: float, off: float, why: str) -> None:
    minima, growth, remarks = isoflop(_trials(np.random.default_rng(2), noise=0.002, bend=bend, off=off))
    assert minima.empty
    assert growth.empty
    assert len(remarks) == len(BUDGETS)
    assert all(why in remark for remark in remarks)


def test_three_sizes_are_too_few() -> None:
    trials = _trials(np.random.default_rng(0), noise=0.002)
    few = trials.of(trials.about["n_params"] < 0.1 * np.sqrt(trials.about["budget_flops"]))
    minima, _, remarks = isoflop(few)
    assert minima.empty
    assert "needs 4 sizes; there are 3" in remarks[0]


def test_points_are_means_over_seeds_where_there_are_several_sizes() -> None:
    found = points(_trials(np.random.default_rng(0), noise=0.0))
    assert len(found) == len(BUDGETS) * len(SIZES)
    assert found["loss"].min() == pytest.approx(3.001)
    one_size = planted.results(planted.grid(3, (1e9, 1e10)), {(LOSS, None): np.full(6, 3.0)})
    assert points(final(Steps.of(*one_size))).empty
    assert isoflop(final(Steps.of(*one_size)))[2] == []
