"""Intrinsic dimension of a point cloud, by neighbours (TwoNN, MLE, GRIDE) and by spanning trees (PH dimension)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

import numpy as np

from metrics.base import Metric, Value, per_layer
from metrics.probe import Observation
from metrics.topology.point_cloud import (
    distinct,
    minimum_spanning_trees,
    neighbour_distances,
    pairwise_distances,
    scaled,
    squared_distances,
    validated,
    without_duplicates,
)

GRIDE_SCALES = (2, 4, 8, 16, 32, 64)
MLE_NEIGHBOURS = 20
EQUALLY_FAR = 1e-9  # logarithms of ratios of distances below that are rounding
PH_SIZES = 9
PH_REPEATS = 5


def two_nn(points: np.ndarray, discard: float = 0.1) -> float:
    """The TwoNN dimension (Facco et al. 2017) of a cloud (points, dimensions).

    The ratio mu of the distances to the second and first neighbour is Pareto distributed with the dimension as
    exponent: the dimension is the slope through the origin of -log(1 - F(mu)) against log(mu), without the ``discard``
    share of largest mu. Duplicates count once. It underestimates in high dimensions (10 -> 8.4 at 2000 points).
    Raises ValueError for fewer than 3 distinct points, or where all mu are 1 (a lattice).
    """
    if not 0 <= discard < 1:
        raise ValueError(f"discard must lie in [0, 1), not {discard}")
    return _two_nn(_nearest(points, 2), discard)


def _two_nn(nearest: np.ndarray, discard: float = 0.1) -> float:
    log_mu = np.sort(np.log(nearest[:, 1] / nearest[:, 0]))
    kept = min(max(1, int(len(log_mu) * (1 - discard))), len(log_mu) - 1)  # F = 1 at the last point has no logarithm
    empirical = np.arange(1, kept + 1) / len(log_mu)
    if log_mu[kept - 1] < EQUALLY_FAR:
        raise ValueError("every point has its two nearest neighbours equally far: TwoNN is not defined")
    return float(-(log_mu[:kept] * np.log1p(-empirical)).sum() / (log_mu[:kept] ** 2).sum())


def mle(points: np.ndarray, k: int = MLE_NEIGHBOURS) -> float:
    """The maximum-likelihood dimension (Levina & Bickel 2004) from ``k`` neighbours of each point, k >= 2.

    Each point's estimate is (k - 1) / sum(log(T_k / T_j)); they are combined by their harmonic mean (MacKay &
    Ghahramani 2005), which is the likelihood's own. Duplicates count once. Raises ValueError for fewer than k + 1
    distinct points, or where all neighbours are equally far.
    """
    if k < 2:
        raise ValueError(f"k={k}: the estimate needs at least 2 neighbours")
    return _mle(_nearest(points, k))


def _mle(nearest: np.ndarray) -> float:
    inverse = float(np.log(nearest[:, -1:] / nearest[:, :-1]).mean())
    if inverse < EQUALLY_FAR:
        raise ValueError("every point has its neighbours equally far: the likelihood has no maximum")
    return 1 / inverse


def gride(points: np.ndarray, scales: Sequence[int] = GRIDE_SCALES) -> np.ndarray:
    """The GRIDE dimension (Denti et al. 2022) at each scale, shape (scales,), float64.

    At scale s the ratio of the distances to neighbour s and neighbour s // 2 is used, and the dimension is the maximum
    of its likelihood; scale 2 is TwoNN's ratio, larger scales see the cloud at larger distances. Duplicates count
    once. Raises ValueError for a scale that is odd or less than 2, for fewer than s + 1 distinct points, or where all
    ratios are 1.
    """
    if not len(scales):
        raise ValueError("GRIDE needs at least one scale")
    for scale in scales:
        if scale < 2 or scale % 2:
            raise ValueError(f"scale {scale}: a scale is an even number of neighbours")
    nearest = _nearest(points, max(scales))
    return np.array([_gride(nearest, scale) for scale in scales])


def _gride(nearest: np.ndarray, scale: int) -> float:
    """Where the derivative of the log-likelihood, which falls from +inf to below 0, is 0."""
    from scipy.optimize import brentq

    near, far = scale // 2, scale
    log_mu = np.log(nearest[:, far - 1] / nearest[:, near - 1])
    total = float(log_mu.sum())
    if total < EQUALLY_FAR * len(log_mu):
        raise ValueError(f"every point has neighbours {near} and {far} equally far: GRIDE is not defined")

    def derivative_times_d(d: float) -> float:
        x = d * log_mu
        grown = np.divide(x, -np.expm1(-x), out=np.ones_like(x), where=x > 0)  # x / (1 - e^-x), 1 at x = 0
        return float(len(x) + (far - near - 1) * grown.sum() - (far - 1) * d * total)

    upper = 2 * len(log_mu) / total  # the root is at most half of that, since x / (1 - e^-x) <= 1 + x
    return float(brentq(derivative_times_d, 0.0, upper, xtol=1e-12, rtol=1e-12))


def persistent_homology_dimension(
    points: np.ndarray, sizes: Sequence[int] | None = None, *, repeats: int = PH_REPEATS, seed: int = 0
) -> float:
    """The PH0 dimension (Schweinhart 2021, Birdal et al. 2021, alpha = 1) of a cloud (points, dimensions).

    The lifetimes of H0 of n points, the edges of their minimum spanning tree, sum to about n^m; the dimension is
    1 / (1 - m), with m the slope of log(sum) against log(n) over ``sizes`` (default: 9 from a fifth of the points to
    all), each the mean of ``repeats`` seeded subsamples without replacement. Low for high dimensions (5 -> 4.6 at 1000
    points). Duplicates are merged first. 60 ms for 512 points. Raises ValueError for sizes that are not at least two
    different numbers from 2 to the number of distinct points, or m >= 1 (lifetimes that grow as fast as their number).
    """
    cloud = distinct(points, at_least=3, why="their number is varied")
    default = np.linspace(max(2, len(cloud) / 5), len(cloud), PH_SIZES).round()
    counts = np.unique(np.asarray(default if sizes is None else sizes, dtype=np.int64))
    if len(counts) < 2 or counts[0] < 2 or counts[-1] > len(cloud):
        raise ValueError(f"sizes={counts.tolist()}: needs at least two different sizes from 2 to {len(cloud)} points")
    if repeats < 1:
        raise ValueError(f"repeats={repeats}: each size is drawn at least once")
    rng = np.random.default_rng(seed)
    drawn = np.repeat(counts, np.where(counts < len(cloud), repeats, 1))
    members = rng.random((len(drawn), len(cloud))).argsort(axis=1) < drawn[:, None]
    lengths = minimum_spanning_trees(pairwise_distances(cloud), members)
    sums = np.where(np.isfinite(lengths), lengths, 0.0).sum(axis=1)
    means = np.array([sums[drawn == count].mean() for count in counts])
    slope = float(np.polyfit(np.log(counts), np.log(means), 1)[0])
    if slope >= 1:
        raise ValueError(f"lifetimes grow as n^{slope:.3g}: the PH dimension is not defined for exponents from 1 on")
    return 1 / (1 - slope)


def _nearest(points: np.ndarray, k: int) -> np.ndarray:
    return neighbour_distances(without_duplicates(squared_distances(scaled(validated(points)))), k)


def measure(observation: Observation) -> Iterator[Value]:
    """Every estimate of every layer's cloud; where one has no value the others have theirs."""
    clouds = observation.hidden_states

    @cache
    def squares(layer: int) -> np.ndarray:
        return without_duplicates(squared_distances(scaled(validated(clouds[layer]))))

    def by_neighbours(name: str, k: int, estimate: Callable[[np.ndarray], float]) -> Iterator[Value]:
        return per_layer((name,), clouds, lambda layer, _: [estimate(neighbour_distances(squares(layer), k))])

    yield from by_neighbours("twonn_dimension", 2, _two_nn)
    yield from by_neighbours("mle_dimension", MLE_NEIGHBOURS, _mle)
    for scale in GRIDE_SCALES:
        yield from by_neighbours(f"gride_dimension/{scale}", scale, partial(_gride, scale=scale))
    yield from per_layer(("ph_dimension",), clouds, lambda _, cloud: [persistent_homology_dimension(cloud)])


# Version 3: what `twonn_dimension` measured alone before, up to its version 2, is one of the values.
METRIC = Metric("intrinsic_dimension", 3, "TwoNN, MLE, GRIDE and PH dimension of the hidden states, per layer", measure)
