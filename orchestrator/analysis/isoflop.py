"""Sizes at equal compute: a parabola for each budget, and how its minimum moves (Hoffmann et al. 2022, method 2)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from orchestrator.analysis.inference import LEVEL
from orchestrator.analysis.trials import Trials

LEAST_SIZES = 4  # a parabola through three sizes alone fits whatever they are
LEAST_BUDGETS = 3


def points(trials: Trials) -> pd.DataFrame:
    """Mean loss over seeds of every size at every budget that has several."""
    if trials.about.empty:
        return pd.DataFrame()
    cells = trials.about.groupby(["variant", "budget_flops", "n_params"], as_index=False)
    means = cells.agg(tokens=("tokens", "mean"), loss=("loss", "mean"))
    return means[means.groupby(["variant", "budget_flops"])["n_params"].transform("size") > 1]


def isoflop(trials: Trials) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Minima by budget, the exponents of their growth with compute, and remarks.

    The parabola is fitted to the losses of all trials of a budget over log10 of the parameters (without embeddings);
    the interval of its minimum is Fieller's, from the residuals, so a curve that is no parabola widens it.
    """
    minima, remarks = [], []
    several = trials.about.groupby(["variant", "budget_flops"])["n_params"].transform("nunique") > 1
    for (variant, budget), rows in trials.about[several].groupby(["variant", "budget_flops"]):
        found, why = _minimum(rows)
        if found is None:
            remarks.append(f"best size at {budget:.3g} FLOPs{' ' + variant if variant else ''}: not said, {why}")
        else:
            minima.append({"variant": variant, "budget_flops": budget, "trials": len(rows), **found})
    table = pd.DataFrame(minima)
    growth, more = _exponents(table)
    return table, growth, remarks + more


def _minimum(rows: pd.DataFrame) -> tuple[dict[str, float] | None, str]:
    sizes = rows["n_params"].nunique()
    if sizes < LEAST_SIZES or len(rows) < LEAST_SIZES:
        return None, f"a parabola with an interval needs {LEAST_SIZES} sizes; there are {sizes}"
    decades, loss = np.log10(rows["n_params"].to_numpy(dtype=float)), rows["loss"].to_numpy(dtype=float)
    middle = decades.mean()
    x = decades - middle
    design = np.column_stack([np.ones_like(x), x, x**2])
    (height, slope, bend), *_ = np.linalg.lstsq(design, loss, rcond=None)
    freedom = len(rows) - 3
    residuals = loss - design @ np.array([height, slope, bend])
    covariance = np.linalg.inv(design.T @ design) * (residuals @ residuals) / freedom
    reach = _fieller(slope, bend, covariance, float(stats.t.ppf(0.5 + LEVEL / 2, freedom)))
    if bend <= 0 or reach is None:
        return None, "the losses do not bend upwards beyond their noise"
    place = -slope / (2 * bend)
    if not x.min() <= place <= x.max():
        side = "largest" if place > x.max() else "smallest"
        return None, f"the minimum lies beyond the {side} size"
    by_size = rows.groupby("n_params")["tokens"].mean().astype(float)
    tokens = np.interp(place + middle, np.log10(by_size.index.to_numpy(dtype=float)), np.log10(by_size.to_numpy()))
    return {
        "sizes": sizes,
        "n_params": 10 ** (middle + place),
        "low": 10 ** (middle + reach[0]),
        "high": 10 ** (middle + reach[1]),
        "tokens": 10**tokens,
        "loss": height - slope**2 / (4 * bend),
        "curvature": 2 * bend,
    }, ""


def _fieller(slope: float, bend: float, covariance: np.ndarray, t: float) -> tuple[float, float] | None:
    """Where the parabola's derivative does not differ from zero; None where that is no bounded interval."""
    square = 4 * (bend**2 - t**2 * covariance[2, 2])
    linear = 4 * (slope * bend - t**2 * covariance[1, 2])
    constant = slope**2 - t**2 * covariance[1, 1]
    inside = linear**2 - 4 * square * constant
    if square <= 0 or inside < 0:
        return None
    root = np.sqrt(inside)
    return float((-linear - root) / (2 * square)), float((-linear + root) / (2 * square))


def _exponents(minima: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    rows, remarks = [], []
    for variant, found in minima.groupby("variant") if not minima.empty else ():
        if len(found) < LEAST_BUDGETS:
            remarks.append(
                f"growth of the best size with compute{' ' + variant if variant else ''}: not said, it needs minima at "
                f"{LEAST_BUDGETS} budgets; there are {len(found)}"
            )
            continue
        compute = np.log10(found["budget_flops"].to_numpy(dtype=float))
        for quantity in ("n_params", "tokens"):
            line = stats.linregress(compute, np.log10(found[quantity].to_numpy(dtype=float)))
            reach = stats.t.ppf(0.5 + LEVEL / 2, len(found) - 2) * line.stderr
            row = {"variant": variant, "quantity": quantity, "budgets": len(found), "value": line.slope}
            rows.append(row | {"low": line.slope - reach, "high": line.slope + reach})
    return pd.DataFrame(rows), remarks
