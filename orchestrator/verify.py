"""Reads every file of a store against its hash, and sets aside what is damaged, so that the next run makes it anew.

A run itself reads just what it needs. A checkpoint that is trained and measured, for one, is not read again by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from metrics import diagrams, items, trace
from orchestrator.store import MEASUREMENTS, STATUS, Store
from trainables import checkpoint, embedded, tensor_identity
from trainables.checkpoint import CHECKPOINTS, INTERIM, RELEASED, TRAINING_STATE, step_name
from trainables.step_log import LOG
from trainables.storage import MANIFEST, CorruptFileError, Folder, sha256
from trainables.token_store import META, TOKENIZER, TokenStore, part_name

REMADE = "the next run makes it anew"
RETRAINED = "the next run trains again from the checkpoint before"


@dataclass(frozen=True)
class Damage:
    """problem: where and what; mend: what becomes of it."""

    problem: str
    mend: str


def verify(store: Store, progress: Callable[[str], None] = lambda name: None) -> Iterator[Damage]:
    """Every damaged file of a store and its tokens. Whoever calls it holds the store's lease.

    ``progress`` hears what is read next.
    """
    fingerprints = set()
    for trial_id in store.trial_ids():
        progress(trial_id)
        yield from _trial(store, trial_id)
        try:
            fingerprints.add(store.read_trial(trial_id).tokens)
        except CorruptFileError as error:
            yield Damage(str(error), REMADE)
    for fingerprint in sorted(fingerprints):
        progress(f"tokens {fingerprint}")
        yield from _tokens(store.tokens(fingerprint))
    shards = store.tokens(embedded.fingerprint())
    if shards.exists() and not embedded.is_whole(shards):
        shards.delete()
        yield Damage(f"{shards}: a shard of the embedded corpus does not match its sha256", REMADE)


def _trial(store: Store, trial_id: str) -> Iterator[Damage]:
    trial = store.trial(trial_id)
    for step in checkpoint.committed_steps(trial):
        if problem := _committed(trial / CHECKPOINTS / step_name(step)):
            checkpoint.set_aside(trial, step)
            yield Damage(problem, RETRAINED)
    for kind, mend in (
        (TRAINING_STATE, RETRAINED),
        (INTERIM, RETRAINED),
        (trace.TRACES, "made anew when it is needed"),
    ):
        for step in checkpoint.committed_steps(trial, kind):
            folder = trial / kind / step_name(step)
            if problem := _committed(folder):
                folder.delete()
                yield Damage(problem, mend)
    records = [(trial, STATUS, RETRAINED)] if trial.exists(STATUS) else []
    records += [(trial / MEASUREMENTS, name, REMADE) for name in (trial / MEASUREMENTS).names()]
    records += [(trial / tensor_identity.TENSORS, name, REMADE) for name in (trial / tensor_identity.TENSORS).names()]
    records += [(trial / LOG, name, "TensorBoard lacks its steps") for name in (trial / LOG).names()]
    released = [trial / CHECKPOINTS / step_name(step) for step in checkpoint.released_steps(trial)]
    for folder, name, mend in [*records, *((folder, RELEASED, RETRAINED) for folder in released)]:
        try:
            folder.read_json(name)
        except CorruptFileError as error:
            folder.delete(name)
            yield Damage(str(error), mend)
    for step in store.measured_steps(trial_id):
        yield from _beside(store, trial_id, step)


def _committed(folder: Folder) -> str | None:
    """What is wrong with a committed folder, if anything is."""
    try:
        for name in folder.read_json(MANIFEST)["files"]:
            folder.read_committed(name)
    except (CorruptFileError, FileNotFoundError) as error:
        return str(error)
    return None


def _beside(store: Store, trial_id: str, step: int) -> Iterator[Damage]:
    """The files that measurements kept beside their values."""
    trial = store.trial(trial_id)
    for key, one in store.read_measurements(trial_id, step).items():
        for what, file_name in (("diagrams", diagrams.file_name), ("items", items.file_name)):
            name = file_name(step, key)
            if what in one and trial.exists(name) and sha256(trial.read(name)) != one[what]["sha256"]:
                trial.delete(name)
                yield Damage(f"{trial}/{name}: its content does not match its sha256", REMADE)


def _tokens(folder: Folder) -> Iterator[Damage]:
    if not folder.exists(META):
        return
    try:
        tokens = TokenStore.open(folder)
    except CorruptFileError as error:
        folder.delete(META)
        yield Damage(str(error), REMADE)
        return
    hashes = {TOKENIZER: tokens.meta["tokenizer_sha256"]} | {
        part_name(split, index): digest
        for split in ("train", "validation", "test")
        for index, digest in enumerate(tokens.meta[split]["sha256"])
    }
    for name, digest in hashes.items():
        if folder.exists(name) and sha256(folder.read(name)) != digest:
            folder.delete(name)
            yield Damage(f"{folder}/{name}: its content does not match its sha256", REMADE)
