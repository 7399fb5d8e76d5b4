"""Maximum spanning trees of layered graphs against Prim's algorithm on all edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.topology.spanning_tree import maximum_spanning_tree

seeds = st.integers(0, 2**32 - 1)
small = st.lists(st.integers(1, 7), min_size=2, max_size=5)
# of 60 vertices or more the lightest two in a hundred are no longer just the lightest one
large = st.one_of(
    st.lists(st.integers(30, 100), min_size=2, max_size=2),
    st.lists(st.integers(1, 60), min_size=3, max_size=5).filter(lambda sizes: 60 <= sum(sizes) <= 200),
)
Matrices = list[np.ndarray]


def prim(sizes: Sequence[int], matrices: Matrices) -> list[float]:
    """Weights of a maximum spanning tree, ascending: the heaviest edge that leaves the tree, again and again."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    graph = np.full((starts[-1], starts[-1]), -np.inf)
    for k, matrix in enumerate(matrices):
        rows, columns = slice(starts[k], starts[k + 1]), slice(starts[k + 1], starts[k + 2])
        graph[rows, columns], graph[columns, rows] = matrix, matrix.T
    reach, outside, taken = graph[0].copy(), np.arange(len(graph)) > 0, []
    while outside.any():
        vertex = np.flatnonzero(outside)[reach[outside].argmax()]
        taken.append(float(reach[vertex]))
        outside[vertex] = False
        reach = np.maximum(reach, graph[vertex])
    return sorted(taken)


def tree(sizes: Sequence[int], matrices: Matrices) -> list[float]:
    found = maximum_spanning_tree(sizes, lambda k: matrices[k])
    assert found.dtype == np.float64
    return found.tolist()


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(size=shape)


def of_few_numbers(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.integers(-3, 4, size=shape).astype(np.float64)


def with_zero_units(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A quarter of the rows and of the columns are 0."""
    matrix = np.abs(rng.normal(size=shape))
    matrix[rng.random(shape[0]) < 0.25] = 0
    matrix[:, rng.random(shape[1]) < 0.25] = 0
    return matrix


def with_light_units(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A few rows and columns weigh less by many orders of magnitude, each by another one."""
    rows, columns = (np.where(rng.random(n) < 0.05, 10.0 ** rng.integers(-9, 0, n), 1.0) for n in shape)
    return np.abs(rng.normal(size=shape)) * rows[:, None] * columns


def with_negative_units(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Every edge of a few rows and columns is lighter than any other."""
    matrix = rng.normal(size=shape)
    matrix[rng.random(shape[0]) < 0.05] -= 50
    matrix[:, rng.random(shape[1]) < 0.05] -= 100
    return matrix


def of_two_parts(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Heavy edges join odd with odd units and even with even ones: half of the vertices are not in the largest part."""
    same = (np.arange(shape[0])[:, None] + np.arange(shape[1])) % 2 == 0
    return rng.random(shape) + 10 * same


def of_many_parts(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Each unit is heavy with one of a few others alone, and light weights tie."""
    matrix = rng.integers(0, 3, size=shape).astype(np.float64)
    matrix[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] += 10
    matrix[rng.integers(0, shape[0], shape[1]), np.arange(shape[1])] += 10
    return matrix


KINDS = [normal, of_few_numbers, with_zero_units, with_light_units, with_negative_units, of_two_parts, of_many_parts]
Kind = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def layers_of(kind: Kind, sizes: Sequence[int], seed: int, dtype: type = np.float64) -> Matrices:
    rng = np.random.default_rng(seed)
    return [kind(rng, shape).astype(dtype) for shape in pairwise(sizes)]


@pytest.mark.parametrize("kind", KINDS)
@given(sizes=small, seed=seeds)
def test_of_few_vertices_it_is_prims(kind: Kind, sizes: list[int], seed: int) -> None:
    matrices = layers_of(kind, sizes, seed)
    assert tree(sizes, matrices) == prim(sizes, matrices)


@pytest.mark.parametrize("kind", KINDS)
@given(sizes=large, seed=seeds, dtype=st.sampled_from([np.float32, np.float64]))
def test_of_many_vertices_it_is_prims(kind: Kind, sizes: list[int], seed: int, dtype: type) -> None:
    matrices = layers_of(kind, sizes, seed, dtype)
    assert tree(sizes, matrices) == prim(sizes, matrices)


@given(sizes=large, seed=seeds, kinds=st.lists(st.sampled_from(KINDS), min_size=4, max_size=4))
def test_each_layer_may_be_of_another_kind(sizes: list[int], seed: int, kinds: list[Kind]) -> None:
    shapes = pairwise(sizes)
    rng = np.random.default_rng(seed)
    matrices = [kind(rng, shape) for kind, shape in zip(kinds, shapes, strict=False)]
    assert tree(sizes, matrices) == prim(sizes, matrices)


@pytest.mark.parametrize("light", [1, 2, 5, 20])
@pytest.mark.parametrize("weight", [0.0, -5.0, 1e-30])
def test_vertices_that_no_heavy_edge_reaches_join_by_their_heaviest(light: int, weight: float) -> None:
    """Of 150 vertices: of every other there is a path of edges of weight 1."""
    matrix = np.ones((60, 90))
    lightly = weight + np.arange(light) / 64
    matrix[:, :light] = lightly
    assert tree((60, 90), [matrix]) == sorted([*lightly, *[1.0] * (149 - light)])


@pytest.mark.parametrize("weight", [-2.5, 0.0, 3.0])
@pytest.mark.parametrize("sizes", [(1, 1), (4, 7), (70, 90), (40, 1, 30), (1, 1, 1, 1)])
def test_constant_weights_make_a_constant_tree(sizes: tuple[int, ...], weight: float) -> None:
    matrices = [np.full(shape, weight) for shape in pairwise(sizes)]
    assert tree(sizes, matrices) == [weight] * (sum(sizes) - 1)


@pytest.mark.parametrize("sizes", [(1, 80), (80, 1), (1, 80, 1), (50, 1, 50), (1, 1, 90, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_one_vertex_are_layers(sizes: tuple[int, ...], kind: Kind) -> None:
    matrices = layers_of(kind, sizes, 0)
    assert tree(sizes, matrices) == prim(sizes, matrices)


def test_a_star_has_every_edge() -> None:
    weights = np.random.default_rng(0).normal(size=(1, 100))
    assert tree((1, 100), [weights]) == sorted(weights[0])


@given(sizes=large, seed=seeds)
def test_the_order_of_the_units_does_not_matter(sizes: list[int], seed: int) -> None:
    matrices = layers_of(with_light_units, sizes, seed)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(size) for size in sizes]
    mixed = [matrix[np.ix_(orders[k], orders[k + 1])] for k, matrix in enumerate(matrices)]
    assert tree(sizes, mixed) == tree(sizes, matrices)


@given(sizes=large, seed=seeds)
def test_the_layers_may_be_named_from_either_end(sizes: list[int], seed: int) -> None:
    matrices = layers_of(with_light_units, sizes, seed)
    assert tree(sizes[::-1], [matrix.T for matrix in reversed(matrices)]) == tree(sizes, matrices)


def test_weights_stay_as_they_are() -> None:
    matrices = layers_of(with_light_units, (60, 70), 0)
    before = [matrix.copy() for matrix in matrices]
    tree((60, 70), matrices)
    np.testing.assert_array_equal(matrices, before)
