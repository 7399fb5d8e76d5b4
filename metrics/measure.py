"""Measure checkpoints, pairs of them, and trajectories: what the metrics asked for say, as records for the store."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

import metrics
from metrics import diagrams, items, trace
from metrics.base import ACROSS_SEEDS, ACROSS_STEPS, About, Diagram, Items, Metric, UnavailableError
from metrics.evaluation.subject import EvaluationSettings, Subject
from metrics.probe import Observation, ProbeSet, observe
from metrics.trace import Kept, Trace
from trainables import checkpoint, models
from trainables import tokenizers as tokenizing
from trainables.config import Trial
from trainables.storage import CorruptFileError, Folder
from trainables.token_store import TokenStore

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# {"metric", "version", "status", "reason", "seconds", "values": [[name, layer, value, reason]]}, of a metric that keeps
# diagrams "diagrams": what metrics.diagrams.keep returned, and of an evaluation "about"
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

    config: Trial
    trial: Folder
    step: int


@dataclass(frozen=True)
class Measurer:
    """Measures checkpoints of trials that share a token store; keeps between them what they have in common.

    tokenizer_json, end_of_text: of the token store; keep_traces: whether pairs or trajectories will be measured too;
    device: where models run. Each method gives one measurement per metric named, also where a metric failed, and raises
    CorruptFileError where a checkpoint cannot be read; it then no longer counts as one, and is planned.
    """

    probe_set: ProbeSet
    tokenizer_json: str
    end_of_text: str
    keep_traces: bool = False
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    device: str = "cpu"
    warm: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, tokens: TokenStore, *, n_sequences: int, n_points: int, **settings: Any) -> Measurer:
        """For models that read the tokens of this store."""
        probes = probe_set(tokens, n_sequences=n_sequences, n_points=n_points)
        return cls(probes, tokens.read_tokenizer(), tokens.meta["end_of_text"], **settings)

    def measure(self, one: Checkpoint, names: Sequence[str]) -> Iterator[list[Measurement]]:
        """One load and one forward pass feed all metrics of a checkpoint; evaluations, which may take long, each come
        by themselves after them."""
        model = self._load(one)
        observed = metrics.of_kind("checkpoint", names)
        if observed or (self.keep_traces and one.step not in trace.kept_steps(one.trial)):
            yield list(self._observed(observe(model, self.probe_set), one, observed))
        for name in metrics.of_kind("evaluation", names):
            yield [self._evaluated(model, one, metrics.find(name))]

    def _observed(self, observation: Observation, one: Checkpoint, names: Iterable[str]) -> Iterator[Measurement]:
        if self.keep_traces:
            Trace.of(observation).keep(one.trial, one.step)
        for name in names:
            metric = metrics.find(name)
            measurement, kept = _measured(metric, observation)
            if bars := [thing for thing in kept if isinstance(thing, Diagram)]:
                measurement["diagrams"] = diagrams.keep(one.trial, one.step, metric.key, bars)
            yield measurement

    def _evaluated(self, model: PreTrainedModel, one: Checkpoint, metric: Metric) -> Measurement:
        subject = Subject(model, self.tokenizer_json, self.end_of_text, self.settings, self.warm)
        measurement, kept = _measured(metric, subject)
        for thing in kept:
            if isinstance(thing, About):
                measurement["about"] = dict(thing.details)
            elif isinstance(thing, Items) and self.settings.log_samples:
                measurement["items"] = items.keep(one.trial, one.step, metric.key, thing)
        return measurement

    def compare(self, first: Checkpoint, second: Checkpoint, names: Iterable[str]) -> list[Measurement]:
        """Metrics of a pair; the values' names say whether it is ``across_steps`` of one trial or ``across_seeds``."""
        pair = [Trace(kept.hidden_states, kept.weights) for kept in (self._kept(first), self._kept(second))]
        across = ACROSS_STEPS if first.config == second.config else ACROSS_SEEDS
        found = [_measured(metrics.find(name), *pair)[0] for name in names]
        for one in found:
            one["values"] = [[name + across, *rest] for name, *rest in one["values"]]
        return found

    def follow(self, path: Sequence[Checkpoint], names: Iterable[str]) -> list[Measurement]:
        """Metrics of a trial's trajectory, ``path`` being its checkpoints by step."""
        traces = [self._kept(one) for one in path]
        for kept in traces:  # what is damaged is made again here: to a metric a ValueError says that there is no value
            _ = kept.weights
        return [_measured(metrics.find(name), traces)[0] for name in names]

    def _kept(self, one: Checkpoint) -> Kept:
        return Kept(one.trial, one.step, lambda: self._remake(one))

    def _remake(self, one: Checkpoint) -> None:
        try:
            observation = observe(self._load(one), self.probe_set)
        except CorruptFileError as error:
            trace.set_aside(one.trial, one.step)
            raise CorruptFileError(f"{error} (of the checkpoint no whole trace is left either)") from error
        Trace.of(observation).keep(one.trial, one.step)

    def _load(self, one: Checkpoint) -> PreTrainedModel:
        try:
            weights = checkpoint.load_weights(one.trial, one.step)
        except (CorruptFileError, FileNotFoundError) as error:
            checkpoint.set_aside(one.trial, one.step)
            released = one.step in checkpoint.released_steps(one.trial)
            mend = "its weights were released" if released else "run again, and the trial trains again what is missing"
            raise CorruptFileError(f"{error}; {mend}") from error
        model = models.build(one.config.model)
        models.load(model, weights, f"{one.trial}, step {one.step}")
        return model.eval().to(self.device)


def _measured(metric: Metric, *inputs: Any) -> tuple[Measurement, list[Diagram | Items | About]]:
    """A metric's measurement, and what it gave beside values."""
    began = time.perf_counter()
    values: list[list[Any]] = []
    kept: list[Diagram | Items | About] = []
    status, reason = "ok", None
    try:
        for value in metric.measure(*inputs):
            if isinstance(value, Diagram | Items | About):
                kept.append(value)
                continue
            number = None if value.value is None else float(value.value)  # a metric may yield NumPy's or torch's
            why = value.reason
            if number is not None and not np.isfinite(number):
                number, why = None, f"the value is {number}"
            values.append([value.metric, None if value.layer is None else int(value.layer), number, why])
    except CorruptFileError:
        raise
    except UnavailableError as error:
        status, reason, values, kept = "skipped", str(error), [], []
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
