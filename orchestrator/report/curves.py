"""Lines and heat maps: a metric against compute, by seed and by layer, and how far seeds agree."""

from __future__ import annotations

import numpy as np
import pandas as pd

from metrics.base import ACROSS_SEEDS
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
from orchestrator.report.series import (
    AXES,
    LOSS,
    Cell,
    Values,
    metrics_of,
    of_layer,
    parts,
    short,
    sound,
    spread,
    thinned,
)
from orchestrator.report.series import matrix as pivot

LINES = 36  # of single seeds in a chart
STEPS = 40  # of a heat map
TICKS = 8
WIDE = 20.0  # from how many times the smallest value on colours are logarithmic
CROSSES = " A cross is a checkpoint with a fault, which is no part of any mean."


def against_compute(values: Values) -> Panel | None:
    """Metrics of the whole model, the held-out loss first: seeds, their mean and spread."""
    rows = values.rows[values.rows["layer"].isna() & (values.rows[values.along] > 0)]
    names = metrics_of(rows, layered=False)
    if not names:
        return None
    frames = {key(place): _lines(values, rows[rows["metric"] == name]) for place, name in enumerate(names)}
    said = "Thin: a seed at its checkpoints. Thick and shaded: mean and standard deviation over seeds."
    ends = "" if values.published else " Diamonds: the ends of the budgets."
    layout = {"xaxis": axis(AXES[values.along], log=True), "yaxis": axis("")}
    titles = {key(place): {"yaxis": {"title": {"text": _unit(name)}}} for place, name in enumerate(names)}
    chart = Chart(frames, layout, titles)
    return Panel("loss", said + ends + _of_faults(values) + _left_out(values), [chart], [Control("metric", names)])


def _unit(name: str) -> str:
    return "held-out loss (nats/token)" if name == LOSS else name


def _of_faults(values: Values) -> str:
    return CROSSES if values.rows["fault"].notna().any() else ""


def drawn_cells(values: Values) -> list[int]:
    """All cells, or of very many the largest budget of each model and variant, as far as a chart holds them."""
    if len(values.cells) <= MANY // 2:
        return list(range(len(values.cells)))
    return [values.cells_of(kind)[0] for kind in values.kinds][: MANY // 2]


def _left_out(values: Values) -> str:
    count = len(drawn_cells(values))
    return (
        "" if count == len(values.cells) else f" Lines are of {count} of {len(values.cells)} groups, each the largest."
    )


def _shade(values: Values, place: int) -> str:
    """By model and variant, or of one alone by its budgets."""
    if len(values.kinds) == 1 and len(values.cells) > 1:
        return colour(len(values.cells) - 1 - place, len(values.cells))
    return colour(values.kinds.index(values.cells[place].kind))


def _lines(values: Values, rows: pd.DataFrame) -> list[Trace]:
    drawn = drawn_cells(values)
    rows = rows.sort_values(["place", "trial", "step"], kind="stable")
    fine = sound(rows)
    traces: list[Trace] = []
    each = max(1, LINES // max(1, len(drawn)))
    for place in drawn:
        of_cell = fine[fine["place"] == place]
        if of_cell.empty:
            continue
        label, shade = values.cells[place].label, _shade(values, place)
        found = spread(of_cell, ["step"], values.along)
        traces += band(found["at"], found["mean"].to_numpy(), found["std"].to_numpy(), label, shade)
        trials = [part for _, part in parts(of_cell, "trial")]
        if len(trials) > 1:
            for at in thinned(trials, each):
                one = trials[at]
                hover = f"{label}, seed {one['seed'].iloc[0]:.0f}"
                traces.append(thin(one[values.along], one["value"], label, hover, shade))
        traces.append(line(found["at"], found["mean"], label, shade, marker={"size": 4}))
    traces += [] if values.published else _ends(values, fine)
    faulty = rows[rows["fault"].notna()]
    return [*traces, crosses(faulty[values.along], faulty["value"])] if not faulty.empty else traces


def _ends(values: Values, rows: pd.DataFrame) -> list[Trace]:
    """What each budget bought, with the spread as error bars; a line of each model and variant."""
    last = rows[rows["step"] == rows["trial"].astype(str).map(values.ends)]
    traces = []
    for number, kind in enumerate(values.kinds[:MANY]):
        found = spread(last[last["place"].isin(values.cells_of(kind))], ["place"], values.along).sort_values("at")
        if found.empty:
            continue
        name = "at the end" if len(values.kinds) == 1 else f"{kind}, at the end"
        shade = "#7f7f7f" if len(values.kinds) == 1 else colour(number)
        look = {"size": 9, "symbol": "diamond-open", "color": shade}
        bars = {"type": "data", "array": rounded(found["std"].fillna(0)), "color": shade, "thickness": 1.5}
        more = {"error_y": bars, "mode": "markers+lines", "marker": look}
        dashed = {"line": {"color": shade, "width": 1, "dash": "dot"}}
        traces.append(line(found["at"], found["mean"], name, shade, **more, **dashed))
    return traces


def by_layer(values: Values) -> Panel | None:
    """A metric of every layer: at the ends of the budgets, and through the training of the largest."""
    rows = values.rows[values.rows["layer"].notna()]
    names = metrics_of(rows, layered=True)
    kinds = values.kinds[:MANY]
    if not names:
        return None
    rows = rows[rows["metric"].isin(names)]
    last = sound(rows[rows["step"] == rows["trial"].astype(str).map(values.ends)])
    several = not values.published and last["place"].nunique() > 1
    ways = [*(["at the end of each budget"] if several else []), "through the training of the largest budget"]
    frames: dict[str, list[Trace]] = {}
    titles: dict[str, dict[str, object]] = {}
    places = {name: place for place, name in enumerate(names)}
    for number, kind in enumerate(kinds):
        cells = values.cells_of(kind)
        through = rows[(rows["place"] == cells[0]) & (rows[values.along] > 0)]
        tables = (
            [spread(last[last["place"].isin(cells)], ["metric", "layer", "place"], "budget_flops")] if several else []
        )
        tables.append(spread(sound(through), ["metric", "layer", "step"], values.along))
        faulty = through[through["fault"].notna()]
        for way, table in enumerate(tables):
            for (name,), part in parts(table, "metric"):
                at = key(places[str(name)], number, way)
                frames[at] = _layers(part)
                titles[at] = {"yaxis": {"title": {"text": str(name)}}}
                if way == 0 and several:
                    titles[at]["xaxis"] = _budgets(part["at"].unique())
                crossed = faulty[faulty["metric"] == name]
                if way == len(tables) - 1 and not crossed.empty:
                    frames[at].append(crosses(crossed[values.along], crossed["value"]))
    layout = {"xaxis": axis(AXES[values.along], log=True), "yaxis": axis("")}
    said = "Mean and standard deviation over seeds. Layer 0 is the embeddings." + _of_faults(values)
    controls = [Control("metric", names), Control("of", kinds), Control("shown", ways)]
    return Panel("layers", said, [Chart(frames, layout, titles)], controls)


def _budgets(amounts: np.ndarray) -> dict[str, object]:
    """The ticks of an axis of budgets: these, as long as they can be read."""
    ordered = np.sort(amounts)
    shown = ordered[thinned(ordered, TICKS)]
    return {"tickvals": rounded(shown), "ticktext": [short(one) for one in shown]}


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
    rows = values.rows[values.rows["layer"].notna()]
    names = metrics_of(rows, layered=True)
    if not names:
        return None
    places = {name: place for place, name in enumerate(names)}
    rows = rows[rows["metric"].isin(names)]
    frames: dict[str, list[Trace]] = {}
    shown = _choices(values, rows)
    for number, (_, of_choice) in enumerate(shown):
        fine = sound(of_choice)
        faulty = of_choice[of_choice["fault"].notna()]
        table = spread(fine, ["metric", "layer", "step"], "step")
        for (name,), part in parts(table, "metric"):
            crossed = sorted(set(faulty.loc[faulty["metric"] == name, "step"]))
            frames[key(places[str(name)], number)] = _heat(part, crossed)
    layout = {"xaxis": {**axis("training step"), "type": "category"}, "yaxis": {**axis("layer"), "type": "category"}}
    said = "Colours are logarithmic where the values differ much; hovering gives the value." + _of_faults(values)
    controls = [Control("metric", names), Control("of", [label for label, _ in shown])]
    return Panel("heat", said, [Chart(frames, layout)], controls)


def _choices(values: Values, rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Cells, the largest of each kind first, and trials where there is room for them."""
    first = [values.cells_of(kind)[0] for kind in values.kinds]
    order = [*first, *(place for place in range(len(values.cells)) if place not in first)][:MANY]
    found = [(_mean_of(values.cells[place]), rows[rows["place"] == place]) for place in order]
    for place in order:
        trials = rows.loc[rows["place"] == place, ["trial", "seed"]].drop_duplicates().sort_values("seed")
        if len(trials) > 1 and len(found) + len(trials) <= MANY:
            label = values.cells[place].label
            found += [
                (f"{label}, seed {seed:.0f}", rows[rows["trial"] == trial])
                for trial, seed in trials.itertuples(index=False)
            ]
    return found


def _mean_of(cell: Cell) -> str:
    return f"{cell.label}: mean over seeds"


def _heat(table: pd.DataFrame, crossed: list[float]) -> list[Trace]:
    known = np.unique(table["step"])
    steps = known[thinned(known, STEPS)]
    layers, means = pivot(table, steps)
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
    at = [f"{step:.0f}" for step in crossed if step in steps] if crossed else []
    if not at:
        return [trace]
    marks = {"symbol": "x", "color": "#c62828", "size": 9}
    where = [trace["y"][0]] * len(at)
    return [trace, {"type": "scatter", "x": at, "y": where, "mode": "markers", "marker": marks, "name": "with a fault"}]


def seeds(values: Values) -> Panel | None:
    """How alike two seeds are at the same step: the mean and the spread over pairs."""
    rows = sound(values.rows)
    rows = rows[rows["metric"].isin(metrics_of(rows, layered=True, pairs=True))]
    if rows.empty:
        return None
    names = metrics_of(rows, layered=True, pairs=True)
    order = [values.cells_of(kind)[0] for kind in values.kinds]
    order = [*order, *(place for place in range(len(values.cells)) if place not in order)][:MANY]
    order = [place for place in order if place in set(rows["place"])]
    table = spread(rows[rows["place"].isin(order)], ["place", "metric", "layer", "step"], "step")
    frames = {
        key(names.index(str(name)), order.index(int(place))): _layers(part)  # type: ignore[call-overload]
        for (place, name), part in parts(table, "place", "metric")
    }
    layout = {"xaxis": axis("training step"), "yaxis": axis("")}
    labels = [name.removesuffix(ACROSS_SEEDS) for name in names]
    titles = {at: {"yaxis": {"title": {"text": labels[int(at.partition(".")[0])]}}} for at in frames}
    controls = [Control("metric", labels), Control("of", [values.cells[place].label for place in order])]
    said = "Of two seeds' checkpoints at the same step: mean and standard deviation over pairs of seeds."
    return Panel("seeds", said, [Chart(frames, layout, titles)], controls)
