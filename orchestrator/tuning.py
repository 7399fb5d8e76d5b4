"""Ray Tune: a fresh Tuner for the trials that are to run, in their order, each in a process that stays warm."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator import authentication
from orchestrator.capacity import capacity
from orchestrator.plan import PlannedTrial
from orchestrator.scratch import scratch_folder
from orchestrator.spec import Sweep
from orchestrator.store import Status, Store
from orchestrator.words import SpecError
from trainables.checkpoint import committed_steps

if TYPE_CHECKING:
    from orchestrator.feed import Feed

DRIVER_RESOURCE = "trial_driver"  # the driver of a distributed trial waits on it, never on the workers' CPUs
# Deaths of a trial's process in a run, for each one without progress that is allowed: on machines that come and go a
# trial dies often, and gets further each time. It counts for itself; this is for those that cannot even begin.
DEATHS_AT_MOST = 30


def tune_trials(sweep: Sweep, store: Store, todo: list[PlannedTrial], feed: Feed | None = None) -> None:
    """Run trials through a fresh Tuner (never ``Tuner.restore``) and in the order given; or those of a search's
    ``feed``."""
    from ray import tune

    authentication.withhold_keys()
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # deaths are told from the trial's status
    cluster = capacity()
    gpu = cluster.get("GPU", 0) >= 1 and not sweep.checkpoints
    per_trial = sweep.threads * sweep.workers
    _require_room(sweep, cluster)
    if sweep.workers > 1:
        resources: dict[str, float] = {DRIVER_RESOURCE: 0.01}
    else:
        resources = {"CPU": float(sweep.threads)} | ({"GPU": 1.0} if gpu else {})
    # A worker group that finds no place fails after a minute, so no more start than fit.
    at_once = max(1, int(min(cluster["CPU"] // per_trial, cluster["GPU"] // sweep.workers if gpu else math.inf)))
    with scratch_folder() as scratch:
        results = tune.Tuner(
            _trainable(resources),
            param_space=({} if feed else {"trial": tune.grid_search([t.trial_id for t in todo])})
            | {
                "store": store.uri,
                "gpu": gpu,
                "keep": sweep.keep,
                "retries": sweep.retries,
                "fetch": {trial.trial_id: trial.to_fetch for trial in todo},
            },
            tune_config=tune.TuneConfig(
                reuse_actors=sweep.workers == 1,
                search_alg=feed,
                num_samples=-1 if feed else 1,
                max_concurrent_trials=at_once,
            ),
            run_config=tune.RunConfig(
                storage_path=str(scratch),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=DEATHS_AT_MOST * (sweep.retries + 1)),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        ).fit()
    unrecorded = None
    for result in results:
        if result.error is not None and result.config:
            try:
                _record_death(store, result.config["trial"], result.error)
            except OSError as error:  # the others are still to be recorded
                unrecorded = error
    if unrecorded is not None:
        raise unrecorded


def _trainable(resources: dict[str, float]) -> type:
    """A class: its ``step`` runs in the main thread of its process, where signals are heard; a function would not."""
    from ray import tune

    from orchestrator.trials import run_trial

    class ToposweepTrial(tune.Trainable):  # type: ignore[misc]
        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
            return tune.PlacementGroupFactory([resources])

        def step(self) -> dict[str, Any]:
            status = run_trial(self.config)
            return {"state": status.state, "step": status.step, "done": True}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.config = new_config
            return True

    ToposweepTrial.__qualname__ = ToposweepTrial.__name__  # in the titles of processes
    return ToposweepTrial


def _require_room(sweep: Sweep, cluster: Mapping[str, float]) -> None:
    per_trial = sweep.threads * sweep.workers
    if cluster.get("CPU", 0) < per_trial:
        raise SpecError(
            f"threads={sweep.threads} workers={sweep.workers}: a trial needs {per_trial} CPUs, "
            f"Ray has {cluster.get('CPU', 0):g}"
        )
    if sweep.workers > 1 and DRIVER_RESOURCE not in cluster:
        raise SpecError(f"workers={sweep.workers}: start one Ray node with --resources='{{\"{DRIVER_RESOURCE}\": 1}}'")


def _record_death(store: Store, trial_id: str, error: BaseException) -> None:
    """A trial that could not even begin left no status; give it one, so that it is named and planned again."""
    last = (str(error).strip().splitlines() or [""])[-1]
    reason = f"its process died or could not write, again and again (killed, out of memory, full disk?): {last}"
    step = max(committed_steps(store.trial(trial_id)), default=0)
    store.write_status(trial_id, Status(state="failed", step=step, seconds=0.0, reason=reason))
    store.write_error(trial_id, str(error))
