"""Charts of the analysis, its intervals and parabolas; of cost, and of a search's candidates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from orchestrator.analysis import Analysis
from orchestrator.analysis.trials import is_of_loss
from orchestrator.report.charts import (
    MANY,
    PALETTE,
    Chart,
    Control,
    Panel,
    Trace,
    axis,
    colour,
    faded,
    key,
    line,
    rounded,
)
from orchestrator.report.series import kind, of_layer, short

STRONGEST = 25  # metrics and layers of a chart
SIGNIFICANT = 0.05  # q, the share of false discoveries


def name_of(row: pd.Series) -> str:
    """Metric and layer of a finding."""
    return str(row["metric"]) if pd.isna(row["layer"]) else f"{row['metric']}, {of_layer(float(row['layer']))}"


def besides_loss(table: pd.DataFrame) -> pd.DataFrame:
    """Findings on other metrics than the loss, over all or of a domain."""
    return table[~is_of_loss(table["metric"])]


def _given(text: str) -> str:
    return f"given {text}" if text else "alone"


def correlations(analysis: Analysis) -> Panel | None:
    """Rank correlations with the final loss, the strongest at the top."""
    table = besides_loss(analysis.correlations)
    found = {_given(str(given)): part for given, part in table.groupby("given", sort=False)}
    ordered = dict(sorted(found.items(), key=lambda one: (one[0] == "alone", one[0])))
    return _forest(
        "correlations",
        {kind_: dict(list(part.groupby("model", sort=False))) for kind_, part in ordered.items()},
        "given",
        lambda part: part["rho"].abs(),
        ("rho", "rank correlation with the final held-out loss"),
        f"The {STRONGEST} strongest, with 95 % intervals over seeds. Filled: q < {SIGNIFICANT} after Benjamini and "
        "Hochberg.",
    )


def prediction(analysis: Analysis) -> Panel | None:
    """What an early value adds to the early loss, in predicting the final one."""
    found = {f"after {at:.0%} of the steps": part for at, part in besides_loss(analysis.prediction).groupby("at")}
    return _forest(
        "prediction",
        {at: dict(list(part.groupby("model", sort=False))) for at, part in found.items()},
        "early value",
        lambda part: part["gain"],
        ("gain", "error saved beside the early loss and compute, as a share"),
        f"The {STRONGEST} that help most, with 95 % intervals; below 0 a metric makes the prediction worse. Filled: "
        f"q < {SIGNIFICANT}.",
    )


def effects(analysis: Analysis) -> Panel | None:
    """Change per tenfold compute in units of the spread over seeds, by which metrics compare."""
    table = besides_loss(analysis.effects[analysis.effects["seed_std"] > 0]).copy()
    for column in ("per_decade", "low", "high"):
        table[column] = table[column] / table["seed_std"]
    kinds = [kind(model, variant) for model, variant in zip(table["model"], table["variant"].fillna(""), strict=True)]
    found = dict(list(table.groupby(kinds, sort=False))) if len(table) else {}
    return _forest(
        "effects",
        {"tenfold compute": found} if found else {},
        "",
        lambda part: part["per_decade"].abs(),
        ("per_decade", "change per tenfold compute, in standard deviations over seeds"),
        f"The {STRONGEST} largest, with 95 % intervals. Filled: q < {SIGNIFICANT}.",
    )


def _forest(
    name: str,
    tables: dict[str, dict[str, pd.DataFrame]],
    label: str,
    strength: Callable[[pd.DataFrame], pd.Series],
    value: tuple[str, str],
    caption: str,
) -> Panel | None:
    """Points with intervals, of tables by two choices: what was held fixed (or when), and the model."""
    models = list(dict.fromkeys(model for of_model in tables.values() for model in of_model))
    frames: dict[str, list[Trace]] = {}
    layouts: dict[str, dict[str, object]] = {}
    for first, of_model in enumerate(tables.values()):
        for model, table in of_model.items():
            known = table.dropna(subset=[value[0]])
            if known.empty:
                continue
            top = known.assign(strength=strength(known)).sort_values("strength").tail(STRONGEST)
            at = key(first, models.index(model))
            frames[at] = [_points(top, value[0])]
            layouts[at] = {"height": 130 + 20 * len(top)}
    if not frames:
        return None
    layout = {
        "xaxis": axis(value[1], zeroline=True),
        "yaxis": {"type": "category", "automargin": True, "tickfont": {"size": 11}},
        "showlegend": False,
    }
    controls = [Control(label or "effect of", list(tables)), Control("of", models)]
    return Panel(name, caption, [Chart(frames, layout, layouts)], controls)


def _points(table: pd.DataFrame, column: str) -> Trace:
    sure = (table["q"] < SIGNIFICANT).to_numpy()
    low, high = (table[column] - table["low"]).clip(lower=0), (table["high"] - table[column]).clip(lower=0)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(table[column]),
        "y": [name_of(row) for _, row in table.iterrows()],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": rounded(high),
            "arrayminus": rounded(low),
            "color": faded(PALETTE[0], 0.6),
            "thickness": 1.5,
        },
        "marker": {
            "size": 8,
            "symbol": ["circle" if one else "circle-open" for one in sure],
            "color": PALETTE[0],
        },
        "customdata": [[one] for one in rounded(table["q"])],
        "hovertemplate": "%{y}: %{x}, q = %{customdata[0]}<extra></extra>",
    }


def isoflop(analysis: Analysis) -> Panel | None:
    """Loss against size at equal compute, the parabolas, and their minima."""
    points = analysis.isoflop_points
    if points.empty:
        return None
    variants = list(dict.fromkeys(points["variant"].fillna("")))
    frames = {}
    for place, variant in enumerate(variants):
        of_variant = points[points["variant"].fillna("") == variant]
        minima = analysis.isoflop[analysis.isoflop["variant"].fillna("") == variant]
        frames[key(place)] = _parabolas(of_variant, minima)
    layout = {
        "xaxis": axis("parameters, without embeddings", log=True) | {"exponentformat": "SI"},
        "yaxis": axis("held-out loss (nats/token)"),
    }
    said = "Each colour is a compute budget: means over seeds, and the parabola where the losses have a minimum."
    controls = [Control("variant", [one or "plain" for one in variants])]
    return Panel("isoflop", said, [Chart(frames, layout)], controls)


def _parabolas(points: pd.DataFrame, minima: pd.DataFrame) -> list[Trace]:
    traces: list[Trace] = []
    budgets = sorted(points["budget_flops"].unique())
    for place, budget in enumerate(budgets):
        found = points[points["budget_flops"] == budget].sort_values("n_params")
        label, shade = f"{short(budget)} FLOPs", colour(place, len(budgets))
        traces.append(line(found["n_params"], found["loss"], label, shade, mode="markers", marker={"size": 8}))
        for _, minimum in minima[minima["budget_flops"] == budget].iterrows():
            curve = parabola(minimum, found["n_params"])
            look = {"color": shade, "width": 1.5}
            hidden = {"showlegend": False, "mode": "lines", "hoverinfo": "skip", "line": look}
            traces.append(line(*curve, label, shade) | hidden)
    if not minima.empty:
        error = {"type": "data", "symmetric": False, "thickness": 1.5}
        error["array"] = rounded((minima["high"] - minima["n_params"]).clip(lower=0))
        error["arrayminus"] = rounded((minima["n_params"] - minima["low"]).clip(lower=0))
        star = {"size": 12, "symbol": "star", "color": "#c62828"}
        more = {"mode": "markers", "marker": star, "error_x": error}
        traces.append(line(minima["n_params"], minima["loss"], "minimum", "#c62828", **more))
    return traces


def parabola(minimum: pd.Series, sizes: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """A row of the analysis' ``isoflop`` as a curve over the sizes: x and y."""
    x = np.linspace(np.log10(sizes.min()), np.log10(sizes.max()), 40)
    return 10**x, minimum["loss"] + minimum["curvature"] / 2 * (x - np.log10(minimum["n_params"])) ** 2


def cost(table: pd.DataFrame) -> Panel | None:
    """FLOPs asked for, spent and saved, by model, variant and budget."""
    if table.empty or not (table["asked"] > 0).any():
        return None
    table = table.head(MANY)
    labels = [f"{kind(*of)}, {short(budget)}" for *of, budget in table[["model", "variant", "budget_flops"]].to_numpy()]
    bars: list[Trace] = [
        {"type": "bar", "x": labels, "y": rounded(table[name]), "name": said, "marker": {"color": PALETTE[place]}}
        for place, (name, said) in enumerate((("asked", "asked for"), ("spent", "spent"), ("saved", "taken over")))
        if table[name].any()
    ]
    layout = {
        "xaxis": {"type": "category"},
        "yaxis": axis("FLOPs", rangemode="tozero", exponentformat="e"),
        "barmode": "group",
    }
    said = "Taken over: first steps that a trial has from another, since their schedules begin alike."
    return Panel("cost", said, [Chart({"": bars}, layout)])


def candidates(table: pd.DataFrame) -> Panel | None:
    """Scores of a search's candidates, the best first."""
    if table.empty:
        return None
    studies = {
        f"{model}, {short(budget)} FLOPs": part for (model, budget), part in table.groupby(["model", "budget_flops"])
    }
    frames = {}
    for place, part in enumerate(studies.values()):
        best = part.sort_values("loss").head(2 * MANY)
        spread = {"type": "data", "array": rounded(best["std"].fillna(0)), "thickness": 1.5}
        more = {"mode": "markers", "error_y": spread, "marker": {"size": 8, "color": PALETTE[0]}}
        trace = line(range(1, len(best) + 1), best["loss"], "candidates", PALETTE[0], **more)
        trace |= {"text": list(best["variant"]), "hovertemplate": "%{text}: %{y}<extra></extra>", "showlegend": False}
        frames[key(place)] = [trace]
    layout = {"xaxis": axis("rank"), "yaxis": axis("held-out loss, mean over seeds")}
    return Panel("candidates", "Hovering names the settings.", [Chart(frames, layout)], [Control("of", list(studies))])
