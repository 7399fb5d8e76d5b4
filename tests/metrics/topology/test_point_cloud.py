"""What counts as a point cloud, and its scale, distances, neighbours and spanning trees against plain definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from metrics.topology.point_cloud import (
    centred,
    distance_scale,
    distinct,
    minimum_spanning_trees,
    neighbour_distances,
    pairwise_distances,
    spread,
    squared_distances,
    validated,
    without_duplicates,
)

seeds = st.integers(0, 2**32 - 1)


def cloud_of(seed: int, points: int = 10, dimensions: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(points, dimensions))


def symmetric(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Positive weights of complete graphs, which need not be distances."""
    weights = rng.random(shape) + 0.1
    return weights + np.swapaxes(weights, -1, -2)


def scipys_tree(distances: np.ndarray, length: int) -> np.ndarray:
    """Edge lengths of scipy's minimum spanning tree, ascending, and inf up to ``length``."""
    edges = np.sort(minimum_spanning_tree(distances).data)
    return np.concatenate([edges, np.full(length - len(edges), np.inf)])


@pytest.mark.parametrize(
    ("points", "why"),
    [
        (np.zeros(3), "shape"),
        (np.zeros((2, 2, 2)), "shape"),
        (np.zeros((1, 3)), "too few"),
        (np.zeros((0, 3)), "too few"),
        (np.array([[0.0, np.nan], [1, 2]]), "NaN"),
        (np.array([[0.0, np.inf], [1, 2]]), "infinite"),
    ],
)
def test_what_is_no_cloud_is_refused(points: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        validated(points)


@pytest.mark.parametrize("dtype", [np.int8, np.float16, np.float32, np.float64])
def test_a_cloud_becomes_float64(dtype: type) -> None:
    cloud = validated(np.array([[1, 2], [3, 4]], dtype=dtype))
    assert cloud.dtype == np.float64
    assert cloud.tolist() == [[1, 2], [3, 4]]


def test_how_many_points_are_needed_can_be_said() -> None:
    assert len(validated(np.zeros((5, 2)), at_least=5)) == 5
    with pytest.raises(ValueError, match="at least 6"):
        validated(np.zeros((5, 2)), at_least=6)


def test_of_points_that_coincide_the_first_stays_in_its_place() -> None:
    points = np.array([[2, 0], [1, 5], [2, 0], [1, -5], [1, 5]])
    assert distinct(points, at_least=3, why="").tolist() == [[2, 0], [1, 5], [1, -5]]


def test_a_zero_is_the_same_with_either_sign() -> None:
    assert len(distinct(np.array([[0.0, 1], [-0.0, 1], [0.0, 2]]), at_least=1, why="")) == 2


@given(seed=seeds, copies=st.integers(0, 4))
def test_neither_order_nor_copies_change_what_is_distinct(seed: int, copies: int) -> None:
    cloud = cloud_of(seed)
    mixed = np.random.default_rng(seed).permutation(np.vstack([cloud] + [cloud[:3]] * copies))
    assert sorted(distinct(mixed, at_least=10, why="").tolist()) == sorted(cloud.tolist())


def test_too_few_distinct_points_are_refused_with_what_they_are_for() -> None:
    with pytest.raises(ValueError, match="2 distinct points are too few: the triangle needs three"):
        distinct(np.array([[0.0], [1], [1], [0]]), at_least=3, why="the triangle needs three")


def test_one_point_is_distinct_where_one_is_enough() -> None:
    assert distinct(np.array([[3.0, 4]]), at_least=1, why="").tolist() == [[3, 4]]


@given(seed=seeds, points=st.integers(2, 30), dimensions=st.integers(1, 6))
def test_a_centred_cloud_has_mean_zero_and_norm_one(seed: int, points: int, dimensions: int) -> None:
    found = centred(cloud_of(seed, points, dimensions))
    assert found.mean(axis=0) == pytest.approx(np.zeros(dimensions), abs=1e-10)  # points may be close
    assert np.linalg.norm(found) == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("factor", [1e-300, 1e-5, 1e5, 1e300])
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_centring_forgets_place_and_size(factor: float, shift: float) -> None:
    cloud = cloud_of(0)
    np.testing.assert_allclose(centred(factor * (cloud + shift)), centred(cloud), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("place", [0.0, 0.1, 1e300])
def test_copies_of_a_point_cannot_be_centred(place: float) -> None:
    with pytest.raises(ValueError, match="coincide"):
        centred(np.full((7, 3), place))


def test_what_is_spread_is_evenly_spaced_with_both_ends() -> None:
    assert spread(np.arange(9), 5).tolist() == [0, 2, 4, 6, 8]
    assert spread(np.arange(10), 5).tolist() == [0, 2, 4, 7, 9]
    assert spread(np.arange(10)[:, None], 4).ravel().tolist() == [0, 3, 6, 9]


@given(points=st.integers(1, 80), count=st.integers(1, 100))
def test_a_spread_is_as_many_points_in_order_and_none_twice(points: int, count: int) -> None:
    chosen = spread(np.arange(points), count)
    assert len(chosen) == min(points, count)
    assert (np.diff(chosen) > 0).all()
    assert np.ptp(np.diff(chosen)) <= 1 if len(chosen) > 1 else chosen[0] == 0


@given(seed=seeds, points=st.integers(2, 20), dimensions=st.integers(1, 6))
def test_distances_are_euclidean(seed: int, points: int, dimensions: int) -> None:
    cloud = cloud_of(seed, points, dimensions)
    expected = [[math.dist(one, other) for other in cloud] for one in cloud]
    np.testing.assert_allclose(pairwise_distances(cloud), expected, rtol=1e-14)


@given(seed=seeds)
def test_distances_are_symmetric_and_zero_on_the_diagonal(seed: int) -> None:
    distances = pairwise_distances(cloud_of(seed))
    assert (distances == distances.T).all()
    assert not distances.diagonal().any()


def test_close_points_far_from_the_origin_lose_no_digits() -> None:
    assert pairwise_distances(np.array([[2.0**50], [2.0**50 + 1]]))[0, 1] == 1


def test_distances_of_no_cloud_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        pairwise_distances(np.array([[0.0], [np.nan]]))


def test_the_scale_of_a_line_is_known() -> None:
    """Points 0 ... 4: distances 1 x 4, 2 x 3, 3 x 2, 4 x 1; their 0.9-quantile lies a tenth of the way from 3 to 4."""
    assert distance_scale(np.arange(5.0)[:, None]) == pytest.approx(3.1)


@given(seed=seeds, factor=st.floats(1e-3, 1e3))
def test_the_scale_scales(seed: int, factor: float) -> None:
    cloud = cloud_of(seed)
    assert distance_scale(factor * cloud) == pytest.approx(factor * distance_scale(cloud))


@given(seed=seeds, points=st.integers(2, 30))
def test_the_scale_is_the_quantile_of_every_pair(seed: int, points: int) -> None:
    cloud = cloud_of(seed, points)
    pairs = [math.dist(cloud[i], cloud[j]) for i in range(points) for j in range(i)]
    assert distance_scale(cloud) == pytest.approx(np.quantile(pairs, 0.9), rel=1e-12)


@pytest.mark.parametrize("apart", [0, 1])
def test_a_cloud_of_copies_has_no_scale(apart: int) -> None:
    """One point of 30 apart makes 29 of 435 distances that are not 0."""
    cloud = np.ones((30, 2))
    cloud[:apart] = 5
    with pytest.raises(ValueError, match="coincide"):
        distance_scale(cloud)


@given(seed=seeds, points=st.integers(2, 30), data=st.data())
def test_neighbour_distances_are_the_smallest_of_each_row(seed: int, points: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, points - 1))
    distances = pairwise_distances(cloud_of(seed, points))
    expected = [sorted(row[:i].tolist() + row[i + 1 :].tolist())[:k] for i, row in enumerate(distances)]
    np.testing.assert_allclose(neighbour_distances(distances**2, k), expected, rtol=1e-15)


@pytest.mark.parametrize("k", [1, 2, 20, 200])
def test_neighbours_are_ascending_in_large_clouds_too(k: int) -> None:
    distances = pairwise_distances(cloud_of(0, 300))
    expected = np.sort(distances, axis=1)[:, 1 : k + 1]
    np.testing.assert_allclose(neighbour_distances(distances**2, k), expected, rtol=1e-15)


def test_a_point_is_not_its_own_neighbour() -> None:
    with pytest.raises(ValueError, match="5 distinct points are too few for 5"):
        neighbour_distances(pairwise_distances(cloud_of(0, 5)), 5)


@given(seed=seeds, points=st.integers(2, 60), dimensions=st.integers(1, 20), shift=st.sampled_from([0, 1, 1e4]))
def test_squares_by_inner_products_are_those_of_the_distances(
    seed: int, points: int, dimensions: int, shift: float
) -> None:
    cloud = cloud_of(seed, points, dimensions) + shift
    expected = pairwise_distances(cloud) ** 2
    np.testing.assert_allclose(squared_distances(cloud), expected, rtol=1e-10 * (1 + shift**2), atol=0)


@pytest.mark.parametrize("apart", [1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("share", [0.05, 0.9])
def test_points_that_lie_close_keep_their_digits(apart: float, share: float) -> None:
    """A few of them, and so many that all distances are taken coordinate by coordinate."""
    cloud = cloud_of(0, 100, 5)
    close = round(share * len(cloud))
    cloud[:close] = cloud[0] + apart * cloud_of(1, close, 5)
    np.testing.assert_allclose(squared_distances(cloud), pairwise_distances(cloud) ** 2, rtol=1e-9, atol=0)


def test_squares_are_symmetric_with_nothing_on_the_diagonal_and_between_duplicates() -> None:
    cloud = np.vstack([cloud_of(0, 50, 7)] * 2)
    squares = squared_distances(cloud)
    assert np.array_equal(squares, squares.T)
    assert (squares == 0).sum() == 4 * 50


@pytest.mark.parametrize("factor", [1e-200, 1e-160, 1e200])
def test_squares_that_leave_floating_point_are_as_scipys(factor: float) -> None:
    cloud = factor * cloud_of(0)
    assert squared_distances(cloud).tolist() == squareform(pdist(cloud, "sqeuclidean")).tolist()


def test_without_duplicates_the_first_of_each_stay() -> None:
    distances = pairwise_distances(np.array([[2.0], [0], [2], [5], [0]]))
    assert without_duplicates(distances).tolist() == [[0, 2, 3], [2, 0, 5], [3, 5, 0]]
    assert without_duplicates(distances[:2, :2]).tolist() == [[0, 2], [2, 0]]


@given(seed=seeds, points=st.integers(2, 40), dimensions=st.integers(1, 8))
def test_the_tree_of_a_cloud_is_scipys(seed: int, points: int, dimensions: int) -> None:
    distances = pairwise_distances(cloud_of(seed, points, dimensions))
    (tree,) = minimum_spanning_trees(distances)
    assert tree.tolist() == scipys_tree(distances, points - 1).tolist()


@given(seed=seeds, points=st.integers(1, 20), graphs=st.integers(1, 6))
def test_trees_of_subsets_are_scipys_of_what_the_subset_holds(seed: int, points: int, graphs: int) -> None:
    rng = np.random.default_rng(seed)
    distances = symmetric(rng, points, points)
    members = rng.random((graphs, points)) < rng.random((graphs, 1))
    expected = [scipys_tree(distances[np.ix_(some, some)], points - 1).tolist() for some in members]
    assert minimum_spanning_trees(distances, members).tolist() == expected


@given(seed=seeds, points=st.integers(1, 20), graphs=st.integers(1, 6))
def test_trees_of_a_batch_are_those_of_each(seed: int, points: int, graphs: int) -> None:
    batch = symmetric(np.random.default_rng(seed), graphs, points, points)
    expected = [scipys_tree(distances, points - 1).tolist() for distances in batch]
    assert minimum_spanning_trees(batch).tolist() == expected


@given(seed=seeds, points=st.integers(1, 20), graphs=st.integers(1, 6))
def test_each_of_a_batch_can_have_its_own_subset(seed: int, points: int, graphs: int) -> None:
    rng = np.random.default_rng(seed)
    batch = symmetric(rng, graphs, points, points)
    members = rng.random((graphs, points)) < 0.6
    expected = [
        scipys_tree(distances[np.ix_(some, some)], points - 1).tolist()
        for distances, some in zip(batch, members, strict=True)
    ]
    assert minimum_spanning_trees(batch, members).tolist() == expected


def test_copies_join_the_tree_by_edges_of_no_length() -> None:
    line = np.array([[0.0], [1], [1], [3], [0], [0]])
    assert minimum_spanning_trees(pairwise_distances(line)).tolist() == [[0, 0, 0, 1, 2]]


@pytest.mark.parametrize(("shape", "graphs"), [((1, 1), 1), ((4, 1, 1), 4)])
def test_the_tree_of_one_point_has_no_edge(shape: tuple[int, ...], graphs: int) -> None:
    assert minimum_spanning_trees(np.zeros(shape)).shape == (graphs, 0)


def test_distances_and_members_stay_as_they_are() -> None:
    distances = symmetric(np.random.default_rng(0), 9, 9)
    members = np.random.default_rng(1).random((3, 9)) < 0.5
    copies = distances.copy(), members.copy()
    minimum_spanning_trees(distances, members)
    assert (distances == copies[0]).all()
    assert (members == copies[1]).all()
