"""Intrinsic dimensions of known clouds, against scikit-dimension, the likelihood itself, and exact spanning trees."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import skdim
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import pdist, squareform
from scipy.stats import ortho_group

from metrics.base import Value
from metrics.probe import Observation
from metrics.topology.intrinsic_dimension import gride, measure, mle, persistent_homology_dimension, two_nn

Estimator = Callable[[np.ndarray], float | np.ndarray]

seeds = st.integers(0, 2**32 - 1)
BY_NEIGHBOURS: dict[str, Estimator] = {
    "TwoNN": two_nn,
    "MLE": partial(mle, k=6),
    "GRIDE": partial(gride, scales=(2, 4, 8)),
}
EVERY: dict[str, Estimator] = BY_NEIGHBOURS | {"PH": persistent_homology_dimension}
by_neighbours = pytest.mark.parametrize("estimate", BY_NEIGHBOURS.values(), ids=BY_NEIGHBOURS)
every_estimator = pytest.mark.parametrize("estimate", EVERY.values(), ids=EVERY)


def cloud_of(seed: int, points: int = 50, dimensions: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(points, dimensions))


def cube(seed: int, points: int, dimensions: int) -> np.ndarray:
    return np.random.default_rng(seed).random((points, dimensions))


def sierpinski(seed: int, points: int) -> np.ndarray:
    """The chaos game: half of the way to a random corner, again and again."""
    corners = np.array([[0, 0], [1, 0], [0.5, math.sqrt(0.75)]])
    place, places = np.zeros(2), []
    for corner in np.random.default_rng(seed).integers(0, 3, points + 50):
        place = (place + corners[corner]) / 2
        places.append(place)
    return np.array(places[50:])


def grid(side: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2).astype(np.float64)


def sorted_distances(points: np.ndarray) -> np.ndarray:
    """Of each point to all, itself first."""
    return np.sort(squareform(pdist(points)), axis=1)


@every_estimator
@given(seed=seeds, factor=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
@settings(max_examples=30)
def test_scaling_and_isometric_embedding_do_not_matter(
    estimate: Estimator, seed: int, factor: float, shift: float
) -> None:
    cloud = cloud_of(seed)
    embedded = factor * cloud @ ortho_group.rvs(7, random_state=seed)[:3] + shift
    assert estimate(embedded) == pytest.approx(estimate(cloud), rel=1e-6)


@by_neighbours
@given(seed=seeds)
def test_the_order_of_the_points_does_not_matter(estimate: Estimator, seed: int) -> None:
    cloud = cloud_of(seed)
    mixed = np.random.default_rng(seed).permutation(cloud)
    np.testing.assert_allclose(estimate(mixed), estimate(cloud), rtol=1e-12)


@by_neighbours
@given(seed=seeds, copies=st.integers(1, 5))
def test_duplicates_do_not_matter(estimate: Estimator, seed: int, copies: int) -> None:
    cloud = cloud_of(seed)
    np.testing.assert_allclose(estimate(np.vstack([cloud, *[cloud[:7]] * copies])), estimate(cloud), rtol=1e-10)


@every_estimator
@pytest.mark.parametrize(
    ("points", "why"),
    [
        (np.vstack([cloud_of(0), np.full((1, 3), np.nan)]), "NaN"),
        (np.vstack([cloud_of(0), np.full((1, 3), np.inf)]), "infinite"),
        (np.zeros(4), "shape"),
        (np.zeros((1, 3)), "too few"),
        (np.ones((60, 3)), "too few|coincide"),
    ],
    ids=["NaN", "infinite", "flat", "one point", "copies of one point"],
)
def test_what_has_no_dimension_is_refused(estimate: Estimator, points: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        estimate(points)


@by_neighbours
@pytest.mark.parametrize(
    ("points", "why"),
    [
        (np.array([[0.0], [1]]), "too few"),
        (np.array([[0.0], [1], [1], [0]] * 10), "2 distinct points are too few"),
        (np.eye(40), "equally far"),
    ],
    ids=["two points", "two distinct points", "simplex"],
)
def test_where_neighbours_tell_no_dimension_it_says_so(estimate: Estimator, points: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        estimate(points)


@by_neighbours
def test_points_closer_than_floating_point_can_tell_count_as_one(estimate: Estimator) -> None:
    cloud = cloud_of(0, 20, 2)
    np.testing.assert_allclose(estimate(np.vstack([cloud, cloud[:1] + 1e-300])), estimate(cloud), rtol=1e-12)


@pytest.mark.parametrize(("dimension", "expected"), [(2, 2.00), (5, 4.70), (10, 8.42)])
def test_uniform_cubes_have_the_known_dimension_and_bias(dimension: int, expected: float) -> None:
    assert np.mean([two_nn(cube(seed, 2000, dimension)) for seed in range(6)]) == pytest.approx(expected, rel=0.02)


def slope(points: np.ndarray, discard: float) -> float:
    """The fit of Facco et al. by all distances and least squares."""
    distances = sorted_distances(points)
    mu = np.sort(distances[:, 2] / distances[:, 1])
    kept = int(len(mu) * (1 - discard))
    share = np.arange(1, kept + 1) / len(mu)
    solution, *_ = np.linalg.lstsq(np.log(mu[:kept, None]), -np.log(1 - share), rcond=None)
    return float(solution[0])


@given(seed=seeds, points=st.integers(10, 60), dimensions=st.integers(1, 8), discard=st.sampled_from([0.1, 0.25, 0.5]))
def test_two_nn_is_the_least_squares_slope_through_the_origin(
    seed: int, points: int, dimensions: int, discard: float
) -> None:
    cloud = cloud_of(seed, points, dimensions)
    assert two_nn(cloud, discard) == pytest.approx(slope(cloud, discard), rel=1e-6)


@pytest.mark.parametrize("discard", [0.05, 0.1, 0.3])
@pytest.mark.parametrize(("points", "dimensions"), [(60, 2), (200, 3), (201, 8), (300, 30)])
def test_two_nn_is_scikit_dimensions(points: int, dimensions: int, discard: float) -> None:
    cloud = cloud_of(points, points, dimensions)
    expected = skdim.id.TwoNN(discard_fraction=discard).fit_transform(cloud)
    assert two_nn(cloud, discard) == pytest.approx(expected, rel=1e-9)


def test_three_points_are_enough_for_two_nn() -> None:
    """Distances 1, 2, 3 on a line: mu is 3, 2, 1.5; of which the two smallest are kept."""
    logs = np.log([1.5, 2.0])
    expected = -(logs @ np.log([2 / 3, 1 / 3])) / (logs @ logs)
    assert two_nn(np.array([[0.0], [1], [3]])) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("side", [3, 5, 9])
def test_a_lattice_has_no_two_nn_dimension(side: int) -> None:
    with pytest.raises(ValueError, match="equally far"):
        two_nn(grid(side))


@pytest.mark.parametrize("discard", [-0.1, 1.0, 2.0, math.nan])
def test_a_share_to_discard_lies_in_0_to_1(discard: float) -> None:
    with pytest.raises(ValueError, match="discard"):
        two_nn(cloud_of(0), discard)


@pytest.mark.parametrize("k", [2, 5, 20, 59])
@pytest.mark.parametrize(("points", "dimensions"), [(60, 2), (200, 3), (150, 12)])
def test_mle_is_scikit_dimensions(points: int, dimensions: int, k: int) -> None:
    cloud = cloud_of(points, points, dimensions)
    expected = skdim.id.MLE().fit_transform(cloud, n_neighbors=k, comb="mle")
    assert mle(cloud, k) == pytest.approx(expected, rel=1e-9)


def test_mle_is_20_neighbours_unless_said_otherwise() -> None:
    cloud = cloud_of(0)
    assert mle(cloud) == mle(cloud, 20) != mle(cloud, 19)


def test_mle_of_three_points_is_that_worked_out_by_hand() -> None:
    """Distances 1, 2, 3 on a line: the second neighbour is 3, 2 and 1.5 times as far as the first."""
    assert mle(np.array([[0.0], [1], [3]]), 2) == pytest.approx(3 / math.log(3 * 2 * 1.5), rel=1e-12)


@pytest.mark.parametrize(("k", "why"), [(1, "at least 2"), (0, "at least 2"), (-3, "at least 2"), (50, "too few")])
def test_mle_needs_two_neighbours_or_more(k: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        mle(cloud_of(0, 50), k)


def most_likely(points: np.ndarray, scale: int) -> float:
    """The maximum of the likelihood of Denti et al. 2022, of the ratio to neighbour n2 of that to n1."""
    n1, n2 = scale // 2, scale
    distances = sorted_distances(points)
    log_mu = np.log(distances[:, n2] / distances[:, n1])

    def loss(d: float) -> float:
        log_density = math.log(d) + (n2 - n1 - 1) * np.log(np.expm1(d * log_mu)) - ((n2 - 1) * d + 1) * log_mu
        return -float(log_density.mean())

    return float(minimize_scalar(loss, bounds=(1e-3, 60), method="bounded", options={"xatol": 1e-9}).x)


@given(seed=seeds, points=st.integers(17, 80), dimensions=st.integers(1, 9))
@settings(max_examples=30)
def test_gride_is_the_maximum_of_the_likelihood(seed: int, points: int, dimensions: int) -> None:
    cloud = cloud_of(seed, points, dimensions)
    scales = (2, 4, 6, 8, 16)
    expected = [most_likely(cloud, scale) for scale in scales]
    assert gride(cloud, scales).tolist() == pytest.approx(expected, rel=1e-5)


@given(seed=seeds, points=st.integers(5, 60), dimensions=st.integers(1, 9))
def test_at_scale_2_gride_is_the_inverse_of_the_mean_logarithm(seed: int, points: int, dimensions: int) -> None:
    cloud = cloud_of(seed, points, dimensions)
    distances = sorted_distances(cloud)
    expected = points / np.log(distances[:, 2] / distances[:, 1]).sum()
    assert gride(cloud, (2,)) == pytest.approx([expected], rel=1e-9)


def test_of_a_10_cube_gride_falls_with_the_scale() -> None:
    estimates = np.mean([gride(cube(seed, 2000, 10)) for seed in range(5)], axis=0)
    assert estimates.shape == (6,)
    assert (np.diff(estimates[1:]) < 0).all()  # scales 2 and 4 differ by less than their spread
    assert estimates[[0, -1]].tolist() == pytest.approx([8.45, 7.60], rel=0.01)


def test_a_scale_of_gride_does_not_depend_on_the_others() -> None:
    cloud = cloud_of(0, 70)
    assert gride(cloud, (16, 2)).tolist() == [*gride(cloud, (16,)), *gride(cloud, (2,))]
    assert gride(cloud).tolist() == gride(cloud, (2, 4, 8, 16, 32, 64)).tolist()


def test_a_lattice_has_a_gride_dimension_only_at_scales_that_see_it() -> None:
    with pytest.raises(ValueError, match="neighbours 1 and 2 equally far"):
        gride(grid(9), (2,))
    assert np.isfinite(gride(grid(9), (4, 8))).all()


@pytest.mark.parametrize("scale", [1, 3, 0, -2, 7])
def test_a_scale_of_gride_is_even_and_positive(scale: int) -> None:
    with pytest.raises(ValueError, match=f"scale {scale}"):
        gride(cloud_of(0), (2, scale))


def test_gride_needs_as_many_neighbours_as_its_scale() -> None:
    assert gride(cloud_of(0, 33), (32,)).shape == (1,)
    with pytest.raises(ValueError, match="32 distinct points are too few for 32 neighbours"):
        gride(cloud_of(0, 32), (2, 32))


@pytest.mark.parametrize(("dimension", "expected"), [(1, 1.01), (2, 1.96), (3, 2.90), (5, 4.56)])
def test_uniform_cubes_have_the_known_ph_dimension(dimension: int, expected: float) -> None:
    estimates = [persistent_homology_dimension(cube(seed, 1000, dimension), seed=seed) for seed in range(5)]
    assert np.mean(estimates) == pytest.approx(expected, rel=0.03)


def test_the_sierpinski_triangle_has_the_known_ph_dimension() -> None:
    estimates = [persistent_homology_dimension(sierpinski(seed, 1000), seed=seed) for seed in range(4)]
    assert np.mean(estimates) == pytest.approx(math.log2(3), rel=0.02)


@pytest.mark.parametrize("pairs", [4, 10, 25])
def test_the_ph_dimension_is_that_of_exact_spanning_trees(pairs: int) -> None:
    """Pairs .1 long lie sqrt 2 apart. Whichever of the 2n points is left out, the tree loses one pair."""
    ends = np.repeat([[0.0], [0.1]], pairs, axis=0)
    cloud = np.hstack([np.vstack([np.eye(pairs)] * 2), ends])
    between = (pairs - 1) * math.sqrt(2)
    growth = math.log((0.1 * pairs + between) / (0.1 * (pairs - 1) + between)) / math.log(pairs / (pairs - 0.5))
    found = persistent_homology_dimension(cloud, (2 * pairs - 1, 2 * pairs))
    assert found == pytest.approx(1 / (1 - growth), rel=1e-9)


def test_trees_that_do_not_grow_have_dimension_one() -> None:
    """Of 20 points at each of two places (but for 1e-12), more than 20 hold both."""
    two_places = np.repeat([[0.0], [3]], 20, axis=0) + 1e-12 * np.arange(40)[:, None]
    assert persistent_homology_dimension(two_places, (21, 30, 40)) == pytest.approx(1, rel=1e-9)


def test_equally_distant_points_have_no_ph_dimension() -> None:
    """Their trees of n - 1 equal edges grow faster than n."""
    with pytest.raises(ValueError, match="exponents from 1 on"):
        persistent_homology_dimension(np.eye(40))


def test_points_that_coincide_have_no_ph_dimension() -> None:
    with pytest.raises(ValueError, match="1 distinct points are too few"):
        persistent_homology_dimension(np.ones((60, 3)))


def test_duplicates_do_not_matter_to_the_ph_dimension() -> None:
    cloud = cloud_of(0, 100)
    assert persistent_homology_dimension(np.repeat(cloud, 3, axis=0)) == persistent_homology_dimension(cloud)


def test_the_ph_dimension_depends_on_nothing_but_points_and_seed() -> None:
    cloud = cloud_of(0, 100)
    first = persistent_homology_dimension(cloud, seed=3)
    np.random.default_rng(1).random(10)
    assert persistent_homology_dimension(cloud, seed=3) == first
    assert persistent_homology_dimension(cloud, seed=4) != first


def test_the_sizes_are_nine_from_a_fifth_of_the_points_to_all() -> None:
    cloud = cloud_of(0, 100)
    expected = persistent_homology_dimension(cloud, range(20, 101, 10))
    assert persistent_homology_dimension(cloud) == expected
    assert persistent_homology_dimension(cloud, [*range(100, 19, -10), 50]) == expected  # order and repetition


@pytest.mark.parametrize("sizes", [(), (5,), (7, 7), (1, 20), (0, 20), (-4, 20), (20, 51)])
def test_sizes_are_two_or_more_from_two_to_all_points(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least two different sizes from 2 to 50 points"):
        persistent_homology_dimension(cloud_of(0, 50), sizes)


@pytest.mark.parametrize("repeats", [0, -1])
def test_a_size_is_drawn_at_least_once(repeats: int) -> None:
    with pytest.raises(ValueError, match="repeats"):
        persistent_homology_dimension(cloud_of(0), repeats=repeats)


NAMES = ("twonn_dimension", "mle_dimension", *(f"gride_dimension/{2**k}" for k in range(1, 7)), "ph_dimension")


def by_name(observation: Observation) -> dict[tuple[str, int | None], Value]:
    return {(value.metric, value.layer): value for value in measure(observation)}


def test_every_layer_has_every_dimension(observation: Callable[..., Observation]) -> None:
    clouds = np.stack([cloud_of(seed, 80) for seed in range(3)])
    values = by_name(observation(hidden_states=clouds))
    assert set(values) == {(name, layer) for name in NAMES for layer in range(3)}
    for layer, cloud in enumerate(clouds):
        expected = [two_nn(cloud), mle(cloud), *gride(cloud), persistent_homology_dimension(cloud)]
        assert [values[name, layer].value for name in NAMES] == expected


def test_a_collapsed_layer_says_so_and_the_others_have_theirs(observation: Callable[..., Observation]) -> None:
    clouds = np.stack([cloud_of(0, 80), np.zeros((80, 3)), cloud_of(1, 80)])
    values = by_name(observation(hidden_states=clouds))
    for name in NAMES:
        assert values[name, 1].value is None
        assert "too few" in str(values[name, 1].reason) or "coincide" in str(values[name, 1].reason)
        assert None not in (values[name, 0].value, values[name, 2].value)


@pytest.mark.parametrize(
    ("points", "missing"),
    [
        (30, {"gride_dimension/32", "gride_dimension/64"}),
        (20, {"gride_dimension/32", "gride_dimension/64", "mle_dimension"}),
    ],
)
def test_each_estimator_has_its_own_reason(
    observation: Callable[..., Observation], points: int, missing: set[str]
) -> None:
    """Points among which many coincide, so that fewer are distinct."""
    cloud = np.vstack([cloud_of(0, points), np.repeat(cloud_of(0, points)[:10], 5, axis=0)])
    values = by_name(observation(hidden_states=cloud[None]))
    by_neighbours = {name: value for (name, _), value in values.items() if name != "ph_dimension"}
    assert {name for name, value in by_neighbours.items() if value.value is None} == missing
    for name in missing:
        assert f"{points} distinct points are too few" in str(values[name, 0].reason)
    assert values["twonn_dimension", 0].value == two_nn(cloud)


def test_a_lattice_has_the_dimensions_that_see_it(observation: Callable[..., Observation]) -> None:
    values = by_name(observation(hidden_states=grid(9)[None]))
    missing = {name: value.reason for (name, _), value in values.items() if value.value is None}
    assert set(missing) == {"twonn_dimension", "gride_dimension/2"}
    assert all("equally far" in str(why) for why in missing.values())


@every_estimator
@pytest.mark.parametrize("factor", [1e-200, 1e160])
def test_tiny_and_huge_clouds_have_the_dimension_of_others(estimate: Estimator, factor: float) -> None:
    cloud = cloud_of(0, 60, 4)
    np.testing.assert_allclose(estimate(factor * cloud), estimate(cloud), rtol=1e-6)
