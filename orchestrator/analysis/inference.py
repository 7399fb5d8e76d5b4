"""Intervals over seeds and false discoveries: the few rules that all statements share.

Seeds are what a sweep repeats, so seeds are what is resampled: trials of one seed share their initialisation and the
order of their data, and count as one. A bootstrap over few seeds gives a spread that is too small by sqrt((n-1)/n), and
its percentiles are too narrow beyond that; so its standard error is widened by that factor and goes with Student's t on
n - 1 degrees of freedom (Cameron, Gelbach and Miller 2008 on few clusters).
"""

from __future__ import annotations

import numpy as np
from scipy import stats

LEVEL = 0.95
DRAWS = 2000
LEAST_SEEDS = 3  # with two, 95 % of Student's t reaches over 12.7 standard errors


def resampled(seeds: int, draws: int = DRAWS) -> np.ndarray:
    """How often each seed was drawn: (draws, seeds). The same for the same number of seeds, so reports repeat."""
    weights: np.ndarray = np.random.default_rng(seeds).multinomial(seeds, np.full(seeds, 1 / seeds), size=draws)
    return weights.astype(float)


def sums_by(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sums of rows (trials, columns) by what is resampled, such as seeds: (groups, columns)."""
    names, codes = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, codes, values)
    return sums


def bootstrap_error(drawn: np.ndarray, seeds: int) -> np.ndarray:
    """Standard error from statistics (draws, columns) of samples by :func:`resampled`."""
    with np.errstate(invalid="ignore"):
        errors: np.ndarray = np.nanstd(drawn, axis=0) * np.sqrt(seeds / (seeds - 1))
    return errors


def interval(estimate: np.ndarray, error: np.ndarray, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Low and high by Student's t."""
    reach = stats.t.ppf(0.5 + LEVEL / 2, seeds - 1) * error
    return estimate - reach, estimate + reach


def two_sided(estimate: np.ndarray, error: np.ndarray, seeds: int) -> np.ndarray:
    """p of an estimate that is zero; missing where there is no spread to judge by."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error > 0, 2 * stats.t.sf(np.abs(estimate) / error, seeds - 1), np.nan)


def false_discovery(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's q of all p that are there."""
    found = np.full(len(p), np.nan)
    there = np.isfinite(p)
    if there.any():
        found[there] = stats.false_discovery_control(p[there])
    return found


def same(values: np.ndarray) -> np.ndarray:
    """Whether a column's values, but for rounding, are all one; True where none is there."""
    low, high = np.nanmin(values, axis=0, initial=np.inf), np.nanmax(values, axis=0, initial=-np.inf)
    return ~(high - low > 1e-9 * np.maximum(np.abs(low), np.abs(high)))
