"""Barcodes against closed forms, against a minimum spanning tree, and under what must not change them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform
from scipy.stats import ortho_group

from metrics.probe import Observation
from metrics.topology.persistent_homology import SUMMARIES, barcodes, measure, summarize
from metrics.topology.point_cloud import distance_scale

# ripser computes in float32
RTOL = 1e-5
seeds = st.integers(0, 2**32 - 1)


def cloud_of(seed: int, points: int = 24, dimensions: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(points, dimensions))


def in_order(bars: np.ndarray) -> np.ndarray:
    return bars[np.lexsort(bars.T)]


def assert_same_bars(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    """Equal barcodes, but for bars so short that rounding makes or ends them."""
    for one, other in zip(first, second, strict=True):
        long_one, long_other = (
            bars[np.diff(bars, axis=1).ravel() > 1e-4 * bars.max(initial=0)] for bars in (one, other)
        )
        np.testing.assert_allclose(in_order(long_one), in_order(long_other), rtol=1e-4)


@pytest.mark.parametrize("n", [6, 7, 8, 9, 12, 20, 31])
def test_a_regular_polygon_has_one_loop(n: int) -> None:
    angles = 2 * np.pi * np.arange(n) / n
    h0, h1 = barcodes(np.column_stack([np.cos(angles), np.sin(angles)]))
    side = 2 * math.sin(math.pi / n)
    np.testing.assert_allclose(h0, [[0, side]] * (n - 1), rtol=RTOL)
    long = h1[np.diff(h1, axis=1).ravel() > 1e-4]
    np.testing.assert_allclose(long, [[side, 2 * math.sin(math.pi * math.ceil(n / 3) / n)]], rtol=RTOL)


def test_an_octahedron_encloses_one_void() -> None:
    _, h1, h2 = barcodes(np.vstack([np.eye(3), -np.eye(3)]), max_dimension=2)
    assert len(h1) == 0
    np.testing.assert_allclose(h2, [[math.sqrt(2), 2]], rtol=RTOL)


def test_a_flat_torus_has_two_long_loops() -> None:
    angles = 2 * np.pi * np.arange(18) / 18
    a, b = (grid.ravel() for grid in np.meshgrid(angles, angles))
    _, h1 = barcodes(np.column_stack([np.cos(a), np.sin(a), np.cos(b), np.sin(b)]))
    long = h1[np.diff(h1, axis=1).ravel() > 0.5]
    np.testing.assert_allclose(long, [[2 * math.sin(math.pi / 18), math.sqrt(3)]] * 2, rtol=RTOL)


@given(seed=seeds, points=st.integers(2, 40), dimensions=st.integers(1, 10))
def test_components_merge_at_the_edges_of_the_minimum_spanning_tree(seed: int, points: int, dimensions: int) -> None:
    cloud = cloud_of(seed, points, dimensions)
    (h0,) = barcodes(cloud, max_dimension=0)
    edges = minimum_spanning_tree(squareform(pdist(cloud))).data
    assert not h0[:, 0].any()
    np.testing.assert_allclose(np.sort(h0[:, 1]), np.sort(edges), rtol=RTOL)


@given(seed=seeds)
def test_the_order_of_the_points_does_not_matter(seed: int) -> None:
    cloud = cloud_of(seed)
    assert_same_bars(barcodes(np.random.default_rng(seed).permutation(cloud)), barcodes(cloud))


@given(seed=seeds, shift=st.floats(-1e6, 1e6))
def test_rotation_and_translation_do_not_matter(seed: int, shift: float) -> None:
    cloud = cloud_of(seed)
    rotation = ortho_group.rvs(3, random_state=seed)
    assert_same_bars(barcodes(cloud @ rotation + shift), barcodes(cloud))


@given(seed=seeds, factor=st.floats(1e-3, 1e3))
def test_scaling_the_cloud_scales_the_bars(seed: int, factor: float) -> None:
    cloud = cloud_of(seed)
    assert_same_bars(barcodes(factor * cloud), [factor * bars for bars in barcodes(cloud)])


@given(seed=seeds, size=st.floats(1e-4, 0.3))
def test_components_are_stable(seed: int, size: float) -> None:
    """Moving each point by at most ``size`` moves no death by more than twice that."""
    cloud = cloud_of(seed)
    moves = cloud_of(seed + 1)
    moved = cloud + size * moves / np.linalg.norm(moves, axis=1, keepdims=True)
    before, after = (np.sort(barcodes(points, max_dimension=0)[0][:, 1]) for points in (cloud, moved))
    assert np.abs(before - after).max() <= 2 * size + 1e-5


def test_duplicates_add_no_bar() -> None:
    cloud = cloud_of(0)
    assert_same_bars(barcodes(np.vstack([cloud, cloud[:5]])), barcodes(cloud))


@pytest.mark.parametrize("points", [np.zeros((1, 2)), np.zeros(3), np.array([[np.nan, 0], [0, 1]])])
def test_what_is_no_cloud_is_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="point"):
        barcodes(points)


def test_two_points_have_one_bar() -> None:
    h0, h1 = barcodes(np.array([[0.0, 0], [3, 4]]))
    assert h0.tolist() == [[0, 5]]
    assert h1.shape == (0, 2)


def test_summaries_are_those_worked_out_by_hand() -> None:
    summary = summarize([np.array([[0.0, 1], [0, 3]]), np.empty((0, 2))])
    assert summary == pytest.approx(
        {
            "h0_count": 2,
            "h0_total_persistence": 4,
            "h0_max_persistence": 3,
            "h0_persistence_entropy": 0.25 * math.log(4) + 0.75 * math.log(4 / 3),
            **{f"h1_{name}": 0 for name in SUMMARIES},
        }
    )


@given(bars=st.integers(1, 50), length=st.floats(1e-6, 1e6))
def test_the_entropy_of_equal_bars_is_the_logarithm_of_their_number(bars: int, length: float) -> None:
    summary = summarize([np.array([[2.0, 2.0 + length]] * bars)])
    assert summary["h0_persistence_entropy"] == pytest.approx(math.log(bars), abs=1e-9)


def test_a_death_before_its_birth_is_refused() -> None:
    with pytest.raises(ValueError, match="H1 has a bar whose death precedes"):
        summarize([np.array([[0.0, 1]]), np.array([[2.0, 1]])])


def test_every_layer_has_its_values_raw_and_scaled(observation: Callable[..., Observation]) -> None:
    clouds = np.stack([cloud_of(1, 30), 5 * cloud_of(1, 30)])
    values = {(v.metric, v.layer): v.value for v in measure(observation(hidden_states=clouds))}
    expected = summarize(barcodes(clouds[1]))
    for name, value in expected.items():
        assert values[name, 1] == pytest.approx(value)
    for name in ("h0_total_persistence", "h1_max_persistence"):
        assert values[f"{name}_scaled", 1] == pytest.approx(expected[name] / distance_scale(clouds[1]))
        assert values[f"{name}_scaled", 0] == pytest.approx(values[f"{name}_scaled", 1], rel=1e-4)
        assert 5 * values[name, 0] == pytest.approx(values[name, 1], rel=1e-4)


def test_a_collapsed_layer_says_so(observation: Callable[..., Observation]) -> None:
    clouds = np.stack([np.ones((30, 3)), cloud_of(1, 30)])
    values = list(measure(observation(hidden_states=clouds)))
    assert {v.value for v in values if v.layer == 0} == {None}
    assert all("coincide" in str(v.reason) for v in values if v.layer == 0)
    assert all(v.value is not None for v in values if v.layer == 1)
    assert len({v.metric for v in values}) * 2 == len(values)
