"""The topology of attention graphs (Kushnareva et al. 2021, arXiv 2109.04825)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from metrics.base import Metric, Value, per_layer
from metrics.probe import Observation
from metrics.topology import persistent_homology
from metrics.topology.point_cloud import minimum_spanning_trees

THRESHOLDS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75)
FEATURES = ("edges", "components", "cycles", "euler_characteristic")
BARS = tuple(f"h{k}_{name}" for k in (0, 1) for name in ("count", "total_persistence", "max_persistence"))


def graph_features(attention: np.ndarray, thresholds: np.ndarray) -> dict[str, np.ndarray]:
    """Counts of the graph that joins two tokens where one attends to the other by at least a threshold.

    attention: (..., T, T), weights in [0, 1], a token's own being no edge; thresholds: (K,). Returns int64 arrays
    (..., K): ``edges`` E, ``components`` C, ``cycles`` E - T + C and ``euler_characteristic`` T - E. Raises ValueError
    for an array that is not square in its last two axes, or has no token, NaN or weights outside [0, 1], and for NaN
    among the thresholds.
    """
    graphs = _undirected(attention)
    levels = np.asarray(thresholds, dtype=np.float64)
    if np.isnan(levels).any():
        raise ValueError("the thresholds hold NaN")
    tokens, heads = graphs.shape[-1], graphs.shape[:-2]
    above = graphs[..., *np.triu_indices(tokens, 1)]
    edges = _reaching(above, levels)
    # the components merge at the edges of the maximum spanning tree
    trees = -minimum_spanning_trees(-graphs.reshape(-1, tokens, tokens)).reshape(*heads, tokens - 1)
    components = tokens - _reaching(trees, levels)
    return {
        "edges": edges,
        "components": components,
        "cycles": edges - tokens + components,
        "euler_characteristic": tokens - edges,
    }


def _reaching(weights: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """How many of the last axis are at least each level: (..., levels)."""
    return (weights[..., None, :] >= levels[:, None]).sum(axis=-1)


def barcodes(attention: np.ndarray) -> list[np.ndarray]:
    """Finite bars of H0 and H1 of the distances 1 - max(a_ij, a_ji) of one head.

    attention: (T, T), weights in [0, 1]. As :func:`metrics.topology.persistent_homology.barcodes`, which see; 48
    tokens take 2 ms, 128 40 ms. One token has no bar. Raises ValueError as :func:`graph_features`, and for more than
    one head.
    """
    if np.ndim(attention) != 2:
        raise ValueError(f"one head's attention has shape (tokens, tokens), not {np.shape(attention)}")
    distances = 1 - _undirected(attention)
    np.fill_diagonal(distances, 0.0)
    return persistent_homology.of_distances(distances)


def _undirected(attention: np.ndarray) -> np.ndarray:
    """max(a_ij, a_ji), float64, with zeros on the diagonal."""
    weights = np.asarray(attention, dtype=np.float64)
    if weights.ndim < 2 or weights.shape[-1] != weights.shape[-2] or not weights.shape[-1]:
        raise ValueError(f"attention has shape (..., tokens, tokens) and at least one token, not {weights.shape}")
    if not ((weights >= 0) & (weights <= 1 + 1e-4)).all():  # a softmax of low precision rounds to a little above 1
        raise ValueError("attention weights are not all in [0, 1]")
    graphs = np.minimum(np.maximum(weights, weights.swapaxes(-1, -2)), 1.0)
    tokens = np.arange(graphs.shape[-1])
    graphs[..., tokens, tokens] = 0.0
    return graphs


def measure(observation: Observation) -> Iterator[Value]:
    """Means over a layer's heads and the sequences; layer k is the k-th block's attention."""
    names = tuple(f"attention_{feature}/{level:g}" for feature in FEATURES for level in THRESHOLDS)
    names += tuple(f"attention_{name}" for name in BARS)
    of_layers = per_layer(names, observation.attention, lambda _, heads: _means(heads))
    yield from (Value(v.metric, v.value, (v.layer or 0) + 1, v.reason) for v in of_layers)


def _means(heads: np.ndarray) -> Iterator[float]:
    """heads: (sequences, heads, T, T)."""
    features = graph_features(heads, np.array(THRESHOLDS))
    for feature in FEATURES:
        yield from features[feature].mean(axis=(0, 1))
    summaries = [persistent_homology.summarize(barcodes(head)) for head in heads.reshape(-1, *heads.shape[-2:])]
    yield from (float(np.mean([summary[name] for summary in summaries])) for name in BARS)


METRIC = Metric("attention_topology", 1, "thresholded graphs and barcodes of attention, per layer", measure)
