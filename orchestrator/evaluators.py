"""The evaluator pool: Ray actors on resources of their own that measure checkpoints while training goes on."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import metrics
from orchestrator.capacity import capacity
from orchestrator.requests import Request, missing, prescribed_steps
from orchestrator.spec import Sweep
from orchestrator.store import Store
from orchestrator.words import SpecError
from trainables.config import PublishedConfig, Trial

EVALUATOR_RESOURCE = "evaluator"
EVALUATORS_AT_MOST = 4  # unless the sweep or the cluster says otherwise
NICE = 10  # where cores are shared with training, training goes first
ATTEMPTS = 3


@dataclass(frozen=True)
class Measured:
    """A request's outcome; ``log`` is the file of the store with the whole reasons."""

    request: Request
    measurements: tuple[dict[str, Any], ...]
    log: str


def failed_lines(outcomes: Iterable[Measured]) -> list[str]:
    """What failed, for people: a line for each trial and reason, with the log of the first checkpoint."""
    groups: dict[tuple[str, str], list[tuple[int, str, str]]] = {}
    for outcome in outcomes:
        for one in outcome.measurements:
            if one["status"] == "failed":
                key = (outcome.request.trial_id, one["reason"].strip().splitlines()[-1])
                groups.setdefault(key, []).append((outcome.request.step, one["metric"], outcome.log))
    lines = []
    for (trial_id, reason), found in groups.items():
        steps = sorted({step for step, _, _ in found})
        where = f"step {steps[0]}" if len(steps) == 1 else f"{len(steps)} checkpoints from step {steps[0]} on"
        names = ", ".join(dict.fromkeys(name for _, name, _ in found))
        lines.append(f"{trial_id} {where}: {names}: {reason} (log: {min(found)[2]})")
    return lines


def unmeasured(name: str, status: str, reason: str) -> dict[str, Any]:
    """The record of a metric without a value."""
    version = metrics.find(name).version
    return {"metric": name, "version": version, "status": status, "reason": reason, "seconds": 0.0, "values": []}


class Evaluator:
    """The actor: keeps what checkpoints of a token store have in common, measures, and writes to the store itself.

    settings: of :class:`metrics.measure.Measurer`.
    """

    def __init__(self, store_uri: str, settings: Mapping[str, Any]) -> None:
        os.nice(NICE)
        import torch

        torch.set_num_threads(1)
        self.store = Store.open(store_uri).anchored()
        self.settings = settings
        self.measurers: dict[str, Any] = {}

    def measure(self, request: Request) -> list[dict[str, Any]]:
        """What was measured; each part is in the store before the next begins, and a repetition makes only the rest.

        A request without metrics is for the trace of a checkpoint alone.
        """
        found: list[dict[str, Any]] = []
        for lacking in missing(self.store, [request]) if request.metrics else [request]:
            for part in self._parts(lacking):
                if part:
                    self.store.add_measurements(request.trial_id, request.step, part)
                found += part
        return found

    def _parts(self, request: Request) -> Iterator[list[dict[str, Any]]]:
        config = self.store.read_trial(request.trial_id)
        measurer = self._measurer(config)
        if request.other is not None:
            trial_id, step = request.other
            other = self._at(self.store.read_trial(trial_id), step)
            found = measurer.compare(other, self._at(config, request.step), request.metrics)
            yield [{**one, "other": list(request.other)} for one in found]
        elif metrics.of_kind("trajectory", request.metrics):
            yield [{**one, "of": request.of} for one in self._follow(measurer, config, request)]
        else:
            yield from measurer.measure(self._at(config, request.step), request.metrics)

    def _follow(self, measurer: Any, config: Trial, request: Request) -> list[dict[str, Any]]:
        steps = [step for step in prescribed_steps(config) if step <= request.step]
        gone = sorted(set(steps) - self.store.observable_steps(request.trial_id))
        if gone:
            reason = f"of the checkpoints at steps {', '.join(map(str, gone))} nothing is left"
            again = isinstance(config, PublishedConfig)  # they can be fetched once more
            return [unmeasured(name, "failed" if again else "skipped", reason) for name in request.metrics]
        found: list[dict[str, Any]] = measurer.follow([self._at(config, step) for step in steps], request.metrics)
        return found

    def _at(self, config: Trial, step: int) -> Any:
        from metrics.measure import Checkpoint

        return Checkpoint(config, self.store.trial(config.trial_id), step)

    def _measurer(self, config: Trial) -> Any:
        from metrics.measure import Measurer
        from trainables.token_store import TokenStore

        if config.tokens not in self.measurers:
            tokens = TokenStore.open(self.store.tokens(config.tokens))
            self.measurers[config.tokens] = Measurer.of(tokens, **self.settings)
        return self.measurers[config.tokens]


def gpu_places(sweep: Sweep, gpus: float) -> int:
    """For how many evaluators a cluster has room on its GPUs, beside a trial that trains. Raises SpecError for none."""
    for_training = 0 if sweep.checkpoints else sweep.workers
    places = int((gpus - for_training) / sweep.evaluator_gpus + 1e-9)
    if places < 1:
        beside = f", of which a trial needs {for_training}" if for_training else ""
        raise SpecError(
            f"evaluator_gpus={sweep.evaluator_gpus:g}: the cluster has {gpus:g} GPUs{beside}; give evaluator_gpus=0, "
            "and checkpoints are measured on CPUs"
        )
    return places


def pool_size(sweep: Sweep, most: Mapping[str, float]) -> int:
    """As many as the sweep asks for, or else the cluster offers places for; none where nothing is measured.

    A request to an actor without a place would wait for ever. most: of each resource, what there is or may come.
    """
    if not sweep.suite:
        return 0
    places = int(most.get(EVALUATOR_RESOURCE, 0))
    size = min(sweep.evaluators or places, places) if places else sweep.evaluators or EVALUATORS_AT_MOST
    return min(size, gpu_places(sweep, most.get("GPU", 0.0))) if sweep.evaluator_gpus else size


@dataclass
class EvaluatorPool:
    """Hands each request to an idle actor; at most one request is in flight per actor, and per checkpoint, whose file
    an actor reads and writes anew; the rest wait here.

    An actor that dies is followed by a new one, and its request repeated; measurements are keyed files, so a repetition
    changes nothing. (Ray would start a killed actor again by itself, but none that got SIGTERM.)
    """

    store: Store
    start_actor: Callable[[], Any]
    actors: list[Any]
    waiting: deque[Request] = field(default_factory=deque)
    _idle: list[Any] = field(default_factory=list)
    _running: dict[Any, tuple[Any, Request]] = field(default_factory=dict)
    _attempts: Counter[Request] = field(default_factory=Counter)

    @classmethod
    def start(cls, store: Store, sweep: Sweep) -> EvaluatorPool:
        """Needs a running Ray. Call it outside any Tune trial: a trial's placement group would capture the actors.

        Raises SpecError where evaluators are to have GPUs, and there is no room on any.
        """
        import ray

        most = capacity()
        own = {EVALUATOR_RESOURCE: 1} if most.get(EVALUATOR_RESOURCE) else {}
        # No CPU of Ray's count: on a small cluster evaluators would take what trials wait for. Their nice level shares.
        needs = {"num_cpus": 0, "num_gpus": sweep.evaluator_gpus, "resources": own, "scheduling_strategy": "SPREAD"}
        actor = ray.remote(**needs, max_restarts=0)(Evaluator)
        settings = {
            "n_sequences": sweep.probe_sequences,
            "n_points": sweep.probe_points,
            "keep_traces": bool(metrics.of_kind(("pair", "trajectory"), sweep.suite)),
            "settings": sweep.evaluation_settings,
            "device": "cuda" if sweep.evaluator_gpus else "cpu",
        }
        start_actor = functools.partial(actor.remote, store.uri, settings)
        actors = [start_actor() for _ in range(pool_size(sweep, most))]
        return cls(store, start_actor, actors, _idle=list(actors))

    def stop(self) -> None:
        """End the actors, whatever they are doing: what they have not written is planned again."""
        import ray

        for actor in self.actors:
            ray.kill(actor)

    @property
    def outstanding(self) -> int:
        return len(self.waiting) + len(self._running)

    def in_use(self) -> set[tuple[str, int]]:
        """The checkpoints of the requests that are not done."""
        wanted = [*self.waiting, *(request for _, request in self._running.values())]
        return {one for request in wanted for one in (request.checkpoint, request.other) if one is not None}

    def submit(self, request: Request) -> None:
        self.waiting.append(request)

    def poll(self, seconds: float) -> Iterator[Measured]:
        """Finished requests, as they finish within so many seconds; an actor gets its next request at once.

        Returns early where no request is left to wait for.
        """
        import ray

        end = time.monotonic() + seconds
        while True:
            while self._idle and (request := self._next()):
                actor = self._idle.pop()
                self._running[actor.measure.remote(request)] = (actor, request)
            if not self._running:
                return
            done, _ = ray.wait(list(self._running), timeout=max(0.0, end - time.monotonic()))
            if not done:
                return
            actor, request = self._running.pop(done[0])
            result, alive = self._result(request, done[0])
            if not alive:
                self.actors.remove(actor)
                actor = self.start_actor()
                self.actors.append(actor)
            self._idle.append(actor)
            if result is None:
                self.waiting.appendleft(request)
                continue
            log = self.store.measurements_file(request.trial_id, request.step)
            yield Measured(request, tuple(result), log)

    def _next(self) -> Request | None:
        busy = {request.checkpoint for _, request in self._running.values()}
        request = next((one for one in self.waiting if one.checkpoint not in busy), None)
        if request is not None:
            self.waiting.remove(request)
        return request

    def _result(self, request: Request, reference: Any) -> tuple[list[dict[str, Any]] | None, bool]:
        """What the actor measured, and whether it is alive. None of a request that is to be repeated; where it could
        not be measured at all, failed measurements that say why, in the store too."""
        import ray

        try:
            return ray.get(reference), True
        except Exception as error:
            alive = not isinstance(error, ray.exceptions.RayActorError)
            if getattr(error, "preempted", False):  # with its node, which has nothing to do with the request
                return None, alive
            self._attempts[request] += 1
            if not alive and self._attempts[request] < ATTEMPTS:
                return None, alive
            cause = getattr(error, "cause", None) or error
            reason = f"{type(cause).__name__}: {str(cause).strip().splitlines()[0]}"
        if not alive:
            reason = f"the evaluator died {ATTEMPTS} times while measuring this (killed, out of memory?): {reason}"
        other = {"other": list(request.other)} if request.other else {}
        lacking = [name for one in missing(self.store, [request]) for name in one.metrics]
        failed = [unmeasured(name, "failed", reason) | other for name in lacking]
        with contextlib.suppress(OSError):  # where the store cannot be written, the message says so all the same
            if failed:
                self.store.add_measurements(request.trial_id, request.step, failed)
        return failed, alive
