"""report.html: one self-contained page with the table by budget, figures, failures and provenance."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from orchestrator import results
from orchestrator.results import HEADLINES, mean_and_spread
from orchestrator.store import REPORT, Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYERED = {
    "h1_total_persistence_scaled": "H1 total persistence",
    "h0_total_persistence_scaled": "H0 total persistence",
    "twonn_dimension": "TwoNN dimension",
}


@dataclass(frozen=True)
class Figure:
    title: str
    caption: str
    svg: str


def write(store: Store, frame: pd.DataFrame) -> None:
    """Write ``report.html`` from the rows of :func:`orchestrator.results.collect`."""
    import jinja2

    template = (Path(__file__).parent / "templates" / "report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    page = environment.from_string(template).render(_content(store, frame))
    store.root.write(REPORT, page.encode())


def _content(store: Store, frame: pd.DataFrame) -> dict[str, Any]:
    sweep = store.read_sweep()
    assert sweep is not None, "a report is made of a store with a sweep.json"
    final = results.at_budget(store, frame)
    measured = results.newest(frame).dropna(subset="value")
    headings, rows = _table(results.by_budget(final)) if not final.empty else ([], [])
    return {
        "title": f"Sweep {sweep['space']}",
        "summary": _summary(store, frame, sweep),
        "headings": headings,
        "rows": rows,
        "figures": _figures(measured, final) if not final.empty else [],
        "failures": _failures(store, frame),
        "spec": json.dumps(sweep, indent=1, ensure_ascii=False),
    }


def _summary(store: Store, frame: pd.DataFrame, sweep: dict[str, Any]) -> str:
    states = [store.read_status(trial_id) for trial_id in store.trial_ids()]
    done = sum(status is not None and status.state == "done" for status in states)
    checkpoints = frame.groupby("trial")["step"].nunique().sum() if not frame.empty else 0
    axes = sweep["sweep"]
    return (
        f"{done} of {len(states)} trials are done ({', '.join(axes['model'])}; {len(axes['seeds'])} seeds; "
        f"{len(axes['budgets'])} budgets); {checkpoints} checkpoints were measured, {len(frame):,} values. Corpus: "
        f"{sweep['corpus_fingerprint']}. Device: {sweep['provenance']['device']}."
    )


def _table(summary: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    metrics = [name for name in HEADLINES if (name, "mean") in summary.columns]
    rows = [
        [
            row[("model", "")],
            f"{row[('budget_flops', '')]:.3g}",
            *(f"{int(row[(name, '')]):,}" for name in ("trials", "steps", "tokens")),
            *(mean_and_spread(row, name) for name in metrics),
        ]
        for _, row in summary.iterrows()
    ]
    return ["model", "budget (FLOPs)", "trials", "steps", "tokens", *(HEADLINES[name] for name in metrics)], rows


def _failures(store: Store, frame: pd.DataFrame) -> list[str]:
    lines = []
    for trial_id in store.trial_ids():
        status = store.read_status(trial_id)
        if status is not None and status.state == "failed":
            lines.append(f"{trial_id} failed at step {status.step}: {status.reason}")
    missing = frame[frame["status"] != "ok"]
    for (metric, status, reason), rows in missing.groupby(["metric", "status", "reason"], dropna=False):
        lines.append(f"{metric}: {status} on {len(rows)} values ({str(reason).strip().splitlines()[-1]})")
    return lines


def _figures(measured: pd.DataFrame, final: pd.DataFrame) -> list[Figure]:
    figures = []
    if (measured["metric"] == "held_out_loss").any():
        figures += [
            _figure(
                "Held-out loss against compute",
                "Each line is one trial, measured at its checkpoints; dots are the ends of the budgets.",
                lambda axes: _draw_loss(axes[0], measured, final),
                columns=1,
            )
        ]
    present = [metric for metric in LAYERED if (measured["metric"] == metric).any()]
    if present:
        figures += [
            _figure(
                "Topology against compute, by layer",
                "First model, at the end of each budget: mean and standard deviation over seeds. Layer 0: embeddings.",
                lambda axes: _draw_all_layers(axes, measured, final, present),
                columns=len(present),
            ),
            _figure(
                "Topology through training, step by layer",
                "Trials of the largest budget of the first model, mean over seeds; logarithmic colours.",
                lambda axes: _draw_each(_draw_heat, axes, measured, final, present),
                columns=len(present),
            ),
        ]
    return figures


def _figure(title: str, caption: str, draw: Callable[[list[Axes]], object], *, columns: int) -> Figure:
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


def _draw_each(
    draw: Callable[[Axes, pd.DataFrame, pd.DataFrame, str], None],
    axes: list[Axes],
    measured: pd.DataFrame,
    final: pd.DataFrame,
    names: list[str],
) -> None:
    for axis, name in zip(axes, names, strict=True):
        draw(axis, measured, final, name)


def _draw_all_layers(axes: list[Axes], measured: pd.DataFrame, final: pd.DataFrame, names: list[str]) -> None:
    _draw_each(_draw_layers, axes, measured, final, names)
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
    largest = of_model[of_model["budget_flops"] == of_model["budget_flops"].max()]
    norm = LogNorm() if (largest["value"] > 0).any() else None  # no bar at all has no logarithm
    table = largest.pivot_table(index="layer", columns="step", values="value", aggfunc="mean")
    image = axis.imshow(table.to_numpy(dtype=float), aspect="auto", origin="lower", cmap="magma", norm=norm)
    axis.set_xticks(range(len(table.columns)), [str(step) for step in table.columns], fontsize="x-small", rotation=60)
    axis.set_yticks(range(len(table.index)), [str(layer) for layer in table.index])
    axis.set(xlabel="step", ylabel="layer", title=LAYERED[metric])
    axis.figure.colorbar(image, ax=axis)
