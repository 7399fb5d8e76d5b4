"""Which published checkpoints hold the tensors of others: hashes of every matrix, and the faults that they show.

Known of Pythia: branches that hold the final weights, a first shard of the final model in earlier steps, step 0 and 1
alike. Vectors do not count: layer norms and biases are often still as they were drawn.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

from trainables import models
from trainables.checkpoint import step_name
from trainables.config import PublishedConfig, Revision
from trainables.storage import CorruptFileError, Folder
from trainables.typed import read

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TENSORS = "tensors"
FROZEN_AT = 5  # fewer could share a shard of the final model
SHOWN = 3  # other steps that a fault names


@dataclass(frozen=True)
class Fault:
    """identical: all matrices are those of another step; mixed: some are; missing: the Hub does not have it."""

    kind: Literal["identical", "mixed", "missing"]
    reason: str


class _Record(TypedDict):
    matrices: dict[str, str]


def record(trial: Folder, step: int, revision: Revision, model: PreTrainedModel) -> None:
    """Write the hash of each matrix of a checkpoint beside it, for good."""
    weights = models.weights_of(model)
    hashes = {name: _digest(weight) for name, weight in weights.items() if weight.ndim > 1}
    about = {"revision": revision.name, "commit": revision.commit, "dtype": str(model.dtype).removeprefix("torch.")}
    (trial / TENSORS).write_json(f"{step_name(step)}.json", {**about, "matrices": hashes})


def recorded_steps(trial: Folder) -> set[int]:
    """One listing, however many there are: on an object store each question is a request."""
    return {int(name[5:13]) for name in (trial / TENSORS).names() if re.fullmatch(r"step-\d{8}\.json", name)}


def faults(trial: Folder, config: PublishedConfig) -> dict[int, Fault]:
    """The faults of the revisions whose tensors are recorded, and of those that are missing, by step."""
    hashes = {}
    for step in config.checkpoint_steps:
        try:
            recorded: _Record = (trial / TENSORS).read_record(
                f"{step_name(step)}.json", functools.partial(read, _Record)
            )
            hashes[step] = recorded["matrices"]
        except (FileNotFoundError, CorruptFileError):
            continue  # not fetched yet; a damaged one is made again with the next run
    missing = [one for one in config.revisions if one.commit is None]
    found = {one.step: Fault("missing", f"{config.model.source} has no revision {one.name}") for one in missing}
    return found | compared(hashes)


def compared(hashes: Mapping[int, Mapping[str, str]]) -> dict[int, Fault]:
    """Which steps hold matrices of other steps, from each step's hashes by the matrix's name.

    Of the steps that share, the last step of all is not flagged: what the others hold is its own. A matrix that is the
    same at all of ``FROZEN_AT`` steps or more was frozen in training, and tells nothing.
    """
    named = {name for matrices in hashes.values() for name in matrices}
    constant = {name for name in named if len({one.get(name) for one in hashes.values()}) == 1}
    frozen = constant if len(hashes) >= FROZEN_AT else set()
    telling = named - frozen or named
    holders: dict[tuple[str, str], list[int]] = {}
    for step, matrices in hashes.items():
        for name in telling & matrices.keys():
            holders.setdefault((name, matrices[name]), []).append(step)
    found = {}
    for step in hashes:
        if step == max(hashes):
            continue
        held = {name: digest for name, digest in hashes[step].items() if name in telling}
        shared = Counter(other for pair in held.items() for other in holders[pair] if other != step)
        if not shared:
            continue
        most = max(shared.values())
        others = sorted((other for other, count in shared.items() if count == most), reverse=True)
        listed = ", ".join(map(str, others[:SHOWN])) + (
            f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        )
        where = f"step{'s' * (len(others) > 1)} {listed}"
        if most == len(held):
            found[step] = Fault("identical", f"all {most} matrices are those of {where}")
        else:
            found[step] = Fault("mixed", f"{most} of {len(held)} matrices are those of {where}")
    return found


def _digest(weight: torch.Tensor) -> str:
    import torch

    digest = hashlib.sha256(f"{weight.dtype}{tuple(weight.shape)}".encode())
    digest.update(weight.detach().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]
