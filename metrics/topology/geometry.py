"""Magnitude and Euler characteristic: the size of a point cloud at a scale."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from metrics.base import Metric, Value, per_layer
from metrics.probe import Observation
from metrics.topology.point_cloud import distance_scale, distinct, pairwise_distances, spread

SIMPLICES_AT_MOST = 5_000_000
EULER_POINTS = 64
QUANTILES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)  # of 64 points up to .5 takes a second, up to .3 .03 s
SCALES = (1.0, 4.0, 16.0)


def magnitude(points: np.ndarray, t: float = 1.0) -> float:
    """Magnitude of the cloud scaled by ``t`` (Leinster 2013): the sum over (exp(-t D))^-1, D being the distances.

    points: (points, dimensions); 1 for a cloud that looks like one point (t -> 0), the number of distinct points where
    they are far from each other (t -> inf). Duplicates are merged. 30 ms for 512 points. Raises ValueError for t that
    is not positive and finite, points closer than floating point can tell, and as :func:`validated`.
    """
    cloud = distinct(points, at_least=1, why="a cloud has at least one")
    return _magnitude(pairwise_distances(cloud) if len(cloud) > 1 else np.zeros((1, 1)), t)


def _magnitude(distances: np.ndarray, t: float) -> float:
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    if not 0 < t < np.inf:
        raise ValueError(f"t={t}: a scale is positive and finite")
    try:
        factor = cho_factor(np.exp(-t * distances), overwrite_a=True, check_finite=False)
    except LinAlgError:
        raise ValueError(f"points lie closer at t={t} than floating point can tell: no magnitude") from None
    return float(cho_solve(factor, np.ones(len(distances)), check_finite=False).sum())


def simplex_curve(points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Euler characteristic (radii,) of the Vietoris-Rips complex at each scale r, int64: the alternating count of all
    simplices of diameter <= r, of every dimension.

    points: (points, dimensions); duplicates are merged, which changes no homology. Up to ``SIMPLICES_AT_MOST`` are
    counted, about two million a second. Raises ValueError where there are more (radii below the median distance of 64
    points are safe), for NaN among the radii, and as :func:`validated`.
    """
    scales = np.asarray(radii, dtype=np.float64)
    if np.isnan(scales).any():
        raise ValueError("the radii hold NaN")
    cloud = distinct(points, at_least=1, why="a complex has at least one")
    order = np.argsort(scales, kind="stable")
    ascending = scales[order]
    changes = np.zeros(
        len(scales) + 1, dtype=np.int64
    )  # of the characteristic, at the first radius that holds a simplex
    changes[np.searchsorted(ascending, 0.0)] += len(cloud)
    if len(cloud) > 1 and len(scales):
        for sign, diameters in _simplices(pairwise_distances(cloud), float(ascending[-1])):
            np.add.at(changes, np.searchsorted(ascending, diameters), sign)
    curve = np.empty(len(scales), dtype=np.int64)
    curve[order] = np.cumsum(changes[:-1])
    return curve


def _simplices(distances: np.ndarray, radius: float) -> Iterator[tuple[int, np.ndarray]]:
    """(sign, diameters) of the simplices of dimension >= 1 up to a diameter, by their first vertex and dimension."""
    near = distances <= radius
    counted = 0
    for first in range(len(distances) - 1):
        vertices = first + 1 + np.flatnonzero(near[first, first + 1 :])
        among, joined = distances[np.ix_(vertices, vertices)], np.triu(near[np.ix_(vertices, vertices)], 1)
        # one row a simplex: its diameter, the vertices that extend it, and how far the simplex is from each
        diameters = np.zeros(1)
        extends = np.ones((1, len(vertices)), dtype=bool)
        far = distances[first, vertices][None]
        sign = -1
        while extends.any():
            rows, columns = np.nonzero(extends)
            counted += len(rows)
            if counted > SIMPLICES_AT_MOST:
                raise ValueError(
                    f"more than {SIMPLICES_AT_MOST:,} simplices of diameter <= {radius:.4g}; take fewer points or radii"
                )
            diameters = np.maximum(diameters[rows], far[rows, columns])
            yield sign, diameters
            extends = extends[rows] & joined[columns]
            far = np.maximum(far[rows], among[columns])
            sign = -sign


def measure(observation: Observation) -> Iterator[Value]:
    """Magnitude of every layer's cloud with distances divided by their 0.9-quantile, at three scales, and the Euler
    characteristic of 64 of its points, at quantiles of their distances, which ask for no scale."""
    clouds = observation.hidden_states

    @cache
    def scaled_distances(layer: int) -> np.ndarray:
        apart = distinct(clouds[layer], at_least=2, why="a scale needs two")
        return pairwise_distances(apart) / distance_scale(clouds[layer])

    def at_scale(t: float) -> Iterator[Value]:
        return per_layer((f"magnitude/{t:g}",), clouds, lambda layer, _: [_magnitude(scaled_distances(layer), t)])

    for t in SCALES:
        yield from at_scale(t)
    names = tuple(f"euler_characteristic/{quantile:g}" for quantile in QUANTILES)
    yield from per_layer(names, clouds, lambda _, cloud: _at_quantiles(spread(cloud, EULER_POINTS)))


def _at_quantiles(cloud: np.ndarray) -> np.ndarray:
    apart = distinct(cloud, at_least=2, why="a distance needs two")
    distances = pairwise_distances(apart)
    return simplex_curve(apart, np.quantile(distances[np.triu_indices(len(apart), 1)], QUANTILES))


METRIC = Metric("geometry", 1, "magnitude and Euler characteristic of the hidden states, per layer", measure)
