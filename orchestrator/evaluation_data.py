"""Whether the data sets of a sweep's evaluations can be had: looked at before anything runs, not hours later."""

from __future__ import annotations

from collections.abc import Iterable

import metrics
from metrics.evaluation import harness
from orchestrator.plan import PlannedTrial
from orchestrator.spec import Sweep
from orchestrator.store import Store


def settle(planned: Iterable[PlannedTrial], sweep: Sweep, store: Store) -> tuple[dict[str, str], bool]:
    """Why evaluations that are to be made will be skipped, by name; and whether some can be made now that were skipped
    before. Of these the store then no longer says that they were, and a new plan has them.

    Downloads what is to be had. Looks at nothing where every evaluation has been made.
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
    return {name: reason for name, reason in reasons.items() if reason is not None}, bool(came)


def _skipped(store: Store, trial_id: str) -> set[str]:
    """Evaluations of which a measurement was skipped."""
    found = (one for step in store.measured_steps(trial_id) for one in store.read_measurements(trial_id, step).values())
    return {one["metric"] for one in found if one["status"] == "skipped"}


def _unavailable(name: str, sweep: Sweep) -> str | None:
    data = sweep.evaluation_settings.data
    reasons = (harness.unavailable(task, data) for task in metrics.find(name).data)
    return next((reason for reason in reasons if reason is not None), None)
