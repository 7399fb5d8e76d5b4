"""results.parquet: every measurement of a store as one tidy table, and its summary by budget."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.box import SIMPLE
from rich.table import Table

from metrics.base import ACROSS_SEEDS, ACROSS_STEPS
from orchestrator.store import RESULTS, Store
from trainables import tensor_identity
from trainables.config import PublishedConfig, Trial
from trainables.tensor_identity import Fault

COLUMNS = pa.schema(
    [
        ("trial", pa.string()),
        ("model", pa.string()),
        ("n_params", pa.int64()),  # without embeddings
        ("variant", pa.string()),  # settings in which the store's trials differ, as a sweep's `variants` has them
        ("seed", pa.int64()),
        ("init_seed", pa.int64()),
        ("data_seed", pa.int64()),
        ("budget_flops", pa.float64()),
        ("step", pa.int64()),
        ("tokens", pa.int64()),
        ("flops", pa.float64()),
        ("metric", pa.string()),
        ("layer", pa.int64()),
        ("value", pa.float64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("metric_version", pa.int64()),
        ("seconds", pa.float64()),
        ("other_trial", pa.string()),  # of a pair, the other checkpoint
        ("other_step", pa.int64()),
        ("revision", pa.string()),  # of a published checkpoint
        ("fault", pa.string()),  # of it, or of the other of a pair: identical, mixed or missing
    ]
)
OF_TRIALS = ("trial", "model", "n_params", "variant", "seed", "init_seed", "data_seed", "budget_flops")
OF_MEASUREMENTS = ("status", "metric_version", "seconds", "other_trial", "other_step", "fault")
HEADLINES = {  # metric -> heading, in the order of the table
    "held_out_loss": "loss",
    "bits_per_byte": "bits/byte",
    "h0_total_persistence_scaled": "H0 total",
    "h1_total_persistence_scaled": "H1 total",
    "twonn_dimension": "TwoNN dim",
    "neural_persistence": "neural pers.",
    "parameter_norm": "norm",
    "lambada_openai/acc": "LAMBADA acc",
    "hellaswag/acc_norm": "HellaSwag acc",
    "winogrande/acc": "Winogrande acc",
    "truthfulqa_mc2/acc": "TruthfulQA mc2",
    "mrpc/f1": "MRPC F1",
    "wikitext/word_perplexity": "WikiText ppl",
}
SHOWN = 3  # steps that a line about faults names


def collect(store: Store) -> pd.DataFrame:
    """Every value in the store, one row each, in a fixed order. ``seconds`` is the whole measurement's time."""
    configs = [store.read_trial(trial_id) for trial_id in store.trial_ids()]
    found = {config.trial_id: faults(store, config) for config in configs}
    varied = settings_that_vary(configs)
    columns = _Columns()
    for config in configs:
        _add(columns, store, config, found, varied)
    return columns.frame()


@dataclass
class _Columns:
    """The table as it grows: rows by checkpoint, and of each measurement, checkpoint and trial how many rows it has.

    A row for each value would be a Python object for each of millions; names and layers of a checkpoint, which most
    share, are kept once.
    """

    trials: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: list[tuple[Any, ...]] = field(default_factory=list)
    measurements: list[tuple[Any, ...]] = field(default_factory=list)
    rows: list[tuple[int, int, int]] = field(default_factory=list)  # of a measurement: rows, its checkpoint, its trial
    names: dict[tuple[Any, ...], int] = field(default_factory=dict)  # of metrics and layers, and their place
    shapes: list[int] = field(default_factory=list)  # of each checkpoint, the place of its names
    values: list[np.ndarray] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    length: int = 0

    def add(self, checkpoint: tuple[Any, ...], found: Sequence[tuple[tuple[Any, ...], Sequence[Any]]]) -> None:
        """A checkpoint's (step, tokens, flops, revision), and of each measurement (status, version, seconds, other
        trial and step, fault) and its [metric, layer, value, reason]."""
        rows = [row for _, values in found for row in values]
        metrics, layers, values, reasons = zip(*rows, strict=True)
        self.shapes.append(self.names.setdefault((metrics, layers), len(self.names)))
        self.values.append(np.array(values, dtype=float))
        if any(reasons):
            self.reasons |= {self.length + place: reason for place, reason in enumerate(reasons) if reason is not None}
        here = len(self.checkpoints), len(self.trials) - 1
        self.measurements += [about for about, _ in found]
        self.rows += [(len(values), *here) for _, values in found]
        self.checkpoints.append(checkpoint)
        self.length += len(rows)

    def frame(self) -> pd.DataFrame:
        counts, of_checkpoint, of_trial = np.array(self.rows, dtype=np.int64).reshape(-1, 3).T
        known = [
            (metric, layer) for metrics, layers in self.names for metric, layer in zip(metrics, layers, strict=True)
        ]
        ends = np.cumsum([0, *(len(metrics) for metrics, _ in self.names)])
        places = [np.arange(first, last) for first, last in itertools.pairwise(ends)]
        place = np.concatenate([np.empty(0, np.int64), *(places[shape] for shape in self.shapes)])
        of_row = np.arange(len(counts)).repeat(counts)
        parts = [
            _taken(_typed(pd.DataFrame(self.trials, columns=_names_of(self.trials))), of_trial[of_row]),
            _taken(_table(("step", "tokens", "flops", "revision"), self.checkpoints), of_checkpoint[of_row]),
            _taken(_table(("metric", "layer"), known), place),
            _taken(_table(OF_MEASUREMENTS, self.measurements), of_row),
        ]
        value = np.concatenate([np.empty(0), *self.values])
        lacking = np.flatnonzero(np.isnan(value))
        measured = parts[3]["status"].iloc[lacking] == "ok"
        parts[3].loc[lacking[measured.to_numpy()], "status"] = "skipped"
        frame = pd.concat([*parts, pd.DataFrame({"value": value}), self._reasons()], axis=1)
        extra = [name for name in frame.columns if name.startswith("config/")]
        return frame[[*COLUMNS.names, *extra]]

    def _reasons(self) -> pd.DataFrame:
        words = list(dict.fromkeys(self.reasons.values()))
        places = {word: 1 + index for index, word in enumerate(words)}
        place = np.zeros(self.length, dtype=np.int64)
        place[list(self.reasons)] = [places[reason] for reason in self.reasons.values()]
        return _taken(_table(("reason",), [(None,), *((word,) for word in words)]), place)


def _names_of(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    first = [name for name in COLUMNS.names if name in OF_TRIALS]
    return [*first, *dict.fromkeys(name for trial in trials for name in trial if name.startswith("config/"))]


def _table(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    return _typed(pd.DataFrame(rows, columns=list(names)))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """With the types of :data:`COLUMNS`; whole numbers, which may lack, are pandas' own."""
    kinds = {"string": pd.Series([""]).dtype, "int64": "Int64", "double": "float64"}
    plain = dict.fromkeys(("n_params", "seed", "step"), "int64")
    types = {name: plain.get(name, kinds[str(COLUMNS.field(name).type)]) for name in table.columns if "/" not in name}
    return table.astype(types)


def _taken(table: pd.DataFrame, places: np.ndarray) -> pd.DataFrame:
    """Rows of a table, again and again."""
    return pd.DataFrame({name: _repeated(column, places) for name, column in table.items()}, copy=False)


def _repeated(column: pd.Series, places: np.ndarray) -> pd.api.extensions.ExtensionArray:
    """A column that is the same everywhere, as most settings are, is not looked up for each of millions of rows."""
    alike = len(places) > 0 and column.nunique(dropna=False) == 1
    if alike and column.dtype.kind in "if" and isinstance(column.dtype, np.dtype):
        return pd.Series(np.full(len(places), column.iloc[0], dtype=column.dtype), copy=False).array
    if alike and column.dtype == "str":
        word = column.iloc[0] if isinstance(column.iloc[0], str) else None
        return pd.array(pa.repeat(pa.scalar(word, pa.large_string()), len(places)), dtype=column.dtype)
    return column.array.take(places)


def settings_that_vary(configs: Iterable[Trial]) -> tuple[str, ...]:
    """In which the trials of a store differ."""
    seen: dict[str, set[Any]] = {}
    for config in configs:
        for name, value in config.settings.items():
            seen.setdefault(name, set()).add(value)
    return tuple(name for name, values in seen.items() if len(values) > 1)


def _add(
    columns: _Columns,
    store: Store,
    config: Trial,
    faulty: Mapping[str, Mapping[int, Fault]],
    varied: tuple[str, ...],
) -> None:
    """A trial's measurements, and a row for each revision that there is not."""
    trial_id = config.trial_id
    settings = {f"config/{name}": value for name, value in config.settings.items()}
    columns.trials.append({**_trial_columns(config, varied), **settings})
    revisions = {one.step: one.name for one in config.revisions} if isinstance(config, PublishedConfig) else {}
    for step, fault in faulty[trial_id].items():
        if fault.kind == "missing":
            nothing = [["revision", None, None, fault.reason]]
            columns.add(
                (*_at(config, step), revisions[step]), [(("skipped", None, None, None, None, "missing"), nothing)]
            )
    for step in store.measured_steps(trial_id):
        found = []
        for _, one in sorted(store.read_measurements(trial_id, step).items()):
            other_trial, other_step = one.get("other") or (None, None)
            kind = _fault(one, step, faulty[trial_id], faulty)
            about = (one["status"], one["version"], one["seconds"], other_trial, other_step, kind)
            across = "" if other_trial is None else ACROSS_STEPS if other_trial == trial_id else ACROSS_SEEDS
            found.append((about, one["values"] or [[one["metric"] + across, None, None, one["reason"]]]))
        if found:
            columns.add((*_at(config, step), revisions.get(step)), found)


def _fault(
    measurement: Mapping[str, Any], step: int, own: Mapping[int, Fault], all_faults: Mapping[str, Mapping[int, Fault]]
) -> str | None:
    """Of the checkpoint, of the other one of a pair, or of a trajectory's any."""
    other_trial, other_step = measurement.get("other") or ("", 0)
    found = [own.get(step), all_faults.get(other_trial, {}).get(other_step)]
    if measurement.get("of"):
        found += [fault for fault in own.values() if fault.kind != "missing"]
    return next((fault.kind for fault in found if fault is not None), None)


def _at(config: Trial, step: int) -> tuple[int, int | None, float | None]:
    return step, config.tokens_at(step), config.flops(step)


def faults(store: Store, config: Trial) -> dict[int, Fault]:
    """What is wrong with a published model's checkpoints, by step; nothing with those that were trained here."""
    if isinstance(config, PublishedConfig):
        return tensor_identity.faults(store.trial(config.trial_id), config)
    return {}


def _trial_columns(config: Trial, varied: tuple[str, ...]) -> dict[str, Any]:
    return {
        "trial": config.trial_id,
        "model": config.family if isinstance(config, PublishedConfig) else config.model.name,
        "n_params": config.model.n_params_non_embedding,
        "variant": variant_of(config, varied),
        "seed": config.seed,
        "init_seed": config.init_seed,
        "data_seed": config.data_seed,
        "budget_flops": config.budget_flops,
    }


def variant_of(config: Trial, varied: Iterable[str]) -> str:
    """A trial's settings of those that vary, as a sweep's `variants` has them."""
    return ":".join(f"{name}={config.settings[name]}" for name in varied if name in config.settings)


def write(store: Store, frame: pd.DataFrame) -> None:
    """Write ``results.parquet`` with the contract's column types, whole or not at all."""
    extra = [pa.field(name, pa.array(frame[name]).type) for name in frame.columns if name.startswith("config/")]
    table = pa.Table.from_pandas(frame, schema=pa.schema([*COLUMNS, *extra]), preserve_index=False)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    store.root.write(RESULTS, sink.getvalue().to_pybytes())


def newest(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of the highest version of each metric in the store: versions never share a mean or a plot."""
    versions = frame.groupby("metric")["metric_version"].agg(["min", "max"])
    if (versions["min"] == versions["max"]).all():
        return frame
    return frame[frame["metric_version"] == frame["metric"].map(versions["max"])]


def trajectories(frame: pd.DataFrame) -> pd.DataFrame:
    """Values by trial, step and metric, the mean over blocks, with what a step had cost and its fault, if any.

    The embeddings, layer 0, are left out: repeated tokens give them another shape, whose changes drown the blocks'.
    """
    blocks = newest(frame[~(frame["layer"] == 0).fillna(False)])
    keys = [
        "model",
        "variant",
        "budget_flops",
        "seed",
        "trial",
        "step",
        "tokens",
        "flops",
        "fault",
        "metric",
        "metric_version",
    ]
    return blocks.groupby(keys, as_index=False, dropna=False)["value"].mean()


def at_budget(store: Store, frame: pd.DataFrame) -> pd.DataFrame:
    """:func:`trajectories` at the last step of each trial that is done: a row per trial and metric."""
    trials, names = pd.factorize(frame["trial"])
    last = names.map(ends(store)).to_numpy(dtype=float, na_value=np.nan)
    return trajectories(frame[frame["step"].to_numpy() == last[trials]] if len(names) else frame)


def ends(store: Store) -> dict[str, int]:
    """The last step of each trial that is done."""
    found = ((trial_id, store.read_status(trial_id)) for trial_id in store.trial_ids())
    return {trial_id: status.step for trial_id, status in found if status and status.state == "done"}


def fault_lines(store: Store) -> list[str]:
    """What is wrong with published checkpoints, for people: a line for each trial and kind of fault."""
    lines = []
    for trial_id in store.trial_ids():
        config = store.read_trial(trial_id)
        groups: dict[str, list[tuple[int, str]]] = {}
        for step, fault in sorted(faults(store, config).items()):
            groups.setdefault(fault.kind, []).append((step, fault.reason))
        for kind, found in groups.items():
            steps = ", ".join(str(step) for step, _ in found[:SHOWN])
            rest = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            reason = found[0][1]
            lines.append(f"{config.model.name}: {kind} at step {steps}{rest} (step {found[0][0]}: {reason})")
    return lines


def stopped_lines(store: Store) -> list[str]:
    """Trials that a rule of ``early_stop`` ended, for people."""
    ended = ((trial_id, store.read_status(trial_id)) for trial_id in store.trial_ids())
    return [f"{trial_id} at step {one.step}: {one.reason}" for trial_id, one in ended if one and one.state == "stopped"]


def by_budget(final: pd.DataFrame) -> pd.DataFrame:
    """Per model, variant and budget: trials, steps, tokens, and each headline metric's mean and spread over seeds.

    final: from :func:`at_budget`. Columns are (name, "") and (metric, "mean" | "std" | "count"); the standard deviation
    (n - 1) is missing for a single seed, and ``count`` is of trials with a value, where a measurement may have failed.
    """
    cell = ["model", "variant", "budget_flops"]
    groups = final.groupby(cell, dropna=False)
    table = groups.agg(trials=("trial", "nunique"), steps=("step", "max"), tokens=("tokens", "max"))
    table.columns = pd.MultiIndex.from_product([table.columns, [""]])
    there = set(final["metric"].unique())
    for metric in (name for name in HEADLINES if name in there):
        values = final[final["metric"] == metric].groupby(cell, dropna=False)["value"]
        for name in ("mean", "std", "count"):
            table[(metric, name)] = values.agg(name)
    return table.reset_index()


def rich_table(summary: pd.DataFrame) -> Table:
    """The summary for people: mean ± standard deviation over seeds."""
    table = Table(
        title="by budget: mean ± standard deviation over seeds; mean over blocks, topology scaled", box=SIMPLE
    )
    headings, rows = as_text(summary)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("model", "variant") else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def as_text(summary: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of :func:`by_budget` for people; what is not known of a published model is a dash."""
    metrics = [name for name in HEADLINES if (name, "mean") in summary.columns]
    names = ["model", *(["variant"] if (summary[("variant", "")] != "").any() else [])]
    numbers = {"budget_flops": ".3g", "trials": ",", "steps": ",", "tokens": ","}
    rows = []
    for _, row in summary.iterrows():
        found = ((row[(name, "")], kind) for name, kind in numbers.items())
        shown = ["-" if pd.isna(number) else f"{number:{kind}}" for number, kind in found]
        rows.append([*(row[(name, "")] for name in names), *shown, *(mean_and_spread(row, one) for one in metrics)])
    return [*names, "budget", "trials", "steps", "tokens", *(HEADLINES[name] for name in metrics)], rows


def mean_and_spread(row: pd.Series, metric: str) -> str:
    """A row of :func:`by_budget` for people: ``4.12 ±0.03``, and ``(2 of 3)`` where trials lack a value.

    The spread is left out where one trial gives none, and all of it where nothing was measured.
    """
    mean, std, count = (row[(metric, name)] for name in ("mean", "std", "count"))
    if pd.isna(mean):
        return "-"
    of_all = "" if count == row[("trials", "")] else f" ({count:.0f} of {row[('trials', '')]:.0f})"
    return (f"{mean:.4g}" if pd.isna(std) else f"{mean:.4g} ±{std:.2g}") + of_all
