"""The findings in sentences: what was tried, what compute bought, and what topology has to do with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from orchestrator.analysis import Analysis
from orchestrator.analysis.trials import LOSS
from orchestrator.report.series import kind, short
from orchestrator.report.statistics import SIGNIFICANT, besides_loss, name_of

MODELS = 4  # with a sentence each
CAUTIONS = (
    "Neural persistence mostly follows the variance of the weights.",
    "Correlations of topology with generalisation are confounded by hyperparameters (arXiv 2406.02234): compare at "
    "equal loss, learning rate, budget and parameter norm.",
)


def tried(sweep: dict[str, Any], *, trials: int, done: int, checkpoints: int, values: int) -> str:
    """What the sweep is, and how far it is."""
    axes = sweep["sweep"]
    if axes.get("checkpoints"):
        what = f"published checkpoints {', '.join(axes['checkpoints'])}"
    else:
        what = f"{_counted(len(axes['seeds']), 'seed')} x {_counted(len(axes['budgets']), 'budget')}"
        if axes.get("variants"):
            what += f" x {_counted(len(axes['variants']), 'variant')}"
    search = axes.get("search", "grid")
    what += f", searched by {search}" if search != "grid" else ""
    said = f"{done:,} of {trials:,} trials are done ({', '.join(axes['model'])}; {what}); "
    said += f"{checkpoints:,} checkpoints were measured, {values:,} values. " if values else "nothing is measured yet. "
    return f"{said}Corpus: {sweep['corpus_fingerprint']}. Device: {sweep['provenance'].get('device')}."


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def found(final: pd.DataFrame, analysis: Analysis) -> list[str]:
    """A sentence or two of each question; what could not be said is in the analysis' remarks."""
    return [
        *_losses(final),
        *_effects(analysis.effects),
        *_correlations(analysis.correlations),
        *_prediction(analysis.prediction),
        *_scaling(analysis),
    ]


def _losses(final: pd.DataFrame) -> Iterator[str]:
    losses = final[(final["metric"] == LOSS) & final["fault"].isna()] if len(final) else final
    groups = list(losses.groupby(["model", "variant"], sort=False)) if len(losses) else []
    for of, rows in groups[:MODELS]:
        budgets = rows.groupby("budget_flops", dropna=False)["value"].agg(["mean", "std", "count"])
        smallest, largest = budgets.iloc[0], budgets.iloc[-1]
        if len(budgets) == 1:
            cost = "" if pd.isna(budgets.index[0]) else f" at {short(budgets.index[0])} FLOPs"
            yield f"{kind(*of)}: held-out loss {_spread(largest)}{cost}{_seeds(largest)}."
        else:
            yield (
                f"{kind(*of)}: held-out loss {_spread(smallest)} at {short(budgets.index[0])} FLOPs, "
                f"{_spread(largest)} at {short(budgets.index[-1])}{_seeds(largest)}."
            )
    if len(groups) > MODELS:
        yield f"Of {len(groups) - MODELS} more models and variants the table below has the losses."


def _spread(row: pd.Series) -> str:
    return f"{row['mean']:.4g}" if pd.isna(row["std"]) else f"{row['mean']:.4g} ±{row['std']:.2g}"


def _seeds(row: pd.Series) -> str:
    return "" if row["count"] < 2 else f" (mean ± standard deviation over {row['count']:.0f} seeds)"


def _interval(row: pd.Series) -> str:
    return "" if pd.isna(row["low"]) else f" [{row['low']:.3g}, {row['high']:.3g}]"


def _effects(table: pd.DataFrame) -> Iterator[str]:
    known = besides_loss(table).dropna(subset=["p"])
    if known.empty:
        return
    sure = known[known["q"] < SIGNIFICANT].sort_values("share", ascending=False)
    begin = f"Of {len(known):,} metrics and layers besides the loss, {len(sure) or 'none'} change with compute"
    if sure.empty:
        yield f"{begin} (q < {SIGNIFICANT})."
        return
    top = sure.iloc[0]
    yield (
        f"{begin} (q < {SIGNIFICANT}), {name_of(top)} most: {top['per_decade']:+.3g} per tenfold "
        f"FLOPs{_interval(top)}, and {top['share']:.1%} of the variance between trials lies between budgets."
    )


def _correlations(table: pd.DataFrame) -> Iterator[str]:
    known = besides_loss(table).dropna(subset=["q"])
    known = known[known["given"].astype(str).str.startswith("compute")]
    if known.empty:
        return
    for given, of in known.groupby("given", sort=False):
        sure = of[of["q"] < SIGNIFICANT]
        top = sure.assign(strength=sure["rho"].abs()).sort_values("strength", ascending=False).head(3)
        named = "; ".join(f"{name_of(row)} (rho {row['rho']:+.2f}{_interval(row)})" for _, row in top.iterrows())
        count = f"{len(sure) or 'none'} of {len(of):,} metrics and layers go with the final loss"
        yield f"Given {given}, {count} (q < {SIGNIFICANT}){': ' + named if named else ''}."


def _prediction(table: pd.DataFrame) -> Iterator[str]:
    known = besides_loss(table).dropna(subset=["gain", "q"])
    if known.empty:
        return
    sure = known[(known["q"] < SIGNIFICANT) & (known["gain"] > 0)].sort_values("gain", ascending=False)
    if sure.empty:
        yield "No early value predicts the final loss better than the early loss and compute already do."
        return
    top = sure.iloc[0]
    yield (
        f"{name_of(top)} after {top['at']:.0%} of the steps predicts the final loss of budgets left out with "
        f"{top['gain']:.0%} less error than the early loss and compute alone{_interval(top)}."
    )


def _scaling(analysis: Analysis) -> Iterator[str]:
    words = {"n_params": "parameters", "tokens": "tokens"}
    for _, row in analysis.exponents.iterrows():
        of = f"{row['variant']}: " if isinstance(row["variant"], str) and row["variant"] else ""
        what = words.get(str(row["quantity"]), str(row["quantity"]))
        yield f"{of}The best number of {what} grows as compute to the power {row['value']:.3g}{_interval(row)}."
    for variant, of_variant in analysis.loss_fit.groupby(analysis.loss_fit["variant"].fillna("")):
        named = ", ".join(
            f"{row['parameter']} = {row['value']:.3g}{_interval(row)}" for _, row in of_variant.iterrows()
        )
        yield f"{f'{variant}: ' if variant else ''}L(N, D) = E + A/N^alpha + B/D^beta with {named}."
