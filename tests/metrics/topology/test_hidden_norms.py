"""Norms of hidden states, against closed forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.probe import Observation
from metrics.topology.hidden_norms import MEAN, OF_QUANTILES, QUANTILES, measure, norms


def test_norms_are_euclidean() -> None:
    assert norms(np.array([[3.0, 4.0], [0.0, 0.0], [-5.0, 12.0]])) == pytest.approx([5, 0, 13])


def test_every_layer_has_its_mean_and_the_quantiles_of_its_norms(observation: Callable[..., Observation]) -> None:
    """101 points at distances 0 ... 100: the q-quantile is 100 q; the second layer is twice as far."""
    line = np.arange(101.0)[::-1, None] * np.array([[0.6, 0.8]])
    values = {(v.metric, v.layer): v.value for v in measure(observation(hidden_states=np.stack([line, 2 * line])))}
    assert values.keys() == {(name, layer) for name in (MEAN, *OF_QUANTILES) for layer in (0, 1)}
    for layer in (0, 1):
        assert values[MEAN, layer] == pytest.approx(50 * (layer + 1))
        for name, quantile in zip(OF_QUANTILES, QUANTILES, strict=True):
            assert values[name, layer] == pytest.approx(100 * quantile * (layer + 1))


def test_the_quantiles_bound_their_share_of_the_tokens(observation: Callable[..., Observation]) -> None:
    cloud = np.random.default_rng(0).normal(size=(1000, 8))
    values = {v.metric: v.value for v in measure(observation(hidden_states=cloud[None]))}
    found = np.linalg.norm(cloud, axis=1)
    for name, quantile in zip(OF_QUANTILES, QUANTILES, strict=True):
        assert (found <= values[name]).mean() == pytest.approx(quantile, abs=1 / 1000)
    assert (values["hidden_norm/0"], values["hidden_norm/1"]) == (
        pytest.approx(found.min()),
        pytest.approx(found.max()),
    )


def test_a_layer_that_overflowed_says_why_and_the_others_have_values(observation: Callable[..., Observation]) -> None:
    clouds = np.ones((2, 5, 3))
    clouds[1, 2, 0] = np.inf
    found = list(measure(observation(hidden_states=clouds)))
    assert [v.value for v in found if v.layer == 0] == pytest.approx([3**0.5] * len(found[::2]))
    assert {v.value for v in found if v.layer == 1} == {None}
    assert all("infinite" in str(v.reason) for v in found if v.layer == 1)


@given(st.integers(0, 2**32 - 1))
def test_turning_the_cloud_and_the_order_of_tokens_change_nothing_and_scaling_scales(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cloud = rng.normal(size=(20, 4))
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    assert np.sort(norms(3 * rng.permutation(cloud) @ turn)) == pytest.approx(3 * np.sort(norms(cloud)))
