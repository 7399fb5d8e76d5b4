"""What is left to do is always plan - store: new trials, interrupted ones, failed ones, missing measurements."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import metrics
from orchestrator import requests, search
from orchestrator.requests import Request, prescribed_steps
from orchestrator.spec import Sweep
from orchestrator.store import Store, measurement_key
from trainables import tensor_identity
from trainables.checkpoint import committed_steps, damaged_steps, read_release, released_steps, resumable_steps
from trainables.config import PublishedConfig, Trial, TrialConfig
from trainables.storage import CorruptFileError

Action = Literal["done", "train", "fetch", "measure"]  # fetch: of a published model, what training is of others


@dataclass(frozen=True)
class PlannedTrial:
    """A trial, what will run of it, and why.

    checkpoints: the steps whose weights are there; unmeasured: what is to be measured of these and of those still to
    come, of the pairs whose checkpoints are there, and of the trajectory; to_fetch: steps of a published model.
    """

    config: Trial
    action: Action
    reason: str
    from_step: int
    checkpoints: tuple[int, ...]
    unmeasured: tuple[Request, ...]
    to_fetch: tuple[int, ...] = ()

    @property
    def trial_id(self) -> str:
        return self.config.trial_id

    @property
    def to_make(self) -> list[int]:
        """Steps whose weights are not there and are to be measured: training makes them, perhaps again."""
        wanted = [one.step for one in self.unmeasured if metrics.of_kind(metrics.OF_CHECKPOINT, one.metrics)]
        return [step for step in wanted if step not in self.checkpoints]

    @property
    def steps(self) -> int:
        """Optimizer steps still to be done."""
        return self.config.steps - self.from_step if self.action == "train" else 0

    @property
    def tokens(self) -> int:
        """What is still to be trained on."""
        return self.config.tokens_at(self.steps) or 0

    @property
    def flops(self) -> int:
        """What is still to be spent."""
        return self.config.flops(self.steps) or 0

    def to_json(self) -> dict[str, Any]:
        config = self.config
        return {
            "trial": self.trial_id,
            "model": config.model.name,
            "seed": config.seed,
            "budget": str(config.budget) if isinstance(config, TrialConfig) else None,
            "budget_flops": config.budget_flops,
            "steps": config.steps,
            "tokens": config.tokens_at(config.steps),
            "flops": config.flops(config.steps),
            "action": self.action,
            "from_step": self.from_step,
            "unmeasured": len({request.step for request in self.unmeasured}),
            "reason": self.reason,
        }


def plan(sweep: Sweep, store: Store) -> list[PlannedTrial]:
    """Every trial of the sweep against the store, paired also with the store's other trials. Raises SpecError."""
    configs = [_beside_known(config, store) for config in search.trials(sweep, store)]
    return _plan_trials(configs, [*configs, *others(store, configs)], sweep.suite, store)


def plan_new(configs: Sequence[TrialConfig], sweep: Sweep, store: Store) -> list[PlannedTrial]:
    """Trials that a search has just chosen, by themselves."""
    return _plan_trials(configs, configs, sweep.suite, store)


def _beside_known(config: Trial, store: Store) -> Trial:
    if isinstance(config, PublishedConfig):
        with contextlib.suppress(CorruptFileError):  # none yet, or it is written anew
            known = store.read_trial(config.trial_id)
            return config.beside(known) if isinstance(known, PublishedConfig) else config
    return config


def standing(store: Store) -> list[PlannedTrial]:
    """Every trial that the store knows, by its own record: asks neither the corpus nor this Python's models."""
    body = store.read_sweep()
    words = body["sweep"] if body else {"metrics": []}
    names = tuple(name for name in words["metrics"] if name in metrics.registry())
    names += tuple(words.get("evaluations", ()))
    configs = [store.read_trial(trial_id) for trial_id in store.trial_ids()]
    return _plan_trials(configs, configs, names, store)


def others(store: Store, configs: Iterable[Trial]) -> Iterator[Trial]:
    """Trials of the store that are not among ``configs``; a damaged record is none."""
    known = {config.trial_id for config in configs}
    for trial_id in store.trial_ids():
        if trial_id not in known:
            with contextlib.suppress(CorruptFileError):
                yield store.read_trial(trial_id)


def unknown_metrics(store: Store) -> list[str]:
    """Metrics that the store's sweep asked for and that are no longer here."""
    body = store.read_sweep()
    return [name for name in body["sweep"]["metrics"] if name not in metrics.registry()] if body else []


def _plan_trials(
    configs: Sequence[Trial], peers: Sequence[Trial], names: tuple[str, ...], store: Store
) -> list[PlannedTrial]:
    paired_peers = peers if metrics.of_kind("pair", names) else ()  # without pairs, no trial is listed for them
    there = {(peer.trial_id, step) for peer in paired_peers for step in store.observable_steps(peer.trial_id)}
    pairs: dict[str, list[Request]] = {}
    for request in requests.pairs(peers, names):
        if request.checkpoint in there and request.other in there:
            pairs.setdefault(request.trial_id, []).append(request)
    planned = [_plan_trial(config, names, pairs.pop(config.trial_id, []), store) for config in configs]
    ours = {config.trial_id for config in configs}
    for peer in peers:  # higher seeds, which are not of this sweep, file their pairs with ours
        with_ours = [one for one in pairs.get(peer.trial_id, []) if one.other is not None and one.other[0] in ours]
        if lacking := requests.missing(store, with_ours):
            planned.append(paired(peer, tuple(lacking), store))
    return planned


def paired(config: Trial, unmeasured: tuple[Request, ...], store: Store) -> PlannedTrial:
    """A trial of which nothing is to be done but to measure it beside others."""
    steps = tuple(committed_steps(store.trial(config.trial_id)))
    return PlannedTrial(config, "measure", "to measure beside another seed", config.steps, steps, unmeasured)


def _plan_trial(config: Trial, names: tuple[str, ...], pairs: list[Request], store: Store) -> PlannedTrial:
    if isinstance(config, PublishedConfig):
        return _plan_published(config, names, pairs, store)
    folder = store.trial(config.trial_id)
    status = store.read_status(config.trial_id)
    state = None if status is None else status.state
    end = status.step if status is not None and state == "stopped" else config.steps
    prescribed = [step for step in prescribed_steps(config) if step <= end]
    steps = tuple(committed_steps(folder))
    lacking = _lacking(config, names, pairs, {*steps, *prescribed}, store, whole=end == config.steps)
    released = set(released_steps(folder))
    unmeasured = tuple(
        one for one in lacking if one.step in steps or not _was_measured_before(store, one, one.step in released)
    )
    trial = PlannedTrial(config, "measure", "", config.steps, steps, unmeasured)
    ended = state in ("done", "stopped")
    lost = sorted({*trial.to_make, *(damaged_steps(folder) if ended else ())})
    if status is not None and ended and end in steps and not lost:
        if not unmeasured:
            done = "trained and measured" if state == "done" else f"stopped early and measured: {status.reason}"
            return dataclasses.replace(trial, action="done", reason=done)
        return dataclasses.replace(trial, reason=_to_measure(store, unmeasured))
    before_lost = (step for step in resumable_steps(folder, prescribed) if step < min(lost, default=end + 1))
    from_step = max(before_lost, default=0)
    if status is not None and state == "failed":
        reason = f"failed at step {status.step}: {(status.reason or '').splitlines()[0]}; again from step {from_step}"
    elif ended:
        gone = ", ".join(map(str, lost or [end]))
        reason = f"checkpoints gone or damaged at step {gone}; again from step {from_step}"
    elif steps:
        reason = f"interrupted; goes on from step {from_step}"
    else:
        reason = "not in the store yet"
    return dataclasses.replace(trial, action="train", reason=reason, from_step=from_step)


def _plan_published(
    config: PublishedConfig, names: tuple[str, ...], pairs: list[Request], store: Store
) -> PlannedTrial:
    """What was released is fetched again where more is asked of it: the Hub still has it."""
    folder = store.trial(config.trial_id)
    status = store.read_status(config.trial_id)
    steps = tuple(committed_steps(folder))
    prescribed = requests.prescribed_steps(config)
    lacking = _lacking(config, names, pairs, prescribed, store)
    trial = PlannedTrial(config, "done", "fetched and measured", config.steps, steps, tuple(lacking))
    unmade = set(prescribed).difference(released_steps(folder))  # or cut off before their weights were whole
    unmade |= set(prescribed) - tensor_identity.recorded_steps(folder)
    later = metrics.of_kind(("pair", "trajectory"), names)
    gone = set(prescribed).difference(store.observable_steps(config.trial_id)) if later else set()
    to_fetch = sorted({*trial.to_make, *unmade, *gone}.difference(steps))
    if to_fetch or status is None or status.state != "done":
        reason = f"{len(to_fetch)} of {len(prescribed)} revisions to fetch"
        if any("(failed)" in label for request in lacking for label in _labels(store, request)):
            reason = f"{reason}; {_to_measure(store, lacking)}"
        if status is not None and status.state == "failed":
            reason = f"failed: {(status.reason or '').splitlines()[0]}; {reason}"
        return dataclasses.replace(trial, action="fetch", reason=reason, to_fetch=tuple(to_fetch))
    if lacking:
        return dataclasses.replace(trial, action="measure", reason=_to_measure(store, lacking))
    return trial


def _lacking(
    config: Trial,
    names: tuple[str, ...],
    pairs: list[Request],
    steps: Iterable[int],
    store: Store,
    whole: bool = True,
) -> list[Request]:
    """What the store lacks of a trial's measurements: of the checkpoints at ``steps``, the pairs and, of a trial that
    is whole, the trajectory."""
    trajectory = requests.trajectory(config, names) if whole else None
    wanted = [requests.of_checkpoint(config, step, names) for step in sorted(steps)]
    return requests.missing(store, [*wanted, *pairs, *([trajectory] if trajectory else [])])


def _to_measure(store: Store, unmeasured: Iterable[Request]) -> str:
    counts = Counter(label for request in unmeasured for label in _labels(store, request))
    return f"to measure: {', '.join(f'{name} x {count}' for name, count in counts.items())}"


def _was_measured_before(store: Store, request: Request, released: bool) -> bool:
    """Whether a checkpoint, now gone, was measured by other metrics: a new one sees just the checkpoints that are kept,
    and nothing is trained again for it. What failed, and what was never measured, is; of a released checkpoint, just
    what it had been measured by when it went and is not there any more."""
    if not metrics.of_kind(metrics.OF_CHECKPOINT, request.metrics):
        return False
    have = store.read_measurements(request.trial_id, request.step)
    keys = {metrics.find(name).key for name in request.metrics}
    if released:
        return not keys & _measured_when_released(store, request) - have.keys()
    known = [have.get(key, {}).get("status") for key in keys]
    return "failed" not in known and any(one["status"] == "ok" for one in have.values())


def _measured_when_released(store: Store, request: Request) -> set[str]:
    try:
        return set(read_release(store.trial(request.trial_id), request.step).get("measured", ()))
    except (CorruptFileError, FileNotFoundError):
        return set()


def _labels(store: Store, request: Request) -> Iterator[str]:
    have = store.read_measurements(request.trial_id, request.step)
    for name in request.metrics:
        known = have.get(measurement_key(metrics.find(name).key, request.other), {})
        yield f"{name} (failed)" if known.get("status") == "failed" else name
