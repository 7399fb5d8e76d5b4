"""What is kept of an observed checkpoint for later: pairs and trajectories are measured without loading it again."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from metrics.probe import Observation
from trainables.checkpoint import committed_steps, step_name
from trainables.storage import MANIFEST, CorruptFileError, Folder

TRACES, HIDDEN_STATES, WEIGHTS = "traces", "hidden_states.safetensors", "weights.safetensors"
PROJECTED_DIMENSIONS = 4096  # distances within about sqrt(1 / 8192) = 1 % of the weights'
CHUNK = 2**22  # entries of a parameter that are projected at once: 100 MB of scratch


@dataclass(frozen=True)
class Trace:
    """hidden_states: as :class:`Observation`'s, (L + 1, P, D), float32, as the model computed them; weights: projected,
    (``PROJECTED_DIMENSIONS``,), float64."""

    hidden_states: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, observation: Observation) -> Trace:
        """Also of weights that hold NaN, whose projection then does, too."""
        return cls(observation.hidden_states.astype(np.float32), _sketch(observation.weights, PROJECTED_DIMENSIONS, 0))

    def keep(self, trial: Folder, step: int) -> None:
        """Write it beside the trial's checkpoints: 7 MB for a pythia-70m at 512 points."""
        from safetensors.numpy import save

        files = ((HIDDEN_STATES, self.hidden_states), (WEIGHTS, self.weights))
        # safetensors writes memory as it lies, whatever the strides say
        folder(trial, step).commit((name, save({"array": np.ascontiguousarray(array)})) for name, array in files)


def folder(trial: Folder, step: int) -> Folder:
    return trial / TRACES / step_name(step)


def kept_steps(trial: Folder) -> list[int]:
    """The steps whose trace is kept, ascending."""
    return committed_steps(trial, TRACES)


def set_aside(trial: Folder, step: int) -> None:
    """A damaged trace no longer counts as one."""
    folder(trial, step).delete(MANIFEST)


def read(trial: Folder, step: int, name: str) -> np.ndarray:
    """``HIDDEN_STATES`` or ``WEIGHTS`` of a kept trace. Raises FileNotFoundError, CorruptFileError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    place = folder(trial, step)
    try:
        return load(place.read_committed(name))["array"]
    except (SafetensorError, KeyError) as error:
        raise CorruptFileError(f"{place}/{name}: not the safetensors of a trace ({error!r})") from error


def project(weights: Mapping[str, np.ndarray], dimensions: int = PROJECTED_DIMENSIONS, seed: int = 0) -> np.ndarray:
    """Weights by name as (dimensions,), float64: a seeded CountSketch (Charikar et al. 2002).

    Each entry is added with a random sign to a random coordinate, so lengths and distances are kept in expectation,
    with a relative deviation of about sqrt(2 / dimensions) / 2. Signs and coordinates are drawn anew from ``seed``, the
    parameter's name and the place in it, so parameters are streamed, in any order, and nothing is held but a chunk.
    .8 s for 100 million entries on one core. Raises ValueError for no weights, NaN or inf, and for more than 2**15
    dimensions.
    """
    if not weights:
        raise ValueError("there are no weights to project")
    if dimensions > 2**15:
        raise ValueError(f"dimensions={dimensions}: a coordinate and a sign are drawn as 16 bits, so at most {2**15}")
    sketch = _sketch(weights, dimensions, seed)
    if not np.isfinite(sketch).all():
        raise ValueError("the weights hold NaN or infinite entries")
    return sketch


def _sketch(weights: Mapping[str, np.ndarray], dimensions: int, seed: int) -> np.ndarray:
    sketch = np.zeros(dimensions)
    for name, weight in weights.items():
        flat = weight.reshape(-1)
        for first in range(0, len(flat), CHUNK):
            part = flat[first : first + CHUNK]
            rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode()), first]))
            cells = rng.integers(0, 2 * dimensions, len(part), dtype=np.uint16)  # a coordinate and, lowest bit, a sign
            sums = np.bincount(cells, part, minlength=2 * dimensions)
            with np.errstate(invalid="ignore"):  # infinities of both signs are NaN
                sketch += sums[::2] - sums[1::2]
    return sketch


class Kept:
    """A :class:`Trace` in the store, whose arrays are read when they are asked for, each time anew.

    ``remake`` writes the trace again where it is gone or damaged.
    """

    def __init__(self, trial: Folder, step: int, remake: Callable[[], None]) -> None:
        self._trial, self._step, self._remake = trial, step, remake

    @property
    def hidden_states(self) -> np.ndarray:
        return self._read(HIDDEN_STATES)

    @property
    def weights(self) -> np.ndarray:
        return self._read(WEIGHTS)

    def _read(self, name: str) -> np.ndarray:
        try:
            return read(self._trial, self._step, name)
        except (CorruptFileError, FileNotFoundError):
            self._remake()
            return read(self._trial, self._step, name)
