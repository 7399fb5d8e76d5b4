"""What a sweep's values say: effects of compute, correlations with the loss, early prediction, and scaling fits.

Every statement follows METRICS' rules: intervals (95 %) over seeds, false discoveries controlled across metrics, and
where there is too little data for a statement it is not made, and a remark says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Analysis:
    """Tables of findings, each perhaps empty; ``remarks`` say what is not in them, and why.

    Everywhere: ``layer`` is missing for values of the whole model, ``low`` and ``high`` are a 95 % interval, ``q`` is p
    after Benjamini and Hochberg over the metrics and layers of a model, ``trials`` and ``seeds`` are how many were used.

    effects: model, variant, metric, layer, trials, seeds, budgets, per_decade (change of the value per tenfold budget),
    low, high, p, q, seed_std (standard deviation over seeds at a budget, pooled), share (of the variance between trials
    that lies between budgets, omega squared).
    correlations: model, metric, layer, given ("" alone, "compute", or "compute, ..." with what else was held fixed),
    trials, seeds, rho (of ranks, with the final held-out loss), low, high, p, q.
    prediction: model, metric, layer, at (share of the steps at which the early value is taken), trials, seeds, budgets,
    baseline (root mean square error of the final log loss from compute and the early loss, budgets left out in turn),
    error (with the metric besides), gain (1 - error / baseline), low, high, p, q.
    isoflop: variant, budget_flops, sizes, trials, n_params and tokens and loss at the parabola's minimum, low and high
    (of n_params), curvature (of the loss in log10 n_params).
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
