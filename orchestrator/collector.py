"""Watches the store while trials run: new checkpoints go to the evaluator pool, new numbers to TensorBoard."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from orchestrator.evaluators import EvaluatorPool, Measured, Request
from orchestrator.plan import PlannedTrial, unmeasured_metrics
from orchestrator.progress import Counts, Display
from orchestrator.spec import Sweep
from orchestrator.store import ERROR_LOG, Store
from orchestrator.tensorboard import TrialBoard
from trainables.checkpoint import committed_steps
from trainables.schedules import checkpoint_steps

POLL_S = 0.3


@dataclass
class _Watched:
    """A trial of this run: what of it has been seen."""

    planned: PlannedTrial
    board: TrialBoard
    submitted: set[int] = field(default_factory=set)
    step: int = 0
    training: bool = True
    in_evaluation: int = 0


class Collector:
    """One thread's loop around the pool, the boards and the display. Tune's thread tells it which trials run."""

    def __init__(
        self, store: Store, sweep: Sweep, planned: list[PlannedTrial], pool: EvaluatorPool, display: Display
    ) -> None:
        self.store, self.sweep, self.pool, self.display = store, sweep, pool, display
        self.planned = {trial.trial_id: trial for trial in planned}
        self.watched: dict[str, _Watched] = {}
        self.running: set[str] = set()
        self.ended: set[str] = set()
        self.failed: set[str] = set()
        self.measured = 0
        self.training = [trial for trial in planned if trial.action == "train"]
        self.tokens_total = sum((t.config.steps - t.from_step) * t.config.tokens_per_step for t in self.training)
        self.evaluations_total = sum(expected_evaluations(trial) for trial in planned)
        self._messages: list[str] = []
        self._training_ended = threading.Event()
        self._error: BaseException | None = None

    # Called by Tune's thread.

    def on_start(self, trial_id: str) -> None:
        self.running.add(trial_id)

    def on_end(self, trial_id: str) -> None:
        self.ended.add(trial_id)

    def training_ended(self) -> None:
        """No trial runs any more: what is left is measuring."""
        self._training_ended.set()

    # The loop.

    def run(self, stop: threading.Event) -> None:
        """Until training has ended and every checkpoint is measured, or ``stop`` is set."""
        try:
            for trial in self.planned.values():
                if trial.action == "measure":
                    self._watch(trial).training = False
            while not stop.is_set():
                last_round = self._training_ended.is_set()
                self._collect()
                if last_round and not self.pool.outstanding:
                    return
                stop.wait(POLL_S)
        except Exception as error:
            self._error = error

    def _collect(self) -> None:
        for trial_id in list(self.running):
            watched = self.watched.get(trial_id) or self._watch(self.planned[trial_id])
            ended = trial_id in self.ended or self._training_ended.is_set()
            watched.step = watched.board.follow()
            self._submit(watched)
            if ended:
                self.running.discard(trial_id)
                watched.training = False
                self.failed |= {trial_id} if self._failed(trial_id) else set()
        for measured in self.pool.poll():
            self._note(measured)
        self.display.update(self._counts())

    def _watch(self, trial: PlannedTrial) -> _Watched:
        watched = self.watched[trial.trial_id] = _Watched(trial, TrialBoard.open(self.store, trial.config))
        self._submit(watched)
        return watched

    def _submit(self, watched: _Watched) -> None:
        config = watched.planned.config
        for step in committed_steps(self.store.trial(config.trial_id)):
            if step in watched.submitted:
                continue
            watched.submitted.add(step)
            names = unmeasured_metrics(self.store, config, step, self.sweep.metrics)
            if names:
                watched.in_evaluation += 1
                self.pool.submit(Request(config.trial_id, step, names))

    def _note(self, measured: Measured) -> None:
        self.measured += 1
        watched = self.watched[measured.request.trial_id]
        watched.board.add_measurements(measured.request.step, measured.measurements)
        watched.in_evaluation -= 1
        if not watched.training and not watched.in_evaluation:
            watched.board.close()
        self._messages += measured.failed

    def _counts(self) -> Counts:
        steps = ((max(0, self._step(trial) - trial.from_step), trial.config.tokens_per_step) for trial in self.training)
        return Counts(
            trials=len(self.planned),
            done=len(self.planned) - len(self.training) + len(self.ended - self.failed),
            running=len(self.running - self.ended),
            failed=len(self.failed),
            tokens=sum(count * tokens for count, tokens in steps),
            tokens_total=self.tokens_total,
            evaluations=self.measured,
            evaluations_total=self.evaluations_total,
            evaluations_queued=self.pool.outstanding,
        )

    def _step(self, trial: PlannedTrial) -> int:
        watched = self.watched.get(trial.trial_id)
        return watched.step if watched else trial.from_step

    def _failed(self, trial_id: str) -> bool:
        status = self.store.read_status(trial_id)
        return status is not None and status.state == "failed"

    def close(self) -> None:
        """Close every board. Raises the error that ended the loop, if one did."""
        for watched in self.watched.values():
            watched.board.close()
        if self._error is not None:
            raise self._error

    def failures(self) -> list[str]:
        """Failed trials and measurements, one line each, trials with their log."""
        lines = []
        for trial_id in self.planned:
            status = self.store.read_status(trial_id)
            if status is not None and status.state == "failed":
                log = f"{self.store.trial(trial_id)}/{ERROR_LOG}"
                lines.append(f"{trial_id} failed at step {status.step}: {status.reason} (log: {log})")
        return lines + self._messages


def expected_evaluations(trial: PlannedTrial) -> int:
    """Evaluations of this run: checkpoints still to come, and those that are there and not measured."""
    config = trial.config
    steps = checkpoint_steps(config.optimization, config.steps, config.checkpoint_every)
    waiting = {step for step, _ in trial.unmeasured}
    coming = [step for step in steps if step not in trial.checkpoints] if trial.action == "train" else []
    return len(waiting.union(coming))
