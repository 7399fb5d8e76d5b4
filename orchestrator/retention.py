"""Retention: which checkpoints' weights a sweep keeps, and the deletion of the others once they are measured."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping

import metrics
from metrics import trace
from orchestrator import requests
from orchestrator.keep import Keep
from orchestrator.requests import ANSWERED
from orchestrator.spec import Sweep
from orchestrator.store import Store
from trainables import checkpoint
from trainables.checkpoint import KEPT_TRAINING_STATES, TRAINING_STATE, committed_steps, released_steps
from trainables.config import PublishedConfig, Trial, TrialConfig
from trainables.schedules import shared_steps
from trainables.storage import CorruptFileError

AHEAD = 2  # published checkpoints on disk that will go: one is measured while the next is fetched
HELD_OUT, LOSS = "held_out", "held_out_loss"


def kept(keep: Keep, there: Collection[int], *, end: int, losses: Mapping[int, float]) -> set[int]:
    """The steps, of those ``there``, whose weights the rule keeps.

    end: the trial's last step; losses: held-out, by step. Of equal losses the earliest is the lowest, so that the order
    of measuring changes nothing.
    """
    if keep.what == "none":
        return set()
    if keep.what == "last":
        best = min((step for step in there if step in losses), key=lambda step: (losses[step], step), default=None)
        return {*sorted(there)[-keep.count :], *([] if best is None else [best])}
    if keep.what == "log":
        return {step for step in there if step & (step - 1) == 0 or step == end}
    return set(there)


def releasable(
    keep: Keep,
    there: Collection[int],
    *,
    end: int,
    measured: Collection[int],
    losses: Mapping[int, float],
    needed: Collection[int],
) -> list[int]:
    """The steps, of those ``there``, whose weights may go: measured, not needed otherwise, and not kept by the rule."""
    return sorted(set(there) & set(measured) - set(needed) - kept(keep, there, end=end, losses=losses))


def release_measured(
    store: Store, config: Trial, sweep: Sweep, in_use: Collection[int] = (), given_up: Collection[int] = ()
) -> list[int]:
    """Release what the sweep's rule does not keep of a trial; the steps. ``in_use``: not these; ``given_up``: of a
    published model, as if they were measured.

    Only of checkpoints that are measured by everything the sweep asks of one, with a trace where pairs or trajectories
    may still ask for more, and never one that the trial, as long as it is not done, may have to go on from. A published
    checkpoint may go also where a measurement failed: it can be fetched again, and the disk stays bounded.
    """
    keep = Keep.parse(sweep.keep)
    if keep.what in ("all", "weights"):
        return []
    folder = store.trial(config.trial_id)
    there = committed_steps(folder)  # before the training states: a state that is written after this protects its own
    needed = {*in_use, *_to_go_on_from(store, config, there), *_shared(config)}
    measured = _measured(store, config, sweep, there)
    if isinstance(config, PublishedConfig):
        measured |= set(given_up)
    losses = {step: loss for step in measured if (loss := held_out_loss(store, config, step)) is not None}
    released = []
    for step in releasable(keep, there, end=config.steps, measured=measured, losses=losses, needed=needed):
        have = store.read_measurements(config.trial_id, step)
        by = sorted(key for key, one in have.items() if "other" not in one and one["status"] != "failed")
        with contextlib.suppress(CorruptFileError):  # of what its manifest is damaged nobody knows what would go
            checkpoint.release(folder, step, why=f"keep={sweep.keep}", measured=by)
            released.append(step)
    return released


def settle(store: Store, config: Trial, sweep: Sweep) -> list[int]:
    """Bring a trial of an earlier run to the rule and end deletions that were cut off; the steps newly released.

    Nothing may be training it.
    """
    folder = store.trial(config.trial_id)
    for step in released_steps(folder):
        checkpoint.release(folder, step)
    if Keep.parse(sweep.keep).what != "all":
        checkpoint.drop_training_states(folder, _shared(config))
    return release_measured(store, config, sweep)


def _to_go_on_from(store: Store, config: Trial, there: Collection[int]) -> list[int]:
    status = store.read_status(config.trial_id)
    if status is not None and status.state == "done" and config.steps in there:
        return []
    states = committed_steps(store.trial(config.trial_id), TRAINING_STATE)
    return [step for step in states if step in there][-KEPT_TRAINING_STATES:]


def _shared(config: Trial) -> tuple[int, ...]:
    """Steps from which trials of larger budgets go on."""
    return shared_steps(config.optimization, config.steps) if isinstance(config, TrialConfig) else ()


def _measured(store: Store, config: Trial, sweep: Sweep, there: Collection[int]) -> set[int]:
    wanted = (requests.of_checkpoint(config, step, sweep.suite) for step in there)
    answered = (*ANSWERED, "failed") if isinstance(config, PublishedConfig) else ANSWERED
    measured = set(there) - {one.step for one in requests.missing(store, wanted, answered)}
    if metrics.of_kind(("pair", "trajectory"), sweep.suite):
        measured &= set(trace.kept_steps(store.trial(config.trial_id)))
    return measured


def held_out_loss(store: Store, config: Trial, step: int) -> float | None:
    """As it was measured at a checkpoint, nats per token; None where it was not."""
    """As it was measured at a checkpoint, nats per token; None where it was not."""
    one = store.read_measurements(config.trial_id, step).get(metrics.registry()[HELD_OUT].key, {"values": []})
    return next((value for name, _, value, _ in one["values"] if name == LOSS), None)
