"""Magnitude against closed forms and the inverse matrix, Euler characteristics against every clique and GUDHI."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import gudhi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from metrics.base import Value
from metrics.probe import Observation
from metrics.topology import geometry
from metrics.topology.geometry import magnitude, measure, simplex_curve
from metrics.topology.point_cloud import distance_scale, spread

seeds = st.integers(0, 2**32 - 1)
QUANTILES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
MAGNITUDES = ("magnitude/1", "magnitude/4", "magnitude/16")
CHARACTERISTICS = tuple(f"euler_characteristic/{quantile}" for quantile in QUANTILES)


def cloud_of(seed: int, points: int = 20, dimensions: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(points, dimensions))


def grid_cloud(seed: int, points: int, dimensions: int) -> np.ndarray:
    """At least two and at most ``points`` distinct points with many equal distances, in any order."""
    rng = np.random.default_rng(seed)
    cloud = np.vstack([np.full(dimensions, 4), rng.integers(0, 4, size=(points - 1, dimensions))])
    return rng.permutation(np.unique(cloud, axis=0)).astype(np.float64)


def circle(n: int) -> np.ndarray:
    angles = 2 * np.pi * np.arange(n) / n
    return np.column_stack([np.cos(angles), np.sin(angles)])


def simplex(n: int, distance: float) -> np.ndarray:
    """n points, each as far from every other."""
    return np.eye(n) * distance / math.sqrt(2)


def test_the_magnitude_of_two_points_is_known() -> None:
    assert magnitude(np.array([[0.0], [1]])) == pytest.approx(2 / (1 + math.exp(-1)), rel=1e-14)
    assert round(2 / (1 + math.exp(-1)), 5) == 1.46212


@pytest.mark.parametrize("distance", [0.01, 1.0, 7.5])
@pytest.mark.parametrize("n", [2, 3, 10, 40])
def test_the_magnitude_of_equidistant_points_is_known(n: int, distance: float) -> None:
    expected = n / (1 + (n - 1) * math.exp(-distance))
    assert magnitude(simplex(n, distance)) == pytest.approx(expected, rel=1e-12)


def test_the_magnitude_of_a_line_is_the_sum_over_its_steps() -> None:
    """1 + tanh(d / 2) of each step (Leinster 2013, for points on a line)."""
    steps = np.array([0.25, 2, 1, 0.5])
    line = np.concatenate([[0], np.cumsum(steps)])[:, None]
    assert magnitude(line, 3.0) == pytest.approx(1 + np.tanh(1.5 * steps).sum(), rel=1e-12)


@given(seed=seeds, points=st.integers(2, 30), dimensions=st.integers(1, 8), t=st.floats(0.1, 50))
def test_the_magnitude_is_the_sum_of_the_inverse(seed: int, points: int, dimensions: int, t: float) -> None:
    cloud = cloud_of(seed, points, dimensions)
    expected = np.linalg.inv(np.exp(-t * squareform(pdist(cloud)))).sum()
    assert magnitude(cloud, t) == pytest.approx(expected, rel=1e-6)


@given(seed=seeds, points=st.integers(2, 30))
def test_far_apart_the_magnitude_is_the_number_of_points(seed: int, points: int) -> None:
    cloud = cloud_of(seed, points)
    assert magnitude(cloud, 50 / pdist(cloud).min()) == pytest.approx(points, rel=1e-12)


@given(seed=seeds, points=st.integers(2, 30))
def test_from_far_away_the_magnitude_is_that_of_one_point(seed: int, points: int) -> None:
    cloud = cloud_of(seed, points)
    assert magnitude(cloud, 1e-6 / pdist(cloud).max()) == pytest.approx(1, abs=1e-6)


@given(seed=seeds)
def test_the_magnitude_grows_with_the_scale(seed: int) -> None:
    cloud = cloud_of(seed)
    assert (np.diff([magnitude(cloud, t) for t in (0.01, 0.1, 1, 10)]) > 0).all()


@given(seed=seeds, factor=st.floats(0.01, 100), t=st.floats(0.1, 10))
def test_scaling_the_cloud_is_scaling_t(seed: int, factor: float, t: float) -> None:
    cloud = cloud_of(seed)
    assert magnitude(factor * cloud, t) == pytest.approx(magnitude(cloud, factor * t), rel=1e-9)


@given(seed=seeds, copies=st.integers(0, 4))
def test_neither_order_nor_duplicates_change_the_magnitude(seed: int, copies: int) -> None:
    cloud = cloud_of(seed)
    mixed = np.random.default_rng(seed).permutation(np.vstack([cloud] + [cloud[:7]] * copies))
    assert magnitude(mixed) == pytest.approx(magnitude(cloud), rel=1e-12)


@pytest.mark.parametrize("copies", [1, 2, 20])
@pytest.mark.parametrize("t", [1e-9, 1.0, 1e9])
def test_the_magnitude_of_one_point_is_one(copies: int, t: float) -> None:
    assert magnitude(np.full((copies, 3), 5.0), t) == 1


@pytest.mark.parametrize("t", [0.0, -1.0, math.inf, math.nan])
def test_t_is_positive_and_finite(t: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        magnitude(cloud_of(0), t)


@pytest.mark.parametrize(
    ("points", "t"), [(np.array([[0.0], [1e-17], [1]]), 1.0), (cloud_of(0), 1e-18)], ids=["two points", "all points"]
)
def test_points_that_cannot_be_told_apart_have_no_magnitude(points: np.ndarray, t: float) -> None:
    with pytest.raises(ValueError, match="closer"):
        magnitude(points, t)


@pytest.mark.parametrize("use", [magnitude, lambda points: simplex_curve(points, np.ones(1))])
@pytest.mark.parametrize(
    ("points", "why"),
    [(np.zeros((0, 2)), "too few"), (np.zeros(3), "shape"), (np.array([[0.0], [np.nan]]), "NaN")],
    ids=["no point", "flat", "NaN"],
)
def test_what_is_no_cloud_is_refused(use: Callable[[np.ndarray], object], points: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        use(points)


def every_clique(points: np.ndarray, radii: np.ndarray) -> list[int]:
    """The alternating count of all subsets of points no two of which are further apart than each radius."""
    distances = squareform(pdist(points))
    curve = np.zeros(len(radii), dtype=int)
    for size in range(1, len(points) + 1):
        for subset in itertools.combinations(range(len(points)), size):
            diameter = distances[np.ix_(subset, subset)].max()
            curve -= (-1) ** size * (diameter <= radii)
    return curve.tolist()


def scales_of(points: np.ndarray) -> np.ndarray:
    """Every distance, a little less and a little more."""
    distances = np.unique(pdist(points))
    return np.concatenate([distances, 0.999 * distances, 1.001 * distances])


@given(seed=seeds, points=st.integers(2, 8), dimensions=st.integers(1, 4), on_grid=st.booleans())
def test_the_characteristic_counts_every_clique(seed: int, points: int, dimensions: int, on_grid: bool) -> None:
    """At radii in no order, each distance being one: most change the complex."""
    cloud = (grid_cloud if on_grid else cloud_of)(seed, points, dimensions)
    radii = np.random.default_rng(seed).permutation(np.concatenate([[-1.0, 0.0, 100.0], scales_of(cloud[:4])]))
    curve = simplex_curve(cloud, radii)
    assert curve.tolist() == every_clique(cloud, radii)
    assert curve.dtype == np.int64


@given(seed=seeds, points=st.integers(2, 11), dimensions=st.integers(1, 4))
def test_the_characteristic_is_that_of_gudhis_complexes(seed: int, points: int, dimensions: int) -> None:
    cloud = grid_cloud(seed, points, dimensions)
    distances = squareform(pdist(cloud))
    radii = np.unique(distances)
    expected = []
    for radius in radii:
        tree = gudhi.RipsComplex(distance_matrix=distances, max_edge_length=radius).create_simplex_tree(points)
        expected.append(sum((-1) ** (len(vertices) - 1) for vertices, _ in tree.get_simplices()))
    assert simplex_curve(cloud, radii).tolist() == expected


@given(seed=seeds, copies=st.integers(0, 4))
def test_neither_order_nor_duplicates_change_the_characteristic(seed: int, copies: int) -> None:
    cloud = cloud_of(seed, 9)
    mixed = np.random.default_rng(seed).permutation(np.vstack([cloud] + [cloud[:5]] * copies))
    radii = np.linspace(-0.5, 4, 40)
    assert simplex_curve(mixed, radii).tolist() == simplex_curve(cloud, radii).tolist()


@given(seed=seeds, data=st.data())
def test_radii_may_come_in_any_order_and_again(seed: int, data: st.DataObject) -> None:
    cloud = cloud_of(seed, 9)
    radii = np.array(data.draw(st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0]), max_size=12)))
    assert simplex_curve(cloud, radii).tolist() == [simplex_curve(cloud, np.array([r]))[0] for r in radii]


@pytest.mark.parametrize("n", [7, 12, 13, 30])
def test_between_birth_and_death_of_its_loop_a_circle_has_characteristic_0(n: int) -> None:
    birth, death = 2 * math.sin(math.pi / n), 2 * math.sin(math.pi * math.ceil(n / 3) / n)
    radii = np.array([birth - 1e-6, *np.linspace(birth + 1e-6, death - 1e-6, 5)])
    assert simplex_curve(circle(n), radii).tolist() == [n, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("n", [6, 9, 12, 15])
def test_where_triangles_span_a_circle_it_is_n_thirds_less_one_spheres(n: int) -> None:
    """Adamaszek & Adams 2017: at distance sqrt 3 the complex of n = 3k points is a wedge of k - 1 two-spheres."""
    assert simplex_curve(circle(n), np.array([math.sqrt(3) + 1e-9])).tolist() == [1 + n // 3 - 1]


def test_an_octahedron_is_a_sphere_and_then_a_ball() -> None:
    octahedron = np.vstack([np.eye(3), -np.eye(3)])
    assert simplex_curve(octahedron, np.array([0, 1.4, 1.5, 1.99, 2.0, 9.0])).tolist() == [6, 6, 2, 2, 1, 1]


def test_below_zero_there_is_nothing() -> None:
    assert simplex_curve(cloud_of(0), np.array([-1e-300, -math.inf, -5.0])).tolist() == [0, 0, 0]


def test_no_radii_have_no_characteristic() -> None:
    assert simplex_curve(cloud_of(0), np.empty(0)).shape == (0,)


@pytest.mark.parametrize("copies", [1, 2, 9])
def test_one_point_has_characteristic_1(copies: int) -> None:
    assert simplex_curve(np.full((copies, 2), 3.0), np.array([1.0, 0.0, -1.0, math.inf])).tolist() == [1, 1, 0, 1]


def test_at_an_infinite_radius_every_cloud_is_a_simplex() -> None:
    assert simplex_curve(cloud_of(0, 12), np.array([math.inf, 0.0])).tolist() == [1, 12]


def test_radii_that_are_no_number_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        simplex_curve(cloud_of(0), np.array([1.0, math.nan]))


def test_a_complex_of_too_many_simplices_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 8 points that are all joined 255 subsets are simplices, 247 of them more than a vertex."""
    monkeypatch.setattr(geometry, "SIMPLICES_AT_MOST", 247)
    assert simplex_curve(simplex(8, 1), np.array([2.0])).tolist() == [1]
    with pytest.raises(ValueError, match="more than 247 simplices of diameter <= 2; take fewer points or radii"):
        simplex_curve(simplex(9, 1), np.array([0.5, 2.0]))
    assert simplex_curve(simplex(9, 1), np.array([0.5])).tolist() == [9]


def by_name(observation: Observation) -> dict[tuple[str, int | None], Value]:
    return {(value.metric, value.layer): value for value in measure(observation)}


def test_every_layer_has_its_magnitudes_and_characteristics(observation: Callable[..., Observation]) -> None:
    clouds = np.stack([cloud_of(0, 100), 7 * cloud_of(1, 100)])
    values = by_name(observation(hidden_states=clouds))
    assert set(values) == {(name, layer) for name in (*MAGNITUDES, *CHARACTERISTICS) for layer in (0, 1)}
    for layer, cloud in enumerate(clouds):
        expected = [magnitude(cloud / distance_scale(cloud), t) for t in (1, 4, 16)]
        assert [values[name, layer].value for name in MAGNITUDES] == pytest.approx(expected, rel=1e-9)
        some = spread(cloud, 64)
        characteristics = simplex_curve(some, np.quantile(pdist(some), QUANTILES))
        assert [values[name, layer].value for name in CHARACTERISTICS] == characteristics.tolist()


def test_the_size_of_the_cloud_does_not_matter(observation: Callable[..., Observation]) -> None:
    values = by_name(observation(hidden_states=np.stack([cloud_of(0, 100), 256 * cloud_of(0, 100)])))
    for name in (*MAGNITUDES, *CHARACTERISTICS):
        assert values[name, 1].value == pytest.approx(values[name, 0].value, rel=1e-9)


def test_a_collapsed_layer_says_so_and_the_others_have_theirs(observation: Callable[..., Observation]) -> None:
    values = by_name(observation(hidden_states=np.stack([np.ones((70, 3)), cloud_of(0, 70)])))
    for name in (*MAGNITUDES, *CHARACTERISTICS):
        assert values[name, 0].value is None
        assert "1 distinct points are too few" in str(values[name, 0].reason)
        assert values[name, 1].value is not None


def test_a_layer_without_a_scale_has_characteristics_all_the_same(observation: Callable[..., Observation]) -> None:
    """Three places on a line, the first two joined from the smallest quantile on."""
    cloud = np.ones((70, 3))
    cloud[0], cloud[-1] = 0, 5
    values = by_name(observation(hidden_states=cloud[None]))
    for name in MAGNITUDES:
        assert "coincide" in str(values[name, 0].reason)
    assert [values[name, 0].value for name in CHARACTERISTICS] == [2] * 6
