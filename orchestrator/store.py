"""The store: a sweep's results folder and the only truth about it. This module knows where each thing lies.

```
sweep.json                          spec, fingerprint, provenance
.lease.json                         which driver works here, while one does (orchestrator.lease)
trials/<trial>/trial.json           the trial's config
               status.json          running, done or failed, and why
               log/  checkpoints/  training_state/      written by the training loop
               checkpoints/step-00000064/released.json  in place of weights that the sweep's `keep` let go
               traces/      what is kept of each checkpoint for pairs and trajectories (metrics.trace)
               measurements/step-00000128.json      of the checkpoint, its pairs, and the trajectory that ends there
               diagrams/persistent_homology@3/step-00000128.parquet
               items/mrpc@1/step-00000128.parquet   what an evaluation found of each item, if asked to
               tensors/step-00001000.json           hashes of a published checkpoint's matrices
               interim/     weights and state of a trial that was asked to stop, until its next checkpoint
               error.log
results.parquet  report.html  tensorboard/              made from the above
../tokens/<fingerprint>/            token store (trainables.token_store), shared with the stores beside this one
```
"""

from __future__ import annotations

import dataclasses
import functools
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, TypeVar

from metrics import diagrams, items, trace
from orchestrator.spec import OF_EVALUATIONS, Sweep, default_words, fields_by_role
from orchestrator.words import SpecError
from trainables.checkpoint import CHECKPOINTS, committed_steps, step_name
from trainables.config import PublishedConfig, Trial, trial_from_json
from trainables.redaction import redact
from trainables.storage import CorruptFileError, Folder, canonical_json, sha256
from trainables.typed import FormError, read

if TYPE_CHECKING:
    import pandas as pd

SWEEP, STATUS, TRIAL, ERROR_LOG, MEASUREMENTS = "sweep.json", "status.json", "trial.json", "error.log", "measurements"
RESULTS, REPORT, TENSORBOARD, TOKENS = "results.parquet", "report.html", "tensorboard", "tokens"
TRIALS = "trials"
RESULTS_HOME = "TOPOSWEEP_RESULTS"  # on clusters, where results go unless a command says otherwise
FORMAT = 2  # of the store; raise it when an older one can no longer be read
T = TypeVar("T")


def measurement_key(metric: str, other: Iterable[Any] | None = None) -> str:
    """How a measurement is filed at its checkpoint: ``name@version``, and of a pair the other checkpoint."""
    if other is None:
        return metric
    trial_id, step = other
    return f"{metric} {trial_id}/{step_name(step)}"


class SweepRecord(TypedDict):
    """``sweep.json``; its sweep: a :class:`Sweep`'s ``to_json``, perhaps of another version of this program."""

    format: int
    space: str
    sweep: dict[str, Any]
    corpus_fingerprint: str
    commits: dict[str, str | None]
    provenance: dict[str, Any]
    earlier_runs: NotRequired[list[dict[str, Any]]]


class _Words(TypedDict):
    model: list[str]
    seeds: list[int]
    budgets: list[str]
    metrics: list[str]
    checkpoints: NotRequired[list[str]]
    evaluations: NotRequired[list[str]]


class _Kept(TypedDict):
    bytes: int
    sha256: str


class Measurement(TypedDict):
    """One metric's values for a checkpoint, a pair of which ``other`` is the other, or a trajectory of so many."""

    metric: str
    version: int
    status: Literal["ok", "failed", "skipped"]
    reason: str | None
    seconds: float
    values: list[tuple[str, int | None, float | None, str | None]]
    other: NotRequired[tuple[str, int]]
    of: NotRequired[int | None]
    diagrams: NotRequired[_Kept]
    items: NotRequired[_Kept]


def _sweep_record(body: dict[str, Any]) -> dict[str, Any]:
    read(SweepRecord, body)
    read(_Words, body["sweep"], "sweep")
    return body


def _measurements(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """As they were written, once it is sure that they are measurements."""
    read(dict[str, Measurement], body.get("measurements"), "measurements")
    found: dict[str, dict[str, Any]] = dict(body["measurements"])
    for key, one in found.items():
        if key != measurement_key(f"{one['metric']}@{one['version']}", one.get("other")):
            raise FormError(f"measurements: {key} is not the key of {one['metric']}@{one['version']}")
    return found


@dataclass(frozen=True)
class Status:
    """How a trial's last attempt ended; ``running`` where it has not, also when its process is long gone.

    interrupted: it was asked to stop, and saved; stopped: by a rule of the sweep's ``early_stop``. step: at the end; of
    one that runs, where it began. deaths: attempts in a row, before this one, that died without getting further.
    """

    state: Literal["running", "done", "failed", "interrupted", "stopped"]
    step: int
    seconds: float
    reason: str | None = None
    device: str | None = None
    deaths: int = 0
    host: str | None = None


@dataclass(frozen=True)
class Store:
    root: Folder
    uri: str  # absolute, so that it names the same place in every process
    damage: dict[str, str] = field(default_factory=dict, compare=False, repr=False)  # what was passed over, by file

    @classmethod
    def open(cls, uri: str) -> Store:
        """Raises SpecError for a URI that cannot be opened, or names what is no folder and can be none."""
        try:
            root = Folder.open(uri)
            if root.is_file():
                raise SpecError(f"--store {uri}: is a file; give a folder")
        except SpecError:
            raise
        except (ValueError, NotImplementedError) as error:  # hf:// lists no repositories
            raise SpecError(f"--store {error}") from error
        except OSError as error:
            if not root.is_local:
                raise
            raise SpecError(f"--store {uri}: {error.strerror or error}; give another folder") from error
        if root.is_local and not (there := _nearest(root)).is_dir():
            raise SpecError(f"--store {uri}: {there} is no folder; give another")
        return cls(root, root.path if root.is_local else uri)

    def require_writable(self) -> None:
        """Raises SpecError for a local store that cannot be written to, before anything is made for it."""
        if not self.root.is_local:
            return
        try:
            with tempfile.TemporaryFile(dir=_nearest(self.root)):
                pass
        except OSError as error:
            raise SpecError(
                f"--store {self.uri}: cannot be written to ({error.strerror or error}); give another folder"
            ) from error

    @classmethod
    def existing(cls, uri: str) -> Store:
        """A store with a sweep in it. Raises SpecError where there is none."""
        store = cls.open(uri)
        if not store.root.exists(SWEEP):
            raise SpecError(f"{store.uri}: not a store, there is no {SWEEP} in it; give the --store of a run")
        return store.anchored()

    def anchored(self, away: Callable[[str], None] = lambda line: None) -> Store:
        """The same store, in which nothing is written once it has gone away. Raises FileNotFoundError if it has.

        One on the network is waited for: ``away`` hears of it.
        """
        return dataclasses.replace(self, root=self.root.anchored(SWEEP, away))

    def trial(self, trial_id: str) -> Folder:
        return self.root / TRIALS / trial_id

    def tokens(self, fingerprint: str) -> Folder:
        """A token store. They lie beside the store, so that all sweeps of a folder share what is prepared."""
        return self.token_stores / fingerprint

    @property
    def token_stores(self) -> Folder:
        return self.root.parent / TOKENS

    def trial_ids(self) -> list[str]:
        """Folders with a trial in them, also one whose record is gone; a stray file (macOS leaves them) is not one."""
        names = (self.root / TRIALS).names()
        return [name for name in names if self.trial(name).exists(TRIAL) or self.trial(name).exists(CHECKPOINTS)]

    def read_trial(self, trial_id: str) -> Trial:
        """Raises CorruptFileError for a record that is damaged, gone, or of another trial; :meth:`write_trial` mends
        it."""
        known = self._recorded_trial(trial_id)
        if known.trial_id != trial_id:
            raise CorruptFileError(
                f"{self.trial(trial_id)}/{TRIAL}: is the record of {known.trial_id}, or of another version of the "
                "training loop; run its sweep again and it is written anew"
            )
        return known

    def _recorded_trial(self, trial_id: str) -> Trial:
        try:
            return self.trial(trial_id).read_record(TRIAL, trial_from_json)
        except (FileNotFoundError, CorruptFileError) as error:
            message = f"{error}; the record of a trial: run its sweep again and it is written anew"
            raise CorruptFileError(message) from error

    def write_trial(self, config: Trial) -> None:
        """Write the trial's record where it is missing, damaged, or lacks revisions; its name is a hash of the rest."""
        try:
            known = self.read_trial(config.trial_id)
        except CorruptFileError:
            known = None
        if isinstance(config, PublishedConfig) and isinstance(known, PublishedConfig):
            config = config.with_revisions_of(known)
        elif isinstance(config, PublishedConfig):
            config = dataclasses.replace(config, further_steps=())
        if known is None or config != known:
            self.trial(config.trial_id).write_json(TRIAL, config.to_json())

    def read_status(self, trial_id: str) -> Status | None:
        """None for a trial that never ended; a damaged status counts as none, and the trial's end is found again."""
        return self._if_whole(self.trial(trial_id), STATUS, functools.partial(read, Status))

    def _if_whole(self, folder: Folder, name: str, form: Callable[[dict[str, Any]], T]) -> T | None:
        """A record, None where there is none; one that is damaged counts as none and is named in ``damage``."""
        self.damage.pop(f"{folder}/{name}", None)
        try:
            return folder.read_record(name, form)
        except FileNotFoundError:
            return None
        except CorruptFileError as error:
            self.damage[f"{folder}/{name}"] = f"{error}; left out, and made anew when its sweep is run again"
            return None

    def write_status(self, trial_id: str, status: Status) -> None:
        reason = redact(status.reason) if status.reason else status.reason
        self.trial(trial_id).write_json(STATUS, {**vars(status), "reason": reason})

    def write_error(self, trial_id: str, text: str) -> None:
        self.trial(trial_id).write(ERROR_LOG, redact(text).encode())

    def read_measurements(self, trial_id: str, step: int) -> dict[str, dict[str, Any]]:
        """A checkpoint's measurements by :func:`measurement_key`; a damaged file counts as none and is made anew."""
        return self._if_whole(self.trial(trial_id) / MEASUREMENTS, f"{step_name(step)}.json", _measurements) or {}

    def measurements_file(self, trial_id: str, step: int) -> str:
        """Where the measurements of a checkpoint lie, for people."""
        return f"{self.trial(trial_id)}/{MEASUREMENTS}/{step_name(step)}.json"

    def add_measurements(self, trial_id: str, step: int, new: Iterable[Mapping[str, Any]]) -> None:
        """Merge measurements into a checkpoint's file: one entry for each metric, version and pair, the latest one."""
        merged = self.read_measurements(trial_id, step)
        for one in new:
            key = measurement_key(f"{one['metric']}@{one['version']}", one.get("other"))
            merged[key] = {**one, "reason": redact(one["reason"])} if one.get("reason") else dict(one)
        (self.trial(trial_id) / MEASUREMENTS).write_json(
            f"{step_name(step)}.json", {"measurements": merged}, compact=True
        )

    def forget_skipped(self, trial_id: str, step: int, metrics: Collection[str]) -> None:
        """Take back that measurements of these metrics were skipped, so that they are asked for again."""
        have = self.read_measurements(trial_id, step)
        left = {key: one for key, one in have.items() if one["status"] != "skipped" or one["metric"] not in metrics}
        if len(left) < len(have):
            (self.trial(trial_id) / MEASUREMENTS).write_json(
                f"{step_name(step)}.json", {"measurements": left}, compact=True
            )

    def measured_steps(self, trial_id: str) -> list[int]:
        matches = (re.fullmatch(r"step-(\d{8})\.json", name) for name in (self.trial(trial_id) / MEASUREMENTS).names())
        return [int(match[1]) for match in matches if match]

    def observable_steps(self, trial_id: str) -> set[int]:
        """Steps at which pairs and trajectories can be measured: the checkpoint is there, or what is kept of it."""
        folder = self.trial(trial_id)
        return {*committed_steps(folder), *trace.kept_steps(folder)}

    def read_diagrams(self, trial_id: str, step: int, metric: str = "persistent_homology") -> pd.DataFrame:
        """The newest persistence diagrams of a checkpoint: layer, dimension, birth, death, scale.

        Raises FileNotFoundError, CorruptFileError as :func:`metrics.diagrams.read`.
        """
        known = [one for one in self.read_measurements(trial_id, step).values() if one["metric"] == metric]
        if not known:
            raise FileNotFoundError(f"{self.trial(trial_id)}: step {step} has no measurement of {metric}")
        return diagrams.read(self.trial(trial_id), step, max(known, key=lambda one: int(one["version"])))

    def has_kept(self, trial_id: str, step: int, measurement: Mapping[str, Any]) -> bool:
        """Whether the files that a measurement kept beside its values are there; also true of one that kept none."""
        files = {"diagrams": diagrams.file_name, "items": items.file_name}
        key = f"{measurement['metric']}@{measurement['version']}"
        wanted = (file_name(step, key) for what, file_name in files.items() if what in measurement)
        return all(map(self.trial(trial_id).exists, wanted))

    def read_sweep(self) -> dict[str, Any] | None:
        """``sweep.json``, None for a new store. Raises SpecError for a folder that is not a store, or a damaged one."""
        if self.root.exists(SWEEP):
            try:
                number = self.root.read_json(SWEEP).get("format")
                if number == FORMAT:
                    return self.root.read_record(SWEEP, _sweep_record)
            except CorruptFileError as error:
                raise SpecError(f"{error}; put a copy of it back, or use another --store") from error
            raise SpecError(
                f"{self.root}/{SWEEP}: of a store of format {number}, of another version of Toposweep than this one, "
                f"which reads format {FORMAT}; use another --store, or that version"
            )
        others = [name for name in self.root.names() if not name.startswith(".")]
        if others:
            raise SpecError(
                f"{self.uri}: not a store: it holds {others[0]!r} but no {SWEEP}; give an empty or new folder"
            )
        return None

    def write_sweep(
        self, space: str, sweep: Sweep, provenance: Mapping[str, Any], commits: Mapping[str, str | None]
    ) -> None:
        """Record the sweep and this run of it; axes keep the values they had, since their trials are still here.

        commits: of each token store, the commit of the data set that it was made from.
        """
        known = self.read_sweep()
        merged = sweep.to_json()
        if known and self.trial_ids():
            for name in OF_EVALUATIONS if not sweep.evaluations else ():
                merged[name] = known["sweep"].get(name, merged[name])
            for name in fields_by_role("axis"):
                before = known["sweep"].get(name, [])
                merged[name] = before + [value for value in merged[name] if value not in before]
        body = {
            "format": FORMAT,
            "space": space,
            "sweep": merged,
            "corpus_fingerprint": sweep.token_spec(sweep.models()[0]).corpus_fingerprint,
            "commits": {**(known["commits"] if known else {}), **commits},
            "fingerprint": sha256(canonical_json(merged)),
            "provenance": dict(provenance),
            "earlier_runs": [*known.get("earlier_runs", []), known["provenance"]] if known else [],
        }
        self.root.write_json(SWEEP, body)

    def refuse_mixing(self, sweep: Sweep) -> None:
        """Raises SpecError, naming the field and both values, where ``sweep`` would mix with other results here."""
        known = self.read_sweep()
        if known is None or not self.trial_ids():
            return
        defaults = default_words()  # of fields that are younger than the store
        evaluated = sweep.evaluations and known["sweep"].get("evaluations")
        fixed = set(fields_by_role("fixed")).difference(() if evaluated else OF_EVALUATIONS)
        changes = [
            (name, old, value)
            for name, value in sweep.to_json().items()
            if name in fixed and (old := known["sweep"].get(name, defaults[name])) != value
        ]
        corpus = sweep.token_spec(sweep.models()[0]).corpus_fingerprint
        if bool(sweep.checkpoints) != bool(known["sweep"].get("checkpoints")):
            changes = [("checkpoints", known["sweep"].get("checkpoints", []), list(sweep.checkpoints))]
        if not changes and corpus != known["corpus_fingerprint"]:
            changes.append(("the corpus's content", known["corpus_fingerprint"], corpus))
        if not changes:
            changes = self._changed_trials(sweep)
        if changes:
            listed = "; ".join(f"{name} was {old}, is now {new}" for name, old, new in changes)
            raise SpecError(
                f"{self.uri} holds results of another sweep, and they would mix: {listed}. "
                "Use another --store, or delete this one"
            )

    def _changed_trials(self, sweep: Sweep) -> list[tuple[str, Any, Any]]:
        """What a setting's words do not show: another tokenizer at the same path, another shape of a model's name."""
        trials = sweep.bounds()
        wanted = {config.model.name: config for config in trials}
        there = self.trial_ids()
        ours = {config.trial_id for config in trials}
        for trial_id in there:
            try:
                known = self._recorded_trial(trial_id)
            except CorruptFileError:
                continue  # it is written anew if the sweep has it
            if known.trial_id != trial_id and (known.trial_id in there or trial_id in ours):
                continue  # a copy of another's, or changed, likewise
            if known.trial_id != trial_id:
                return [("the identity of a trial (the training loop's version)", trial_id, known.trial_id)]
            config = wanted.pop(known.model.name, None)  # one of a model speaks for all
            if config is not None and (changes := _changes(known, config, bool(sweep.variants or sweep.space))):
                return [(f"{name} of {known.model.name}", old, new) for name, old, new in changes]
        return []


def _nearest(root: Folder) -> Path:
    """Of a local folder and the folders around it the innermost that is there."""
    path = Path(root.path)
    return next(one for one in (path, *path.parents) if one.exists())


def _changes(known: Trial, config: Trial, varied: bool) -> list[tuple[str, Any, Any]]:
    """(field, old, new) where two trials of a model's name differ otherwise than their sweep's axes make them.

    varied: whether the sweep has variants, or chooses settings.
    """
    own = {"budget", "seed", "init_seed", "data_seed", "revisions", "further_steps"}
    own |= {"optimization", "seq_len", "precision", "tokens"} if varied else set()
    found = [(n, old, getattr(config, n, None)) for n, old in vars(known).items() if n not in own]
    if isinstance(known, PublishedConfig) and isinstance(config, PublishedConfig):
        now = {one.step: f"{one.name} at {one.commit}" for one in config.revisions if one.commit is not None}
        there = (one for one in known.revisions if one.commit is not None and one.step in now)
        found += [(f"step {one.step}", f"{one.name} at {one.commit}", now[one.step]) for one in there]
    return [(name, old, new) for name, old, new in found if old != new]
