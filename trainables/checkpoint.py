"""Checkpoints of a trial: weights that ``transformers`` can load, and beside them what exact resumption needs.

``checkpoints/step-00000128/`` holds ``config.json`` and ``model.safetensors``; ``training_state/step-00000128/`` holds
the optimizer's moments and the RNG. They are apart because weights are kept and training states soon go. Learning rate
and data position are functions of the step and need no state. No pickle anywhere. Of a checkpoint whose weights were
deleted on purpose ``released.json`` stays. A trial that is asked to stop between two checkpoints saves weights and
state together under ``interim/``: to go on from, never measured, and gone with the next checkpoint.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from trainables import models
from trainables.storage import MANIFEST, CorruptFileError, Folder
from trainables.typed import read

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CHECKPOINTS, TRAINING_STATE, INTERIM = "checkpoints", "training_state", "interim"
WEIGHTS, STATE, RELEASED = "model.safetensors", "state.safetensors", "released.json"
KEPT_TRAINING_STATES = 2  # the newest, and one to fall back on should it be damaged


class Released(TypedDict):
    """The marker of a checkpoint that was deleted on purpose; measured: by what, as measurements are filed."""

    step: int
    measured: NotRequired[list[str]]


def step_name(step: int) -> str:
    return f"step-{step:08d}"


def committed_steps(trial: Folder, kind: str = CHECKPOINTS) -> list[int]:
    """Steps of the committed folders of ``kind``, ascending. One that was cut off while written is not listed."""
    return _steps((trial / kind).holding(MANIFEST))


def damaged_steps(trial: Folder) -> list[int]:
    """Steps of the checkpoints that were set aside, or cut off while written, ascending."""
    known = {*committed_steps(trial), *released_steps(trial)}
    return [step for step in _steps((trial / CHECKPOINTS).names()) if step not in known]


def released_steps(trial: Folder) -> list[int]:
    """Steps of the checkpoints that were released, ascending, also where their deletion was cut off."""
    return _steps((trial / CHECKPOINTS).holding(RELEASED))


def _steps(names: Iterable[str]) -> list[int]:
    matches = [re.fullmatch(r"step-(\d{8})", name) for name in names]
    return [int(match[1]) for match in matches if match]


def resumable_steps(trial: Folder, prescribed: Iterable[int]) -> list[int]:
    """Steps with weights and training state, ascending, before which no ``prescribed`` checkpoint is missing.

    An interim one is as good. Training goes on from one of these: from a later step it would never make the missing one
    again. A released checkpoint was made and is not missing.
    """
    have = set(committed_steps(trial))
    made = have.union(released_steps(trial))
    missing = min((step for step in prescribed if step not in made), default=None)
    whole = {*have.intersection(committed_steps(trial, TRAINING_STATE)), *committed_steps(trial, INTERIM)}
    return sorted(step for step in whole if missing is None or step < missing)


def set_aside(trial: Folder, step: int) -> None:
    """A damaged checkpoint no longer counts as one: its manifest goes, its files stay until it is written again."""
    (trial / CHECKPOINTS / step_name(step)).delete(MANIFEST)


def release(trial: Folder, step: int, **why: Any) -> None:
    """Delete a checkpoint's weights on purpose; a marker stays, which says what they were, and why they went.

    The marker is written first, and as long as there is a manifest the weights are whole: cut off anywhere, the same
    call finishes it. Raises FileNotFoundError, CorruptFileError where there was no whole manifest to begin with.
    """
    folder = trial / CHECKPOINTS / step_name(step)
    if not folder.has(RELEASED):
        folder.write_json(RELEASED, {"step": step, "weights": _weights(folder), **why})
    folder.delete(MANIFEST)
    for name in folder.names():
        if name != RELEASED:
            folder.delete(name)


def _weights(folder: Folder) -> Any:
    entry = folder.manifest().get(WEIGHTS)
    if entry is None:
        raise CorruptFileError(f"{folder}/{MANIFEST}: names no {WEIGHTS}")
    return entry


def read_release(trial: Folder, step: int) -> Released:
    """What :func:`release` wrote. Raises FileNotFoundError, CorruptFileError."""
    return (trial / CHECKPOINTS / step_name(step)).read_record(RELEASED, functools.partial(read, Released))


def take_back_release(trial: Folder, step: int) -> None:
    """A released checkpoint counts as missing again, and training makes it anew."""
    folder = trial / CHECKPOINTS / step_name(step)
    if folder.has(RELEASED):
        folder.delete(RELEASED)


def save(
    trial: Folder,
    step: int,
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    *,
    keep_states: bool = False,
    shared: Collection[int] = (),
) -> None:
    """Commit the training state, then the weights, then drop training states that nothing needs any more.

    keep_states: drop none of a checkpoint; shared: nor those at these steps.
    """
    (trial / TRAINING_STATE / step_name(step)).commit([(STATE, _state_bytes(optimizer))], step=step)
    save_weights(trial, step, model)
    (trial / INTERIM).delete()
    if not keep_states:
        drop_training_states(trial, shared)


def save_interim(
    trial: Folder, step: int, model: PreTrainedModel, optimizer: torch.optim.Optimizer, recent: torch.Tensor
) -> None:
    """Commit weights and training state between two checkpoints; of earlier ones of this kind none stays.

    recent: sum and number of the losses since the checkpoint before, (2,), float64.
    """
    from safetensors.torch import save as to_bytes

    weights = to_bytes(models.weights_of(model), metadata={"format": "pt"})
    files = [(STATE, _state_bytes(optimizer, recent=recent.cpu())), (WEIGHTS, weights)]
    (trial / INTERIM / step_name(step)).commit(files, step=step)
    for name in (trial / INTERIM).names():
        if name != step_name(step):
            (trial / INTERIM / name).delete()


def _state_bytes(optimizer: torch.optim.Optimizer, **more: torch.Tensor) -> bytes:
    import torch
    from safetensors.torch import save as to_bytes

    state = {
        f"{index}.{key}": value.cpu()
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
    }
    return to_bytes(state | {"rng": torch.get_rng_state()} | more)


def save_weights(trial: Folder, step: int, model: PreTrainedModel) -> None:
    """Commit the weights alone, in the precision that they have."""
    from safetensors.torch import save as to_bytes

    files = [
        ("config.json", model.config.to_json_string().encode()),
        (WEIGHTS, to_bytes(models.weights_of(model), metadata={"format": "pt"})),
    ]
    (trial / CHECKPOINTS / step_name(step)).commit(files, step=step)
    take_back_release(trial, step)  # made again, it is there until it is released again


def drop_training_states(trial: Folder, shared: Collection[int]) -> None:
    """Delete all but the newest, and those from which other trials go on."""
    for old in set(committed_steps(trial, TRAINING_STATE)[:-KEPT_TRAINING_STATES]).difference(shared):
        (trial / TRAINING_STATE / step_name(old)).delete()


def load_weights(trial: Folder, step: int) -> dict[str, torch.Tensor]:
    """The state dict at ``step``. Raises FileNotFoundError, CorruptFileError."""
    return _load(trial / CHECKPOINTS / step_name(step), WEIGHTS)


def resume(
    trial: Folder,
    prescribed: Iterable[int],
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    recent: torch.Tensor,
) -> int | None:
    """Load the newest of the :func:`resumable_steps` that is whole; its step, or None where there is none.

    recent: as of :func:`save_interim`, filled in.
    """
    for step in reversed(resumable_steps(trial, prescribed)):
        interim = (trial / INTERIM / step_name(step)).is_committed()
        kinds = (INTERIM, INTERIM) if interim else (TRAINING_STATE, CHECKPOINTS)
        try:
            state, weights = (
                _load(trial / kind / step_name(step), name) for kind, name in zip(kinds, (STATE, WEIGHTS), strict=True)
            )
        except (CorruptFileError, FileNotFoundError):
            continue  # an older one gives the same numbers, later
        import torch

        models.load(model, weights, f"{trial}, step {step}")
        torch.set_rng_state(state.pop("rng"))
        if interim:
            recent.copy_(state.pop("recent"))
        saved: dict[int, dict[str, Any]] = {}
        for key, value in state.items():
            index, name = key.split(".", 1)
            saved.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": saved, "param_groups": optimizer.state_dict()["param_groups"]})
        return step
    return None


def _load(folder: Folder, name: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(folder.read_committed(name))
    except SafetensorError as error:
        raise CorruptFileError(f"{folder}/{name}: not safetensors ({error})") from error
