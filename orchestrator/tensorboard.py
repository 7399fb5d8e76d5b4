"""TensorBoard event files, made from the store: training curves, metrics at their own steps, pictures, and HParams.

One run per trial. What a trial wrote before this driver started is written again from the store, so a curve never
shows a step twice after a restart.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from metrics import diagrams
from orchestrator.figures import pictures
from orchestrator.requests import Request
from orchestrator.results import faults
from orchestrator.store import TENSORBOARD, Store, measurement_key
from trainables.checkpoint import CHECKPOINTS
from trainables.config import Trial
from trainables.step_log import read_segment, segment_starts
from trainables.storage import CorruptFileError

CURVES = ("loss", "learning_rate", "tokens_per_s", "grad_norm")
HEADLINE_METRICS = ("held_out_loss", "bits_per_byte", "neural_persistence", "parameter_norm")
FLUSH_S = 5


def log_directory(store: Store) -> Path:
    """Inside a local store; under the working directory for a remote one, since event files are appended to."""
    return (
        Path(store.root.path) / TENSORBOARD if store.root.is_local else Path("results") / store.root.name / TENSORBOARD
    )


def hyperparameters(config: Trial) -> dict[str, Any]:
    """What distinguishes trials, flat, by the names users know."""
    flops = config.budget_flops or 0.0  # of a published model that says too little it is not known
    return {"model": config.model.name, "seed": config.seed, "budget_flops": flops} | config.settings


@contextlib.contextmanager
def quiet_writers() -> Iterator[None]:
    """An event file that cannot be written is an OSError for who adds the next value; TensorBoard's own thread need not
    print its traceback before that."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if type(args.thread).__name__ != "_AsyncWriterThread" or not issubclass(args.exc_type, OSError):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


@dataclass
class TrialBoard:
    """Writes one trial's run; :meth:`follow` adds what the training loop has logged since the last call."""

    store: Store
    config: Trial
    directory: Path
    last_step: int = 0
    _writer: EventFileWriter | None = None

    @classmethod
    def open(cls, store: Store, config: Trial, unmeasured: Iterable[Request] = ()) -> TrialBoard:
        """A new run with all that is in the store, but for what is about to be measured again."""
        directory = log_directory(store) / config.trial_id
        shutil.rmtree(directory, ignore_errors=True)
        board = cls(store, config, directory)
        board._write(summary_v2.hparams_pb(hyperparameters(config), trial_id=config.trial_id), 0, time.time())
        again = {(one.step, measurement_key(name, one.other)) for one in unmeasured for name in one.metrics}
        for step in store.measured_steps(config.trial_id):
            known = store.read_measurements(config.trial_id, step).values()
            by_version = sorted(known, key=lambda one: int(one["version"]))
            newest = {measurement_key(one["metric"], one.get("other")): one for one in by_version}
            board.add_measurements(step, [one for key, one in newest.items() if (step, key) not in again])
        return board

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
                    self._write(_scalars(values), step, columns["time"][index])
                    self.last_step = step
        return self.last_step

    def add_measurements(self, step: int, measurements: Iterable[Mapping[str, Any]]) -> None:
        """Their values, and pictures of the diagrams that the last checkpoint's keep."""
        for one in measurements:
            with_seed = self._with_seed(one.get("other"))
            values = {
                f"{name}{with_seed}" if layer is None else f"{name}{with_seed}/layer_{layer}": value
                for name, layer, value, _ in one["values"]
                if value is not None
            }
            self._write(_scalars(values), step, time.time())
            if "diagrams" in one and step == self.config.steps:
                self._add_pictures(step, one)

    def _with_seed(self, other: Sequence[Any] | None) -> str:
        """A pair across seeds has a curve for each other seed."""
        if other is None or other[0] == self.config.trial_id:
            return ""
        return f"/with_seed_{self.store.read_trial(other[0]).seed}"

    def _add_pictures(self, step: int, measurement: Mapping[str, Any]) -> None:
        try:
            found = diagrams.read(self.store.trial(self.config.trial_id), step, measurement)
        except (CorruptFileError, FileNotFoundError):
            return  # the plan has it measured anew
        for name, png in pictures(found).items():
            width, height = struct.unpack(">II", png[16:24])
            image = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=4)
            tag = f"{measurement['metric']}/{name}"
            self._write(Summary(value=[Summary.Value(tag=tag, image=image)]), step, time.time())

    def close(self) -> None:
        """Write what is left, and which checkpoints have a fault; a measurement that comes later, of a pair, opens a
        file of its own beside the first."""
        self.follow()
        if self._writer is not None:
            for step, fault in faults(self.store, self.config).items():
                self._write(_scalars({f"fault/{fault.kind}": 1.0}), step, time.time())
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, summary: Summary, step: int, wall_time: float) -> None:
        if self._writer is None:
            self._writer = EventFileWriter(str(self.directory), flush_secs=FLUSH_S)
        self._writer.add_event(Event(wall_time=wall_time, step=step, summary=summary))


def _scalars(values: Mapping[str, float]) -> Summary:
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


def write_hparams_header(store: Store, configs: Iterable[Trial]) -> None:
    """The HParams tab's columns, over all trials of the store."""
    directory = log_directory(store)
    for old in directory.glob("events.out.tfevents.*"):
        old.unlink()
    seen: dict[str, set[Any]] = {}
    for config in configs:
        for name, value in hyperparameters(config).items():
            seen.setdefault(name, set()).add(value)
    columns = [
        summary_v2.HParam(name, summary_v2.Discrete(sorted(values))) for name, values in seen.items() if len(values) > 1
    ] or [summary_v2.HParam("model", summary_v2.Discrete(sorted(seen.get("model", {""}))))]
    header = summary_v2.hparams_config_pb(columns, [summary_v2.Metric(name) for name in HEADLINE_METRICS])
    writer = EventFileWriter(str(directory))
    writer.add_event(Event(wall_time=time.time(), step=0, summary=header))
    writer.close()


def restore(store: Store) -> None:
    """Make the runs of started trials that are gone anew from the store; nothing happens where none is."""
    started = [trial_id for trial_id in store.trial_ids() if store.trial(trial_id).exists(CHECKPOINTS)]
    gone = [trial_id for trial_id in started if not (log_directory(store) / trial_id).exists()]
    if gone:
        write_hparams_header(store, map(store.read_trial, store.trial_ids()))
    for trial_id in gone:
        TrialBoard.open(store, store.read_trial(trial_id)).close()
