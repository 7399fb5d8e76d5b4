"""What is left to do is always plan - store: new trials, interrupted ones, failed ones, missing measurements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import metrics
from orchestrator.spec import Sweep
from orchestrator.store import Store
from trainables.checkpoint import committed_steps, resumable_steps
from trainables.config import TrialConfig
from trainables.schedules import checkpoint_steps

Action = Literal["done", "train", "measure"]


@dataclass(frozen=True)
class PlannedTrial:
    """A trial, what will run of it, and why.

    checkpoints: the steps already in the store; unmeasured: those with metrics missing, there or still to come.
    """

    config: TrialConfig
    action: Action
    reason: str
    from_step: int
    checkpoints: tuple[int, ...]
    unmeasured: tuple[tuple[int, tuple[str, ...]], ...]

    @property
    def trial_id(self) -> str:
        return self.config.trial_id

    def to_json(self) -> dict[str, Any]:
        config = self.config
        return {
            "trial": self.trial_id,
            "model": config.model.name,
            "seed": config.seed,
            "budget": str(config.budget),
            "budget_flops": config.budget_flops,
            "steps": config.steps,
            "tokens": config.steps * config.tokens_per_step,
            "flops": config.flops(config.steps),
            "action": self.action,
            "from_step": self.from_step,
            "unmeasured": len(self.unmeasured),
            "reason": self.reason,
        }


def plan(sweep: Sweep, store: Store) -> list[PlannedTrial]:
    """Every trial of the sweep against the store. Raises SpecError."""
    return [_plan_trial(config, sweep.metrics, store) for config in sweep.trials()]


def standing(store: Store) -> list[PlannedTrial]:
    """Every trial that the store knows, by its own record: asks neither the corpus nor this Python's models."""
    body = store.read_sweep()
    names = tuple(name for name in body["sweep"]["metrics"] if name in metrics.registry()) if body else ()
    return [_plan_trial(store.read_trial(trial_id), names, store) for trial_id in store.trial_ids()]


def unknown_metrics(store: Store) -> list[str]:
    """Metrics that the store's sweep asked for and that are no longer here."""
    body = store.read_sweep()
    return [name for name in body["sweep"]["metrics"] if name not in metrics.registry()] if body else []


def _plan_trial(config: TrialConfig, names: tuple[str, ...], store: Store) -> PlannedTrial:
    folder = store.trial(config.trial_id)
    status = store.read_status(config.trial_id)
    prescribed = checkpoint_steps(config.optimization, config.steps, config.checkpoint_every)
    steps = tuple(committed_steps(folder))
    unmeasured = _unmeasured(store, config, sorted({*steps, *prescribed}), names)
    lost = [step for step, _ in unmeasured if step not in steps]
    if status is not None and status.state == "done" and config.steps in steps and not lost:
        if not unmeasured:
            return PlannedTrial(config, "done", "trained and measured", config.steps, steps, ())
        counts = Counter(_missing_or_failed(store, config, step, name) for step, names in unmeasured for name in names)
        listed = ", ".join(f"{name} x {count}" for name, count in counts.items())
        return PlannedTrial(config, "measure", f"to measure: {listed}", config.steps, steps, unmeasured)
    from_step = max(resumable_steps(folder, prescribed), default=0)
    if status is not None and status.state == "failed":
        reason = f"failed at step {status.step}: {(status.reason or '').splitlines()[0]}; again from step {from_step}"
    elif status is not None and status.state == "done":
        gone = ", ".join(map(str, lost or [config.steps]))
        reason = f"checkpoints gone or damaged at step {gone}; again from step {from_step}"
    elif steps:
        reason = f"interrupted; goes on from step {from_step}"
    else:
        reason = "not in the store yet"
    return PlannedTrial(config, "train", reason, from_step, steps, unmeasured)


def _missing_or_failed(store: Store, config: TrialConfig, step: int, name: str) -> str:
    known = store.read_measurements(config.trial_id, step).get(metrics.registry()[name].key)
    return f"{name} (failed)" if known else name


def _unmeasured(
    store: Store, config: TrialConfig, steps: Iterable[int], names: tuple[str, ...]
) -> tuple[tuple[int, tuple[str, ...]], ...]:
    measured = set(store.measured_steps(config.trial_id))  # one listing; a new trial's steps are not read one by one
    pairs = (
        (step, unmeasured_metrics(store, config, step, names) if step in measured else tuple(names)) for step in steps
    )
    return tuple((step, missing) for step, missing in pairs if missing)


def unmeasured_metrics(store: Store, config: TrialConfig, step: int, names: tuple[str, ...]) -> tuple[str, ...]:
    """Metrics of a checkpoint that are missing, of an older version, or failed last time."""
    have = store.read_measurements(config.trial_id, step)
    return tuple(
        name for name in names if have.get(metrics.registry()[name].key, {}).get("status") not in ("ok", "skipped")
    )
