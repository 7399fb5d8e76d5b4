"""How many bytes a sweep takes on the store's disk, from its shapes: before anything runs."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import metrics
from metrics.trace import PROJECTED_DIMENSIONS
from orchestrator.keep import Keep
from orchestrator.plan import PlannedTrial
from orchestrator.provenance import usable_cpus
from orchestrator.requests import prescribed_steps
from orchestrator.retention import AHEAD, HELD_OUT, kept
from orchestrator.spec import Sweep
from orchestrator.store import TENSORBOARD, Store
from trainables.checkpoint import KEPT_TRAINING_STATES
from trainables.config import PublishedConfig, Trial, TrialConfig
from trainables.corpus import EMBEDDED
from trainables.schedules import shared_steps
from trainables.storage import CorruptFileError, Folder
from trainables.token_store import WINDOW, TokenStore

# Measured on a finished quickstart, 3 layers and 256 points, each rounded up. Per layer, embeddings counted as one:
WEIGHTS_HEADER = 2_000  # 1.3 kB: names and shapes, config.json, manifest
STATE_HEADER = 5_000  # 3.6 kB: the same of two moments and a counter for each parameter, and the RNG
RECORDS = 14_000  # 9 kB of measurements per checkpoint, and 4 kB of them in TensorBoard's files
DIAGRAMS = 20  # 18 bytes per checkpoint and point
# and per step, and per trial:
LOG = 400  # 150 to 280 bytes in the log, and as many in TensorBoard's files
BOARD = 300_000  # 260 kB of pictures of diagrams, and final values
EMBEDDED_CORPUS = 3_000_000  # 2.8 MB, CPython's own text as shards
TENSOR_RECORD = 20_000  # 76 matrices of a pythia-70m take 7 kB
FEWEST_PARTS = 24  # 20: so far a small sweep reads its corpus until the held-out splits are full


@dataclass(frozen=True)
class Held:
    """Bytes that a trial holds once it is done, and at most on the way there."""

    at_end: int
    at_most: int


@dataclass(frozen=True)
class Estimate:
    """Bytes of a sweep, upper bounds as long as evaluators keep up.

    trials: in the order of the plan; at_end, there, to_write: of all of it; free: on the store's disk, None where that
    is not a local one.
    """

    trials: tuple[Held, ...]
    at_end: int
    there: int
    to_write: int
    free: int | None

    @property
    def line(self) -> str:
        free = "" if self.free is None else f", {human(self.free)} free on the store's disk"
        return (
            f"disk: {human(self.at_end)} in the end, {human(self.there)} there already, "
            f"up to {human(self.to_write)} still to be written{free}"
        )

    @property
    def warning(self) -> str:
        """Empty where there is room."""
        if self.free is None or self.to_write <= self.free:
            return ""
        return (
            f"warning: the store's disk has {human(self.free)} free, and up to {human(self.to_write)} are still to be "
            "written. Give keep=last:1 or keep=log, which delete weights once they are measured, or another --store on "
            "a larger disk, there perhaps with a larger checkpoint_every"
        )


def human(count: int) -> str:
    """``1.2 GB``; decimal units."""
    power = min(4, int(math.log10(max(1, count)) // 3))
    return f"{count:,} B" if power == 0 else f"{count / 1000**power:.1f} {' kMGT'[power]}B"


def estimate(planned: Sequence[PlannedTrial], sweep: Sweep, store: Store) -> Estimate:
    """What the plan's trials and their tokens take, with as many trials under way as this machine has cores for."""
    trials = tuple(held(trial.config, sweep) for trial in planned)
    there = [_trial_bytes(store, trial.trial_id) for trial in planned]
    left, extra = 0, []
    for trial, size, now in zip(planned, trials, there, strict=True):
        left += 0 if trial.action == "done" else max(0, size.at_end - now)
        extra += [size.at_most - size.at_end] if trial.action in ("train", "fetch") else []
    at_once = max(1, usable_cpus() // (sweep.threads * sweep.workers))
    tokens_there, tokens_left = _tokens(planned, sweep, store)
    return Estimate(
        trials=trials,
        at_end=sum(trial.at_end for trial in trials) + tokens_there + tokens_left,
        there=sum(there) + tokens_there,
        to_write=left + sum(sorted(extra)[-at_once:]) + tokens_left,
        free=_free(store.root),
    )


def held(config: Trial, sweep: Sweep) -> Held:
    """A trial's weights and training states, by the rule of the sweep, and what is kept of every checkpoint."""
    keep, steps = Keep.parse(sweep.keep), prescribed_steps(config)
    if isinstance(config, PublishedConfig):
        return _held_published(config, sweep)
    weights_at_end = len(kept(keep, steps, end=config.steps, losses={}))
    weights_at_most = len(steps)
    if keep.what == "last":
        best = HELD_OUT in sweep.suite
        weights_at_end = min(len(steps), weights_at_end + best)
        newest = max(keep.count, KEPT_TRAINING_STATES)  # of which the trial may have to go on
        weights_at_most = min(len(steps), newest + best + 2)  # one being measured, one being written
    elif keep.what == "log":
        weights_at_most = min(len(steps), weights_at_end + KEPT_TRAINING_STATES + 2)
    states = KEPT_TRAINING_STATES + len(shared_steps(config.optimization, config.steps))
    states_at_end = len(steps) if keep.what == "all" else min(len(steps), states)
    states_at_most = min(len(steps), states_at_end + 1)  # the old one goes once the new one is written
    headers = config.model.n_layers + 1
    weights = 4 * config.model.n_params_total + WEIGHTS_HEADER * headers
    state = 8 * config.model.n_params_total + STATE_HEADER * headers
    rest = BOARD + LOG * config.steps + len(steps) * _of_checkpoint(config, sweep)
    return Held(
        at_end=weights_at_end * weights + states_at_end * state + rest,
        at_most=weights_at_most * weights + states_at_most * state + rest,
    )


def _held_published(config: PublishedConfig, sweep: Sweep) -> Held:
    """In float32 and downloaded once more while they are fetched, which is more than most need."""
    steps = prescribed_steps(config)
    stays = len(kept(Keep.parse(sweep.keep), steps, end=config.steps, losses={}))
    weights = 4 * config.model.n_params_total + WEIGHTS_HEADER * (config.model.n_layers + 1)
    rest = BOARD + len(steps) * (_of_checkpoint(config, sweep) + TENSOR_RECORD)
    return Held(at_end=stays * weights + rest, at_most=min(len(steps), stays + AHEAD + 1) * weights + rest)


def _of_checkpoint(config: Trial, sweep: Sweep) -> int:
    """What stays of a checkpoint beside its weights: measurements, diagrams, and a trace where one is kept."""
    if not sweep.suite:
        return 0
    layers = config.model.n_layers + 1
    found = layers * (RECORDS + DIAGRAMS * sweep.probe_points)
    if metrics.of_kind(("pair", "trajectory"), sweep.suite):
        found += layers * sweep.probe_points * config.model.d_model * 4 + PROJECTED_DIMENSIONS * 8 + 1_000
    return found


def _trial_bytes(store: Store, trial_id: str) -> int:
    boards = (store.root / TENSORBOARD / trial_id).total_bytes() if store.root.is_local else 0
    return store.trial(trial_id).total_bytes() + boards


def _tokens(planned: Iterable[PlannedTrial], sweep: Sweep, store: Store) -> tuple[int, int]:
    """Bytes of the token stores that are there, and of what is to be ingested, as if it were not compressed."""
    blocks: dict[str, int] = {}
    block_bytes: dict[str, int] = {}
    for trial in planned:
        config = trial.config
        needed = config.blocks if isinstance(config, TrialConfig) and trial.action == "train" else 0
        blocks[config.tokens] = max(blocks.get(config.tokens, 0), needed)
        block_bytes[config.tokens] = (2 if config.model.vocab_size <= 2**16 else 4) * (config.seq_len + 1)
    there, left = 0, 0
    if sweep.corpus == EMBEDDED:
        corpus = store.tokens(sweep.token_spec(sweep.models()[0]).corpus_fingerprint)
        there = corpus.total_bytes()
        lacking = any(needed and not _serves(store.tokens(tokens), needed) for tokens, needed in blocks.items())
        left = EMBEDDED_CORPUS if lacking and not there else 0
    for fingerprint, needed in blocks.items():
        folder = store.tokens(fingerprint)
        now = folder.total_bytes()
        there += now
        if needed and not _serves(folder, needed):
            parts = max(FEWEST_PARTS, math.ceil(needed / WINDOW) + 1)
            left += max(0, parts * WINDOW * block_bytes[fingerprint] - now)
    return there, left


def _serves(folder: Folder, blocks: int) -> bool:
    try:
        return TokenStore.open(folder).serves(blocks)
    except (ValueError, CorruptFileError):  # none there, or a damaged one
        return False


def _free(root: Folder) -> int | None:
    if not root.is_local:
        return None
    path = Path(root.path)
    return shutil.disk_usage(next(one for one in (path, *path.parents) if one.exists())).free
