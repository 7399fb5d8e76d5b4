"""What a metric is: a pure function of what was observed, with a name and a version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Value:
    """One number of a measurement. ``layer`` 0 is the embeddings, k the residual stream after block k; None the model.

    ``value`` is None exactly where ``reason`` says why the number does not exist.
    """

    metric: str
    value: float | None
    layer: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Diagram:
    """The finite bars (bars, 2) of a layer in one homology dimension, kept beside the numbers.

    scale: the 0.9-quantile of the cloud's distances, by which births and deaths compare between clouds.
    """

    layer: int
    dimension: int
    bars: np.ndarray
    scale: float


@dataclass(frozen=True)
class Items:
    """What an evaluation found of each of its items, kept beside the numbers: columns of equal length."""

    columns: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class About:
    """How the values were found, in words that a reader needs to find them again: versions, data, settings."""

    details: Mapping[str, str | int | float | None]


class UnavailableError(Exception):
    """What a metric needs, such as a data set, cannot be had here: the measurement is skipped, with this as reason."""


ACROSS_STEPS, ACROSS_SEEDS = "/across_steps", "/across_seeds"  # how the names of a pair's values end
Kind = Literal["checkpoint", "evaluation", "pair", "trajectory"]


@dataclass(frozen=True)
class Metric:
    """A named, versioned function; a change of its numbers raises the version, and measurements are made anew.

    What ``measure`` takes depends on its ``kind``: a checkpoint's :class:`metrics.probe.Observation`; for an
    evaluation, which runs the model itself, a checkpoint's :class:`metrics.evaluation.subject.Subject`; for a pair two
    :class:`metrics.trace.Trace`, of one trial's neighbouring checkpoints, earlier first, or of two seeds' checkpoints
    at one step, lower seed first; for a trajectory the traces of all checkpoints of a trial, by step, each read when it
    is asked for (:class:`metrics.trace.Kept`). It yields values, of a checkpoint diagrams too, an evaluation also items
    and what is to be known about it. It may raise :class:`UnavailableError`. data: lm-eval's tasks whose data sets an
    evaluation reads.
    """

    name: str
    version: int
    description: str
    measure: Callable[..., Iterable[Any]]
    kind: Kind = "checkpoint"
    data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"metric {self.name}: kind={self.kind!r} is none of {', '.join(get_args(Kind))}")

    @property
    def key(self) -> str:
        return f"{self.name}@{self.version}"


def per_layer(
    names: tuple[str, ...], layers: Iterable[Any], measure: Callable[[int, Any], Iterable[float]]
) -> Iterator[Value]:
    """``measure(layer, what)`` of each layer; where it raises ValueError the layer's values are missing, with why."""
    for layer, what in enumerate(layers):
        try:
            values = tuple(measure(layer, what))
        except ValueError as error:
            yield from (Value(name, None, layer, str(error)) for name in names)
        else:
            yield from (Value(name, float(value), layer) for name, value in zip(names, values, strict=True))
