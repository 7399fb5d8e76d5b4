"""Rank correlations of each value with the final held-out loss: alone, given compute, and given what else confounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from orchestrator.analysis import inference
from orchestrator.analysis.trials import Trials

LEAST = 8  # independent trials, that is trials beyond one for each budget and each thing held fixed
RANK_VARIANCE = 1.06  # of Spearman's z, times n - 3 (Fieller, Hartley and Pearson 1957)
CONFOUNDERS = ("learning_rate", "parameter_norm")  # of generalisation and topology alike (arXiv 2406.02234)


def correlations(trials: Trials) -> tuple[pd.DataFrame, list[str]]:
    """Spearman's rho of each value with the loss, by model, and partial ones.

    Given compute: ranks are taken within each budget, so that no trend over budgets, of whatever shape, can be taken
    for a correlation. Given more: the ranks of learning rate (where it differs) and parameter norm within each budget
    are regressed out of both. Intervals: of Fisher's z, its standard error by a bootstrap over seeds (of each seed's
    sums of products of ranks), and no less than that of as many independent trials.
    """
    tables, remarks = [], []
    for model, rows in trials.about.groupby("model"):
        chosen = trials.of(trials.about.index.isin(rows.index))
        for given, covariates in _conditions(chosen.about):
            found = _correlate(chosen, bool(given), covariates)
            if found.empty:
                held = f" given {given}" if given else ""
                remarks.append(
                    f"correlation of {model}'s values with its loss{held}: not said, it needs {inference.LEAST_SEEDS} "
                    f"seeds and {LEAST} trials beyond one per budget and thing held fixed; there are "
                    f"{rows['seed'].nunique()} seeds, {len(rows)} trials, {rows['budget_flops'].nunique()} budgets"
                )
            else:
                q = inference.false_discovery(found["p"].to_numpy())
                tables.append(found.assign(model=model, given=given, q=q))
    return pd.concat(tables) if tables else pd.DataFrame(), remarks


def _conditions(about: pd.DataFrame) -> Iterator[tuple[str, Sequence[str]]]:
    yield "", ()
    yield "compute", ()
    known = [name for name in CONFOUNDERS if name in about and about[name].notna().all() and about[name].nunique() > 1]
    if known:
        yield ", ".join(["compute", *(name.replace("_", " ") for name in known)]), known


def _correlate(trials: Trials, by_budget: bool, covariates: Sequence[str]) -> pd.DataFrame:
    """One table of all columns; those that lack the same trials are done together."""
    topics = trials.topics
    topics = topics.loc[:, ~topics.columns.get_level_values("metric").isin(covariates)]
    there = np.isfinite(topics.to_numpy(dtype=float))
    patterns, place = np.unique(there, axis=1, return_inverse=True)
    tables = []
    for number, rows in enumerate(patterns.T):
        columns = topics.columns[place.ravel() == number]
        about = trials.about[rows]
        strata = about["budget_flops"].to_numpy() if by_budget else np.zeros(len(about))
        table = _of_complete(about, topics.loc[rows, columns], strata, covariates)
        if table is not None:
            tables.append(table)
    return pd.concat(tables) if tables else pd.DataFrame()


def _of_complete(
    about: pd.DataFrame, values: pd.DataFrame, strata: np.ndarray, covariates: Sequence[str]
) -> pd.DataFrame | None:
    seeds = about["seed"].to_numpy()
    independent = len(about) - len(np.unique(strata)) + 1 - len(covariates)
    count = len(np.unique(seeds))
    if count < inference.LEAST_SEEDS or independent < LEAST:
        return None
    held = _scores(about[list(covariates)].to_numpy(dtype=float), strata)
    loss = _without(_scores(about[["loss"]].to_numpy(dtype=float), strata), held)
    scores = _without(_scores(values.to_numpy(dtype=float), strata), held)
    use = ~inference.same(values.to_numpy(dtype=float)) & ((scores**2).sum(axis=0) > 1e-9)
    if not (loss**2).sum() > 1e-9 or not use.any():
        return None
    scores = scores[:, use]
    products = [inference.sums_by(each, seeds) for each in (scores * loss, scores**2, loss**2)]
    rho = _rho(*(each.sum(axis=0) for each in products))
    weights = inference.resampled(count)
    drawn = _rho(*(weights @ each for each in products))
    error = inference.bootstrap_error(_z(drawn, independent), count)
    error = np.maximum(error, np.sqrt(RANK_VARIANCE / (independent - 3)))
    z = _z(rho, independent)
    low, high = inference.interval(z, error, count)
    table = values.columns[use].to_frame(index=False)
    p = inference.two_sided(z, error, count)
    return table.assign(trials=len(about), seeds=count, rho=rho, low=np.tanh(low), high=np.tanh(high), p=p)


def _scores(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Ranks within each stratum of n trials, over n + 1 and centred (van Elteren's weights)."""
    scores = np.zeros_like(values)
    for one in np.unique(strata):
        own = strata == one
        if values.shape[1]:
            ranks = stats.rankdata(values[own], axis=0) / (own.sum() + 1)
            scores[own] = ranks - ranks.mean(axis=0)
    return scores


def _without(scores: np.ndarray, held: np.ndarray) -> np.ndarray:
    """What least squares of the held scores leaves."""
    if not held.shape[1]:
        return scores
    rest: np.ndarray = scores - held @ np.linalg.lstsq(held, scores, rcond=None)[0]
    return rest


def _rho(products: np.ndarray, squares: np.ndarray, loss_squares: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        rho: np.ndarray = products / np.sqrt(squares * loss_squares)
    return np.clip(rho, -1, 1)


def _z(rho: np.ndarray, independent: int) -> np.ndarray:
    """Fisher's, of a rho shrunk by one trial, so that a perfect order of few trials stays finite."""
    z: np.ndarray = np.arctanh(rho * (1 - 1 / independent))
    return z
