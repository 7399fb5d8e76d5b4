"""Maximum spanning trees of layered graphs: Kruskal's algorithm on the few edges that can be in one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

LIGHT_SHARE = 0.02  # of the vertices; .01 to .05 take about the same time, .3 three times as long

Edges = tuple[np.ndarray, np.ndarray, np.ndarray]  # one vertex of each, the other, the weight


def maximum_spanning_tree(sizes: Sequence[int], weights: Callable[[int], np.ndarray]) -> np.ndarray:
    """Edge weights, ascending, of a maximum spanning tree of the graph of layers of ``sizes`` vertices, each layer
    joined completely to the next: ``weights(k)`` (sizes[k], sizes[k + 1]) between layers k and k + 1, finite.

    Few edges can be in such a tree. A threshold below the heaviest edge of nearly every vertex leaves one large
    component and a few light vertices. An edge whose ends both join the large component by heavier edges closes a cycle
    of those, so only edges above the threshold, and edges of light vertices no lighter than the one that joins them,
    go to ``scipy.sparse.csgraph``: 1 in 150 of a normal 512 x 2048 matrix, which takes 4 ms on one core, where all take
    .14 s; 2048 x 8192 takes .06 s. Equal weights are the worst case: all edges go. ``weights`` is called four times for
    each k, and one matrix is held at a time.
    """
    starts = np.concatenate([[0], np.cumsum(sizes)])
    heaviest = np.full(starts[-1], -np.inf)
    for k, rows, columns in _joins(starts):
        matrix = weights(k)
        np.maximum(heaviest[rows], matrix.max(axis=1), out=heaviest[rows])
        np.maximum(heaviest[columns], matrix.max(axis=0), out=heaviest[columns])
    threshold = float(np.quantile(heaviest, LIGHT_SHARE, method="lower"))
    edges = [_heavy(weights(k), threshold, rows, columns) for k, rows, columns in _joins(starts)]
    large = _largest_component(edges, starts[-1])
    joins_by = np.where(large, threshold, -np.inf)
    for k, rows, columns in _joins(starts):
        matrix, light = weights(k), ~large[rows]
        to_large = matrix[light][:, large[columns]].max(axis=1, initial=-np.inf)
        joins_by[rows][light] = np.maximum(joins_by[rows][light], to_large)
        light = ~large[columns]
        to_large = matrix[:, light][large[rows]].max(axis=0, initial=-np.inf)
        joins_by[columns][light] = np.maximum(joins_by[columns][light], to_large)
    for k, rows, columns in _joins(starts):
        edges += _of_light(weights(k), threshold, joins_by, large, rows, columns)
    return _kruskal(edges, starts[-1])


def _joins(starts: np.ndarray) -> Iterator[tuple[int, slice, slice]]:
    """(k, the vertices of layer k, those of layer k + 1)."""
    for k in range(len(starts) - 2):
        yield k, slice(starts[k], starts[k + 1]), slice(starts[k + 1], starts[k + 2])


def _heavy(matrix: np.ndarray, threshold: float, rows: slice, columns: slice) -> Edges:
    flat = np.flatnonzero(matrix >= matrix.dtype.type(threshold))  # a sixth of the time of nonzero() in two dimensions
    first, second = np.divmod(flat, matrix.shape[1])
    return rows.start + first, columns.start + second, matrix[first, second]


def _of_light(
    matrix: np.ndarray, threshold: float, joins_by: np.ndarray, large: np.ndarray, rows: slice, columns: slice
) -> Iterator[Edges]:
    """The edges below the threshold of light rows, then those of light columns and rows that are not light."""
    light_rows, light_columns = np.flatnonzero(~large[rows]), np.flatnonzero(~large[columns])
    other_rows = np.flatnonzero(large[rows])
    every_column = np.arange(columns.stop - columns.start)
    for first, second in ((light_rows, every_column), (other_rows, light_columns)):
        part = matrix[np.ix_(first, second)]
        needed = np.minimum(joins_by[rows][first][:, None], joins_by[columns][second])
        i, j = np.nonzero((part >= needed) & (part < threshold))
        yield rows.start + first[i], columns.start + second[j], part[i, j]


def _largest_component(edges: Sequence[Edges], vertices: int) -> np.ndarray:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second, _ = (np.concatenate(part) for part in zip(*edges, strict=True))
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(vertices, vertices))
    _, component = connected_components(graph, directed=False)
    return component == np.bincount(component).argmax()


def _kruskal(edges: Sequence[Edges], vertices: int) -> np.ndarray:
    """By rank instead of weight, since scipy takes 0 for no edge and looks for a minimum."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    first, second, weight = (np.concatenate(part) for part in zip(*edges, strict=True))
    order = np.argsort(-weight)
    ranks = np.arange(1.0, len(order) + 1)
    graph = csr_array((ranks, (first[order], second[order])), shape=(vertices, vertices))
    chosen = minimum_spanning_tree(graph).data.astype(np.int64) - 1
    return np.sort(weight[order[chosen]]).astype(np.float64)
