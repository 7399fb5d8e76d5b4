"""Measure checkpoints, pairs of them, and trajectories: what the metrics asked for say, as records for the store."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import metrics
from metrics import diagrams, trace
from metrics.base import ACROSS_SEEDS, ACROSS_STEPS, Diagram, Metric
from metrics.probe import Observation, ProbeSet, observe
from metrics.trace import Kept, Trace
from trainables import checkpoint, models
from trainables import tokenizers as tokenizing
from trainables.config import TrialConfig
from trainables.storage import CorruptFileError, Folder
from trainables.token_store import TokenStore

# {"metric", "version", "status", "reason", "seconds", "values": [[name, layer, value, reason]]}, and of a metric that
# keeps diagrams "diagrams": what metrics.diagrams.keep returned
Measurement = dict[str, Any]


def probe_set(store: TokenStore, *, n_sequences: int, n_points: int) -> ProbeSet:
    """The probe set of a token store: the first sequences of its validation split."""
    from tokenizers import Tokenizer

    blocks = store.held_out("validation", n_sequences)
    tokenizer = Tokenizer.from_str(store.read_tokenizer())
    lengths = tokenizing.token_bytes(tokenizer, store.meta["vocab_size"])
    return ProbeSet.of(blocks.tokens, blocks.domains, lengths, n_points=n_points)


@dataclass(frozen=True)
class Checkpoint:
    """A trial's state at a step; ``trial`` is its folder."""

    config: TrialConfig
    trial: Folder
    step: int


@dataclass(frozen=True)
class Measurer:
    """Measures checkpoints of trials that share a token store; keeps the probe set between them.

    keep_traces: whether pairs or trajectories will be measured too. Each method gives one measurement per metric named,
    also where a metric failed, and raises CorruptFileError where a checkpoint cannot be read; it then no longer counts
    as one, and is planned.
    """

    probe_set: ProbeSet
    keep_traces: bool = False

    def measure(self, one: Checkpoint, names: Iterable[str]) -> list[Measurement]:
        """One load and one forward pass feed all metrics of a checkpoint."""
        observation = self._observe(one)
        if self.keep_traces:
            Trace.of(observation).keep(one.trial, one.step)
        found = []
        for name in names:
            metric = metrics.registry()[name]
            measurement, kept = _measured(metric, observation)
            if kept:
                measurement["diagrams"] = diagrams.keep(one.trial, one.step, metric.key, kept)
            found.append(measurement)
        return found

    def compare(self, first: Checkpoint, second: Checkpoint, names: Iterable[str]) -> list[Measurement]:
        """Metrics of a pair; the values' names say whether it is ``across_steps`` of one trial or ``across_seeds``."""
        pair = [Trace(kept.hidden_states, kept.weights) for kept in (self._kept(first), self._kept(second))]
        across = ACROSS_STEPS if first.config == second.config else ACROSS_SEEDS
        found = [_measured(metrics.registry()[name], *pair)[0] for name in names]
        for one in found:
            one["values"] = [[name + across, *rest] for name, *rest in one["values"]]
        return found

    def follow(self, path: Sequence[Checkpoint], names: Iterable[str]) -> list[Measurement]:
        """Metrics of a trial's trajectory, ``path`` being its checkpoints by step."""
        traces = [self._kept(one) for one in path]
        for kept in traces:  # what is damaged is made again here: to a metric a ValueError says that there is no value
            _ = kept.weights
        return [_measured(metrics.registry()[name], traces)[0] for name in names]

    def _kept(self, one: Checkpoint) -> Kept:
        return Kept(one.trial, one.step, lambda: self._remake(one))

    def _remake(self, one: Checkpoint) -> None:
        try:
            observation = self._observe(one)
        except CorruptFileError as error:
            trace.set_aside(one.trial, one.step)
            raise CorruptFileError(f"{error} (of the checkpoint no whole trace is left either)") from error
        Trace.of(observation).keep(one.trial, one.step)

    def _observe(self, one: Checkpoint) -> Observation:
        try:
            weights = checkpoint.load_weights(one.trial, one.step)
        except (CorruptFileError, FileNotFoundError) as error:
            checkpoint.set_aside(one.trial, one.step)
            released = one.step in checkpoint.released_steps(one.trial)
            mend = "its weights were released" if released else "run again, and the trial trains again what is missing"
            raise CorruptFileError(f"{error}; {mend}") from error
        model = models.build(one.config.model)
        models.load(model, weights, f"{one.trial}, step {one.step}")
        return observe(model, self.probe_set)


def _measured(metric: Metric, *inputs: Any) -> tuple[Measurement, list[Diagram]]:
    began = time.perf_counter()
    values: list[list[Any]] = []
    kept: list[Diagram] = []
    status, reason = "ok", None
    try:
        for value in metric.measure(*inputs):
            if isinstance(value, Diagram):
                kept.append(value)
                continue
            number = None if value.value is None else float(value.value)  # a metric may yield NumPy's or torch's
            why = value.reason
            if number is not None and not np.isfinite(number):
                number, why = None, f"the value is {number}"
            values.append([value.metric, None if value.layer is None else int(value.layer), number, why])
    except CorruptFileError:
        raise
    except Exception:
        status, reason, values, kept = "failed", traceback.format_exc(), [], []
    measurement = {
        "metric": metric.name,
        "version": metric.version,
        "status": status,
        "reason": reason,
        "seconds": time.perf_counter() - began,
        "values": values,
    }
    return measurement, kept
