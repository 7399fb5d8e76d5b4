"""One trial's run: training curves, metrics at their own steps, histograms, pictures, and final values for HParams."""

from __future__ import annotations

import functools
import itertools
import math
import shutil
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2

from metrics import diagrams
from metrics.base import ACROSS_SEEDS
from metrics.topology import hidden_norms
from orchestrator.figures import pictures
from orchestrator.requests import Request, prescribed_steps
from orchestrator.results import faults
from orchestrator.store import Store, measurement_key
from orchestrator.tensorboard import summaries
from orchestrator.tensorboard.event_files import Run, log_directory
from orchestrator.tensorboard.overview import CURVES, FINAL, LAYER, WITH_SEED, hyperparameters
from trainables.config import Trial
from trainables.step_log import read_segment, segment_starts
from trainables.storage import CorruptFileError

PICTURED_AT_MOST = 6  # steps of a trial; a picture takes .12 to .16 s
ON_THE_WAY = ("diagrams",)  # the picture that is drawn before the last step


@dataclass
class TrialBoard:
    """Writes one trial's run; :meth:`follow` adds what the training loop has logged since the last call.

    last_step: that of the training curves. _latest: the last step of each metric, of a pair with the other's trial;
    _ended: tags and steps of what ends the run, and is written once.
    """

    store: Store
    config: Trial
    run: Run
    last_step: int = 0
    _latest: dict[tuple[str, str | None], int] = field(default_factory=dict)
    _ended: set[tuple[str, int]] = field(default_factory=set)

    @classmethod
    def open(cls, store: Store, config: Trial, unmeasured: Iterable[Request] = ()) -> TrialBoard:
        """A new run with all that is in the store, but for what is about to be measured again."""
        directory = log_directory(store) / config.trial_id
        shutil.rmtree(directory, ignore_errors=True)
        board = cls(store, config, Run(directory))
        board._write(summary_v2.hparams_pb(hyperparameters(config), trial_id=config.trial_id), 0)
        again = {(one.step, measurement_key(name, one.other)) for one in unmeasured for name in one.metrics}
        for step in store.measured_steps(config.trial_id):
            board.add_measurements(step, [one for key, one in board._newest(step).items() if (step, key) not in again])
        return board

    def _newest(self, step: int) -> dict[str, dict[str, Any]]:
        """What the store has of a checkpoint, by metric and the other one of a pair: of two versions the newer."""
        known = self.store.read_measurements(self.config.trial_id, step).values()
        by_version = sorted(known, key=lambda one: int(one["version"]))
        return {measurement_key(one["metric"], one.get("other")): one for one in by_version}

    def follow(self) -> int:
        """Write steps logged since the last call; returns the last optimizer step. A step is never written twice:

        a trial that is resumed logs the same values again, in segments that may be cut elsewhere.
        """
        folder = self.store.trial(self.config.trial_id)
        starts = segment_starts(folder)
        first = max((start for start in starts if start <= self.last_step), default=0)
        for start in starts:
            if start < first:
                continue
            try:
                columns = read_segment(folder, start)
            except (CorruptFileError, FileNotFoundError):
                continue  # damaged, or a retried trial is just writing it anew; a curve with a gap stops no sweep
            for index, step in enumerate(columns["step"]):
                if step > self.last_step:
                    values = {f"train/{curve}": columns[curve][index] for curve in CURVES}
                    self.run.write(summaries.scalars(values), step, columns["time"][index])
                    self.last_step = step
        return self.last_step

    def add_measurements(self, step: int, measurements: Iterable[Mapping[str, Any]]) -> None:
        """Their values, histograms and pictures.

        Evaluators may finish a later checkpoint first. Of a tag TensorBoard forgets all steps from the one on that it
        reads, so what comes late is followed by what the store has of the steps after it.
        """
        late: set[tuple[str, str | None]] = set()
        for one in measurements:
            self._add(step, one)
            if step < self._latest.setdefault(_series(one), step):
                late.add(_series(one))
            else:
                self._latest[_series(one)] = step
        if late:
            for later in self.store.measured_steps(self.config.trial_id):
                for one in self._newest(later).values() if later > step else ():
                    if _series(one) in late and later <= self._latest[_series(one)]:
                        self._add(later, one)

    def _add(self, step: int, one: Mapping[str, Any]) -> None:
        with_seed = self._with_seed(one.get("other"))
        values = {
            f"{name}{with_seed}" if layer is None else f"{name}{with_seed}{LAYER}{layer}": value
            for name, layer, value, _ in one["values"]
            if value is not None
        }
        self._write(summaries.scalars(values), step)
        if one["metric"] == hidden_norms.METRIC.name:
            self._add_histograms(step, values)
        if "diagrams" in one and step in self._pictured:
            self._add_pictures(step, one)

    def _with_seed(self, other: Sequence[Any] | None) -> str:
        """A pair across seeds has a curve for each other seed."""
        if other is None or other[0] == self.config.trial_id:
            return ""
        return f"{WITH_SEED}{self.store.read_trial(other[0]).seed}"

    def _add_histograms(self, step: int, values: Mapping[str, float]) -> None:
        """Of each layer's norms, from their quantiles; counts are percent of the tokens."""
        shares = [100 * (upper - lower) for lower, upper in itertools.pairwise(hidden_norms.QUANTILES)]
        for layer in range(self.config.model.n_layers + 1):
            names = [f"{name}{LAYER}{layer}" for name in hidden_norms.OF_QUANTILES]
            if all(name in values for name in names):
                tag = f"{hidden_norms.METRIC.name}{LAYER}{layer}"
                self._write(summaries.histogram(tag, [values[name] for name in names], shares), step)

    @functools.cached_property
    def _pictured(self) -> frozenset[int]:
        return pictured(prescribed_steps(self.config))

    def _add_pictures(self, step: int, measurement: Mapping[str, Any]) -> None:
        try:
            found = diagrams.read(self.store.trial(self.config.trial_id), step, measurement)
        except (CorruptFileError, FileNotFoundError):
            return  # the plan has it measured anew
        names = None if step == self.config.steps else ON_THE_WAY
        for name, png in pictures(found, names).items():
            self._write(summaries.image(f"{measurement['metric']}/{name}", png), step)

    def close(self, *, for_good: bool = True) -> None:
        """Write what is left, the final values, and which checkpoints have a fault.

        A measurement that comes later opens a file of its own beside the first. ``for_good``: whether none will come of
        pairs across seeds, whose mean is not final before.
        """
        self.follow()
        ends = [(self.config.steps, tag, value) for tag, value in self._final_values(with_seeds=for_good)]
        ends += [(step, f"fault/{one.kind}", 1.0) for step, one in faults(self.store, self.config).items()]
        for step, tag, value in ends:
            if (tag, step) not in self._ended:
                self._ended.add((tag, step))
                self._write(summaries.scalars({tag: value}), step)
        self.run.close()

    def _final_values(self, *, with_seeds: bool) -> Iterator[tuple[str, float]]:
        """Of the last checkpoint the model's values; of those that only layers have the mean over blocks or, where the
        embeddings alone have one, theirs. Of pairs with several seeds the mean of all."""
        of_model: dict[str, list[float]] = {}
        of_blocks: dict[str, list[float]] = {}
        of_embeddings: dict[str, list[float]] = {}
        for one in self._newest(self.config.steps).values():
            for name, layer, value, _ in one["values"]:
                if value is not None and (with_seeds or not name.endswith(ACROSS_SEEDS)):
                    kind = of_model if layer is None else of_blocks if layer else of_embeddings
                    kind.setdefault(name, []).append(value)
        for name, values in {**of_embeddings, **of_blocks, **of_model}.items():
            yield FINAL + name, statistics.fmean(values)

    def _write(self, summary: Summary, step: int) -> None:
        self.run.write(summary, step, time.time())


def _series(one: Mapping[str, Any]) -> tuple[str, str | None]:
    """What makes the tags of a measurement: its metric and, of a pair, the other's trial."""
    return one["metric"], one["other"][0] if one.get("other") else None


def pictured(steps: Sequence[int]) -> frozenset[int]:
    """Of the steps of a trial's checkpoints the last and a few, evenly spaced on a log scale, that have pictures."""
    end = math.log1p(max(steps, default=0))
    marks = [end * index / (PICTURED_AT_MOST - 1) for index in range(PICTURED_AT_MOST)]
    return frozenset(min(steps, key=lambda step: abs(math.log1p(step) - mark)) for mark in marks if steps)
