"""Published models: their revisions, and the trial that fetches one after the other as a checkpoint of the store."""

from __future__ import annotations

import difflib
import functools
import itertools
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from trainables import checkpoint, hub, models, tensor_identity
from trainables.config import ModelConfig, PublishedConfig, Revision
from trainables.models import MODELS, POLYPYTHIAS
from trainables.schedules import LOG_SPACED_STEPS
from trainables.storage import Folder, sha256

ALL, LOG, MAIN = "all", "log", "main"
FAILURES_IN_A_ROW = 3  # each after several tries of the Hub's client
_STEP = re.compile(r"(?:^|-)step(\d+)(?:-|$)")  # step1000, OLMo's step1000-tokens4B and stage1-step1000-tokens3B
# Biderman et al. 2023: 143,000 steps of 2,097,152 tokens, published at 0, 1, 2, 4 ... 512, and every 1,000
PYTHIA_STEPS = (*LOG_SPACED_STEPS, *range(1000, 143_001, 1000))
PYTHIA_TOKENS_PER_STEP = 2**21
PYTHIA_SEED = 1234  # of the models without a seed in their name
OLMO_TOKENS_PER_STEP = 2**22  # Groeneveld et al. 2024, of the 1B: 2,048 sequences of 2,048 tokens
_PYTHIAS = {name for name in MODELS if name.startswith("pythia-")}
_PARTS = re.compile(r"(.*?)(-data|-weight)?-seed(\d+)")


def find(model: ModelConfig, wanted: Sequence[str], *, tokens: str, seq_len: int) -> PublishedConfig:
    """A published model's trial, with the revisions that the words in ``wanted`` mean: ``all``, ``log``, or branches.

    ``log``: steps 0, 1, 2, 4 ... 512, 1000, 2000, 4000 ... and the last. tokens, seq_len: of its probe set. Asks the
    Hub, or its cache offline. Raises ValueError for a model that is not published or a branch that there is not,
    HubError where the Hub cannot be asked.
    """
    if model.source is None:
        raise ValueError(
            f"model={model.name}: has no published weights, and so no revisions; name one of the Hub or a folder"
        )
    family, seed, init_seed, data_seed = _seeds(model.name)
    return PublishedConfig(
        model=model,
        family=family,
        seed=seed,
        init_seed=init_seed,
        data_seed=data_seed,
        revisions=revisions(model, tuple(wanted)),
        tokens=tokens,
        seq_len=seq_len,
        tokens_per_step=_tokens_per_step(model.name),
    )


def revisions(model: ModelConfig, wanted: tuple[str, ...]) -> tuple[Revision, ...]:
    """The revisions that ``wanted`` means, by step; without a commit those of Pythia that the Hub lacks."""
    if hub.is_offline() and not hub.is_own(model.source or "") and {ALL, LOG} & set(wanted):
        raise hub.HubError(
            f"{model.source}: which revisions there are is asked of the Hub, and offline mode is on: unset "
            "HF_HUB_OFFLINE, or name those in the cache, as checkpoints=step0,step1000"
        )
    there = _branches(model)
    expected = {f"step{step}" for step in PYTHIA_STEPS} if _is_pythia(model.name) else set()
    numbered = {name for name in there if _STEP.search(name)} | expected or {MAIN}
    steps = {name: step_of(model.name, name) or 0 for name in numbered}
    chosen = {
        ALL: numbered,
        LOG: {name for name, step in steps.items() if _is_log_spaced(step) or step == max(steps.values())},
    }
    names: set[str] = set()
    for word in wanted:
        if word not in chosen and word not in there and (word not in expected or hub.is_offline()):
            near = ", ".join(difflib.get_close_matches(word, [*there, *expected], n=3)) or "nothing"
            where = "is not in the cache" if hub.is_offline() else "no such revision"
            raise ValueError(f"checkpoints={word}: {model.source}: {where}; near it: {near}")
        names |= chosen.get(word, {word})
    found = sorted((_revision(model, name, there.get(name)) for name in names), key=lambda one: one.step)
    for one, other in itertools.pairwise(found):
        if one.step == other.step:
            raise ValueError(f"checkpoints={one.name},{other.name}: both are step {one.step} of {model.name}; give one")
    return tuple(found)


def _revision(model: ModelConfig, name: str, commit: str | None) -> Revision:
    step = step_of(model.name, name)
    return Revision(step or 0, name, commit, numbered=step is not None)


def step_of(model: str, name: str) -> int | None:
    """The optimizer step that a branch's name tells; Pythia's main is its last; None of others."""
    if match := _STEP.search(name):
        return int(match[1])
    return PYTHIA_STEPS[-1] if name == MAIN and _is_pythia(model) else None


def fetch_checkpoints(
    config: PublishedConfig, trial: Folder, steps: Collection[int], wait_for_room: Callable[[], None]
) -> None:
    """Make checkpoints of the revisions at these steps, and a record of each one's tensors.

    What was released already, by an earlier attempt, is not made again. Calls ``wait_for_room`` before each download.
    What was not in the Hub's cache before is not there afterwards. A revision that cannot be had or read does not keep
    the others from being fetched, unless several do in a row: then it is not theirs, but the Hub's or the disk's.
    Raises ValueError, at the end, that names them all.
    """
    failed: list[str] = []
    in_a_row = 0
    made = {*checkpoint.committed_steps(trial), *checkpoint.released_steps(trial)}
    for step in sorted(set(steps) - made):
        wait_for_room()
        try:
            _fetch(config, trial, config.at(step))
            in_a_row = 0
        except ValueError as error:
            failed.append(f"{config.at(step).name}: {error}")
            in_a_row += 1
        if in_a_row == FAILURES_IN_A_ROW:
            break
    if failed:
        raise ValueError(f"{len(failed)} revision{'s' * (len(failed) > 1)} could not be fetched: {'; '.join(failed)}")


def _fetch(config: PublishedConfig, trial: Folder, revision: Revision) -> None:
    assert revision.commit is not None, "a revision that is missing is not fetched"
    into = hub.cache() / "toposweep" / sha256(str(trial).encode())[:16]  # two stores may fetch the same model
    one = replace(config.model, revision=revision.name, commit=revision.commit)
    model = models.load_published(one, models.fetch_weights(one, into))
    shutil.rmtree(into, ignore_errors=True)  # not after an error: a download that was cut off goes on next time
    tensor_identity.record(trial, revision.step, revision, model)
    checkpoint.save_weights(trial, revision.step, model)


def _seeds(name: str) -> tuple[str, int, int | None, int | None]:
    """(family, seed, init_seed, data_seed) of a PolyPythia, a Pythia, or another model."""
    match = _PARTS.fullmatch(name) if POLYPYTHIAS.fullmatch(name) else None
    if match is None:
        known = PYTHIA_SEED if _is_pythia(name) else None
        return name, known or 0, known, known
    seed, kind = int(match[3]), match[2] or ""
    return match[1] + kind, seed, PYTHIA_SEED if kind == "-data" else seed, PYTHIA_SEED if kind == "-weight" else seed


def _is_pythia(name: str) -> bool:
    return POLYPYTHIAS.fullmatch(name) is not None or name.removesuffix("-deduped") in _PYTHIAS


def _tokens_per_step(name: str) -> int | None:
    return PYTHIA_TOKENS_PER_STEP if _is_pythia(name) else OLMO_TOKENS_PER_STEP if name == "olmo-1b" else None


def _is_log_spaced(step: int) -> bool:
    rest = step // 1000 if step % 1000 == 0 else step
    return step in LOG_SPACED_STEPS or (step >= 1000 and rest & (rest - 1) == 0 and rest < step)


@functools.cache
def _listed(source: str) -> dict[str, str]:
    return hub.branches(source)


def _branches(model: ModelConfig) -> dict[str, str]:
    """Branches and their commits; a folder of the user's own is its ``main``, whose commit is a fingerprint."""
    assert model.source is not None
    if hub.is_own(model.source):
        return {MAIN: hub.commit(Path(model.source), models.WEIGHTS)}
    return _listed(model.source)
