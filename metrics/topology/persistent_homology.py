"""Persistent homology of a point cloud: Vietoris-Rips barcodes by ripser (Bauer 2021; Tralie et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from metrics.base import Metric, Value, per_layer
from metrics.probe import Observation
from metrics.topology.point_cloud import distance_scale, validated

SUMMARIES = ("count", "total_persistence", "max_persistence", "persistence_entropy")


def barcodes(points: np.ndarray, max_dimension: int = 1) -> list[np.ndarray]:
    """Finite Vietoris-Rips bars of H0 ... H_max_dimension under the Euclidean distance.

    points: (points, dimensions). Returns one float64 array (bars, 2) of birth and death per dimension, in units of the
    distance, without the essential class of H0 and without bars of length zero (duplicate points make them). ripser
    computes in float32: expect 1e-6 relative. On one core H1 of 512 points in 64 dimensions takes .15 s, of 256 .04 s.
    Raises ValueError as :func:`validated`.
    """
    from ripser import ripser

    cloud = validated(points)
    centred = cloud - cloud.mean(axis=0)  # float32 distances of a far-off cloud would lose digits
    distances = np.sqrt(_squared_distances(centred))
    diagrams = ripser(distances, maxdim=max_dimension, distance_matrix=True)["dgms"]
    return [_proper_bars(np.asarray(diagram, dtype=np.float64)) for diagram in diagrams]


def _squared_distances(cloud: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import pdist, squareform

    return squareform(pdist(cloud, "sqeuclidean"))


def _proper_bars(diagram: np.ndarray) -> np.ndarray:
    finite = diagram[np.isfinite(diagram).all(axis=1)]
    return finite[finite[:, 1] > finite[:, 0]].reshape(-1, 2)


def summarize(diagrams: Sequence[np.ndarray]) -> dict[str, float]:
    """Per dimension k: ``hk_count``, ``hk_total_persistence``, ``hk_max_persistence`` and ``hk_persistence_entropy``.

    Persistence is death - birth, in units of the distance; the entropy (Chintakunta et al. 2015), in nats, is that of
    the lengths divided by their sum. All are 0 for an empty barcode. Raises ValueError where a death precedes a birth.
    """
    summary: dict[str, float] = {}
    for dimension, diagram in enumerate(diagrams):
        lengths = np.diff(np.asarray(diagram, dtype=np.float64).reshape(-1, 2), axis=1).ravel()
        if (lengths < 0).any():
            raise ValueError(f"H{dimension} has a bar whose death precedes its birth")
        lengths = lengths[lengths > 0]
        share = lengths / lengths.sum() if len(lengths) else lengths
        numbers = (len(lengths), lengths.sum(), lengths.max(initial=0.0), -(share * np.log(share)).sum())
        summary |= {
            f"h{dimension}_{name}": float(number) + 0.0 for name, number in zip(SUMMARIES, numbers, strict=True)
        }
    return summary


def _names(max_dimension: int) -> tuple[str, ...]:
    raw = tuple(f"h{dimension}_{name}" for dimension in range(max_dimension + 1) for name in SUMMARIES)
    scaled = tuple(f"{name}_scaled" for name in raw if "total" in name or "max" in name)
    return (*raw, *scaled)


def _layer_values(cloud: np.ndarray) -> list[float]:
    summary = summarize(barcodes(cloud))
    scale = distance_scale(cloud)
    if scale == 0:
        raise ValueError("nine in ten pairs of points coincide: the cloud has no scale")
    scaled = {f"{name}_scaled": value / scale for name, value in summary.items()}
    return [(summary | scaled)[name] for name in _names(1)]


def measure(observation: Observation) -> Iterator[Value]:
    """Summaries of every layer's cloud, raw and (``_scaled``) with distances divided by their 0.9-quantile."""
    yield from per_layer(_names(1), observation.hidden_states, _layer_values)


METRIC = Metric("persistent_homology", 2, "Vietoris-Rips H0 and H1 of the hidden states, per layer", measure)
