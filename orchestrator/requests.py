"""What there is to measure: checkpoints, pairs of them, and trajectories, each as a request to the evaluator pool."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import metrics
from orchestrator.store import Store, measurement_key
from trainables.config import PublishedConfig, Trial
from trainables.schedules import checkpoint_steps

ANSWERED = ("ok", "skipped")  # statuses of measurements that are not made again


@dataclass(frozen=True)
class Request:
    """Metrics of one kind to measure on a checkpoint, under which they are filed.

    other: of a pair, the earlier checkpoint of the trial, or that of a lower seed. A trajectory is filed at its end;
    of: how many checkpoints it has.
    """

    trial_id: str
    step: int
    metrics: tuple[str, ...]
    other: tuple[str, int] | None = None
    of: int | None = None

    @property
    def checkpoint(self) -> tuple[str, int]:
        return self.trial_id, self.step


def prescribed_steps(config: Trial) -> list[int]:
    """The steps of a trial's checkpoints: training's schedule, or the revisions that are there."""
    if isinstance(config, PublishedConfig):
        return config.checkpoint_steps
    return list(checkpoint_steps(config.optimization, config.steps, config.checkpoint_every))


def of_checkpoint(config: Trial, step: int, names: Iterable[str]) -> Request:
    """Those of the metrics named that are of the weights of one checkpoint; perhaps none."""
    return Request(config.trial_id, step, metrics.of_kind(metrics.OF_CHECKPOINT, names))


def trajectory(config: Trial, names: Iterable[str]) -> Request | None:
    """The metrics of a whole trial, which need all its prescribed checkpoints; None where no name is one, and for a
    part of a published trial's revisions."""
    wanted, steps = metrics.of_kind("trajectory", names), prescribed_steps(config)
    if not wanted or _path(config) != steps:
        return None
    return Request(config.trial_id, config.steps, wanted, of=len(steps))


def _path(config: Trial) -> list[int]:
    return config.path if isinstance(config, PublishedConfig) else prescribed_steps(config)


def pairs(configs: Iterable[Trial], names: Iterable[str]) -> Iterator[Request]:
    """Each trial's neighbouring checkpoints, and at each step every two seeds of trials that differ in nothing else."""
    wanted = metrics.of_kind("pair", names)
    if not wanted:
        return
    groups: dict[str, list[Trial]] = {}
    for config in configs:
        groups.setdefault(_alike(config), []).append(config)
    for group in groups.values():
        group.sort(key=lambda one: (one.seed, one.init_seed or 0, one.data_seed or 0))
        steps_of = {one.trial_id: prescribed_steps(one) for one in group}
        for place, (one, steps) in enumerate(zip(group, steps_of.values(), strict=True)):
            trial_id, before = one.trial_id, dict(itertools.pairwise(reversed(_path(one))))
            for step in steps:
                if before.get(step) in steps:
                    yield Request(trial_id, step, wanted, (trial_id, before[step]))
                for lower, others in itertools.islice(steps_of.items(), place):
                    if step in others:
                        yield Request(trial_id, step, wanted, (lower, step))


def _alike(config: Trial) -> str:
    """The same for trials that differ in their seeds alone."""
    if isinstance(config, PublishedConfig):
        return f"published {config.family} {config.tokens}"
    return dataclasses.replace(config, seed=0, init_seed=0, data_seed=0).trial_id


def missing(store: Store, wanted: Iterable[Request], answered: Collection[str] = ANSWERED) -> list[Request]:
    """What of the requests the store lacks, by trial and step: measurements that are absent, of an older version, of
    a status that is not ``answered``, or whose diagrams or items are gone. Each checkpoint's file is read once, and
    none where there is none."""
    found = []
    for trial_id, of_trial in itertools.groupby(
        sorted(wanted, key=lambda one: one.checkpoint), key=lambda one: one.trial_id
    ):
        measured = set(store.measured_steps(trial_id))
        for step, requests in itertools.groupby(of_trial, key=lambda one: one.step):
            have = store.read_measurements(trial_id, step) if step in measured else {}
            for request in requests:
                names = tuple(n for n in request.metrics if not _is_answered(store, request, n, have, answered))
                found += [dataclasses.replace(request, metrics=names)] if names else []
    return found


def _is_answered(
    store: Store, request: Request, name: str, have: Mapping[str, Mapping[str, Any]], answered: Collection[str]
) -> bool:
    known = have.get(measurement_key(metrics.find(name).key, request.other), {})
    if known.get("of", request.of) != request.of:  # a trajectory that further revisions have extended
        return False
    return known.get("status") in answered and store.has_kept(request.trial_id, request.step, known)
