"""A sweep beside another store, such as a public trajectory: the same metrics, at equal tokens or FLOPs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.box import SIMPLE
from rich.table import Table

from orchestrator import results
from orchestrator.results import HEADLINES
from orchestrator.spec import OF_EVALUATIONS, default_words
from orchestrator.store import Store

NEAR = 2.0  # checkpoints further apart than by this factor are not compared
PROBE_SET = ("seq_len", "probe_sequences", "probe_points", "text_columns", "domain_column")
By = Literal["tokens", "flops"]


@dataclass(frozen=True)
class Beside:
    """The other store: its name, its :func:`orchestrator.results.trajectories`, and the axis to compare along.

    caution: what makes the values of the two compare only roughly; empty where nothing does.
    """

    name: str
    trajectories: pd.DataFrame
    by: By
    caution: str

    @classmethod
    def of(cls, store: Store, other: Store, by: By) -> Beside:
        """Raises SpecError where either cannot be read."""
        return cls(other.root.name, results.trajectories(results.collect(other)), by, _caution(store, other))


def compare(final: pd.DataFrame, beside: Beside) -> pd.DataFrame:
    """Each model, variant and budget with each of the other store's models: a row per headline metric that both have.

    final: from :func:`orchestrator.results.at_budget`. Columns: model (and variant), budget_flops, metric, at (tokens
    or FLOPs), mean, std over seeds, other, other_step, other_at, other_value. The other's checkpoint is the nearest on
    a logarithmic axis of those without a fault, the mean over its seeds; where none is within a factor of ``NEAR``, its
    value is missing.
    """
    rows = []
    theirs_at, ours_at = (table[beside.by].fillna(0) for table in (beside.trajectories, final))
    sound = beside.trajectories[beside.trajectories["fault"].isna() & (theirs_at > 0)]
    placed = final[ours_at > 0]
    for metric in (name for name in HEADLINES if _version(placed, name) == _version(sound, name) is not None):
        ours = placed[placed["metric"] == metric].groupby(["model", "variant", "budget_flops"], dropna=False)
        theirs = sound[sound["metric"] == metric].groupby(["model", "step"])
        steps = theirs.agg(at=(beside.by, "first"), value=("value", "mean")).dropna().reset_index()
        for (model, variant, budget), group in ours:
            for other, points in steps.groupby("model"):
                at = float(group[beside.by].max())
                nearest = points.loc[np.log(points["at"].astype(float) / at).abs().idxmin()]
                near = max(nearest["at"] / at, at / nearest["at"]) <= NEAR
                rows.append(
                    {
                        "model": f"{model} {variant}".strip(),
                        "budget_flops": budget,
                        "metric": metric,
                        "at": at,
                        "mean": group["value"].mean(),
                        "std": group["value"].std(),
                        "other": other,
                        "other_step": int(nearest["step"]),
                        "other_at": float(nearest["at"]),
                        "other_value": nearest["value"] if near else float("nan"),
                    }
                )
    return pd.DataFrame(rows)


def _version(table: pd.DataFrame, metric: str) -> int | None:
    """Of a metric in a table, which has one; numbers of different versions are not compared."""
    found = table.loc[table["metric"] == metric, "metric_version"]
    return None if found.empty else int(found.iloc[0])


def rich_table(compared: pd.DataFrame, beside: Beside) -> Table:
    """The comparison for people."""
    nothing = f"nothing to compare: no headline metric of both stores has known {beside.by}"
    table = Table(title=title(beside), box=SIMPLE, caption=nothing if compared.empty else None)
    for heading in headings(beside):
        table.add_column(heading, justify="left" if heading in ("model", "metric", "beside") else "right")
    for row in cells(compared):
        table.add_row(*row)
    return table


def title(beside: Beside) -> str:
    """What is compared, and along what."""
    return f"Beside {beside.name}, by {'FLOPs' if beside.by == 'flops' else 'tokens'}"


def headings(beside: Beside) -> list[str]:
    """Of :func:`cells`."""
    at = "FLOPs" if beside.by == "flops" else "tokens"
    return ["model", "metric", at, "value", "beside", f"its {at}", "its step", "its value", "difference"]


def cells(compared: pd.DataFrame) -> list[list[str]]:
    """The comparison, as people read it."""
    found = []
    for row in compared.to_dict("records"):
        far = pd.isna(row["other_value"])
        spread = "" if pd.isna(row["std"]) else f" ±{row['std']:.2g}"
        values = ["none near", ""] if far else [f"{row['other_value']:.4g}", f"{row['mean'] - row['other_value']:+.3g}"]
        found.append(
            [
                row["model"],
                HEADLINES[row["metric"]],
                f"{row['at']:.3g}",
                f"{row['mean']:.4g}{spread}",
                row["other"],
                f"{row['other_at']:.3g}",
                f"{row['other_step']:,}",
                *values,
            ]
        )
    return found


def _caution(store: Store, other: Store) -> str:
    """What the two stores measured otherwise: on other probe sets, or with other settings of evaluations."""
    said = []
    for what, about in (("probe sets", _probe_set), ("evaluations", _evaluations)):
        first, second = about(store), about(other)
        differing = [
            f"{name} ({first[name]} and {second[name]})"
            for name in first
            if name in second and first[name] != second[name]
        ]
        if differing:
            said.append(f"The two stores' {what} differ in {', '.join(differing)}.")
    return " ".join([*said, "Values of these compare only roughly."]) if said else ""


def _probe_set(store: Store) -> Mapping[str, Any]:
    body = store.read_sweep()
    assert body is not None, "only stores with a sweep.json are compared"
    vocabularies = sorted({store.read_trial(trial_id).model.vocab_size for trial_id in store.trial_ids()})
    words = {name: body["sweep"].get(name) for name in PROBE_SET}
    return {"corpus": body["corpus_fingerprint"], "vocabulary": ", ".join(map(str, vocabularies)), **words}


def _evaluations(store: Store) -> Mapping[str, Any]:
    body = store.read_sweep()
    assert body is not None, "only stores with a sweep.json are compared"
    defaults = default_words()
    asked = bool(body["sweep"].get("evaluations"))
    return {name: body["sweep"].get(name, defaults[name]) for name in OF_EVALUATIONS} if asked else {}
