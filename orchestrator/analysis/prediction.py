"""Does topology at an early checkpoint say more of the final loss than the early loss does?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from orchestrator.analysis import inference
from orchestrator.analysis.trials import LOSS, WHOLE, Steps, Trials

SHARES = (0.1, 0.25)  # of a trial's steps
LEAST_BUDGETS = 3  # a trend over compute takes two besides the one left out
LEAST = 8  # trials that a fit has at least: two for each of its four coefficients


def prediction(steps: Steps, trials: Trials) -> tuple[pd.DataFrame, list[str]]:
    """Error of the final log loss of budgets left out in turn, with and without each early value.

    Baseline: least squares on log compute and the log early loss. gain is the share of its root mean square error that
    the value takes away; p is one-sided (no gain). Interval and p are from squared errors by seed, as in
    :mod:`orchestrator.analysis.inference`, or by budget where that is wider: all seeds share the fit that a budget left
    out is predicted by, so what fits it by chance fits them all (by seeds alone, 4 of 25 sweeps without an effect had a
    discovery).
    """
    tables, remarks = [], []
    for share in SHARES:
        early = steps.early(share)
        if (LOSS, WHOLE) not in early.columns:
            early = early.iloc[:0]
        known = early.index[early[(LOSS, WHOLE)] > 0] if len(early) else early.index
        for model, rows in trials.about.groupby("model"):
            about = rows[rows.index.isin(known)]
            found = _of_model(about, Trials(about, early.reindex(about.index)))
            if found.empty:
                remarks.append(
                    f"prediction of {model}'s final loss from {share:.0%} of the steps: not said, it needs "
                    f"{LEAST_BUDGETS} budgets, {inference.LEAST_SEEDS} seeds and {LEAST} trials besides each budget; "
                    f"there are {about['budget_flops'].nunique()} budgets, {about['seed'].nunique()} seeds, "
                    f"{len(about)} trials with a checkpoint by then"
                )
            else:
                q = inference.false_discovery(found["p"].to_numpy())
                tables.append(found.assign(model=model, at=share, q=q))
    return pd.concat(tables) if tables else pd.DataFrame(), remarks


def _of_model(about: pd.DataFrame, early: Trials) -> pd.DataFrame:
    if about["budget_flops"].nunique() < LEAST_BUDGETS or about["seed"].nunique() < inference.LEAST_SEEDS:
        return pd.DataFrame()
    base = np.column_stack(
        [
            np.ones(len(about)),
            np.log10(about["budget_flops"].to_numpy(dtype=float)),
            np.log(early.values[(LOSS, WHOLE)].to_numpy(dtype=float)),
        ]
    )
    topics = early.topics
    numbers = topics.to_numpy(dtype=float)
    complete = np.isfinite(numbers).all(axis=0) & ~inference.same(numbers)
    topics, numbers = topics.loc[:, complete], numbers[:, complete]
    target = np.log(about["loss"].to_numpy(dtype=float))
    budgets = about["budget_flops"].to_numpy()
    left = [budgets == budget for budget in np.unique(budgets)]
    if min((~out).sum() for out in left) < LEAST or not len(topics.columns):
        return pd.DataFrame()
    plain = _errors(base, target, left)
    numbers = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    besides = np.column_stack([_errors(np.column_stack([base, one]), target, left) for one in numbers.T])
    return _compared(topics.columns.to_frame(index=False), plain, besides, about).assign(
        trials=len(about), budgets=len(left)
    )


def _errors(features: np.ndarray, target: np.ndarray, left: list[np.ndarray]) -> np.ndarray:
    """Squared error of each trial, predicted by a fit on all other budgets."""
    found = np.empty(len(target))
    for out in left:
        coefficients = np.linalg.lstsq(features[~out], target[~out], rcond=None)[0]
        found[out] = (features[out] @ coefficients - target[out]) ** 2
    return found


def _compared(table: pd.DataFrame, plain: np.ndarray, besides: np.ndarray, about: pd.DataFrame) -> pd.DataFrame:
    ratio = np.log(besides.sum(axis=0) / plain.sum()) / 2
    found = []
    for name in ("seed", "budget_flops"):
        which = about[name].to_numpy()
        count = len(np.unique(which))
        base, full = inference.sums_by(plain[:, None], which), inference.sums_by(besides, which)
        weights = inference.resampled(count)
        error = inference.bootstrap_error(np.log((weights @ full) / (weights @ base)) / 2, count)
        found.append((*inference.interval(ratio, error, count), stats.t.cdf(ratio / error, count - 1)))
    lows, highs, p = zip(*found, strict=True)
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    return table.assign(
        seeds=about["seed"].nunique(),
        baseline=np.sqrt(plain.mean()),
        error=np.sqrt(besides.mean(axis=0)),
        gain=1 - np.exp(ratio),
        low=1 - np.exp(high),
        high=1 - np.exp(low),
        p=np.max(p, axis=0),
    )
