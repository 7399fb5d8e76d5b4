"""Persistence diagrams and barcodes of a few trials, a frame for each checkpoint and layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestrator.report.charts import Chart, Control, Panel, Trace, axis, key, rounded
from orchestrator.report.series import Values, of_layer, thinned
from orchestrator.store import Store
from trainables.storage import CorruptFileError

TRIALS, STEPS = 6, 16
LONGEST = 120  # bars of a layer and dimension
COLOURS = ("#3b82c4", "#e07b39", "#3f9b5f")  # of H0, H1, H2
METRIC = "h0_total_persistence"  # measured wherever diagrams were kept


@dataclass(frozen=True)
class Bars:
    """Of a trial's checkpoint: layer, dimension, birth and death, in units of the cloud's 0.9-quantile distance."""

    label: str
    step: int
    table: pd.DataFrame


def kept(store: Store, values: Values) -> list[Bars]:
    """The diagrams of the largest budgets' first seeds, at most ``STEPS`` checkpoints of each of ``TRIALS`` trials."""
    rows = values.rows_of(METRIC)
    return [one for label, trial, steps in _chosen(values, rows) for one in _of_trial(store, label, trial, steps)]


def _chosen(values: Values, rows: pd.DataFrame) -> Iterator[tuple[str, str, list[int]]]:
    trials = rows[["trial", "place", "seed"]].drop_duplicates()
    trials["rank"] = trials["place"].map(_rank_in_kind(values))
    trials["later"] = trials.groupby("place")["seed"].rank()
    for trial, place, seed in (
        trials.sort_values(["later", "rank", "place"])[["trial", "place", "seed"]].head(TRIALS).itertuples(index=False)
    ):
        steps = sorted({int(step) for step in rows.loc[rows["trial"] == trial, "step"]})
        label = f"{values.cells[place].label}, seed {seed:.0f}"
        yield label, str(trial), [steps[at] for at in thinned(steps, STEPS)]


def _rank_in_kind(values: Values) -> dict[int, int]:
    return {place: rank for kind in values.kinds for rank, place in enumerate(values.cells_of(kind))}


def _of_trial(store: Store, label: str, trial: str, steps: list[int]) -> Iterator[Bars]:
    for step in steps:
        try:
            table = store.read_diagrams(trial, step)
        except (FileNotFoundError, CorruptFileError):
            continue  # a run that is told of it makes it anew
        if table.empty:
            continue
        scale = table["scale"].where(table["scale"] > 0, 1.0)
        table = table.assign(birth=table["birth"] / scale, death=table["death"] / scale)
        table = table.assign(length=table["death"] - table["birth"])
        longest = table.sort_values("length", ascending=False).groupby(["layer", "dimension"]).head(LONGEST)
        yield Bars(label, step, longest.sort_values(["layer", "dimension", "birth", "death"]))


def panel(found: list[Bars]) -> Panel | None:
    """Diagram and barcode beside each other, with a slider of steps."""
    if not found:
        return None
    labels = list(dict.fromkeys(one.label for one in found))
    layers = sorted({int(layer) for one in found for layer in one.table["layer"].unique()})
    steps = {str(at): [f"{one.step:,}" for one in found if one.label == label] for at, label in enumerate(labels)}
    diagrams: dict[str, list[Trace]] = {}
    barcodes: dict[str, list[Trace]] = {}
    ranges: dict[str, dict[str, object]] = {}
    for trial, label in enumerate(labels):
        of_trial = [one for one in found if one.label == label]
        for place, layer in enumerate(layers):
            tables = [one.table[one.table["layer"] == layer] for one in of_trial]
            end = 1.03 * max((float(table["death"].max()) for table in tables if not table.empty), default=1.0)
            for step, table in enumerate(tables):
                at = key(trial, place, step)
                diagrams[at], barcodes[at] = _diagram(table, end), _barcode(table)
                ranges[at] = {"xaxis": {"range": [0, rounded([end])[0]]}}
    squares = {at: {**one, "yaxis": one["xaxis"]} for at, one in ranges.items()}
    charts = [
        Chart(diagrams, {"xaxis": axis("birth"), "yaxis": axis("death")}, squares),
        Chart(barcodes, {"xaxis": axis("distance"), "yaxis": axis("bars", showticklabels=False)}, ranges),
    ]
    controls = [
        Control("trial", labels),
        Control("layer", [of_layer(layer) for layer in layers], last=True),
        Control("step", steps, slider=True, by=0, last=True),
    ]
    said = (
        f"Left: birth and death of every bar; right: the bars, H0 at the bottom. The {LONGEST} longest of each "
        "dimension, in units of the 0.9-quantile of the cloud's distances."
    )
    return Panel("diagrams", said, charts, controls)


def _diagram(table: pd.DataFrame, end: float) -> list[Trace]:
    diagonal = {"type": "scatter", "x": [0, end], "y": [0, end], "mode": "lines", "hoverinfo": "skip"}
    traces: list[Trace] = [{**diagonal, "showlegend": False, "line": {"color": "#888", "width": 1, "dash": "dot"}}]
    for dimension, part in table.groupby("dimension"):
        marks = {"size": 5, "opacity": 0.65, "color": COLOURS[int(dimension)]}
        points = {"x": rounded(part["birth"]), "y": rounded(part["death"])}
        traces.append({"type": "scatter", **points, "name": f"H{dimension}", "mode": "markers", "marker": marks})
    return traces


def _barcode(table: pd.DataFrame) -> list[Trace]:
    traces: list[Trace] = []
    first = 0
    for dimension, part in table.groupby("dimension"):
        gap = np.full(len(part), np.nan)
        x = np.stack([part["birth"], part["death"], gap], axis=1).ravel()
        heights = first + np.arange(len(part), dtype=float)
        y = np.stack([heights, heights, gap], axis=1).ravel()
        look = {"color": COLOURS[int(dimension)], "width": 1.5}
        traces.append(
            {
                "type": "scatter",
                "x": rounded(x),
                "y": rounded(y),
                "name": f"H{dimension}",
                "mode": "lines",
                "line": look,
            }
        )
        first += len(part)
    return traces
