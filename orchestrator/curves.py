"""The report's figures: what compute buys and what shape it leaves, drawn from the results, as SVG."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYERED = {
    "h1_total_persistence_scaled": "H1 total persistence",
    "h0_total_persistence_scaled": "H0 total persistence",
    "twonn_dimension": "TwoNN dimension",
}


AXES = {"flops": "training FLOPs", "tokens": "training tokens", "step": "training step"}
CROSSES = "A cross is a checkpoint with a fault, listed below, which is no part of the lines."
TICKS = 24  # at most on the axis of a heat map
Draw = Callable[["Axes", pd.DataFrame, pd.DataFrame, str], None]


@dataclass(frozen=True)
class Figure:
    title: str
    caption: str
    svg: str


def figures(measured: pd.DataFrame, final: pd.DataFrame) -> list[Figure]:
    """measured: rows of :func:`orchestrator.results.collect` that have a value; final: those of ``at_budget``."""
    if measured["revision"].notna().any():
        return _of_published(measured, final)
    figures = []
    if (measured["metric"] == "held_out_loss").any():
        figures += [
            figure(
                "Held-out loss against compute",
                "Each line is one trial, measured at its checkpoints; dots are the ends of the budgets.",
                lambda axes: _draw_loss(axes[0], measured, final),
                columns=1,
            )
        ]
    alike = measured[measured["variant"] == final["variant"].iloc[0]]  # a spread is over seeds alone
    present = [metric for metric in LAYERED if (alike["metric"] == metric).any()]
    if present:
        figures += [
            figure(
                "Topology against compute, by layer",
                "First model and variant, at the end of each budget: mean and spread over seeds. Layer 0: embeddings.",
                lambda axes: _draw_all_layers(axes, alike, final, present, _draw_layers),
                columns=len(present),
            ),
            _step_by_layer("Trials of the largest budget of the first model", alike, final, present),
        ]
    return figures


def _of_published(measured: pd.DataFrame, final: pd.DataFrame) -> list[Figure]:
    along = "flops" if measured["flops"].notna().all() else "step"  # of every model, or none would be drawn of some
    drawn = measured[measured[along] > 0]
    present = [metric for metric in LAYERED if (drawn["metric"] == metric).any()]
    found = []
    losses = drawn[drawn["metric"] == "held_out_loss"]
    if not losses.empty:
        found.append(
            figure(
                "Held-out loss through training",
                f"Thick: the mean over seeds, where there are several. {CROSSES}",
                lambda axes: _draw_published_loss(axes[0], losses, along),
                columns=1,
            )
        )
    if present:
        found += [
            figure(
                "Topology through training, by layer",
                f"First model: mean and standard deviation over seeds. Layer 0: embeddings. {CROSSES}",
                lambda axes: _draw_all_layers(axes, drawn, final, present, _draw_through(along)),
                columns=len(present),
            ),
            _step_by_layer("First model; steps in red have a fault", measured, final, present),
        ]
    return found


def _step_by_layer(what: str, measured: pd.DataFrame, final: pd.DataFrame, names: list[str]) -> Figure:
    return figure(
        "Topology through training, step by layer",
        f"{what}; the mean over seeds, in logarithmic colours.",
        lambda axes: _draw_each(_draw_heat, axes, measured, final, names),
        columns=len(names),
    )


def figure(title: str, caption: str, draw: Callable[[list[Axes]], object], *, columns: int) -> Figure:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(10, 3.4 if columns > 1 else 4.0), layout="constrained")
    FigureCanvasSVG(canvas)
    axes = canvas.subplots(1, columns, squeeze=False)[0]
    draw(list(axes))
    text = io.StringIO()
    canvas.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return Figure(title, caption, svg[svg.index("<svg") :])


def _draw_each(draw: Draw, axes: list[Axes], measured: pd.DataFrame, final: pd.DataFrame, names: list[str]) -> None:
    for axis, name in zip(axes, names, strict=True):
        draw(axis, measured, final, name)


def draw_trajectories(axis: Axes, rows: pd.DataFrame, along: str) -> None:
    """Each model's values along a column: its seeds, their mean, and a cross in place of each that has a fault."""
    for model, of_model in rows.groupby("model"):
        sound = of_model[of_model["fault"].isna()].sort_values("step")
        means = sound.groupby("step").agg(at=(along, "first"), value=("value", "mean"))
        (line,) = axis.plot(means["at"].astype(float), means["value"], "o-", ms=2.5, lw=2, label=model)
        if sound["trial"].nunique() > 1:
            for _, of_trial in sound.groupby("trial"):
                axis.plot(of_trial[along].astype(float), of_trial["value"], color=line.get_color(), lw=0.7, alpha=0.5)
    _cross_out(axis, rows, along)


def _cross_out(axis: Axes, rows: pd.DataFrame, along: str) -> None:
    faulty = rows[rows["fault"].notna()]
    if not faulty.empty:
        axis.plot(faulty[along].astype(float), faulty["value"], "x", color="tab:red", ms=6, label="with a fault")


def _draw_published_loss(axis: Axes, losses: pd.DataFrame, along: str) -> None:
    draw_trajectories(axis, losses, along)
    axis.set(xscale="log", xlabel=AXES[along], ylabel="held-out loss (nats/token)")
    axis.legend(fontsize="small")
    axis.grid(alpha=0.3)


def _draw_through(along: str) -> Draw:
    def draw(axis: Axes, measured: pd.DataFrame, final: pd.DataFrame, metric: str) -> None:
        rows = measured[(measured["metric"] == metric) & measured["layer"].notna()]
        rows = rows[rows["model"] == final["model"].iloc[0]]
        for layer, of_layer in rows[rows["fault"].isna()].groupby("layer"):
            at = of_layer.groupby("step").agg(at=(along, "first"), mean=("value", "mean"), std=("value", "std"))
            x, mean, spread = at["at"].astype(float), at["mean"], at["std"].fillna(0.0)
            (line,) = axis.plot(x, mean, "o-", ms=2.5, lw=1.2, label=f"layer {layer}")
            axis.fill_between(x, mean - spread, mean + spread, color=line.get_color(), alpha=0.2)
        _cross_out(axis, rows, along)
        axis.set(xscale="log", xlabel=AXES[along], title=LAYERED[metric])
        axis.grid(alpha=0.3)

    return draw


def _draw_all_layers(
    axes: list[Axes], measured: pd.DataFrame, final: pd.DataFrame, names: list[str], draw: Draw
) -> None:
    _draw_each(draw, axes, measured, final, names)
    lines, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(lines, labels, loc="outside lower center", ncols=8, fontsize="small", frameon=False)


def _draw_loss(axis: Axes, measured: pd.DataFrame, final: pd.DataFrame) -> None:
    from matplotlib import colormaps

    losses = measured[(measured["metric"] == "held_out_loss") & (measured["flops"] > 0)]
    budgets = sorted(losses["budget_flops"].unique())
    colour = {
        budget: colormaps["viridis"](0.9 * place / max(1, len(budgets) - 1)) for place, budget in enumerate(budgets)
    }
    for (budget, _), rows in losses.groupby(["budget_flops", "trial"]):
        rows = rows.sort_values("step")
        axis.plot(rows["flops"], rows["value"], color=colour[budget], lw=1, alpha=0.7)
        axis.plot(rows["flops"].iloc[-1:], rows["value"].iloc[-1:], "o", color=colour[budget], ms=4)
    for budget in budgets:
        axis.plot([], [], color=colour[budget], label=f"{budget:.3g} FLOPs")
    axis.set(xscale="log", xlabel="training FLOPs spent", ylabel="held-out loss (nats/token)")
    axis.legend(title="budget", fontsize="small")
    axis.grid(alpha=0.3)


def _at_end(measured: pd.DataFrame, final: pd.DataFrame, metric: str) -> pd.DataFrame:
    ends = final.groupby("trial")["step"].max()
    rows = measured[(measured["metric"] == metric) & measured["layer"].notna()]
    return rows[rows["step"] == rows["trial"].map(ends)]


def _draw_layers(axis: Axes, measured: pd.DataFrame, final: pd.DataFrame, metric: str) -> None:
    rows = _at_end(measured, final, metric)
    rows = rows[rows["model"] == final["model"].iloc[0]]  # models have other layers, and other budgets
    for layer, of_layer in rows.groupby("layer"):
        spread = of_layer.groupby("budget_flops")["value"].agg(["mean", "std"]).fillna(0.0)
        (line,) = axis.plot(spread.index, spread["mean"], "o-", ms=3, lw=1.2, label=f"layer {layer}")
        low, high = spread["mean"] - spread["std"], spread["mean"] + spread["std"]
        axis.fill_between(spread.index, low, high, color=line.get_color(), alpha=0.2)
    axis.set(xscale="log", xlabel="budget (FLOPs)", title=LAYERED[metric])
    budgets = sorted(rows["budget_flops"].unique())
    axis.set_xticks(budgets, [f"{budget:.2g}".replace("e+", "e") for budget in budgets], fontsize="small")
    axis.set_xticks([], minor=True)
    axis.grid(alpha=0.3)


def _draw_heat(axis: Axes, measured: pd.DataFrame, final: pd.DataFrame, metric: str) -> None:
    from matplotlib.colors import LogNorm

    model = final["model"].iloc[0]
    of_model = measured[(measured["model"] == model) & (measured["metric"] == metric) & measured["layer"].notna()]
    budgets = of_model["budget_flops"]  # all missing of a published model that says too little
    largest = of_model[budgets == budgets.max()] if budgets.notna().any() else of_model
    faulty = set(largest.loc[largest["fault"].notna(), "step"])
    norm = LogNorm() if (largest["value"] > 0).any() else None  # no bar at all has no logarithm
    sound = largest[largest["fault"].isna()]
    alone = largest[~largest["step"].isin(sound["step"])]  # steps of which every seed has a fault: their labels are red
    table = pd.concat([sound, alone]).pivot_table(index="layer", columns="step", values="value", aggfunc="mean")
    image = axis.imshow(table.to_numpy(dtype=float), aspect="auto", origin="lower", cmap="magma", norm=norm)
    every = -(-len(table.columns) // TICKS)
    shown = range(0, len(table.columns), every)
    axis.set_xticks(shown, [str(table.columns[place]) for place in shown], fontsize="x-small", rotation=60)
    for place, label in zip(shown, axis.get_xticklabels(), strict=True):
        if faulty & set(table.columns[place : place + every]):
            label.set_color("tab:red")
    axis.set_yticks(range(len(table.index)), [str(layer) for layer in table.index])
    axis.set(xlabel="step", ylabel="layer", title=LAYERED[metric])
    axis.figure.colorbar(image, ax=axis)
