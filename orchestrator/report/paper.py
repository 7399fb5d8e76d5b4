"""Figures for papers, in ``figures/`` as PNG and SVG: what the page draws first, by matplotlib.

The same findings give the same bytes: an SVG has no date and no random ids.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from orchestrator.analysis.trials import LOSS
from orchestrator.report import statistics
from orchestrator.report.charts import SCALE, Trace, colour
from orchestrator.report.curves import LINES, WIDE, drawn_cells
from orchestrator.report.findings import Findings
from orchestrator.report.series import AXES, Values, matrix, of_layer, of_metric, parts, short, sound, thinned
from orchestrator.results import HEADLINES
from orchestrator.store import FIGURES, Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYERED = {
    "h1_total_persistence_scaled": "H1 total persistence",
    "h0_total_persistence_scaled": "H0 total persistence",
    "twonn_dimension": "TwoNN dimension",
}
SIZE = (3.4, 3.0)  # inches of a panel
DPI = 150
BUDGETS = 6  # that a small axis has room for
TICKS = 12  # at most on the axis of a heat map
STYLE = {"font.size": 8, "axes.titlesize": 9, "svg.hashsalt": "toposweep", "svg.fonttype": "path"}


@dataclass(frozen=True)
class Figure:
    """name: of its files, without the ending."""

    name: str
    title: str
    draw: Callable[[list[Axes]], object]
    columns: int = 1
    width: float = 1.0


def write(store: Store, found: Findings) -> list[Figure]:
    """Write the figures that there is something to draw for; those that were written."""
    drawn = list(figures(found))
    for one in drawn:
        for ending, data in _rendered(one).items():
            store.root.write(f"{FIGURES}/{one.name}.{ending}", data)
    return drawn


def _rendered(one: Figure) -> dict[str, bytes]:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    with rc_context(STYLE):
        canvas = Canvas(figsize=(SIZE[0] * one.columns * one.width, SIZE[1]), layout="constrained")
        FigureCanvasAgg(canvas)
        one.draw(list(canvas.subplots(1, one.columns, squeeze=False)[0]))
        found = {}
        for ending, about in (("svg", {"Date": None}), ("png", {"Software": None})):
            stream = io.BytesIO()
            canvas.savefig(stream, format=ending, dpi=DPI, metadata=about)
            found[ending] = stream.getvalue()
            canvas.set_layout_engine("none")  # laid out once is enough
        return found


def figures(found: Findings) -> Iterator[Figure]:
    """Those of the findings that hold something."""
    values = found.values
    losses = values.rows_of(LOSS)
    losses = losses[losses[values.along] > 0]
    if not losses.empty:
        yield Figure("loss", "Held-out loss against compute", lambda axes: _loss(axes[0], values, losses), width=1.9)
    names = [name for name in LAYERED if not values.rows_of(name).empty]
    if names:
        if (values.rows_of(names[0])[values.along] > 0).any():
            what = "through training" if values.published else "against compute"
            draw = _of_each(names, lambda axis, name: _layers(axis, values, name))
            yield Figure("layers", f"Topology {what}, by layer: {values.kinds[0]}", draw, len(names))
        draw = _of_each(names, lambda axis, name: _heat(axis, values, name))
        yield Figure("heat", f"Topology through training, step by layer: {values.cells[0].label}", draw, len(names))
    if found.diagrams:
        yield Figure(
            "diagrams", f"Persistence diagrams: {found.diagrams[0].label}", lambda axes: _diagrams(axes, found), 3
        )
    forests = (("correlations", statistics.correlations), ("effects", statistics.effects))
    for name, panel in forests:
        if (one := panel(found.analysis)) is not None:
            (chart,) = one.charts
            trace, title = next(iter(chart.frames.values()))[0], chart.layout["xaxis"]["title"]["text"]
            yield Figure(name, title, functools.partial(_forest, trace=trace, title=title), width=1.9)
    if not found.analysis.isoflop_points.empty:
        yield Figure("isoflop", "Loss at equal compute", lambda axes: _isoflop(axes[0], found), width=1.5)
    if found.compared and found.compared.metrics:
        names = list(found.compared.metrics[:3])
        yield Figure(
            "beside", "Beside another store", _of_each(names, lambda axis, name: _beside(axis, found, name)), len(names)
        )


def _of_each(names: Sequence[str], draw: Callable[[Axes, str], None]) -> Callable[[list[Axes]], None]:
    def all_of(axes: list[Axes]) -> None:
        for axis, name in zip(axes, names, strict=True):
            draw(axis, name)
        lines, labels = axes[0].get_legend_handles_labels()
        if lines:
            axes[0].figure.legend(lines, labels, loc="outside lower center", ncols=8, frameon=False)

    return all_of


def _with_band(axis: Axes, table: pd.DataFrame, label: str, shade: str) -> None:
    table = table.sort_values("at")
    mean, std = table["mean"], table["std"].fillna(0.0)
    axis.plot(table["at"], mean, "o-", ms=2.5, lw=1.3, color=shade, label=label)
    if table["std"].notna().any():
        axis.fill_between(table["at"], mean - std, mean + std, color=shade, alpha=0.2, lw=0)


def _crosses(axis: Axes, x: Iterable[float], y: Iterable[float]) -> None:
    axis.plot(list(x), list(y), "x", color="tab:red", ms=6, label="with a fault")


def _loss(axis: Axes, values: Values, rows: pd.DataFrame) -> None:
    drawn = drawn_cells(values)
    several = len(values.kinds) > 1
    means = of_metric(values.means, LOSS)
    means = means[means["at"] > 0]
    for place in drawn:
        of_cell = sound(rows[rows["place"] == place])
        cell = values.cells[place]
        shade = colour(values.kinds.index(cell.kind)) if several else colour(len(drawn) - 1 - place, len(drawn))
        trials = [part.sort_values("step") for _, part in parts(of_cell, "trial")]
        for at in thinned(trials, max(1, LINES // len(drawn))) if len(trials) > 1 else ():
            axis.plot(trials[at][values.along], trials[at]["value"], color=shade, lw=0.6, alpha=0.6)
        _with_band(axis, means[means["place"] == place], cell.label, shade)
    faulty = rows[rows["fault"].notna()]
    if not faulty.empty:
        _crosses(axis, faulty[values.along], faulty["value"])
    axis.set(xscale="log", xlabel=AXES[values.along], ylabel="held-out loss (nats/token)")
    axis.legend(fontsize="x-small", frameon=False)
    axis.grid(alpha=0.3)


def _layers(axis: Axes, values: Values, metric: str) -> None:
    cells = values.cells_of(values.kinds[0])
    last = of_metric(values.at_ends, metric)
    last = last[last["place"].isin(cells) & last["layer"].notna()]
    if not values.published and last["place"].nunique() > 1:
        table = last
    else:
        table = of_metric(values.means, metric)
        table = table[(table["place"] == cells[0]) & (table["at"] > 0) & table["layer"].notna()]
        rows = values.rows_of(metric)
        faulty = rows[rows["fault"].notna() & (rows["place"] == cells[0]) & (rows[values.along] > 0)]
        if not faulty.empty:
            _crosses(axis, faulty[values.along], faulty["value"])
    layers = sorted(table["layer"].unique())
    for place, layer in enumerate(layers):
        _with_band(axis, table[table["layer"] == layer], of_layer(layer), colour(place, len(layers)))
    axis.set(xscale="log", xlabel=AXES[values.along], title=LAYERED[metric])
    if table is last:  # the budgets alone: what matplotlib makes of less than a decade overlaps
        budgets = np.unique(table["at"])
        budgets = budgets[thinned(budgets, BUDGETS)]
        axis.set_xticks(budgets, [f"{budget:.2g}".replace("e+", "e") for budget in budgets], fontsize="small")
        axis.set_xticks([], minor=True)
    axis.grid(alpha=0.3)


def _heat(axis: Axes, values: Values, metric: str) -> None:
    from matplotlib.colors import LogNorm

    rows, table = values.rows_of(metric), of_metric(values.means, metric)
    rows, table = (one[(one["place"] == 0) & one["layer"].notna()] for one in (rows, table))
    steps = np.unique(rows["step"])
    if table.empty:
        return
    layers, means = matrix(table, "mean", steps)
    smallest, largest = np.nanmin(means), np.nanmax(means)
    norm = LogNorm() if smallest > 0 and largest > WIDE * smallest else None
    image = axis.imshow(means, aspect="auto", origin="lower", cmap="viridis", norm=norm)
    faulty = set(rows.loc[rows["fault"].notna(), "step"])
    shown = thinned(steps, TICKS)
    axis.set_xticks(shown, [f"{steps[at]:.0f}" for at in shown], rotation=60, fontsize="x-small")
    axis.set_yticks(range(len(layers)), [f"{layer:.0f}" for layer in layers])
    crossed = [at for at, step in enumerate(steps) if step in faulty]
    if crossed:
        _crosses(axis, crossed, [0.0] * len(crossed))
    axis.set(xlabel="step", ylabel="layer", title=LAYERED[metric])
    axis.figure.colorbar(image, ax=axis)


def _diagrams(axes: list[Axes], found: Findings) -> None:
    """The last layer at the first, the middle and the last checkpoint."""
    of_trial = [one for one in found.diagrams if one.label == found.diagrams[0].label]
    for axis, at in zip(axes, np.linspace(0, len(of_trial) - 1, len(axes)).round().astype(int), strict=True):
        one = of_trial[at]
        last = one.table[one.table["layer"] == one.table["layer"].max()]
        end = 1.03 * float(last["death"].max()) if not last.empty else 1.0
        axis.plot([0, end], [0, end], color="grey", lw=0.7)
        for dimension, part in last.groupby("dimension"):
            axis.plot(part["birth"], part["death"], ".", ms=3, alpha=0.6, label=f"H{dimension}")
        axis.set(xlabel="birth", title=f"{of_layer(float(one.table['layer'].max()))}, step {one.step:,}")
    axes[0].set_ylabel("death")
    axes[0].legend(frameon=False)


def _forest(axes: list[Axes], trace: Trace, title: str) -> None:
    """The page's chart of points with intervals."""
    (axis,) = axes
    x = np.array(trace["x"], dtype=float)
    ends = np.array([trace["error_x"][side] for side in ("arrayminus", "array")], dtype=float)
    y = np.arange(len(x))
    axis.errorbar(x, y, xerr=np.nan_to_num(ends), fmt="none", ecolor=SCALE[2], elinewidth=1)
    filled = [symbol == "circle" for symbol in trace["marker"]["symbol"]]
    axis.scatter(x, y, s=14, edgecolors=SCALE[2], facecolors=[SCALE[2] if one else "white" for one in filled], zorder=3)
    axis.set_yticks(y, trace["y"], fontsize=max(4.0, 8 - len(x) / 8))
    axis.axvline(0, color="grey", lw=0.7)
    axis.set(xlabel=title)


def _isoflop(axis: Axes, found: Findings) -> None:
    points = found.analysis.isoflop_points
    variant, minima = points["variant"].iloc[0], found.analysis.isoflop
    of_variant, minima = points[points["variant"] == variant], minima[minima["variant"] == variant]
    budgets = sorted(of_variant["budget_flops"].unique())
    for place, budget in enumerate(budgets):
        rows, shade = of_variant[of_variant["budget_flops"] == budget], colour(place, len(budgets))
        axis.plot(rows["n_params"], rows["loss"], "o", ms=4, color=shade, label=f"{short(budget)} FLOPs")
        for _, minimum in minima[minima["budget_flops"] == budget].iterrows():
            axis.plot(*statistics.parabola(minimum, rows["n_params"]), lw=1, color=shade)
    axis.plot(minima["n_params"], minima["loss"], "*", color="tab:red", ms=8, label="minimum")
    axis.set(xscale="log", xlabel="parameters, without embeddings", ylabel="held-out loss (nats/token)")
    axis.legend(fontsize="x-small", frameon=False)
    axis.grid(alpha=0.3)


def _beside(axis: Axes, found: Findings, metric: str) -> None:
    compared = found.compared
    assert compared is not None
    along = compared.beside.by
    trials, means, faulty = compared.lines(metric)
    for at in thinned(trials, LINES):
        axis.plot(trials[at][along].astype(float), trials[at]["value"], color="0.5", lw=0.6, alpha=0.6)
    for place, (model, mean) in enumerate(means.items()):
        axis.plot(mean["at"].astype(float), mean["value"], "o-", ms=2.5, color=colour(place), label=model)
    if not faulty.empty:
        _crosses(axis, faulty[along].astype(float), faulty["value"])
    axis.set(xscale="log", xlabel=AXES[along], title=HEADLINES[metric])
    axis.grid(alpha=0.3)
