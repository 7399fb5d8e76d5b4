"""How long the hidden states are: the distribution over tokens of their norm, per layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from metrics.base import Metric, Value, per_layer
from metrics.probe import Observation
from metrics.topology.point_cloud import validated

QUANTILES = (0.0, 0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0)
MEAN, OF_QUANTILES = "hidden_norm/mean", tuple(f"hidden_norm/{quantile:g}" for quantile in QUANTILES)


def norms(points: np.ndarray) -> np.ndarray:
    """Euclidean norms (points,) of a cloud (points, dimensions). Raises ValueError as :func:`validated`."""
    return np.linalg.norm(validated(points, at_least=1), axis=1)


def measure(observation: Observation) -> Iterator[Value]:
    """Of every layer's points the mean norm and quantiles of it, from the smallest to the largest."""

    def of_layer(_: int, cloud: np.ndarray) -> Iterator[float]:
        lengths = norms(cloud)
        yield lengths.mean()
        yield from np.quantile(lengths, QUANTILES)

    yield from per_layer((MEAN, *OF_QUANTILES), observation.hidden_states, of_layer)


METRIC = Metric("hidden_norm", 1, "norms of the hidden states: mean and quantiles over tokens, per layer", measure)
