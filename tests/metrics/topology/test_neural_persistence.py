"""Neural persistence, of matrices and of paths, against Kruskal, scipy, the path matrix itself, and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.sparse.csgraph import minimum_spanning_tree

from metrics.probe import Observation
from metrics.topology.neural_persistence import (
    block_matrices,
    deep_graph_persistence,
    maximum_spanning_tree_weights,
    measure,
    measure_deep,
    neural_persistence,
    path_tree_weights,
)
from trainables import models
from trainables.config import ModelConfig

EXAMPLE = np.array([[1, 0.5], [0.25, 0.75]])
shapes = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
# few different numbers, so that many edges weigh the same
eighths = st.integers(-8, 8).map(lambda k: k / 8)
matrices = arrays(np.float64, shapes, elements=eighths)
seeds = st.integers(0, 2**32 - 1)
layer_sizes = st.lists(st.integers(1, 6), min_size=2, max_size=5)
norms = st.sampled_from([1, 2, math.inf])


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


@given(matrix=matrices.filter(np.any), seed=seeds, factor=st.floats(1e-6, 1e6))
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


@st.composite
def chains_of_ties(draw: st.DrawFn) -> list[np.ndarray]:
    """One to four matrices that follow on each other, of few different numbers."""
    sizes = draw(layer_sizes)
    return [draw(arrays(np.float64, shape, elements=eighths)) for shape in pairwise(sizes)]


def random_chain(seed: int, sizes: Sequence[int], dtype: type = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in pairwise(sizes)]


chains = chains_of_ties() | st.builds(random_chain, seeds, layer_sizes, st.sampled_from([np.float32, np.float64]))


def path_matrix(chain: Sequence[np.ndarray]) -> np.ndarray:
    """Largest over all paths of the smallest absolute weight on the path, by every path."""
    return reduce(lambda w, v: np.minimum(w[:, :, None], v[None]).max(axis=1), map(np.abs, chain))


def persistence_of(tree: np.ndarray, largest: float, p: float, normalized: bool) -> float:
    """The p-norm of the bars of a tree, by its definition."""
    bars = 1 - np.array(tree, dtype=np.float64) / largest
    if p == math.inf:
        return float(bars.max())
    return float(((bars**p).sum() / (len(bars) if normalized else 1)) ** (1 / p))


@given(chain=chains)
def test_the_tree_of_the_paths_is_that_of_the_path_matrix(chain: list[np.ndarray]) -> None:
    found = path_tree_weights(chain)
    assert found.dtype == np.float64
    assert found.tolist() == maximum_spanning_tree_weights(path_matrix(chain)).tolist()


@given(seed=seeds, sizes=st.lists(st.integers(20, 60), min_size=3, max_size=4), dead=st.floats(0, 0.4))
def test_units_without_weights_change_no_path_but_their_own(seed: int, sizes: list[int], dead: float) -> None:
    """Layers large enough that a few vertices are light, of which some have zeros, in or out or both."""
    rng = np.random.default_rng(seed)
    chain = random_chain(seed, sizes)
    for matrix in chain:
        matrix[rng.random(matrix.shape[0]) < dead] = 0
        matrix[:, rng.random(matrix.shape[1]) < dead] = 0
    assert path_tree_weights(chain).tolist() == maximum_spanning_tree_weights(path_matrix(chain)).tolist()


def test_a_path_worked_out_by_hand() -> None:
    """From unit 0 of two the best path has .5 as its smallest weight, from unit 1 it has .25."""
    chain = [np.array([[0.5, -1.0], [0.0, 0.25]]), np.array([[0.75], [0.5]])]
    assert path_matrix(chain).tolist() == [[0.5], [0.25]]
    assert path_tree_weights(chain).tolist() == [0.25, 0.5]
    assert deep_graph_persistence(chain, normalized=False) == pytest.approx(math.hypot(0.5, 0.75), rel=1e-12)
    assert deep_graph_persistence(chain) == pytest.approx(math.hypot(0.5, 0.75) / math.sqrt(2), rel=1e-12)


@given(chain=chains.filter(lambda chain: any(map(np.any, chain))), p=norms, normalized=st.booleans())
def test_deep_graph_persistence_is_that_of_the_path_matrix(chain: list[np.ndarray], p: float, normalized: bool) -> None:
    largest = max(float(np.abs(matrix).max()) for matrix in chain)
    expected = persistence_of(np.array(kruskal(path_matrix(chain))), largest, p, normalized)
    assert deep_graph_persistence(chain, p, normalized) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(weights=st.lists(matrices, min_size=1, max_size=3).filter(lambda found: any(map(np.any, found))), p=norms)
@pytest.mark.parametrize("normalized", [True, False])
def test_neural_persistence_is_by_its_definition(weights: list[np.ndarray], p: float, normalized: bool) -> None:
    largest = max(float(np.abs(matrix).max()) for matrix in weights)
    expected = [persistence_of(np.array(kruskal(np.abs(matrix))), largest, p, normalized) for matrix in weights]
    assert neural_persistence(weights, p, normalized) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(matrix=matrices.filter(np.any), p=norms, normalized=st.booleans())
def test_of_one_matrix_both_are_the_same(matrix: np.ndarray, p: float, normalized: bool) -> None:
    (alone,) = neural_persistence([matrix], p, normalized)
    assert deep_graph_persistence([matrix], p, normalized) == alone


@given(chain=chains.filter(lambda chain: any(map(np.any, chain))), seed=seeds)
def test_the_order_and_direction_of_the_units_do_not_matter(chain: list[np.ndarray], seed: int) -> None:
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(matrix)) for matrix in chain] + [rng.permutation(chain[-1].shape[1])]
    mixed = [matrix[np.ix_(orders[k], orders[k + 1])] for k, matrix in enumerate(chain)]
    backwards = [-matrix.T for matrix in reversed(mixed)]
    assert path_tree_weights(backwards).tolist() == path_tree_weights(chain).tolist()


def test_a_layer_of_which_all_is_zero_cuts_every_path() -> None:
    chain = random_chain(0, (4, 5, 3))
    assert deep_graph_persistence([*chain, np.zeros((3, 6))]) == 1


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ([], "at least one weight matrix"),
        ([np.zeros((2, 3)), np.zeros((3, 2))], "largest absolute weight is 0"),
        ([np.ones((2, 3)), np.array([[np.nan, 1, 1]]).T], "nan"),
        ([np.ones((2, 3)), np.array([[np.inf, 1, 1]]).T], "inf"),
        ([np.ones((2, 3)), np.empty((3, 0))], "at least one entry"),
        ([np.ones((2, 3)), np.ones(3)], "two dimensions"),
        ([np.ones((2, 3)), np.ones((2, 3))], "cannot be followed"),
        ([np.ones((2, 3)), np.ones((3, 2)), np.ones((3, 2))], "cannot be followed"),
    ],
    ids=["none", "all zero", "NaN", "infinite", "empty", "flat", "other units", "other units later"],
)
def test_where_deep_graph_persistence_is_not_defined_it_says_so(weights: list[np.ndarray], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        deep_graph_persistence(weights)


@pytest.mark.parametrize(
    ("weights", "why"),
    [([], "at least one"), ([np.array([[np.nan]])], "NaN"), ([np.ones((1, 2)), np.ones((1, 2))], "cannot be followed")],
)
def test_a_tree_of_no_paths_is_refused(weights: list[np.ndarray], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        path_tree_weights(weights)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("use", [neural_persistence, deep_graph_persistence, path_tree_weights])
def test_weights_stay_as_they_are(use: Callable[[list[np.ndarray]], object], dtype: type) -> None:
    chain = random_chain(0, (30, 40, 20), dtype)
    before = [matrix.copy() for matrix in chain]
    use(chain)
    for matrix, copy in zip(chain, before, strict=True):
        np.testing.assert_array_equal(matrix, copy)


@pytest.mark.parametrize("persistence", [neural_persistence, deep_graph_persistence])
def test_the_numbers_of_float32_weights_are_those_of_the_same_in_float64(
    persistence: Callable[[list[np.ndarray]], object],
) -> None:
    chain = random_chain(0, (70, 80, 20), np.float32)
    assert persistence(chain) == pytest.approx(persistence([m.astype(np.float64) for m in chain]), rel=1e-12)


@pytest.mark.parametrize("dtypes", ["ddf", "dfd", "fdd", "ffd", "fdf", "dff"])
def test_matrices_of_a_path_may_differ_in_precision(dtypes: str) -> None:
    chain = [matrix.astype(dtype) for matrix, dtype in zip(random_chain(0, (5, 6, 4, 3)), dtypes, strict=True)]
    expected = maximum_spanning_tree_weights(path_matrix(chain))
    np.testing.assert_allclose(path_tree_weights(chain), expected, rtol=1e-6)


def weights_of(config: ModelConfig) -> dict[str, np.ndarray]:
    return {name: w.detach().numpy() for name, w in models.build(config, init_seed=0).named_parameters()}


def paths_of(weights: dict[str, np.ndarray], blocks: Sequence[int]) -> Iterator[np.ndarray]:
    """The blocks' matrices from inputs to outputs; a linear layer keeps them the other way round."""
    for block in blocks:
        for name in ("dense_h_to_4h", "dense_4h_to_h"):
            yield weights[f"gpt_neox.layers.{block}.mlp.{name}.weight"].T


def test_a_model_has_the_deep_graph_persistence_of_its_blocks_and_of_all(
    observation: Callable[..., Observation], tiny_model: ModelConfig
) -> None:
    weights = weights_of(tiny_model)
    values = list(measure_deep(observation(weights=weights)))
    assert [(value.metric, value.layer) for value in values] == [
        ("deep_graph_persistence", layer) for layer in (None, 1, 2)
    ]
    for value, blocks in zip(values, [(0, 1), (0,), (1,)], strict=True):
        chain = list(paths_of(weights, blocks))
        largest = max(float(np.abs(matrix).max()) for matrix in chain)
        expected = persistence_of(np.array(kruskal(path_matrix(chain))), largest, 2, True)
        assert value.value == pytest.approx(expected, rel=1e-12)


def test_a_block_without_weights_says_so_and_the_others_have_theirs(
    observation: Callable[..., Observation], tiny_model: ModelConfig
) -> None:
    weights = {name: w * ("layers.0.mlp" not in name) for name, w in weights_of(tiny_model).items()}
    every, first, second = measure_deep(observation(weights=weights))
    assert every.value == 1
    assert first.value is None
    assert "largest absolute weight is 0" in str(first.reason)
    assert second.value is not None


def test_a_model_without_blocks_says_that_it_has_no_paths(observation: Callable[..., Observation]) -> None:
    (value,) = measure_deep(observation(weights={"embed.weight": np.ones((2, 2))}))
    assert (value.value, value.layer) == (None, None)
    assert "at least one weight matrix" in str(value.reason)


def test_only_matrices_inside_blocks_count(tiny_model: ModelConfig) -> None:
    weights = weights_of(tiny_model)
    names = ("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    found = block_matrices(weights)
    assert {(layer, name) for layer, name, _ in found} == {(layer, name) for layer in (1, 2) for name in names}
    assert len(found) == 8


def test_a_model_has_a_value_per_matrix_and_their_mean(
    observation: Callable[..., Observation], tiny_model: ModelConfig
) -> None:
    weights = weights_of(tiny_model)
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


def test_integers_are_weights_too() -> None:
    matrix = np.array([[-128, 64], [32, 96]], dtype=np.int8)
    assert neural_persistence([matrix]) == pytest.approx(neural_persistence([matrix.astype(float)]), rel=1e-12)
    assert deep_graph_persistence([matrix]) == pytest.approx(deep_graph_persistence([matrix.astype(float)]), rel=1e-12)
