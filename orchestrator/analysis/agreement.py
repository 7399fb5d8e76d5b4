"""Do small budgets put variants, and seeds, in the order that the largest one does?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from orchestrator.analysis.inference import LEVEL
from orchestrator.analysis.trials import WHOLE, Trials
from orchestrator.results import HEADLINES

LEAST = 5  # things in an order; of four, the best p is 1/12
TAU_VARIANCE = 0.437  # of Kendall's z, times n - 4 (Fieller, Hartley and Pearson 1957)


def agreement(trials: Trials) -> tuple[pd.DataFrame, list[str]]:
    """Kendall's tau between each smaller budget and the largest, of headline metrics (the mean over blocks).

    Variants are ordered by their mean over seeds, seeds by their mean over the variants that all of them have.
    """
    rows: list[dict[str, object]] = []
    remarks = []
    for model, about in trials.about.groupby("model"):
        values = _headlines(trials.values.loc[about.index])
        for what, by, other in (("variants", "variant", "seed"), ("seeds", "seed", "variant")):
            count = about[by].nunique()
            if count < LEAST or about["budget_flops"].nunique() < 2:
                if count > 1:
                    remarks.append(
                        f"order of {model}'s {what} across budgets: not compared, it needs {LEAST} {what} and 2 "
                        f"budgets; there are {count} and {about['budget_flops'].nunique()}"
                    )
                continue
            for metric in values:
                found = _pairs(about, values[metric], by, other)
                rows.extend({"model": model, "of": what, "metric": metric, **one} for one in found)
    return pd.DataFrame(rows), remarks


def _headlines(values: pd.DataFrame) -> pd.DataFrame:
    """The mean over blocks, or the whole model's value, of the metrics that the results' table shows."""
    layers = values.columns.get_level_values("layer")
    chosen = values.loc[
        :, values.columns.get_level_values("metric").isin(HEADLINES) & ((layers > 0) | (layers == WHOLE))
    ]
    return chosen.T.groupby(level="metric").mean().T


def _pairs(about: pd.DataFrame, values: pd.Series, by: str, other: str) -> Iterator[dict[str, float]]:
    table = about.assign(value=values).dropna(subset="value")
    cells = table.pivot_table(index=by, columns=["budget_flops", other], values="value")
    means = cells.dropna(axis="columns").T.groupby(level="budget_flops").mean().T  # of what all of them have
    budgets = sorted(means.columns)
    for small in budgets[:-1]:
        tau, p = stats.kendalltau(means[small], means[budgets[-1]])
        if np.isfinite(tau) and len(means) >= LEAST:
            z = np.arctanh(np.clip(tau, -1, 1) * (1 - 1 / len(means)))
            reach = stats.norm.ppf(0.5 + LEVEL / 2) * np.sqrt(TAU_VARIANCE / (len(means) - 4))
            ends = {"low": float(np.tanh(z - reach)), "high": float(np.tanh(z + reach)), "p": float(p)}
            yield {"small": small, "large": budgets[-1], "ranked": len(means), "tau": float(tau), **ends}
