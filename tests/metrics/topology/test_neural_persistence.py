"""Neural persistence against Kruskal's algorithm, scipy, and an example worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.sparse.csgraph import minimum_spanning_tree

from metrics.probe import Observation
from metrics.topology.neural_persistence import (
    block_matrices,
    maximum_spanning_tree_weights,
    measure,
    neural_persistence,
)
from trainables import models
from trainables.config import ModelConfig

EXAMPLE = np.array([[1, 0.5], [0.25, 0.75]])
shapes = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
# few different numbers, so that many edges weigh the same
matrices = arrays(np.float64, shapes, elements=st.integers(-8, 8).map(lambda k: k / 8))


def kruskal(matrix: np.ndarray) -> list[float]:
    """Weights of a maximum spanning tree, by taking the heaviest edge that joins two components."""
    n, m = matrix.shape
    component = list(range(n + m))
    taken = []
    for weight, i, j in sorted(((matrix[i, j], i, n + j) for i in range(n) for j in range(m)), reverse=True):
        if component[i] != component[j]:
            taken.append(weight)
            old, new = component[i], component[j]
            component = [new if label == old else label for label in component]
    return sorted(taken)


@given(matrix=matrices)
def test_the_tree_is_kruskals(matrix: np.ndarray) -> None:
    assert maximum_spanning_tree_weights(matrix).tolist() == kruskal(matrix)


@pytest.mark.parametrize("shape", [(60, 90), (1, 50), (50, 1), (1, 1)])
def test_the_tree_is_scipys(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).normal(size=shape)
    n, m = shape
    graph = np.zeros((n + m, n + m))
    graph[:n, n:] = matrix.max() + 1 - matrix  # scipy takes the smallest, and a zero for no edge
    expected = np.sort(matrix.max() + 1 - minimum_spanning_tree(graph).data)
    np.testing.assert_allclose(maximum_spanning_tree_weights(matrix), expected, rtol=1e-12, atol=1e-14)


def test_the_known_example() -> None:
    """Edges 1, .75, .5 make the tree: bars 0, .25, .5."""
    exact = math.hypot(0.25, 0.5)
    assert neural_persistence([EXAMPLE], normalized=False) == pytest.approx([exact], rel=1e-12)
    assert neural_persistence([EXAMPLE]) == pytest.approx([exact / math.sqrt(3)], rel=1e-12)
    assert round(exact, 4) == 0.5590
    assert round(exact / math.sqrt(3), 4) == 0.3227


def test_the_largest_weight_is_that_of_all_matrices() -> None:
    together = neural_persistence([EXAMPLE, 2 * EXAMPLE], normalized=False)
    assert together == pytest.approx([math.hypot(0.5, 0.625, 0.75), math.hypot(0.25, 0.5)], rel=1e-12)


@pytest.mark.parametrize(("p", "expected"), [(1, 0.75), (2, math.hypot(0.25, 0.5)), (math.inf, 0.5)])
def test_the_norm_can_be_chosen(p: float, expected: float) -> None:
    assert neural_persistence([EXAMPLE], p=p, normalized=False) == pytest.approx([expected], rel=1e-12)


@given(matrix=matrices.filter(np.any), p=st.sampled_from([1, 2, 3, math.inf]))
def test_normalised_it_lies_between_0_and_1(matrix: np.ndarray, p: float) -> None:
    (value,) = neural_persistence([matrix], p=p)
    assert 0 <= value <= 1


@given(matrix=matrices.filter(np.any), seed=st.integers(0, 2**32 - 1), factor=st.floats(1e-6, 1e6))
def test_order_sign_direction_and_scale_do_not_matter(matrix: np.ndarray, seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    changed = rng.permutation(rng.permutation(matrix, axis=0), axis=1).T
    changed = factor * changed * rng.choice([-1, 1], size=changed.shape)
    assert neural_persistence([changed]) == pytest.approx(neural_persistence([matrix]), rel=1e-9, abs=1e-9)


def test_equal_weights_have_none() -> None:
    assert neural_persistence([np.full((4, 7), -3.0)]).tolist() == [0.0]


@pytest.mark.parametrize(
    "weights",
    [
        [],
        [np.zeros((2, 3))],
        [np.array([[np.nan, 1]])],
        [np.ones((2, 2)), np.array([[np.nan, 1]])],
        [np.array([[np.inf, 1]])],
        [np.ones((2, 2)), np.empty((0, 3))],
    ],
    ids=["none", "all zero", "NaN", "NaN in the second", "infinite", "empty"],
)
def test_where_it_is_not_defined_it_says_so(weights: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"persistence|entr"):
        neural_persistence(weights)


@pytest.mark.parametrize("matrix", [np.ones(3), np.ones((2, 2, 2)), np.empty((0, 0)), np.array([[1, -np.inf]])])
def test_a_tree_of_no_matrix_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="matrix"):
        maximum_spanning_tree_weights(matrix)


def test_only_matrices_inside_blocks_count(tiny_model: ModelConfig) -> None:
    weights = {name: w.detach().numpy() for name, w in models.build(tiny_model, init_seed=0).named_parameters()}
    names = ("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    found = block_matrices(weights)
    assert {(layer, name) for layer, name, _ in found} == {(layer, name) for layer in (1, 2) for name in names}
    assert len(found) == 8


def test_a_model_has_a_value_per_matrix_and_their_mean(
    observation: Callable[..., Observation], tiny_model: ModelConfig
) -> None:
    weights = {name: w.detach().numpy() for name, w in models.build(tiny_model, init_seed=0).named_parameters()}
    mean, *each = measure(observation(weights=weights))
    assert mean.metric == "neural_persistence"
    assert mean.value == pytest.approx(np.mean([value.value for value in each]), rel=1e-12)
    expected = neural_persistence([matrix for _, _, matrix in block_matrices(weights)])
    assert [value.value for value in each] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weights", [{}, {"h.0.w.weight": np.zeros((2, 2))}, {"embed.weight": np.ones((2, 2))}])
def test_a_model_without_weights_in_blocks_says_so(
    observation: Callable[..., Observation], weights: dict[str, np.ndarray]
) -> None:
    (value,) = measure(observation(weights=weights))
    assert value.value is None
    assert value.reason
