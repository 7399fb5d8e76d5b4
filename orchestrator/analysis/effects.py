"""What compute changes: each value's slope over budgets, and how far seeds spread about it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orchestrator.analysis import inference
from orchestrator.analysis.trials import Trials


def effects(trials: Trials) -> tuple[pd.DataFrame, list[str]]:
    """Change of each value per tenfold budget, by model and variant.

    A seed's trials give one slope (least squares over log10 of the budget), and the interval is Student's over the
    slopes: what another seed would have given. seed_std is the standard deviation about the budgets' means, pooled, and
    share the omega squared of a one-way analysis of variance: 0 where budgets differ by no more than seeds do, 1 where
    seeds do not differ at all.
    """
    tables, remarks = [], []
    for (model, variant), rows in trials.about.groupby(["model", "variant"]):
        chosen = trials.of(trials.about.index.isin(rows.index))
        table = _of_one(chosen)
        if table is None:
            remarks.append(
                f"effect of compute on {f'{model} {variant}'.strip()}: not said, it needs 2 budgets with "
                f"{inference.LEAST_SEEDS} seeds each; there are {rows['budget_flops'].nunique()} budgets, "
                f"{rows['seed'].nunique()} seeds"
            )
        else:
            tables.append(table.assign(model=model, variant=variant))
    found = pd.concat(tables) if tables else pd.DataFrame()
    if not found.empty:
        found["q"] = found.groupby("model")["p"].transform(lambda p: inference.false_discovery(p.to_numpy()))
    return found, remarks


def _of_one(trials: Trials) -> pd.DataFrame | None:
    values = trials.values.to_numpy(dtype=float)
    decades = np.log10(trials.about["budget_flops"].to_numpy(dtype=float))
    slopes = _slopes(values, decades, trials.about["seed"].to_numpy())
    if slopes is None or len(slopes) < inference.LEAST_SEEDS:
        return None
    seeds = np.isfinite(slopes).sum(axis=0)
    use = (seeds >= inference.LEAST_SEEDS) & ~inference.same(values)
    table = trials.values.columns[use].to_frame(index=False)
    slopes, values, seeds = slopes[:, use], values[:, use], seeds[use]
    mean = np.nanmean(slopes, axis=0)
    error = np.nanstd(slopes, axis=0, ddof=1) / np.sqrt(seeds)
    error[inference.same(slopes)] = np.nan  # slopes that are all one, of counts, give no spread to judge by
    low, high = inference.interval(mean, error, seeds)
    deviation, share = _spread(values, decades)
    return table.assign(
        trials=np.isfinite(values).sum(axis=0),
        seeds=seeds,
        budgets=len(np.unique(decades)),
        per_decade=mean,
        low=low,
        high=high,
        p=inference.two_sided(mean, error, seeds),
        seed_std=deviation,
        share=share,
    )


def _slopes(values: np.ndarray, decades: np.ndarray, seeds: np.ndarray) -> np.ndarray | None:
    """Of each seed that has two budgets at least: (seeds, columns); missing where it lacks values."""
    found = []
    for seed in np.unique(seeds):
        own = values[seeds == seed]
        there = np.isfinite(own)
        x = np.where(there, decades[seeds == seed][:, None], np.nan)
        if len(np.unique(decades[seeds == seed])) < 2:
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            count = np.maximum(there.sum(axis=0), 1)
            centred = x - np.nansum(x, axis=0) / count
            width = np.nansum(centred**2, axis=0)
            slope = np.nansum(centred * own, axis=0) / width
        found.append(np.where(width > 1e-12, slope, np.nan))
    return np.array(found) if found else None


def _spread(values: np.ndarray, decades: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pooled standard deviation within budgets, and omega squared."""
    within, budgets = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    count = np.isfinite(values).sum(axis=0)
    for decade in np.unique(decades):
        own = values[decades == decade]
        there = np.isfinite(own).sum(axis=0)
        mean = np.nansum(own, axis=0) / np.maximum(there, 1)
        within += np.nansum((own - mean) ** 2, axis=0)
        budgets += there > 0
    total = np.nansum((values - np.nanmean(values, axis=0)) ** 2, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(count > budgets, within / (count - budgets), np.nan)
        share = (total - within - (budgets - 1) * error) / (total + error)
    return np.sqrt(error), np.clip(share, 0, 1)
