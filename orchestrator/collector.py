"""Watches the store while trials run: new checkpoints go to the evaluator pool, new numbers to TensorBoard."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from orchestrator.evaluators import EvaluatorPool, Measured, Request, failed_lines
from orchestrator.plan import PlannedTrial, unmeasured_metrics
from orchestrator.progress import Counts, Display
from orchestrator.spec import Sweep
from orchestrator.store import ERROR_LOG, STATUS, Store
from orchestrator.tensorboard import TrialBoard
from trainables.checkpoint import committed_steps

POLL_S = 0.3
LOOK_AHEAD = 32


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
    """One thread's loop around the pool, the boards and the display.

    It learns from the store alone which trials run and have ended. ``training``: what Tune gets, in the order of
    starting.
    """

    def __init__(
        self,
        store: Store,
        sweep: Sweep,
        planned: list[PlannedTrial],
        training: list[PlannedTrial],
        pool: EvaluatorPool,
        display: Display,
    ) -> None:
        self.store, self.sweep, self.pool, self.display = store, sweep, pool, display
        self.planned, self.training = planned, training
        self.watched: dict[str, _Watched] = {}
        self.waiting = list(training)
        self.running: list[_Watched] = []
        self.ended = 0
        self.failed = 0
        self.measured = 0
        self.tokens_total = sum((t.config.steps - t.from_step) * t.config.tokens_per_step for t in training)
        self.evaluations_total = sum(len(trial.unmeasured) for trial in planned)
        self._failed: list[Measured] = []
        self._training_ended = threading.Event()
        self._error: BaseException | None = None

    def training_ended(self) -> None:
        """No trial runs any more: what is left is measuring."""
        self._training_ended.set()

    def run(self, stop: threading.Event) -> None:
        """The loop: until training has ended and every checkpoint is measured, or ``stop`` is set."""
        try:
            for trial in self.planned:
                if trial.action == "measure":
                    self._watch(trial).training = False
            while not stop.is_set():
                last_round = self._training_ended.is_set()
                self._collect(last_round)
                if last_round and not self.pool.outstanding:
                    return
                stop.wait(POLL_S)
        except Exception as error:
            self._error = error

    def _collect(self, last_round: bool) -> None:
        self._find_started(last_round)
        for watched in list(self.running):
            trial_id = watched.planned.trial_id
            status = self.store.read_status(trial_id)  # before looking for checkpoints: none comes after the end
            watched.step = watched.board.follow()
            self._submit(watched)
            if last_round or (status is not None and status.state != "running"):
                self.running.remove(watched)
                watched.training = False
                self.ended += 1
                self.failed += status is None or status.state != "done"
        for measured in self.pool.poll():
            self._note(measured)
        self.display.update(self._counts())

    def _find_started(self, everywhere: bool) -> None:
        """Trials start about in order, so looking at the next few finds them; 1,000 waiting ones are not all asked."""
        for trial in self.waiting[: None if everywhere else LOOK_AHEAD]:
            if self.store.trial(trial.trial_id).exists(STATUS):
                self.waiting.remove(trial)
                self.running.append(self._watch(trial))

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
        if any(one["status"] == "failed" for one in measured.measurements):
            self._failed.append(measured)

    def _counts(self) -> Counts:
        steps = ((max(0, self._step(trial) - trial.from_step), trial.config.tokens_per_step) for trial in self.training)
        return Counts(
            trials=len(self.planned),
            done=len(self.planned) - len(self.training) + self.ended - self.failed,
            running=len(self.running),
            failed=self.failed,
            tokens=sum(count * tokens for count, tokens in steps),
            tokens_total=self.tokens_total,
            evaluations=self.measured,
            evaluations_total=self.evaluations_total,
            evaluations_queued=self.pool.outstanding,
        )

    def _step(self, trial: PlannedTrial) -> int:
        watched = self.watched.get(trial.trial_id)
        return watched.step if watched else trial.from_step

    def close(self) -> None:
        """Close every board. Raises the error that ended the loop, if one did."""
        for watched in self.watched.values():
            watched.board.close()
        if self._error is not None:
            raise self._error

    def failures(self) -> list[str]:
        """Failed trials and measurements, one line each, trials with their log."""
        lines = []
        for trial_id in (trial.trial_id for trial in self.planned):
            status = self.store.read_status(trial_id)
            if status is not None and status.state == "failed":
                log = f"{self.store.trial(trial_id)}/{ERROR_LOG}"
                lines.append(f"{trial_id} failed at step {status.step}: {status.reason} (log: {log})")
        return lines + failed_lines(self._failed)
