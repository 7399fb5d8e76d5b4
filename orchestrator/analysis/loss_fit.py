"""The loss as a law of size and data: L(N, D) = E + A/N^alpha + B/D^beta (Hoffmann et al. 2022, method 3)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import optimize

from orchestrator.analysis.inference import LEVEL
from orchestrator.analysis.trials import Trials

LEAST_VALUES = 3  # of N and of D
LEAST_CELLS = 8  # pairs of N and D, for five constants
HUBER = 1e-3  # of the log loss, where the penalty of a residual turns linear: the paper's
DRAWS = 200
TIGHT = {"ftol": 1e-12, "xtol": 1e-12, "gtol": 1e-12, "max_nfev": 500}
EXPONENTS = np.linspace(0.05, 1.5, 16)  # from which alpha and beta are started
NAMES = ("E", "A", "alpha", "B", "beta")


def loss_fit(trials: Trials) -> tuple[pd.DataFrame, list[str]]:
    """The five constants by variant; N counts parameters without embeddings, D tokens, L is in nats per token.

    Least squares of the log loss with Huber's penalty; for each alpha and beta of a grid the other three follow
    linearly, and the best is refined. Intervals are percentiles of a bootstrap over trials.
    """
    tables, remarks = [], []
    for variant, rows in trials.about.groupby("variant"):
        size, data, loss = (rows[name].to_numpy(dtype=float) for name in ("n_params", "tokens", "loss"))
        cells = len({*zip(size, data, strict=True)})
        if min(len(np.unique(size)), len(np.unique(data))) < LEAST_VALUES or cells < LEAST_CELLS:
            remarks.append(
                f"L(N, D){' of ' + variant if variant else ''}: not fitted, it needs {LEAST_VALUES} sizes, "
                f"{LEAST_VALUES} token counts and {LEAST_CELLS} pairs; there are {len(np.unique(size))}, "
                f"{len(np.unique(data))} and {cells}"
            )
            continue
        tables.append(_fit_with_intervals(size, data, loss).assign(variant=variant, trials=len(rows)))
    return pd.concat(tables) if tables else pd.DataFrame(), remarks


def _fit_with_intervals(size: np.ndarray, data: np.ndarray, loss: np.ndarray) -> pd.DataFrame:
    best = _refine(_start(size, data, loss), size, data, loss)
    residuals = _centred(best, np.log(size), np.log(data), np.log(loss))
    random, drawn = np.random.default_rng(0), []
    for _ in range(DRAWS):
        chosen = random.integers(len(loss), size=len(loss))
        if min(len(np.unique(size[chosen])), len(np.unique(data[chosen]))) >= LEAST_VALUES:
            drawn.append(_constants(_refine(best, size[chosen], data[chosen], loss[chosen])))
    spread = pd.DataFrame(drawn, columns=list(NAMES))
    low, high = spread.quantile(0.5 - LEVEL / 2), spread.quantile(0.5 + LEVEL / 2)
    constants = _constants(best)
    rows = [{"parameter": one, "value": constants[one], "low": low[one], "high": high[one]} for one in NAMES]
    return pd.DataFrame(rows).assign(error=float(np.sqrt(np.mean(residuals**2))))


def _start(size: np.ndarray, data: np.ndarray, loss: np.ndarray) -> np.ndarray:
    best, at = np.inf, np.zeros(5)
    small, few = size.min(), data.min()  # powers of ratios, so that the columns are of one magnitude
    for alpha in EXPONENTS:
        for beta in EXPONENTS:
            columns = np.column_stack([np.ones_like(loss), (size / small) ** -alpha, (data / few) ** -beta])
            weights, rest = optimize.nnls(columns / loss[:, None], np.ones_like(loss))
            if rest < best:
                floor, of_size, of_data = np.maximum(weights, 1e-6)
                best = rest
                terms = (np.log(of_size) + alpha * np.log(small), alpha, np.log(of_data) + beta * np.log(few), beta)
                at = np.array([np.log(floor), *terms])
    return at


def _refine(start: np.ndarray, size: np.ndarray, data: np.ndarray, loss: np.ndarray) -> np.ndarray:
    around = (np.log(size).mean(), np.log(data).mean())
    turned = start.copy()
    turned[1] -= start[2] * around[0]
    turned[3] -= start[4] * around[1]
    logs = (np.log(size) - around[0], np.log(data) - around[1])
    found = optimize.least_squares(
        _centred, turned, jac=_slopes, args=(*logs, np.log(loss)), loss="huber", f_scale=HUBER, **TIGHT
    ).x
    found[1] += found[2] * around[0]
    found[3] += found[4] * around[1]
    return np.asarray(found)


def _terms(at: np.ndarray, size: np.ndarray, data: np.ndarray) -> np.ndarray:
    return np.stack([np.full_like(size, at[0]), at[1] - at[2] * size, at[3] - at[4] * data])


def _centred(at: np.ndarray, size: np.ndarray, data: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Residuals of the log loss; size, data and loss as logarithms, centred so that the constants do not trade."""
    residuals: np.ndarray = np.logaddexp.reduce(_terms(at, size, data), axis=0) - loss
    return residuals


def _slopes(at: np.ndarray, size: np.ndarray, data: np.ndarray, loss: np.ndarray) -> np.ndarray:
    terms = _terms(at, size, data)
    floor, of_size, of_data = np.exp(terms - np.logaddexp.reduce(terms, axis=0))
    return np.column_stack([floor, of_size, -of_size * size, of_data, -of_data * data])


def _constants(at: np.ndarray) -> dict[str, float]:
    floor, of_size, alpha, of_data, beta = (float(one) for one in at)
    return {"E": np.exp(floor), "A": np.exp(of_size), "alpha": alpha, "B": np.exp(of_data), "beta": beta}
