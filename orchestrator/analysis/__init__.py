"""What a sweep's values say: effects of compute, correlations with the loss, early prediction, and scaling fits.

Every statement follows METRICS' rules: intervals (95 %) over seeds, false discoveries controlled across metrics, and
where there is too little data for a statement it is not made, and a remark says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from orchestrator.analysis.agreement import agreement
from orchestrator.analysis.correlations import correlations
from orchestrator.analysis.effects import effects
from orchestrator.analysis.isoflop import isoflop, points
from orchestrator.analysis.loss_fit import loss_fit
from orchestrator.analysis.prediction import prediction
from orchestrator.analysis.trials import Steps, final, layer_column


@dataclass(frozen=True)
class Analysis:
    """Tables of findings, each perhaps empty; ``remarks`` say what is not in them, and why.

    Everywhere: ``layer`` is missing for values of the whole model, ``low`` and ``high`` are a 95 % interval, ``q`` is p
    after Benjamini and Hochberg over a model's metrics and layers, ``trials`` and ``seeds`` are how many were used.

    effects: model, variant, metric, layer, trials, seeds, budgets, per_decade (change of the value per tenfold budget),
    low, high, p, q, seed_std (standard deviation over seeds at a budget, pooled), share (of the variance between trials
    that lies between budgets, omega squared).
    correlations: model, metric, layer, given ("" alone, "compute", or "compute, ..." with what else was held fixed),
    trials, seeds, rho (of ranks, with the final held-out loss), low, high, p, q.
    prediction: model, metric, layer, at (share of the steps at which the early value is taken), trials, seeds, budgets,
    baseline (root mean square error of the final log loss from compute and the early loss, budgets left out in turn),
    error (with the metric besides), gain (1 - error / baseline), low, high, p, q.
    isoflop: variant, budget_flops, sizes, trials, n_params and tokens and loss at the parabola's minimum, low and high
    (of n_params), curvature (second derivative of the loss in log10 n_params).
    isoflop_points: variant, budget_flops, n_params, tokens, loss (mean over seeds): what the parabolas are fitted to.
    exponents: variant, quantity ("n_params" or "tokens" at the minimum, against compute), budgets, value, low, high.
    loss_fit: variant, parameter (E, A, alpha, B, beta of L = E + A/N^alpha + B/D^beta), value, low, high, trials,
    error (root mean square of the log loss).
    agreement: model, of ("variants" or "seeds"), metric, small and large (budget_flops), ranked (how many), tau
    (Kendall's), low, high, p.
    """

    effects: pd.DataFrame
    correlations: pd.DataFrame
    prediction: pd.DataFrame
    isoflop: pd.DataFrame
    isoflop_points: pd.DataFrame
    exponents: pd.DataFrame
    loss_fit: pd.DataFrame
    agreement: pd.DataFrame
    remarks: tuple[str, ...]


COLUMNS: Mapping[str, tuple[str, ...]] = {
    "effects": (
        *("model", "variant", "metric", "layer", "trials", "seeds", "budgets"),
        *("per_decade", "low", "high", "p", "q", "seed_std", "share"),
    ),
    "correlations": ("model", "metric", "layer", "given", "trials", "seeds", "rho", "low", "high", "p", "q"),
    "prediction": (
        *("model", "metric", "layer", "at", "trials", "seeds", "budgets"),
        *("baseline", "error", "gain", "low", "high", "p", "q"),
    ),
    "isoflop": (
        *("variant", "budget_flops", "sizes", "trials", "n_params", "low", "high", "tokens", "loss", "curvature"),
    ),
    "isoflop_points": ("variant", "budget_flops", "n_params", "tokens", "loss"),
    "exponents": ("variant", "quantity", "budgets", "value", "low", "high"),
    "loss_fit": ("variant", "parameter", "value", "low", "high", "trials", "error"),
    "agreement": ("model", "of", "metric", "small", "large", "ranked", "tau", "low", "high", "p"),
}


def analyse(values: pd.DataFrame, ends: Mapping[str, int]) -> Analysis:
    """All that can be said of a sweep.

    values: from :func:`orchestrator.results.collect`. ends: the last step of each trial that is done; others are left
    out, as are checkpoints with a fault and metrics of other than the newest version.
    """
    steps = Steps.of(values, ends)
    trials = final(steps)
    remarks = []
    if left := values["trial"].nunique() - len(trials.about):
        remarks.append(f"{left} trials are left out: not done, or without a held-out loss or a known budget")
    changed, of_effects = effects(trials)
    related, of_correlations = correlations(trials)
    predicted, of_prediction = prediction(steps, trials)
    minima, growth, of_isoflop = isoflop(trials)
    law, of_law = loss_fit(trials)
    orders, of_orders = agreement(trials)
    tables = {
        "effects": changed,
        "correlations": related,
        "prediction": predicted,
        "isoflop": minima,
        "isoflop_points": points(trials),
        "exponents": growth,
        "loss_fit": law,
        "agreement": orders,
    }
    remarks += [*of_effects, *of_correlations, *of_prediction, *of_isoflop, *of_law, *of_orders]
    return Analysis(**{name: _table(name, table) for name, table in tables.items()}, remarks=tuple(remarks))


def _table(name: str, found: pd.DataFrame) -> pd.DataFrame:
    """With the columns that there are to be, in their order, also where nothing was found."""
    table = found.reindex(columns=list(COLUMNS[name])).reset_index(drop=True)
    return layer_column(table) if "layer" in table else table
