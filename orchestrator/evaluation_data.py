"""Whether the data sets of a sweep's evaluations can be had: looked at before anything runs, not hours later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import metrics
from metrics.evaluation import harness
from orchestrator.evaluators import unmeasured
from orchestrator.plan import PlannedTrial
from orchestrator.requests import Request
from orchestrator.spec import Sweep
from orchestrator.store import SWEEP, Store
from trainables.redaction import redact


def settle(planned: Iterable[PlannedTrial], sweep: Sweep, store: Store) -> tuple[dict[str, str], bool]:
    """Why evaluations that are to be made are skipped, by name; and whether the store was changed, so the plan is, too.

    Of an evaluation whose data came meanwhile it no longer says that it was skipped. Of one whose data cannot be had it
    says so for every checkpoint that is there or is to be fetched: for that none is loaded (but with a new store: what
    it is of is not recorded yet). Downloads what is to be had. Looks at nothing where every evaluation has been made.
    """
    if not sweep.evaluations:
        return {}, False
    trials = list(planned)
    wanted = {name for trial in trials for request in trial.unmeasured for name in request.metrics}
    skipped = {name for trial in trials for name in _skipped(store, trial.trial_id)}
    reasons = {name: _unavailable(name, sweep) for name in sweep.evaluations if name in wanted | skipped}
    came = skipped & {name for name, reason in reasons.items() if reason is None}
    for trial in trials if came else ():
        for step in store.measured_steps(trial.trial_id):
            store.forget_skipped(trial.trial_id, step, came)
    unavailable = {name: reason for name, reason in reasons.items() if reason is not None}
    known = trials if store.root.exists(SWEEP) else []
    changed = [_skip(store, request, unavailable) for trial in known for request in _at_checkpoints(trial)]
    return unavailable, bool(came) or any(changed)


def _at_checkpoints(trial: PlannedTrial) -> Iterator[Request]:
    there = {*trial.checkpoints, *trial.to_fetch}
    return (one for one in trial.unmeasured if one.other is None and one.step in there)


def _skip(store: Store, request: Request, unavailable: Mapping[str, str]) -> bool:
    skipped = [unmeasured(name, "skipped", unavailable[name]) for name in request.metrics if name in unavailable]
    if skipped:
        store.add_measurements(request.trial_id, request.step, skipped)
    return bool(skipped)


def _skipped(store: Store, trial_id: str) -> set[str]:
    """Evaluations of which a measurement was skipped."""
    found = (one for step in store.measured_steps(trial_id) for one in store.read_measurements(trial_id, step).values())
    return {one["metric"] for one in found if one["status"] == "skipped"}


def _unavailable(name: str, sweep: Sweep) -> str | None:
    data = sweep.evaluation_settings.data
    reasons = (harness.unavailable(task, data) for task in metrics.find(name).data)
    return next((redact(reason) for reason in reasons if reason is not None), None)
