"""A trial's dense training log: every optimizer step, in small files of the store, none of it through Tune.

A segment ``log/00000120.json`` holds the steps after 120 as columns. A segment ends at each checkpoint, so that a trial
resumed from one drops exactly the segments that it will write again.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainables.storage import Folder
from trainables.typed import FormError, read

if TYPE_CHECKING:
    import torch

LOG = "log"
COLUMNS = ("step", "time", "learning_rate", "loss", "grad_norm", "tokens_per_s")


def segment_name(start: int) -> str:
    return f"{start:08d}.json"


class TrainingDivergedError(RuntimeError):
    """Loss or gradient norm is not a finite number."""


@dataclass
class StepLog:
    """Collects steps without waiting for the device; :meth:`flush` fetches and writes them."""

    trial: Folder
    start: int
    tokens_per_step: int
    _rows: list[tuple[int, float, float, torch.Tensor, torch.Tensor]] = field(default_factory=list)
    _began: float = field(default_factory=time.time)
    _flushed: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        for start in segment_starts(self.trial):
            if start >= self.start:
                (self.trial / LOG).delete(segment_name(start))

    def add(self, step: int, learning_rate: float, loss: torch.Tensor, grad_norm: torch.Tensor) -> None:
        """``step`` counts the updates done; ``loss`` (nats per token) is that of the batch of the last one."""
        self._rows.append((step, time.time(), learning_rate, loss, grad_norm))

    @property
    def due(self) -> bool:
        """Every 2 s at first and rarer as the trial grows long: a 12-hour trial writes some 800 segments."""
        now = time.time()
        return now - self._flushed > min(60.0, max(2.0, (now - self._began) / 50))

    def flush(self) -> None:
        """Write a segment. Raises TrainingDivergedError at the first step whose loss or gradient is not finite."""
        if not self._rows:
            return
        import torch

        steps, times, rates, losses, norms = zip(*self._rows, strict=True)
        fetched = torch.stack([torch.stack(losses).float(), torch.stack(norms).float()]).tolist()
        good = next((i for i, pair in enumerate(zip(*fetched, strict=True)) if not all(map(math.isfinite, pair))), None)
        kept = slice(0, good)
        seconds = (times[-1] - self._flushed) / len(steps)
        columns = dict(zip(COLUMNS, (steps, times, rates, *fetched), strict=False))
        columns = {name: list(values[kept]) for name, values in columns.items()}
        columns["tokens_per_s"] = [self.tokens_per_step / max(seconds, 1e-9)] * len(columns["step"])
        (self.trial / LOG).write_json(segment_name(self.start), columns)
        self._rows, self._flushed = [], time.time()
        self.start = steps[-1]
        if good is not None:
            raise TrainingDivergedError(
                f"step {steps[good]}: loss {fetched[0][good]}, gradient norm {fetched[1][good]} at learning rate "
                f"{rates[good]:g}; lower learning_rate, or raise warmup, for this trial"
            )


def segment_starts(trial: Folder) -> list[int]:
    """The step before the first of each segment, ascending."""
    return [int(name[:8]) for name in (trial / LOG).names() if re.fullmatch(r"\d{8}\.json", name)]


def read_segment(trial: Folder, start: int) -> dict[str, list[Any]]:
    """The columns of a segment, each a list with one entry per step. Raises CorruptFileError."""
    return (trial / LOG).read_record(segment_name(start), _columns)


def _columns(body: dict[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = read(dict[str, list[float]], body)
    read(list[int], found.get(COLUMNS[0], ()), COLUMNS[0])
    if missing := [name for name in COLUMNS if len(found.get(name, ())) != len(found.get(COLUMNS[0], ()))]:
        raise FormError(f"{missing[0]}: has not an entry for each step")
    return found
