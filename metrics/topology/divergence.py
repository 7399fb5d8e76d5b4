"""How far two representations of the same points are from each other: topology (RTD) and linear alignment (CKA)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from metrics.base import Metric, Value, per_layer
from metrics.topology.persistent_homology import proper_bars
from metrics.topology.point_cloud import centred, distance_scale, pairwise_distances, spread, validated
from metrics.trace import Trace

RTD_POINTS = 96  # .015 s a layer and direction, of 512 .6 s; a sum of bars compares only between clouds of one size


def representation_topology_divergence(x: np.ndarray, y: np.ndarray) -> float:
    """RTD_1(x, y), the total length of the bars of H1 that tell the two clouds apart (Barannikov et al. 2022).

    x, y: (points, dimensions), the same points in two representations, whose dimensions may differ. Distances r1 and r2
    are divided by their own 0.9-quantile; the bars are those of the graph of min(r1, r2) relative to that of r1, so the
    order of x and y matters, and 0 says that y joins no two points before x joins them in a way that changes the loops.
    The sum grows with the number of points. ripser is given the paper's matrix of 2 n + 1 vertices, whose infinite
    entries make it three times as fast as the 2 n with zeros, of the same bars; float32. One core: 128 points .02 s,
    256 .1 s, 512 .6 s. Raises ValueError for clouds of different length, as :func:`validated`, or where a cloud has no
    scale.
    """
    from ripser import ripser

    first, second = _same_points(x, y)
    r1 = pairwise_distances(first) / distance_scale(first)
    both = np.minimum(r1, pairwise_distances(second) / distance_scale(second))
    n = len(r1)
    # Past the radius at which both graphs have a vertex joined to all, both complexes are cones, and no bar is left.
    radius = float(max(r1.max(axis=1).min(), both.max(axis=1).min()))
    never = 4 * float(r1.max())
    once = np.where(np.tri(n, dtype=bool), r1, never)  # each pair of copies is joined in one direction
    matrix = np.zeros((2 * n + 1, 2 * n + 1))
    matrix[:n, :n], matrix[n:-1, n:-1] = r1, both
    matrix[n:-1, :n], matrix[:n, n:-1] = once, once.T
    matrix[-1, n:-1] = matrix[n:-1, -1] = never
    bars = proper_bars(ripser(matrix, maxdim=1, thresh=radius * (1 + 1e-6), distance_matrix=True)["dgms"][1])
    return float((bars[:, 1] - bars[:, 0]).sum())


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019), in [0, 1]; 1 for clouds that differ by a rotation,
    reflection, scale or shift.

    x, y: (points, dimensions), the same points in two representations, whose dimensions may differ. Raises ValueError
    for clouds of different length, as :func:`validated`, or where all points of a cloud coincide.
    """
    first, second = (centred(cloud) for cloud in _same_points(x, y))
    grams = first @ first.T, second @ second.T
    alignment = float((grams[0] * grams[1]).sum() / (np.linalg.norm(grams[0]) * np.linalg.norm(grams[1])))
    return min(max(alignment, 0.0), 1.0)  # but for rounding it is


def _same_points(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = validated(x), validated(y)
    if len(first) != len(second):
        raise ValueError(f"the clouds have {len(first)} and {len(second)} points; a pair shows the same points twice")
    return first, second


def measure_rtd(first: Trace, second: Trace) -> Iterator[Value]:
    """The mean of both directions, on ``RTD_POINTS`` of each layer's points."""

    def both_ways(_: int, pair: tuple[np.ndarray, np.ndarray]) -> list[float]:
        x, y = (spread(cloud, RTD_POINTS) for cloud in pair)
        return [(representation_topology_divergence(x, y) + representation_topology_divergence(y, x)) / 2]

    pairs = zip(first.hidden_states, second.hidden_states, strict=True)
    yield from per_layer(("representation_topology_divergence",), pairs, both_ways)


def measure_cka(first: Trace, second: Trace) -> Iterator[Value]:
    pairs = zip(first.hidden_states, second.hidden_states, strict=True)
    yield from per_layer(("linear_cka",), pairs, lambda _, pair: [linear_cka(*pair)])


RTD = Metric(
    "representation_topology_divergence", 1, "RTD of neighbouring steps and of seeds, per layer", measure_rtd, "pair"
)
CKA = Metric("linear_cka", 1, "linear CKA of neighbouring steps and of seeds, per layer", measure_cka, "pair")
