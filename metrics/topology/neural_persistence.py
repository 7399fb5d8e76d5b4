"""Neural persistence of weight matrices (Rieck et al. 2019, arXiv 1812.09764), and of paths through several of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from metrics.base import Metric, Value
from metrics.probe import Observation
from metrics.topology.spanning_tree import maximum_spanning_tree


def maximum_spanning_tree_weights(matrix: np.ndarray) -> np.ndarray:
    """The n + m - 1 edge weights of a maximum spanning tree of the complete bipartite graph with weights ``matrix``.

    matrix: (n, m), any real weights. Returns float64, ascending; see
    :func:`metrics.topology.spanning_tree.maximum_spanning_tree` for how and how fast. Raises ValueError for an empty
    matrix, one that is not two-dimensional, NaN or inf.
    """
    return _tree_weights(_validated(matrix))


def _tree_weights(edges: np.ndarray) -> np.ndarray:
    return maximum_spanning_tree(edges.shape, lambda _: edges)


def neural_persistence(weights: Sequence[np.ndarray], p: float = 2, normalized: bool = True) -> np.ndarray:
    """Neural persistence of each matrix, shape (matrices,), float64.

    Weights become |w| / w_max, with w_max over all the matrices given; edges enter in descending order, and each finite
    H0 bar is 1 - w for an edge of the maximum spanning tree. The result is the p-norm of the bars, divided by
    (n + m - 1)^(1/p) where ``normalized``, hence in [0, 1]. The essential bar is left out. Mostly follows the variance
    of the weights (Girrbach et al. 2023). One matrix at a time is copied. Raises ValueError for no matrix, all-zero
    weights, NaN or inf.
    """
    largest = _largest(weights)
    trees = (_tree_weights(np.abs(_validated(matrix))) for matrix in weights)
    return np.array([_norm(1 - tree / largest, p, normalized) for tree in trees])


def deep_graph_persistence(weights: Sequence[np.ndarray], p: float = 2, normalized: bool = True) -> float:
    """Neural persistence of the max-min path matrix through consecutive layers (Girrbach et al. 2023, 2307.10865).

    weights: (n_0, n_1), (n_1, n_2) ...: entry i, j joins unit i of a layer to unit j of the next. The path matrix
    (n_0, n_L) holds, for each input and output, the largest over all paths of the smallest |w| / w_max on the path,
    w_max over all the matrices given; of one matrix this is :func:`neural_persistence`. The n_0 * n_1 * n_2 steps of
    the matrix are never done: see :func:`path_tree_weights`. Raises ValueError as :func:`neural_persistence`, and where
    shapes do not follow on each other.
    """
    largest = _largest(weights)
    return float(_norm(1 - path_tree_weights(weights) / largest, p, normalized))


def path_tree_weights(weights: Sequence[np.ndarray]) -> np.ndarray:
    """The n_0 + n_L - 1 edge weights of a maximum spanning tree of the max-min path matrix of |w|, ascending, float64.

    weights: as for :func:`deep_graph_persistence`. Cap each edge u-v at the best way from an input to
    u and from v to an output: then at every threshold an edge is there just where it is on a path from an input to an
    output that is. Inputs and outputs are then connected in the layered graph just as in the path matrix, and
    an inner unit is alone until its own cap, the best way through it. So the tree of the layered graph has the weights
    of the tree of the path matrix, and one more for each inner unit, its cap. A block of 2048 x 8192 and 8192 x 2048
    takes .4 s on one core, and one matrix at a time is copied. Raises ValueError as :func:`deep_graph_persistence`.
    """
    matrices = [_validated(matrix) for matrix in weights]
    if not matrices:
        raise ValueError("a path needs at least one weight matrix")
    for earlier, later in itertools.pairwise(matrices):
        if earlier.shape[1] != later.shape[0]:
            raise ValueError(f"a matrix {earlier.shape} cannot be followed by one {later.shape}: units differ")
    sizes = [matrices[0].shape[0], *(matrix.shape[1] for matrix in matrices)]
    dtype = np.result_type(*matrices)
    from_input, to_output = [np.full(sizes[0], np.inf, dtype)], [np.full(sizes[-1], np.inf, dtype)]
    for matrix in matrices:
        from_input.append(np.minimum(from_input[-1][:, None], np.abs(matrix)).max(axis=0))
    for matrix in reversed(matrices):
        to_output.insert(0, np.minimum(np.abs(matrix), to_output[0]).max(axis=1))

    def capped(k: int) -> np.ndarray:
        edges = np.abs(matrices[k], dtype=dtype)
        np.minimum(edges, from_input[k][:, None], out=edges)
        return np.minimum(edges, to_output[k + 1], out=edges)

    tree = maximum_spanning_tree(sizes, capped)
    caps = np.concatenate([np.empty(0), *map(np.minimum, from_input[1:-1], to_output[1:-1])])
    values, counts = np.unique(tree, return_counts=True)
    np.subtract.at(counts, np.searchsorted(values, caps), 1)
    return np.repeat(values, counts)


def _validated(matrix: np.ndarray) -> np.ndarray:
    edges = np.asarray(matrix)
    if edges.dtype not in (np.float32, np.float64):
        edges = edges.astype(np.float64)
    if edges.ndim != 2 or edges.size == 0:
        raise ValueError(f"a weight matrix has two dimensions and at least one entry, not shape {edges.shape}")
    if not np.isfinite(edges).all():
        raise ValueError("the weight matrix holds NaN or infinite entries")
    return edges


def _largest(weights: Sequence[np.ndarray]) -> float:
    if not len(weights):
        raise ValueError("neural persistence needs at least one weight matrix")
    ends = [(float(np.max(matrix, initial=0)), float(np.min(matrix, initial=0))) for matrix in weights]
    largest = float(np.max(np.abs(ends)))
    if not 0 < largest < np.inf:
        raise ValueError(f"the largest absolute weight is {largest}: neural persistence is not defined")
    return largest


def _norm(bars: np.ndarray, p: float, normalized: bool) -> float:
    norm = np.linalg.norm(bars, ord=p)
    return float(norm / len(bars) ** (1 / p) if normalized else norm)


def block_matrices(weights: dict[str, np.ndarray]) -> list[tuple[int, str, np.ndarray]]:
    """(layer, name, matrix) of every weight matrix inside a transformer block; layer k is the k-th block, from 1.

    A matrix is inside a block where its name holds the block's number: ``gpt_neox.layers.0.mlp.dense_h_to_4h.weight``.
    Its shape is (outputs, inputs).
    """
    found = []
    for name, weight in weights.items():
        parts = name.split(".")
        number = next((index for index, part in enumerate(parts) if part.isdigit()), None)
        if number is not None and weight.ndim == 2:
            found.append((int(parts[number]) + 1, ".".join(parts[number + 1 : -1]), weight))
    return found


def measure(observation: Observation) -> Iterator[Value]:
    matrices = block_matrices(observation.weights)
    try:
        values = neural_persistence([matrix for _, _, matrix in matrices])
    except ValueError as error:
        yield Value("neural_persistence", None, reason=str(error))
        return
    yield Value("neural_persistence", float(values.mean()))
    for (layer, name, _), value in zip(matrices, values, strict=True):
        yield Value(f"neural_persistence/{name}", float(value), layer)


def measure_deep(observation: Observation) -> Iterator[Value]:
    """Of the two matrices of each block's MLP, which follow on each other, and of all blocks' one after the other."""
    blocks: dict[int, list[np.ndarray]] = {}
    for layer, name, matrix in block_matrices(observation.weights):
        if "mlp" in name:
            blocks.setdefault(layer, []).append(matrix.T)
    for chain in blocks.values():
        chain.sort(key=len)  # an MLP widens, then narrows, whatever the order of its names
    if any(len(chain) != 2 for chain in blocks.values()):
        why = "the matrices of a gated MLP lie side by side, not one after the other"
        yield from (Value("deep_graph_persistence", None, place, why) for place in (None, *blocks))
        return
    every = [matrix for _, chain in sorted(blocks.items()) for matrix in chain]
    chains: list[tuple[int | None, list[np.ndarray]]] = [(None, every), *blocks.items()]
    for place, chain in chains:
        try:
            yield Value("deep_graph_persistence", deep_graph_persistence(chain), place)
        except ValueError as error:
            yield Value("deep_graph_persistence", None, place, str(error))


METRIC = Metric(
    "neural_persistence", 1, "normalised neural persistence (p=2) of the blocks' matrices, and mean", measure
)
DEEP = Metric(
    "deep_graph_persistence", 1, "normalised deep graph persistence (p=2) of each block's MLP, and all", measure_deep
)
