"""What a metric is: a pure function of one observed checkpoint, with a name and a version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from metrics.probe import Observation


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
class Metric:
    """A named, versioned function; a change of its numbers raises the version, and measurements are made anew."""

    name: str
    version: int
    description: str
    measure: Callable[[Observation], Iterable[Value]]

    @property
    def key(self) -> str:
        return f"{self.name}@{self.version}"


def per_layer(
    names: tuple[str, ...], clouds: Iterable[np.ndarray], measure: Callable[[np.ndarray], Iterable[float]]
) -> Iterator[Value]:
    """``measure`` of each layer's point cloud; where it raises ValueError the layer's values are missing, with why."""
    for layer, cloud in enumerate(clouds):
        try:
            values = tuple(measure(cloud))
        except ValueError as error:
            yield from (Value(name, None, layer, str(error)) for name in names)
        else:
            yield from (Value(name, float(value), layer) for name, value in zip(names, values, strict=True))
