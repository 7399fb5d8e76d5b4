"""A trial that begins where one of another budget is: until a WSD schedule decays, budgets make no difference.

The first steps are taken over from the other trial's folder: its checkpoints, its log, and the training state to go on
from. What comes after has the bits that it would have had alone, as after any resumption.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from trainables import checkpoint
from trainables.checkpoint import CHECKPOINTS, INTERIM, RELEASED, STATE, TRAINING_STATE, WEIGHTS, step_name
from trainables.config import TrialConfig
from trainables.schedules import checkpoint_steps, decay_start
from trainables.step_log import LOG, read_segment, segment_name, segment_starts
from trainables.storage import CorruptFileError, Folder

PREFIX = "prefix.json"


class Prefix(TypedDict):
    """``prefix.json``: up to which step a trial is another's."""

    trial: str
    step: int


def take_over(config: TrialConfig, trial: Folder, others: Iterable[tuple[TrialConfig, Folder]]) -> int:
    """Take the longest prefix over that one of the ``others`` has, if it is longer than what is there; its step, or 0.

    others: trials that may have it; those of another :attr:`TrialConfig.stem` have none.
    """
    prescribed = checkpoint_steps(config.optimization, config.steps, config.checkpoint_every)
    own = max(checkpoint.resumable_steps(trial, prescribed), default=0)
    found = [
        (step, other.trial_id, folder)
        for other, folder in others
        if other.stem is not None and other.stem == config.stem and other.trial_id != config.trial_id
        for step in _steps(config, other, folder, prescribed)
        if step > own
    ]
    for step, trial_id, folder in sorted(found, key=lambda one: (-one[0], one[1])):
        try:
            _copy(folder, trial, step, [one for one in prescribed if one <= step])
        except (FileNotFoundError, CorruptFileError):
            continue  # let go of meanwhile, or damaged; a shorter one gives the same numbers, later
        trial.write_json(PREFIX, dict(Prefix(trial=trial_id, step=step)))
        return step
    return 0


def _steps(config: TrialConfig, other: TrialConfig, folder: Folder, prescribed: tuple[int, ...]) -> list[int]:
    """Where ``config`` may go on from the other's checkpoints, having all of its own before."""
    until = min(decay_start(one.optimization, one.steps) for one in (config, other))
    return [step for step in checkpoint.resumable_steps(folder, prescribed) if step <= until]


def _copy(source: Folder, target: Folder, step: int, prescribed: list[int]) -> None:
    """Everything up to ``step``, and last the training state, without which it is as if there were nothing."""
    place = source / INTERIM / step_name(step)
    interim = place.is_committed()
    state = (place if interim else source / TRAINING_STATE / step_name(step)).read_committed(STATE)
    weights = (place if interim else source / CHECKPOINTS / step_name(step)).read_committed(WEIGHTS)
    losses = _copy_log(source, target, step)
    for one in prescribed:
        here, there = (folder / CHECKPOINTS / step_name(one) for folder in (source, target))
        if here.is_committed() and not there.is_committed():
            there.commit(((name, here.read_committed(name)) for name in here.manifest()), step=one)
        elif here.has(RELEASED) and not there.has(RELEASED):
            there.write_json(RELEASED, here.read_json(RELEASED) | {"measured": []})
    if step in prescribed:
        (target / TRAINING_STATE / step_name(step)).commit([(STATE, state)], step=step)
    else:
        recent = [losses[one] for one in range(max(prescribed) + 1, step + 1)]
        files = [(STATE, _with_recent(state, recent)), (WEIGHTS, weights)]
        (target / INTERIM / step_name(step)).commit(files, step=step)


def _copy_log(source: Folder, target: Folder, until: int) -> dict[int, float]:
    """The segments up to a step, the last one cut there; the losses by step. Raises CorruptFileError for a gap."""
    losses: dict[int, float] = {}
    for start in segment_starts(source):
        if start < until:
            columns = read_segment(source, start)
            kept = sum(step <= until for step in columns["step"])
            cut = {name: values[:kept] for name, values in columns.items()}
            (target / LOG).write_json(segment_name(start), cut)
            losses |= dict(zip(cut["step"], cut["loss"], strict=True))
    if len(losses) < until:
        raise CorruptFileError(f"{source}/{LOG}: lacks steps before {until}")
    return losses


def _with_recent(state: bytes, losses: list[float]) -> bytes:
    """A training state with the sum and number of the losses since the checkpoint before, as an interim one has it."""
    import torch
    from safetensors.torch import load
    from safetensors.torch import save as to_bytes

    recent = torch.zeros(2, dtype=torch.float64)
    for loss in losses:
        recent += torch.tensor([loss, 1.0], dtype=torch.float64)
    return to_bytes(load(state) | {"recent": recent})
