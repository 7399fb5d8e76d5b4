"""The trajectory of a trial's weights, seen through a random projection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from metrics.base import Metric, Value
from metrics.topology.intrinsic_dimension import PH_SIZES, persistent_homology_dimension
from metrics.trace import Trace, project

SNAPSHOTS_AT_LEAST = 20
REPEATS = 20  # of each size drawn from so few points

Snapshot = Mapping[str, np.ndarray] | np.ndarray


def weight_trajectory_dimension(snapshots: Iterable[Snapshot]) -> float:
    """PH dimension (Birdal et al. 2021) of the path that weights take in training.

    snapshots: at least 20 that differ, in any order, each a model's weights by name, or what
    :func:`metrics.trace.project` made of them; all must be of one model. They are taken one by one, so a generator that
    loads checkpoints never holds two. Distances of projected weights are within about 1 % of those of the weights. Of
    few snapshots the estimate is high and rough: a straight, evenly sampled path has 1.2 at 20 and 1.02 at 100.
    Checkpoints whose steps double are a sample of that path, and not of the attractor that the paper samples step by
    step. Raises ValueError for fewer snapshots, as :func:`project`, and as :func:`persistent_homology_dimension`.
    """
    shapes = set()

    def projected(snapshot: Snapshot) -> np.ndarray:
        if isinstance(snapshot, Mapping):
            shapes.add(tuple(sorted((name, weight.shape) for name, weight in snapshot.items())))
            return project(snapshot)
        return np.asarray(snapshot, dtype=np.float64)

    path = list(map(projected, snapshots))  # a loop's variable would hold the last snapshot while the next is loaded
    if len(shapes) > 1 or len({one.shape for one in path}) > 1:
        raise ValueError("the snapshots are not all of one model: names or shapes differ")
    count = len(np.unique(np.array(path), axis=0))
    if count < SNAPSHOTS_AT_LEAST:
        few = f"{count} different snapshots are too few for a dimension"
        raise ValueError(f"{few}: at least {SNAPSHOTS_AT_LEAST} are needed")
    sizes = np.linspace(count / 2, count, PH_SIZES).round().astype(int).tolist()
    return persistent_homology_dimension(np.stack(path), sizes, repeats=REPEATS)


def measure(traces: Sequence[Trace]) -> Iterator[Value]:
    try:
        yield Value("weight_trajectory_dimension", weight_trajectory_dimension(trace.weights for trace in traces))
    except ValueError as error:
        yield Value("weight_trajectory_dimension", None, reason=str(error))


METRIC = Metric(
    "weight_trajectory_dimension", 1, "PH dimension of the path of a trial's projected weights", measure, "trajectory"
)
