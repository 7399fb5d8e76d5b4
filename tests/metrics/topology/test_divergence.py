"""RTD against two other constructions of its bars, CKA against its feature-space formula, and both on traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gudhi
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ripser import ripser
from scipy.stats import ortho_group

from metrics.base import Value
from metrics.topology.divergence import (
    RTD_POINTS,
    linear_cka,
    measure_cka,
    measure_rtd,
    representation_topology_divergence,
)
from metrics.topology.point_cloud import distance_scale, pairwise_distances, spread
from metrics.trace import Trace

seeds = st.integers(0, 2**32 - 1)
Kind = Callable[[np.random.Generator, int], np.ndarray]

# clouds with ties, duplicates, clusters and outliers: their filtrations have many simplices at one radius
KINDS: dict[str, Kind] = {
    "normal": lambda rng, n: rng.normal(size=(n, 3)),
    "lattice": lambda rng, n: rng.integers(0, 3, size=(n, 2)),
    "two clusters": lambda rng, n: 9 * rng.integers(0, 2, size=(n, 1)) + rng.normal(size=(n, 4)),
    "scales": lambda rng, n: rng.normal(size=(n, 2)) * 10.0 ** rng.uniform(-3, 3, size=(n, 1)),
    "polygon": lambda rng, n: np.column_stack([f(2 * np.pi * np.arange(n) / n) for f in (np.cos, np.sin)]),
}
kinds = st.sampled_from(sorted(KINDS))


def cloud_of(seed: int, points: int = 18, dimensions: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(points, dimensions))


def scaled_pair(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distances of the first cloud, and the smaller of both clouds', each divided by its 0.9-quantile."""
    first, second = (pairwise_distances(cloud) / distance_scale(cloud) for cloud in (x, y))
    return first, np.minimum(first, second)


def total_length(bars: np.ndarray) -> float:
    finite = bars[np.isfinite(bars).all(axis=1)]
    return float((finite[:, 1] - finite[:, 0]).sum())


def by_two_copies(x: np.ndarray, y: np.ndarray) -> float:
    """The authors' matrix: one copy of the points is at 0 of each other, the other copy joined by both clouds."""
    r1, both = scaled_pair(x, y)
    matrix = np.block([[np.zeros_like(r1), r1], [r1, both]])
    return total_length(ripser(matrix, maxdim=1, distance_matrix=True)["dgms"][1])


def by_a_cone(x: np.ndarray, y: np.ndarray) -> float:
    """gudhi's homology of the complex of both clouds, in which an apex closes what the first cloud joins."""
    r1, both = scaled_pair(x, y)
    apex = len(r1)
    graph = gudhi.SimplexTree.create_from_array(both)
    graph.expansion(2)
    complex_ = graph.copy()
    complex_.insert([apex], 0.0)
    for simplex, _ in graph.get_skeleton(1):
        complex_.insert([*simplex, apex], float(r1[np.ix_(simplex, simplex)].max()))
    complex_.compute_persistence(persistence_dim_max=True, min_persistence=0.0)
    return total_length(complex_.persistence_intervals_in_dimension(1).reshape(-1, 2))


@settings(max_examples=60)
@given(seed=seeds, points=st.integers(3, 30), kind_x=kinds, kind_y=kinds)
def test_rtd_is_that_of_the_matrix_of_two_copies(seed: int, points: int, kind_x: str, kind_y: str) -> None:
    rng = np.random.default_rng(seed)
    x, y = KINDS[kind_x](rng, points), KINDS[kind_y](rng, points)
    assume(np.ptp(x, axis=0).any() and np.ptp(y, axis=0).any())  # a lattice of a few points may collapse
    assert representation_topology_divergence(x, y) == pytest.approx(by_two_copies(x, y), rel=1e-6, abs=1e-6)


@settings(max_examples=40)
@given(seed=seeds, points=st.integers(3, 18), kind_x=kinds, kind_y=kinds)
def test_rtd_is_gudhis_homology_of_a_cone(seed: int, points: int, kind_x: str, kind_y: str) -> None:
    rng = np.random.default_rng(seed)
    x, y = KINDS[kind_x](rng, points), KINDS[kind_y](rng, points)
    assume(np.ptp(x, axis=0).any() and np.ptp(y, axis=0).any())
    assert representation_topology_divergence(x, y) == pytest.approx(by_a_cone(x, y), rel=1e-5, abs=1e-5)


def test_rtd_is_what_three_points_give_by_hand() -> None:
    """Distances 1, 2, 3 of quantile 2.8, and 1, 1, 2 of quantile 1.8: each way one join is early."""
    x, y = np.array([[0.0], [1], [3]]), np.array([[0.0], [1], [2]])
    assert representation_topology_divergence(x, y) == pytest.approx(2 / 2.8 - 1 / 1.8, rel=1e-6)
    assert representation_topology_divergence(y, x) == pytest.approx(1 / 1.8 - 1 / 2.8, rel=1e-6)


@given(seed=seeds, kind=kinds)
def test_rtd_of_a_cloud_with_itself_is_zero(seed: int, kind: str) -> None:
    cloud = KINDS[kind](np.random.default_rng(seed), 20)
    assert representation_topology_divergence(cloud, cloud) == 0.0


@given(seed=seeds, factor=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_rtd_sees_no_rotation_scale_or_shift(seed: int, factor: float, shift: float) -> None:
    cloud = cloud_of(seed)
    moved = factor * cloud @ ortho_group.rvs(3, random_state=seed) + shift
    assert representation_topology_divergence(cloud, moved) == pytest.approx(0, abs=1e-5)
    assert representation_topology_divergence(moved, cloud) == pytest.approx(0, abs=1e-5)


def test_rtd_depends_on_the_order_of_the_clouds() -> None:
    circle, line = KINDS["polygon"](np.random.default_rng(0), 12), np.arange(12.0)[:, None]
    assert representation_topology_divergence(circle, line) > 2 * representation_topology_divergence(line, circle) > 0


@given(seed=seeds)
def test_rtd_does_not_depend_on_the_order_of_the_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, order = rng.normal(size=(18, 3)), rng.normal(size=(18, 5)), rng.permutation(18)
    permuted = representation_topology_divergence(x[order], y[order])
    assert permuted == pytest.approx(representation_topology_divergence(x, y), rel=1e-5)


def test_rtd_depends_on_which_points_are_the_same() -> None:
    cloud = cloud_of(0)
    assert representation_topology_divergence(cloud, cloud[::-1]) > 0.1


@pytest.mark.parametrize("function", [representation_topology_divergence, linear_cka])
@pytest.mark.parametrize(
    ("x", "y", "why"),
    [
        (cloud_of(0, 5), cloud_of(0, 6), "5 and 6 points"),
        (cloud_of(0, 1), cloud_of(1, 1), "too few"),
        (cloud_of(0, 0), cloud_of(1, 0), "too few"),
        (cloud_of(0, 3), np.array([[0.0], [np.nan], [1]]), "NaN"),
        (np.array([[0.0], [np.inf], [1]]), cloud_of(0, 3), "infinite"),
        (np.zeros(4), cloud_of(0, 4), "shape"),
        (cloud_of(0, 4), np.ones((4, 2)), "coincide"),
        (np.ones((4, 2)), cloud_of(0, 4), "coincide"),
    ],
    ids=["lengths", "one point", "none", "NaN", "infinite", "flat", "second collapsed", "first collapsed"],
)
def test_what_is_no_pair_of_clouds_is_refused(
    function: Callable[[np.ndarray, np.ndarray], float], x: np.ndarray, y: np.ndarray, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        function(x, y)


def test_rtd_of_a_cloud_without_scale_is_refused() -> None:
    nearly_collapsed = np.zeros((30, 2))
    nearly_collapsed[0] = 1
    with pytest.raises(ValueError, match="nine in ten"):
        representation_topology_divergence(cloud_of(0, 30), nearly_collapsed)


def by_features(x: np.ndarray, y: np.ndarray) -> float:
    """Kornblith et al.'s formula of the products of features, without a Gram matrix of points."""
    first, second = x - x.mean(axis=0), y - y.mean(axis=0)
    across = np.linalg.norm(second.T @ first) ** 2
    return float(across / (np.linalg.norm(first.T @ first) * np.linalg.norm(second.T @ second)))


@given(seed=seeds, points=st.integers(2, 40), dimensions=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_cka_is_the_formula_of_features(seed: int, points: int, dimensions: tuple[int, int]) -> None:
    x, y = (cloud_of(seed + k, points, d) for k, d in enumerate(dimensions))
    assert linear_cka(x, y) == pytest.approx(by_features(x, y), rel=1e-9, abs=1e-12)


@given(seed=seeds, factor=st.floats(1e-3, 1e3), shift=st.floats(-100, 100), columns=st.integers(4, 7))
def test_cka_sees_no_rotation_scale_or_shift(seed: int, factor: float, shift: float, columns: int) -> None:
    """The rotation may go into a space of more dimensions."""
    cloud = cloud_of(seed)
    rotation = ortho_group.rvs(columns, random_state=seed)[:3]
    for sign in (1, -1):
        assert linear_cka(cloud, sign * factor * cloud @ rotation + shift) == pytest.approx(1, rel=1e-9)


@given(seed=seeds, points=st.integers(2, 30), dimensions=st.integers(1, 40))
def test_cka_is_symmetric_and_at_most_1(seed: int, points: int, dimensions: int) -> None:
    x, y = cloud_of(seed, points), cloud_of(seed + 1, points, dimensions)
    assert linear_cka(x, y) == pytest.approx(linear_cka(y, x), rel=1e-12)
    assert -1e-12 <= linear_cka(x, y) <= 1 + 1e-12


def test_cka_of_uncorrelated_features_is_zero() -> None:
    """Rows of a Hadamard matrix: signs of which no two are correlated."""
    signs = np.array([[1, 1], [1, -1]])
    hadamard = np.kron(np.kron(signs, signs), signs).T[:, 1:].astype(float)
    assert linear_cka(hadamard[:, :3], hadamard[:, 3:]) == pytest.approx(0, abs=1e-15)


def test_cka_of_features_half_of_which_are_shared_is_known() -> None:
    """Orthonormal features, k of x, l of y and s shared: s / sqrt(k l)."""
    features = np.linalg.qr(cloud_of(0, 20, 7) - cloud_of(0, 20, 7).mean(axis=0))[0]
    assert linear_cka(features[:, :4], features[:, 2:]) == pytest.approx(2 / np.sqrt(4 * 5), rel=1e-9)


@pytest.mark.parametrize("factor", [1e-160, 1e-30, 1e30, 1e150])
def test_cka_neither_overflows_nor_underflows(factor: float) -> None:
    x, y = cloud_of(0), cloud_of(1, dimensions=6)
    assert linear_cka(factor * x, y) == pytest.approx(linear_cka(x, y), rel=1e-9)
    assert linear_cka(factor * x, y / factor**0.5) == pytest.approx(linear_cka(x, y), rel=1e-9)


@pytest.mark.parametrize("points", [3, 10])
def test_cka_of_points_that_coincide_where_their_mean_is_rounded_is_refused(points: int) -> None:
    with pytest.raises(ValueError, match="coincide"):
        linear_cka(np.full((points, 2), 0.1), cloud_of(0, points))


def trace_of(*clouds: np.ndarray) -> Trace:
    return Trace(np.stack(clouds), np.empty(0))


FIRST = trace_of(cloud_of(0), np.ones((18, 3)), cloud_of(2))
SECOND = trace_of(cloud_of(3), cloud_of(4), cloud_of(2))


def test_rtd_of_traces_is_the_mean_of_both_directions_per_layer() -> None:
    first, collapsed, same = measure_rtd(FIRST, SECOND)
    x, y = FIRST.hidden_states[0], SECOND.hidden_states[0]
    both = representation_topology_divergence(x, y), representation_topology_divergence(y, x)
    assert first.value == pytest.approx(sum(both) / 2, rel=1e-12)
    assert (collapsed.value, same.value) == (None, 0.0)
    assert "coincide" in str(collapsed.reason)
    assert [value.layer for value in (first, collapsed, same)] == [0, 1, 2]


def test_cka_of_traces_is_that_of_each_layer() -> None:
    first, collapsed, same = measure_cka(FIRST, SECOND)
    assert first.value == linear_cka(FIRST.hidden_states[0], SECOND.hidden_states[0])
    assert collapsed.value is None
    assert "coincide" in str(collapsed.reason)
    assert same.value == pytest.approx(1, rel=1e-12)
    assert [value.layer for value in (first, collapsed, same)] == [0, 1, 2]


@pytest.mark.parametrize("measure", [measure_rtd, measure_cka])
def test_the_order_of_the_traces_does_not_matter(measure: Callable[[Trace, Trace], Iterator[Value]]) -> None:
    assert list(measure(FIRST, SECOND)) == list(measure(SECOND, FIRST))


def test_rtd_of_traces_takes_a_few_points_evenly_and_cka_all() -> None:
    points = 3 * RTD_POINTS
    first, second = trace_of(cloud_of(0, points)), trace_of(cloud_of(1, points))
    few = trace_of(spread(cloud_of(0, points), RTD_POINTS)), trace_of(spread(cloud_of(1, points), RTD_POINTS))
    assert len(few[0].hidden_states[0]) == RTD_POINTS
    assert list(measure_rtd(first, second)) == list(measure_rtd(*few))
    assert list(measure_cka(first, second)) != list(measure_cka(*few))


def test_float32_clouds_are_compared_in_float64() -> None:
    """A trace holds float32; what is computed of it does not."""
    x, y = cloud_of(0).astype(np.float32), cloud_of(1).astype(np.float32)
    assert linear_cka(x, y) == linear_cka(x.astype(np.float64), y.astype(np.float64))
    (value,) = measure_rtd(trace_of(x), trace_of(y))
    (expected,) = measure_rtd(trace_of(x.astype(np.float64)), trace_of(y.astype(np.float64)))
    assert value == expected
