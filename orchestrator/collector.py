"""Watches the store while trials run: new checkpoints go to the evaluator pool, new numbers to TensorBoard."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import metrics
from metrics import trace
from orchestrator import requests, retention, search
from orchestrator.evaluators import EvaluatorPool, Measured, failed_lines
from orchestrator.plan import PlannedTrial, others, paired
from orchestrator.progress import Counts, Display
from orchestrator.requests import Request, prescribed_steps
from orchestrator.spec import Sweep
from orchestrator.store import ERROR_LOG, STATUS, Status, Store
from orchestrator.tensorboard import Overview, TrialBoard
from orchestrator.trials import pause_s
from trainables.checkpoint import committed_steps
from trainables.config import PublishedConfig, Trial

POLL_S = 0.3
# On an object store each look is paid for. Measured of a running trial with 20 checkpoints: 3,100 LISTs and 6,300 other
# requests an hour; at 0.3 s, and with a request for each checkpoint, 9,400 and 112,000.
POLL_REMOTE_S = 2.0
LOOK_AHEAD = 32
ENDED = ("done", "failed", "stopped")  # one that was interrupted, by a machine that went away, starts again


@dataclass
class _Watched:
    """A trial of this run: what of it has been seen. given_up: steps that an evaluator could not observe."""

    planned: PlannedTrial
    board: TrialBoard
    submitted: set[int] = field(default_factory=set)
    given_up: set[int] = field(default_factory=set)
    deaths: int = 0
    step: int = 0
    training: bool = True
    in_evaluation: int = 0


@dataclass
class _Pairs:
    """Which pairs of checkpoints there are to measure, and which checkpoints have been observed in this run or before.

    peers: every trial that may be one of a pair, by id; still_to_come: pairs of which a checkpoint was not there when
    the run began.
    """

    peers: dict[str, Trial]
    of_checkpoint: dict[tuple[str, int], list[Request]]
    observed: set[tuple[str, int]]
    still_to_come: int

    @classmethod
    def of(cls, store: Store, planned: Sequence[PlannedTrial], names: tuple[str, ...]) -> _Pairs:
        if not metrics.of_kind("pair", names):
            return cls({}, {}, set(), 0)
        configs = [trial.config for trial in planned]
        peers = {peer.trial_id: peer for peer in (*configs, *others(store, configs))}
        there = {(trial_id, step) for trial_id in peers for step in store.observable_steps(trial_id)}
        of_checkpoint: dict[tuple[str, int], list[Request]] = {}
        still_to_come = 0
        ours, to_do = {one.trial_id for one in configs}, {one.trial_id for one in planned if one.action != "done"}
        for pair in requests.pairs(peers.values(), names):
            if pair.other is not None and ours & {pair.trial_id, pair.other[0]}:
                of_checkpoint.setdefault(pair.checkpoint, []).append(pair)
                of_checkpoint.setdefault(pair.other, []).append(pair)
                still_to_come += not {pair.checkpoint, pair.other} <= there
        return cls(peers, of_checkpoint, {one for one in there if one[0] not in to_do}, still_to_come)

    def add(self, configs: Sequence[Trial], names: tuple[str, ...]) -> int:
        """Trials that are alike in all but their seeds, and of which none is there yet; how many pairs they make."""
        pairs = list(requests.pairs(configs, names))
        for pair in pairs:
            if pair.other is not None:
                self.peers |= {config.trial_id: config for config in configs}
                self.of_checkpoint.setdefault(pair.checkpoint, []).append(pair)
                self.of_checkpoint.setdefault(pair.other, []).append(pair)
        return len(pairs)

    def with_observed(self, checkpoint: tuple[str, int]) -> list[Request]:
        """The pairs of a checkpoint, now observed, with others that have been."""
        self.observed.add(checkpoint)
        pairs = self.of_checkpoint.get(checkpoint, [])
        return [pair for pair in pairs if pair.other in self.observed and pair.checkpoint in self.observed]


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
        self.overview = Overview.of(store)
        self.watched: dict[str, _Watched] = {}
        self.poll_s = POLL_S if store.root.is_local else POLL_REMOTE_S
        self.waiting = list(training)
        self.running: list[_Watched] = []
        self.ended = 0
        self.failed = 0
        self.measured = 0
        self.tokens_total = sum(trial.tokens for trial in training)
        self.pairs = _Pairs.of(store, planned, sweep.suite)
        self.evaluations_total = sum(len(trial.unmeasured) for trial in planned) + self.pairs.still_to_come
        self.released = 0
        self._of_sweep = {config.trial_id for config in search.trials(sweep, store)}
        self._asked: set[Request] = set()
        self._failed: list[Measured] = []
        self._training_ended = threading.Event()
        self._error: BaseException | None = None

    def add(self, chosen: list[PlannedTrial]) -> None:
        """Trials that a search has chosen meanwhile; called in the thread of Tune."""
        pairs = self.pairs.add([trial.config for trial in chosen], self.sweep.suite)
        self._of_sweep |= {trial.trial_id for trial in chosen}
        self.planned += chosen
        self.training += chosen
        self.tokens_total += sum(trial.tokens for trial in chosen)
        self.evaluations_total += sum(len(trial.unmeasured) for trial in chosen) + pairs
        self.waiting += chosen  # last: from here on the collector's thread looks for them

    @property
    def has_failed(self) -> bool:
        """Whether nothing will be measured any more."""
        return self._error is not None

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
                    for trial in self.planned:  # a trial's last measurement may have been of a pair of another's
                        self._release(trial.config)
                    return
                if not self.pool.outstanding:  # else the pool has waited
                    stop.wait(self.poll_s)
        except Exception as error:
            self._error = error

    def _collect(self, last_round: bool) -> None:
        self._find_started(last_round)
        for watched in list(self.running):
            trial_id = watched.planned.trial_id
            status = self.store.read_status(trial_id)  # before looking for checkpoints: none comes after the end
            watched.step = watched.board.follow()
            self._submit(watched)
            if status is not None and status.deaths != watched.deaths:
                self._say_died(watched, status)
            if last_round or (status is not None and status.state in ENDED):
                self.running.remove(watched)
                watched.training = False
                self.ended += 1
                self.failed += status is None or status.state not in ("done", "stopped")
        for measured in self.pool.poll(self.poll_s):
            self._note(measured)
        self.overview.write()
        self.display.update(self._counts())

    def _say_died(self, watched: _Watched, status: Status) -> None:
        watched.deaths = status.deaths
        if status.deaths and status.state == "running":
            self.display.say(
                f"{watched.planned.trial_id}: {status.reason}; attempt {status.deaths + 1} of {self.sweep.retries + 1} "
                f"from step {status.step} in {pause_s(status.deaths):g} s"
            )

    def _find_started(self, everywhere: bool) -> None:
        """Trials start about in order, so looking at the next few finds them; 1,000 waiting ones are not all asked."""
        for trial in self.waiting[: None if everywhere else LOOK_AHEAD]:
            if self.store.trial(trial.trial_id).has(STATUS):
                self.waiting.remove(trial)
                self.running.append(self._watch(trial))

    def _watch(self, trial: PlannedTrial) -> _Watched:
        self.overview.add(trial.config)
        watched = self.watched[trial.trial_id] = _Watched(
            trial, TrialBoard.open(self.store, trial.config, trial.unmeasured)
        )
        self._submit(watched)
        for step in self.store.observable_steps(trial.trial_id) - watched.submitted:  # only its trace is left
            self._observed(trial.config, step)
        for trajectory in (one for one in trial.unmeasured if metrics.of_kind("trajectory", one.metrics)):
            if trial.action == "measure" and not self._is_whole(trial.config):
                self._request(trajectory)  # it never will be, and the evaluator says so
        return watched

    def _is_whole(self, config: Trial) -> bool:
        return set(prescribed_steps(config)) <= self.store.observable_steps(config.trial_id)

    def _submit(self, watched: _Watched) -> None:
        config = watched.planned.config
        new = [step for step in committed_steps(self.store.trial(config.trial_id)) if step not in watched.submitted]
        for step in new:
            watched.submitted.add(step)
            wanted = requests.of_checkpoint(config, step, self.sweep.suite)
            if requests.missing(self.store, [wanted]):
                self._request(wanted)
            elif isinstance(config, PublishedConfig) and self._lacks_trace(config, step):  # its weights will go
                self.evaluations_total += 1
                self._ask(dataclasses.replace(wanted, metrics=()))
            else:
                self._observed(config, step)
        if new:  # after them, older ones may go
            self._release(config)

    def _release(self, config: Trial) -> None:
        """What the sweep does not keep, of its own trials; those beside which they are measured stay as they are."""
        if config.trial_id in self._of_sweep:
            in_use = [step for trial_id, step in self.pool.in_use() if trial_id == config.trial_id]
            given_up = self.watched[config.trial_id].given_up if config.trial_id in self.watched else ()
            self.released += len(retention.release_measured(self.store, config, self.sweep, in_use, given_up))

    def _request(self, wanted: Request) -> None:
        """What the store lacks of it, once; a trial that was done when the run began is watched from here on."""
        if wanted in self._asked:
            return
        self._asked.add(wanted)
        for lacking in requests.missing(self.store, [wanted]):
            if wanted.trial_id not in self.watched:
                self._watch(paired(self.pairs.peers[wanted.trial_id], (), self.store)).training = False
            self._ask(lacking)

    def _ask(self, request: Request) -> None:
        self.watched[request.trial_id].in_evaluation += 1
        self.pool.submit(request)

    def _lacks_trace(self, config: Trial, step: int) -> bool:
        later = metrics.of_kind(("pair", "trajectory"), self.sweep.suite)
        return bool(later) and step not in trace.kept_steps(self.store.trial(config.trial_id))

    def _observed(self, config: Trial, step: int) -> None:
        """Its pairs with checkpoints that have been observed too, and its trajectory once it is whole, are next."""
        for pair in self.pairs.with_observed((config.trial_id, step)):
            self._request(pair)
        trajectory = requests.trajectory(config, self.sweep.suite)
        if trajectory and all((config.trial_id, one) in self.pairs.observed for one in prescribed_steps(config)):
            self._request(trajectory)

    def _note(self, measured: Measured) -> None:
        self.measured += 1
        request = measured.request
        watched = self.watched[request.trial_id]
        self.overview.note(measured.measurements)
        watched.board.add_measurements(request.step, measured.measurements)
        watched.in_evaluation -= 1
        alone = request.other is None and request.of is None
        if alone and self._lacks_trace(watched.planned.config, request.step):
            watched.given_up.add(request.step)
        if alone and request.step in self.store.observable_steps(request.trial_id):  # even if a metric of it failed
            self._observed(watched.planned.config, request.step)
        self._release(watched.planned.config)
        if not watched.training and not watched.in_evaluation:
            watched.board.close(for_good=False)
        if any(one["status"] == "failed" for one in measured.measurements):
            self._failed.append(measured)

    def _counts(self) -> Counts:
        steps = ((trial.config, max(0, self._step(trial) - trial.from_step)) for trial in self.training)
        return Counts(
            trials=len(self.planned),
            done=len(self.planned) - len(self.training) + self.ended - self.failed,
            running=len(self.running),
            failed=self.failed,
            tokens=sum(config.tokens_at(count) or 0 for config, count in steps),
            tokens_total=self.tokens_total,
            fetched=sum(len(one.submitted & set(one.planned.to_fetch)) for one in self.watched.values()),
            fetches_total=sum(len(trial.to_fetch) for trial in self.training),
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
        self.overview.write()
        if self._error is not None:
            raise self._error

    def failures(self) -> list[str]:
        """Failed trials and measurements, one line each, trials with their log."""
        lines = []
        for trial_id in (trial.trial_id for trial in self.planned):
            status = self.store.read_status(trial_id)
            if status is not None and status.state == "failed":
                log = f"{self.store.trial(trial_id)}/{ERROR_LOG}"
                lines.append(f"{trial_id} failed; its last good step is {status.step}: {status.reason} (log: {log})")
        return lines + failed_lines(self._failed)
