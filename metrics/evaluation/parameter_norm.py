"""The norm of the weights, which confounds many a topological metric (arXiv 2406.02234) and is recorded beside them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from metrics.base import Metric, Value
from metrics.probe import Observation


def measure(observation: Observation) -> Iterator[Value]:
    squares = [float(np.square(weight, dtype=np.float64).sum()) for weight in observation.weights.values()]
    yield Value("parameter_norm", float(np.sqrt(sum(squares))))


METRIC = Metric("parameter_norm", 1, "L2 norm of all parameters", measure)
