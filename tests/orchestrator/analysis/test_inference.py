"""Intervals over seeds against closed forms and planted truths."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from orchestrator.analysis import inference


def test_the_bootstrap_of_a_mean_has_the_error_of_a_mean() -> None:
    values = np.random.default_rng(1).normal(size=(7, 40))
    weights = inference.resampled(7, draws=20_000)
    assert (weights.sum(axis=1) == 7).all()
    error = inference.bootstrap_error(weights @ values / 7, 7)
    np.testing.assert_allclose(error, stats.sem(values), rtol=0.03)


@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_intervals_of_means_cover_the_truth_as_often_as_they_say(seeds: int) -> None:
    values = np.random.default_rng(2).normal(5, 1, size=(seeds, 4000))
    error = inference.bootstrap_error(inference.resampled(seeds) @ values / seeds, seeds)
    low, high = inference.interval(values.mean(axis=0), error, seeds)
    assert np.mean((low <= 5) & (high >= 5)) == pytest.approx(inference.LEVEL, abs=0.015)
    p = inference.two_sided(values.mean(axis=0) - 5, error, seeds)
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.015)


def test_sums_by() -> None:
    sums = inference.sums_by(np.array([[1.0], [2.0], [4.0]]), np.array([7, 3, 7]))
    assert sums.tolist() == [[2.0], [5.0]]


def test_false_discoveries_are_controlled_among_the_p_that_are_there() -> None:
    found = inference.false_discovery(np.array([0.01, np.nan, 0.04, 0.03]))
    np.testing.assert_allclose(found, [0.03, np.nan, 0.04, 0.04])  # p times 3 over its rank, made monotone


def test_columns_that_are_all_one() -> None:
    columns = np.array([[1.0, 1.0, np.nan, 0.0], [1.0 + 1e-12, 1.1, np.nan, 0.0]])
    assert inference.same(columns).tolist() == [True, False, True, True]
