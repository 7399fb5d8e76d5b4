"""Lines and heat maps: a metric against compute, by seed and by layer, and how far seeds agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from metrics.base import ACROSS_SEEDS
from orchestrator.analysis.trials import LOSS
from orchestrator.report.charts import (
    MANY,
    Chart,
    Control,
    Panel,
    Trace,
    axis,
    band,
    colour,
    crosses,
    key,
    line,
    rounded,
    thin,
)
from orchestrator.report.series import AXES, Values, matrix, of_layer, of_metric, parts, short, sound, thinned

LINES = 36  # of single seeds in a chart
STEPS = 40  # of a heat map
TICKS = 8
WIDE = 20.0  # from how many times the smallest value on colours are logarithmic
CROSSES = " A cross is a checkpoint with a fault, which is no part of any mean."


def against_compute(values: Values) -> Panel | None:
    """Metrics of the whole model, the held-out loss first: seeds, their mean and spread."""
    names = [name for name in values.metrics(layered=False) if (values.rows_of(name)[values.along] > 0).any()]
    if not names:
        return None
    frames = {key(place): _lines(values, name) for place, name in enumerate(names)}
    said = "Thin: a seed at its checkpoints. Thick and shaded: mean and standard deviation over seeds."
    ends = "" if values.published else " Diamonds: the ends of the budgets."
    layout = {"xaxis": axis(AXES[values.along], log=True), "yaxis": axis("")}
    titles = {key(place): _y(_unit(name)) for place, name in enumerate(names)}
    chart = Chart(frames, layout, titles)
    return Panel("loss", said + ends + _of_faults(values) + _left_out(values), [chart], [Control("metric", names)])


def _unit(name: str) -> str:
    return "held-out loss (nats/token)" if name == LOSS else name


def _y(title: str) -> dict[str, Any]:
    return {"yaxis": {"title": {"text": title}}}


def _of_faults(values: Values) -> str:
    return CROSSES if values.has_faults else ""


def drawn_cells(values: Values) -> list[int]:
    """All cells, or of very many the largest budget of each model and variant, as far as a chart holds them."""
    if len(values.cells) <= MANY // 2:
        return list(range(len(values.cells)))
    return [values.cells_of(kind)[0] for kind in values.kinds][: MANY // 2]


def largest_first(values: Values) -> list[int]:
    """Cells to choose from: the largest of each model and variant, then others, as many as a list holds."""
    first = [values.cells_of(kind)[0] for kind in values.kinds]
    chosen = set(first)
    return [*first, *(place for place in range(len(values.cells)) if place not in chosen)][:MANY]


def _left_out(values: Values) -> str:
    count = len(drawn_cells(values))
    return "" if count == len(values.cells) else f" Lines are of {count} of {len(values.cells)} groups."


def _shade(values: Values, place: int) -> str:
    """By model and variant, or of one alone by its budgets."""
    if len(values.kinds) == 1 and len(values.cells) > 1:
        return colour(len(values.cells) - 1 - place, len(values.cells))
    return colour(values.kinds.index(values.cells[place].kind))


def _lines(values: Values, name: str) -> list[Trace]:
    along = values.along
    rows, means = values.rows_of(name), of_metric(values.means, name)
    rows, means = rows[rows["layer"].isna() & (rows[along] > 0)], means[means["layer"].isna() & (means["at"] > 0)]
    drawn = drawn_cells(values)
    traces: list[Trace] = []
    for place in drawn:
        found = means[means["place"] == place]
        if found.empty:
            continue
        label, shade = values.cells[place].label, _shade(values, place)
        traces += band(found["at"], found["mean"].to_numpy(), found["std"].to_numpy(), label, shade)
        trials = [part for _, part in parts(sound(rows[rows["place"] == place]), "trial")]
        for at in thinned(trials, max(1, LINES // len(drawn))) if len(trials) > 1 else ():
            one = trials[at].sort_values("step")
            traces.append(thin(one[along], one["value"], label, f"{label}, seed {one['seed'].iloc[0]:.0f}", shade))
        traces.append(line(found["at"], found["mean"], label, shade, marker={"size": 4}))
    traces += [] if values.published else _ends(values, name)
    faulty = rows[rows["fault"].notna()]
    return [*traces, crosses(faulty[along], faulty["value"])] if not faulty.empty else traces


def _ends(values: Values, name: str) -> list[Trace]:
    """What each budget bought, with the spread as error bars; a line of each model and variant."""
    last = of_metric(values.at_ends, name)
    last = last[last["layer"].isna()]
    traces = []
    for number, kind in enumerate(values.kinds[:MANY]):
        found = last[last["place"].isin(values.cells_of(kind))].sort_values("at")
        if found.empty:
            continue
        label = "at the end" if len(values.kinds) == 1 else f"{kind}, at the end"
        shade = "#7f7f7f" if len(values.kinds) == 1 else colour(number)
        bars = {"type": "data", "array": rounded(found["std"].fillna(0)), "color": shade, "thickness": 1.5}
        look = {"marker": {"size": 9, "symbol": "diamond-open", "color": shade}, "error_y": bars}
        named = len(values.kinds) == 1  # of several, the lines have names, and the caption says what diamonds are
        traces.append(line(found["at"], found["mean"], label, shade, showlegend=named, **look))
        traces[-1]["line"] = {"color": shade, "width": 1, "dash": "dot"}
    return traces


def by_layer(values: Values) -> Panel | None:
    """A metric of every layer: at the ends of the budgets, and through the training of the largest."""
    names, kinds = values.metrics(layered=True), values.kinds[:MANY]
    if not names:
        return None
    several = not values.published and values.at_ends["place"].nunique() > 1
    ways = [*(["at the end of each budget"] if several else []), "through the training of the largest budget"]
    frames: dict[str, list[Trace]] = {}
    titles: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(names):
        last, means = (table[table["layer"].notna()] for table in map(_named(name), (values.at_ends, values.means)))
        for number, kind in enumerate(kinds):
            cells = values.cells_of(kind)
            at = key(place, number, len(ways) - 1)
            frames[at] = _layers(means[(means["place"] == cells[0]) & (means["at"] > 0)])
            frames[at] += _crossed(values, name, cells[0])
            titles[at] = _y(name)
            if several:
                at, ends = key(place, number, 0), last[last["place"].isin(cells)]
                budgets = ends["place"].map(lambda one: values.cells[int(one)].budget)
                frames[at] = _layers(ends.assign(at=budgets))
                titles[at] = _y(name) | {"xaxis": _budgets(budgets.unique())}
    layout = {"xaxis": axis(AXES[values.along], log=True), "yaxis": axis("")}
    said = "Mean and standard deviation over seeds. Layer 0 is the embeddings." + _of_faults(values)
    controls = [Control("metric", names), Control("of", kinds), Control("shown", ways)]
    return Panel("layers", said, [Chart(frames, layout, titles)], controls)


def _named(name: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: of_metric(table, name)


def _crossed(values: Values, name: str, place: int) -> list[Trace]:
    """A cross for each checkpoint of a cell with a fault."""
    if not values.has_faults:
        return []
    rows = values.rows_of(name)
    rows = rows[rows["fault"].notna() & (rows["place"] == place) & (rows[values.along] > 0)]
    return [crosses(rows[values.along], rows["value"])] if not rows.empty else []


def _budgets(amounts: np.ndarray) -> dict[str, Any]:
    """The ticks of an axis of budgets: these, as long as they can be read."""
    ordered = np.sort(amounts)
    apart = len(ordered) < 2 or np.log10(ordered[-1] / ordered[0]) / (len(ordered) - 1) > 0.1
    shown = ordered if apart and len(ordered) <= TICKS else ordered[thinned(ordered, TICKS // 2)]
    ticks = {"tickvals": rounded(shown), "ticktext": [short(one) for one in shown]}
    return {**ticks, "title": {"text": "budget (FLOPs)"}}


def _layers(table: pd.DataFrame) -> list[Trace]:
    traces: list[Trace] = []
    layers = sorted(table["layer"].unique())
    for place, layer in enumerate(layers):
        found = table[table["layer"] == layer].sort_values("at")
        label, shade = of_layer(layer), colour(place, len(layers))
        traces += band(found["at"], found["mean"].to_numpy(), found["std"].to_numpy(), label, shade)
        traces.append(line(found["at"], found["mean"], label, shade))
    return traces


def heat(values: Values) -> Panel | None:
    """Step x layer of every metric: the mean over seeds of a cell, or a trial alone."""
    names = values.metrics(layered=True)
    if not names:
        return None
    cells = largest_first(values)
    trials = _trials(values, cells)
    frames: dict[str, list[Trace]] = {}
    for place, name in enumerate(names):
        means = of_metric(values.means, name)
        means = means[means["layer"].notna()]
        of_cells = {cell: part for (cell,), part in parts(means, "place")}
        for number, cell in enumerate(cells):
            if cell in of_cells:
                frames[key(place, number)] = _heat(of_cells[cell], "mean", _faulty_steps(values, name, cell))
        rows = sound(values.rows_of(name)) if trials else values.rows[:0]
        of_trials = {str(trial): part for (trial,), part in parts(rows[rows["layer"].notna()], "trial")}
        for number, trial in enumerate(trials, start=len(cells)):
            if trial in of_trials:
                frames[key(place, number)] = _heat(of_trials[trial], "value", [])
    layout = {"xaxis": {**axis("training step"), "type": "category"}, "yaxis": {**axis("layer"), "type": "category"}}
    said = "Colours are logarithmic where the values differ much; hovering gives the value." + _of_faults(values)
    labels = [f"{values.cells[place].label}: mean over seeds" for place in cells]
    controls = [Control("metric", names), Control("of", [*labels, *trials.values()])]
    return Panel("heat", said, [Chart(frames, layout)], controls)


def _trials(values: Values, cells: list[int]) -> dict[str, str]:
    """Trials that are shown one by one, as far as a list holds them, and how they are called."""
    found: dict[str, str] = {}
    named = values.rows[["trial", "place", "seed"]].drop_duplicates().sort_values(["place", "seed"])
    for place in cells:
        of_cell = named[named["place"] == place]
        if len(of_cell) > 1 and len(cells) + len(found) + len(of_cell) <= MANY:
            label = values.cells[place].label
            found |= {str(one.trial): f"{label}, seed {one.seed:.0f}" for one in of_cell.itertuples(index=False)}
    return found


def _faulty_steps(values: Values, name: str, place: int) -> list[float]:
    if not values.has_faults:
        return []
    rows = values.rows_of(name)
    return sorted(set(rows.loc[rows["fault"].notna() & (rows["place"] == place), "step"]))


def _heat(table: pd.DataFrame, column: str, crossed: list[float]) -> list[Trace]:
    known = np.unique([*table["step"], *crossed])
    steps = known[thinned(known, STEPS)]
    layers, means = matrix(table, column, steps)
    smallest, largest = np.nanmin(means), np.nanmax(means)
    log = bool(smallest > 0 and largest / smallest > WIDE)
    colours = np.log10(means) if log else means
    trace: Trace = {
        "type": "heatmap",
        "x": [f"{step:.0f}" for step in steps],
        "y": [f"{layer:.0f}" for layer in layers],
        "z": [rounded(one) for one in colours],
        "colorscale": "Viridis",
        "hovertemplate": "step %{x}, layer %{y}: %{z:.5g}<extra></extra>",
        "colorbar": {"thickness": 14, "outlinewidth": 0},
    }
    if log:
        ticks = np.linspace(np.log10(smallest), np.log10(largest), 5)
        trace["colorbar"] |= {"tickvals": rounded(ticks), "ticktext": [short(10**tick) for tick in ticks]}
        trace["text"] = [[("" if np.isnan(one) else f"{one:.5g}") for one in row] for row in means]
        trace["hovertemplate"] = "step %{x}, layer %{y}: %{text}<extra></extra>"
    at = [f"{step:.0f}" for step in crossed if step in steps]
    if not at:
        return [trace]
    marks = {"symbol": "x", "color": "#c62828", "size": 9}
    where = [trace["y"][0]] * len(at)
    return [trace, {"type": "scatter", "x": at, "y": where, "mode": "markers", "marker": marks, "name": "with a fault"}]


def seeds(values: Values) -> Panel | None:
    """How alike two seeds are at the same step: the mean and the spread over pairs."""
    names = values.metrics(layered=True, pairs=True)
    if not names:
        return None
    paired = set(of_metric(values.means, names[0])["place"])
    order = [place for place in largest_first(values) if place in paired]
    frames = {}
    for number, name in enumerate(names):
        means = of_metric(values.means, name)
        means = means[means["layer"].notna()].assign(at=means["step"])
        for (place,), of_cell in parts(means[means["place"].isin(order)], "place"):
            frames[key(number, order.index(int(place)))] = _layers(of_cell)
    layout = {"xaxis": axis("training step"), "yaxis": axis("")}
    labels = [name.removesuffix(ACROSS_SEEDS) for name in names]
    titles = {at: _y(labels[int(at.partition(".")[0])]) for at in frames}
    controls = [Control("metric", labels), Control("of", [values.cells[place].label for place in order])]
    said = "Of two seeds' checkpoints at the same step: mean and standard deviation over pairs of seeds."
    return Panel("seeds", said, [Chart(frames, layout, titles)], controls)
