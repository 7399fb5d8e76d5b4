"""Barcodes against closed forms, ripser and GUDHI, and under what must not change them; what is computed of them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import reduce

import gudhi
import gudhi.hera
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ripser import ripser
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform
from scipy.stats import ortho_group

from metrics.base import Diagram, Value
from metrics.probe import Observation
from metrics.topology.persistent_homology import (
    SUMMARIES,
    barcodes,
    betti_curves,
    bottleneck,
    euler_curve,
    measure,
    of_distances,
    proper_bars,
    summarize,
    wasserstein,
)
from metrics.topology.point_cloud import distance_scale

RTOL = 1e-6  # ripser computes in float32
NO_BARS = np.empty((0, 2))
seeds = st.integers(0, 2**32 - 1)
# few different numbers, so that many births and deaths coincide, and some bars have no length
bars = st.tuples(st.integers(0, 12), st.integers(0, 8)).map(lambda bar: (bar[0] / 4, (bar[0] + bar[1]) / 4))
diagrams = st.lists(bars, max_size=12).map(lambda found: np.array(found, dtype=np.float64).reshape(-1, 2))


def cloud_of(seed: int, points: int = 24, dimensions: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(points, dimensions))


def circle(n: int) -> np.ndarray:
    angles = 2 * np.pi * np.arange(n) / n
    return np.column_stack([np.cos(angles), np.sin(angles)])


def gudhis(distances: np.ndarray, max_dimension: int) -> list[np.ndarray]:
    """Bars of H0 ... H_max_dimension, the infinite too, in float64."""
    complex_ = gudhi.RipsComplex(distance_matrix=distances)
    tree = complex_.create_simplex_tree(max_dimension=max_dimension + 1)
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    return [tree.persistence_intervals_in_dimension(k).reshape(-1, 2) for k in range(max_dimension + 1)]


def finite(diagram: np.ndarray) -> np.ndarray:
    return diagram[np.isfinite(diagram[:, 1])]


def assert_same_bars(found: list[np.ndarray], expected: list[np.ndarray], rtol: float = RTOL) -> None:
    """Equal barcodes but for rounding, which moves births and deaths, and makes or ends the shortest bars."""
    for one, other in zip(found, expected, strict=True):
        size = max(one.max(initial=0), other.max(initial=0))
        assert bottleneck(one, other) <= rtol * size


@pytest.mark.parametrize("n", [6, 7, 8, 9, 12, 20, 31])
def test_a_regular_polygon_has_one_loop(n: int) -> None:
    h0, h1 = barcodes(circle(n))
    side = 2 * math.sin(math.pi / n)
    np.testing.assert_allclose(h0, [[0, side]] * (n - 1), rtol=1e-12)
    long = h1[np.diff(h1, axis=1).ravel() > 1e-4]
    np.testing.assert_allclose(long, [[side, 2 * math.sin(math.pi * math.ceil(n / 3) / n)]], rtol=RTOL)


def test_an_octahedron_encloses_one_void() -> None:
    _, h1, h2 = barcodes(np.vstack([np.eye(3), -np.eye(3)]), max_dimension=2)
    assert len(h1) == 0
    np.testing.assert_allclose(h2, [[math.sqrt(2), 2]], rtol=RTOL)


def test_a_flat_torus_has_two_long_loops() -> None:
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(18), np.arange(18)))
    _, h1 = barcodes(np.hstack([circle(18)[a], circle(18)[b]]))
    long = h1[np.diff(h1, axis=1).ravel() > 0.5]
    np.testing.assert_allclose(long, [[2 * math.sin(math.pi / 18), math.sqrt(3)]] * 2, rtol=RTOL)


@given(seed=seeds, points=st.integers(2, 40), dimensions=st.integers(1, 10))
def test_components_merge_at_the_edges_of_the_minimum_spanning_tree(seed: int, points: int, dimensions: int) -> None:
    cloud = cloud_of(seed, points, dimensions)
    (h0,) = barcodes(cloud, max_dimension=0)
    edges = minimum_spanning_tree(squareform(pdist(cloud))).data
    assert not h0[:, 0].any()
    np.testing.assert_allclose(h0[:, 1], np.sort(edges), rtol=1e-12)


@given(seed=seeds, points=st.integers(2, 40), dimensions=st.integers(1, 10))
def test_components_are_ripsers(seed: int, points: int, dimensions: int) -> None:
    distances = squareform(pdist(cloud_of(seed, points, dimensions)))
    (h0,) = of_distances(distances, max_dimension=0)
    deaths = finite(ripser(distances, maxdim=0, distance_matrix=True)["dgms"][0])[:, 1]
    np.testing.assert_allclose(h0[:, 1], np.sort(deaths), rtol=RTOL)


@given(seed=seeds, points=st.integers(2, 24), dimensions=st.integers(1, 5))
def test_components_and_loops_are_gudhis(seed: int, points: int, dimensions: int) -> None:
    cloud = cloud_of(seed, points, dimensions)
    assert_same_bars(barcodes(cloud), [finite(one) for one in gudhis(squareform(pdist(cloud)), 1)])


@pytest.mark.parametrize("seed", range(5))
def test_voids_are_gudhis(seed: int) -> None:
    cloud = cloud_of(seed, 18)
    cloud /= np.linalg.norm(cloud, axis=1, keepdims=True)
    h0_to_h2 = barcodes(cloud, max_dimension=2)
    assert len(h0_to_h2[2])
    assert_same_bars(h0_to_h2, [finite(one) for one in gudhis(squareform(pdist(cloud)), 2)])


@given(seed=seeds, points=st.integers(2, 15))
def test_distances_need_not_be_a_metric(seed: int, points: int) -> None:
    distances = squareform(np.random.default_rng(seed).random(points * (points - 1) // 2) ** 3)
    assert_same_bars(of_distances(distances), [finite(one) for one in gudhis(distances, 1)])


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
    assert_same_bars(barcodes(factor * cloud), [factor * found for found in barcodes(cloud)])


@given(seed=seeds, size=st.floats(1e-4, 0.3))
def test_bars_are_stable(seed: int, size: float) -> None:
    """Moving each point by at most ``size`` moves no birth and no death by more than twice that."""
    cloud = cloud_of(seed)
    moves = cloud_of(seed + 1)
    moved = cloud + size * moves / np.linalg.norm(moves, axis=1, keepdims=True)
    for before, after in zip(barcodes(cloud), barcodes(moved), strict=True):
        assert bottleneck(before, after) <= 2 * size + 1e-5


def test_duplicates_add_no_bar() -> None:
    cloud = cloud_of(0)
    again = barcodes(np.vstack([cloud, cloud[:5]]))
    assert_same_bars(again, barcodes(cloud))
    assert len(again[0]) == len(cloud) - 1


def test_points_that_coincide_have_no_bar() -> None:
    assert [found.shape for found in barcodes(np.full((20, 3), 7.0), max_dimension=2)] == [(0, 2)] * 3


@pytest.mark.parametrize(
    "points", [np.zeros((1, 2)), np.zeros(3), np.array([[np.nan, 0], [0, 1]]), np.array([[0.0], [np.inf]])]
)
def test_what_is_no_cloud_is_refused(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="point"):
        barcodes(points)


def test_homology_has_no_negative_dimension() -> None:
    with pytest.raises(ValueError, match="max_dimension=-1"):
        barcodes(cloud_of(0), max_dimension=-1)


def test_two_points_have_one_bar() -> None:
    h0, h1 = barcodes(np.array([[0.0, 0], [3, 4]]))
    assert h0.tolist() == [[0, 5]]
    assert h1.shape == (0, 2)


@pytest.mark.parametrize("max_dimension", [0, 1, 2])
def test_every_dimension_has_float64_bars_of_birth_and_death(max_dimension: int) -> None:
    found = barcodes(cloud_of(0), max_dimension)
    assert len(found) == max_dimension + 1
    for diagram in found:
        assert diagram.dtype == np.float64
        assert (diagram[:, 0] < diagram[:, 1]).all()


def test_proper_bars_are_finite_and_have_a_length() -> None:
    diagram = np.array([[0, 1], [0, math.inf], [-math.inf, 1], [2, 2], [-1, 3]])
    assert proper_bars(diagram).tolist() == [[0, 1], [-1, 3]]


@pytest.mark.parametrize(
    ("diagram", "why"), [([[2.0, 1]], "death precedes its birth"), ([[0, np.nan]], "NaN"), ([[np.nan, 1]], "NaN")]
)
@pytest.mark.parametrize("use", [proper_bars, lambda found: summarize([found]), lambda found: bottleneck(found, found)])
def test_what_is_no_bar_is_refused(diagram: list[list[float]], why: str, use: Callable[[np.ndarray], object]) -> None:
    with pytest.raises(ValueError, match=why):
        use(np.array(diagram))


def test_summaries_are_those_worked_out_by_hand() -> None:
    summary = summarize([np.array([[0.0, 1], [0, 3]]), np.array([[1.0, 2], [2, 5], [3, 4]]), NO_BARS])
    assert summary == pytest.approx(
        {
            "h0_count": 2,
            "h0_total_persistence": 4,
            "h0_max_persistence": 3,
            "h0_persistence_entropy": 0.25 * math.log(4) + 0.75 * math.log(4 / 3),
            "h0_betti_curve_area": 4 + 5,  # the essential bar, up to the last death of all
            "h1_count": 3,
            "h1_total_persistence": 5,
            "h1_max_persistence": 3,
            "h1_persistence_entropy": 0.4 * math.log(5) + 0.6 * math.log(5 / 3),
            "h1_betti_curve_area": 5,
            **{f"h2_{name}": 0 for name in SUMMARIES},
        }
    )


def test_empty_barcodes_sum_up_to_zero() -> None:
    summary = summarize([NO_BARS, NO_BARS])
    assert summary == {f"h{dimension}_{name}": 0 for dimension in (0, 1) for name in SUMMARIES}
    assert all(math.copysign(1, number) == 1 for number in summary.values())


@given(found=st.lists(diagrams, min_size=1, max_size=3))
def test_infinite_bars_and_bars_of_no_length_change_no_summary(found: list[np.ndarray]) -> None:
    more = [np.vstack([[[0.5, math.inf], [1, 1]], diagram]) for diagram in found]
    assert summarize(more) == summarize(found)


@given(count=st.integers(1, 50), length=st.floats(1e-6, 1e6))
def test_the_entropy_of_equal_bars_is_the_logarithm_of_their_number(count: int, length: float) -> None:
    summary = summarize([np.array([[2.0, 2.0 + length]] * count)])
    assert summary["h0_persistence_entropy"] == pytest.approx(math.log(count), abs=1e-9)


@given(found=st.lists(diagrams, min_size=1, max_size=3))
def test_the_area_is_that_under_the_betti_curve_up_to_the_last_death(found: list[np.ndarray]) -> None:
    ends = np.unique(np.concatenate([[0.0], *(proper_bars(diagram).ravel() for diagram in found)]))
    summary = summarize(found)
    areas = [summary[f"h{dimension}_betti_curve_area"] for dimension in range(len(found))]
    integrals = betti_curves(found, ends)[:, :-1] @ np.diff(ends)  # it is constant between births and deaths
    assert areas == pytest.approx(integrals.tolist(), rel=1e-12)


@given(seed=seeds)
def test_above_h0_the_area_is_the_total_persistence(seed: int) -> None:
    summary = summarize(barcodes(cloud_of(seed)))
    assert summary["h1_betti_curve_area"] == summary["h1_total_persistence"]


@given(
    found=st.lists(diagrams, min_size=1, max_size=3),
    radii=st.lists(st.integers(-4, 24).map(lambda k: k / 4), min_size=1),
)
def test_a_betti_number_counts_the_bars_that_are_alive(found: list[np.ndarray], radii: list[float]) -> None:
    expected = [
        [sum(birth <= r < death for birth, death in diagram) + (k == 0 and r >= 0) for r in radii]
        for k, diagram in enumerate(found)
    ]
    curves = betti_curves(found, np.array(radii))
    assert curves.tolist() == expected
    assert curves.dtype == np.int64


def test_no_scale_has_no_betti_number() -> None:
    assert betti_curves([NO_BARS, NO_BARS], np.empty(0)).shape == (2, 0)
    assert euler_curve([NO_BARS, NO_BARS], np.empty(0)).shape == (0,)


@given(found=st.lists(diagrams, min_size=1, max_size=4))
def test_the_euler_curve_of_barcodes_is_the_alternating_sum_of_their_betti_numbers(found: list[np.ndarray]) -> None:
    radii = np.linspace(-1, 6, 57)
    curves = betti_curves(found, radii)
    assert euler_curve(found, radii).tolist() == sum((-1) ** k * curve for k, curve in enumerate(curves)).tolist()


@given(seed=seeds, points=st.integers(2, 9), dimensions=st.integers(1, 4))
def test_the_euler_curve_of_points_is_the_alternating_sum_of_all_betti_numbers(
    seed: int, points: int, dimensions: int
) -> None:
    """At every scale, also just where an edge comes in; points on a grid make many come in together."""
    cloud = np.random.default_rng(seed).integers(0, 4, size=(points, dimensions)).astype(np.float64)
    distances = squareform(pdist(cloud))
    ends = np.unique(distances)
    radii = np.concatenate([[-1.0], ends, (ends[1:] + ends[:-1]) / 2, [2 * ends[-1] + 1]])
    every = gudhis(distances, points - 2)
    assert euler_curve(cloud, radii).tolist() == euler_curve(every, radii).tolist()


def cheapest(
    first: list[list[float]],
    second: list[list[float]],
    apart: Callable[[list[float], list[float]], float],
    together: Callable[[float, float], float],
) -> float:
    """The least cost of all matchings of the bars with each other or with the middle of their own."""

    def alone(bar: list[float]) -> float:
        return apart(bar, [sum(bar) / 2] * 2)

    if not first:
        return reduce(together, map(alone, second), 0.0)
    bar, *others = first
    costs = [together(alone(bar), cheapest(others, second, apart, together))]
    for k, one in enumerate(second):
        costs.append(together(apart(bar, one), cheapest(others, second[:k] + second[k + 1 :], apart, together)))
    return min(costs)


@given(first=diagrams, second=diagrams)
def test_distances_are_those_of_the_cheapest_matching(first: np.ndarray, second: np.ndarray) -> None:
    first, second = first[:4], second[:5]
    pair = first.tolist(), second.tolist()
    farthest = cheapest(*pair, lambda one, other: max(abs(one[0] - other[0]), abs(one[1] - other[1])), max)
    assert bottleneck(first, second) == farthest
    assert wasserstein(first, second) == pytest.approx(cheapest(*pair, math.dist, operator.add), rel=1e-12, abs=1e-6)


@given(seed=seeds, first=st.integers(1, 30), second=st.integers(0, 30))
def test_distances_of_random_diagrams_are_heras(seed: int, first: int, second: int) -> None:
    """GUDHI's own bottleneck distance is too large for one random pair in a hundred (GUDHI/gudhi-devel#1367)."""
    rng = np.random.default_rng(seed)
    one, other = (np.sort(rng.random((count, 2)), axis=1) for count in (first, second))
    assert bottleneck(one, other) == pytest.approx(gudhi.hera.bottleneck_distance(one, other, delta=0), rel=1e-12)
    expected = gudhi.hera.wasserstein_distance(one, other, order=1, internal_p=2, delta=1e-7)
    assert wasserstein(one, other) == pytest.approx(expected, rel=2e-7, abs=1e-6)


@given(first=diagrams, second=diagrams)
def test_distances_of_diagrams_are_symmetric(first: np.ndarray, second: np.ndarray) -> None:
    assert bottleneck(first, second) == bottleneck(second, first)
    assert wasserstein(first, second) == pytest.approx(wasserstein(second, first), rel=1e-9, abs=1e-6)


@given(diagram=diagrams, seed=seeds)
def test_a_diagram_is_at_no_distance_from_itself_in_another_order(diagram: np.ndarray, seed: int) -> None:
    mixed = np.random.default_rng(seed).permutation(diagram)
    assert bottleneck(diagram, mixed) == 0
    assert wasserstein(diagram, mixed) == pytest.approx(0, abs=1e-6)


@given(diagram=diagrams)
def test_no_bars_are_as_far_as_the_diagonal(diagram: np.ndarray) -> None:
    lengths = np.diff(diagram, axis=1)
    assert bottleneck(diagram, NO_BARS) == lengths.max(initial=0) / 2
    assert wasserstein(diagram, NO_BARS) == pytest.approx(lengths.sum() / math.sqrt(2), rel=1e-12)


@pytest.mark.parametrize("distance", [bottleneck, wasserstein])
def test_infinite_bars_are_not_compared(distance: Callable[[np.ndarray, np.ndarray], float]) -> None:
    bar = np.array([[0.0, 1]])
    assert distance(np.array([[0, 1], [0, math.inf], [0, math.inf]]), bar) == distance(bar, bar) == 0
    assert distance(np.array([[0, math.inf]]), NO_BARS) == distance(NO_BARS, NO_BARS) == 0


def test_every_layer_has_its_values_raw_and_scaled(observation: Callable[..., Observation]) -> None:
    clouds = np.stack([cloud_of(1, 30), 5 * cloud_of(1, 30)])
    found = [one for one in measure(observation(hidden_states=clouds)) if isinstance(one, Value)]
    values = {(v.metric, v.layer): v.value for v in found}
    expected = summarize(barcodes(clouds[1]))
    units = [name for name in expected if not name.endswith(("count", "entropy"))]
    assert len(found) == len(values) == 2 * (len(expected) + len(units))
    for name, value in expected.items():
        assert values[name, 1] == value
    for name in units:
        assert values[f"{name}_scaled", 1] == pytest.approx(expected[name] / distance_scale(clouds[1]), rel=1e-12)
        assert values[f"{name}_scaled", 0] == pytest.approx(values[f"{name}_scaled", 1], rel=1e-4)
        assert 5 * values[name, 0] == pytest.approx(values[name, 1], rel=1e-4)


def test_every_layer_keeps_its_bars_and_scale(observation: Callable[..., Observation]) -> None:
    clouds = np.stack([cloud_of(1, 30), cloud_of(2, 30)])
    kept = [one for one in measure(observation(hidden_states=clouds)) if isinstance(one, Diagram)]
    assert [(one.layer, one.dimension) for one in kept] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for one in kept:
        assert one.bars.tolist() == barcodes(clouds[one.layer])[one.dimension].tolist()
        assert one.scale == distance_scale(clouds[one.layer])


def test_a_collapsed_layer_says_so(observation: Callable[..., Observation]) -> None:
    clouds = np.stack([np.ones((30, 3)), cloud_of(1, 30)])
    found = list(measure(observation(hidden_states=clouds)))
    values = [one for one in found if isinstance(one, Value)]
    assert {v.value for v in values if v.layer == 0} == {None}
    assert all("coincide" in str(v.reason) for v in values if v.layer == 0)
    assert all(v.value is not None and v.reason is None for v in values if v.layer == 1)
    assert len({v.metric for v in values}) * 2 == len(values)
    assert {one.layer for one in found if isinstance(one, Diagram)} == {1}


@pytest.mark.parametrize("factor", [1e-170, 1e-50, 1e160])
def test_tiny_and_huge_clouds_have_the_bars_of_others(factor: float) -> None:
    cloud = cloud_of(0, 40, 5)
    for bars, expected in zip(barcodes(factor * cloud), barcodes(cloud), strict=True):
        np.testing.assert_allclose(bars / factor, expected, rtol=1e-4)


@pytest.mark.parametrize("wrong", [np.zeros((2, 3)), np.ones(4), np.zeros((1, 2, 2))])
def test_what_is_no_barcode_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="shape"):
        summarize([wrong])
