"""Spectra of weight matrices and of hidden states: how many directions count."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from metrics.base import Metric, Value, per_layer
from metrics.probe import Observation
from metrics.topology.neural_persistence import block_matrices
from metrics.topology.point_cloud import centred

UNRELIABLE_ALPHA = 8.0  # Martin & Mahoney: a layer beyond it has no power-law tail to speak of
EIGENVALUES_AT_LEAST = 10
EQUAL = 1e-10  # logarithms of singular values nearer than that differ by rounding


def effective_rank(singular_values: np.ndarray) -> float:
    """exp of the entropy of the singular values divided by their sum (Roy & Vetterli 2007), in [1, number of values].

    singular_values: (values,), not negative. Raises ValueError for another shape, negative values, NaN, inf, or where
    all are zero.
    """
    values = np.asarray(singular_values, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("singular values are one axis of finite numbers that are not negative")
    if not values.any():
        raise ValueError("all singular values are zero: a zero matrix has no effective rank")
    share = values / values.max()  # sums of tiny numbers may underflow
    share = share[share > 0] / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def stable_rank(matrix: np.ndarray) -> float:
    """Squared Frobenius norm over squared spectral norm, in [1, rank]. Raises ValueError as :func:`singular_values`,
    and for a zero matrix."""
    return _stable_rank(singular_values(matrix))


def _stable_rank(values: np.ndarray) -> float:
    if not values.any():
        raise ValueError("all singular values are zero: a zero matrix has no stable rank")
    return float(((values / values[0]) ** 2).sum())


def participation_ratio(points: np.ndarray) -> float:
    """(sum of the eigenvalues)^2 / sum of their squares, of the covariance of the points (points, dimensions).

    Between 1 (a line) and the number of dimensions (a ball). Raises ValueError as :func:`validated`, or where all
    points coincide.
    """
    cloud = centred(points)
    smaller = cloud @ cloud.T if len(cloud) < cloud.shape[1] else cloud.T @ cloud
    return float(1 / (smaller**2).sum())  # its trace is 1


def power_law_alpha(matrix: np.ndarray) -> float:
    """Exponent of the power law p(x) ~ x^-alpha that fits the tail of the squared singular values (Martin & Mahoney
    2021), by maximum likelihood from the smallest value of the tail, chosen by the least Kolmogorov-Smirnov distance
    (Clauset et al. 2009).

    matrix: (n, m). Trained layers lie between 2 and 6; above 8 the estimate is unreliable, and there is no tail to
    speak of. Raises ValueError as :func:`singular_values`, for fewer than 10 values above zero, or where they are all
    equal.
    """
    return _power_law_alpha(singular_values(matrix))


def _power_law_alpha(values: np.ndarray) -> float:
    rounding = values[:1] * (len(values) * np.finfo(np.float64).eps) if len(values) else 0.0
    logs = 2 * np.log(np.sort(values[values > rounding]))
    if len(logs) < EIGENVALUES_AT_LEAST:
        raise ValueError(f"{len(logs)} singular values above zero are too few for a tail: at least 10 are needed")
    first = np.flatnonzero(np.diff(logs, prepend=-np.inf))  # of equal values, the tail begins with the first
    first = first[first < len(logs) - 1]
    tails = len(logs) - first
    from_end = np.cumsum(logs[::-1])[::-1]
    excess = from_end[first] - tails * logs[first]  # sum of log(x / xmin) over each tail
    first, tails, excess = (part[excess > EQUAL * tails] for part in (first, tails, excess))
    if not len(first):
        raise ValueError("all singular values are equal: there is no tail to fit")
    exponents = tails / excess  # alpha - 1
    distances = [
        np.abs(1 - np.exp(-exponent * (logs[start:] - logs[start])) - np.arange(tail) / tail).max()
        for start, tail, exponent in zip(first, tails, exponents, strict=True)
    ]
    return float(1 + exponents[np.argmin(distances)])


def singular_values(matrix: np.ndarray) -> np.ndarray:
    """Descending, float64: .1 s for 512 x 2048 on one core. Raises ValueError for an empty matrix, one that is not
    two-dimensional, NaN or inf."""
    from scipy.linalg import svdvals

    weights = np.asarray(matrix, dtype=np.float64)
    if weights.ndim != 2 or weights.size == 0:
        raise ValueError(f"a matrix has two dimensions and at least one entry, not shape {weights.shape}")
    if not np.isfinite(weights).all():
        raise ValueError("the matrix holds NaN or infinite entries")
    return svdvals(weights, check_finite=False)


ESTIMATES: dict[str, Callable[[np.ndarray], float]] = {
    "effective_rank": effective_rank,
    "stable_rank": _stable_rank,
    "power_law_alpha": _power_law_alpha,
}


def _of_matrix(matrix: np.ndarray) -> Iterator[tuple[str, float | None, str | None]]:
    """(metric, value, reason), of one decomposition."""
    try:
        values = singular_values(matrix)
    except ValueError as error:
        yield from ((metric, None, str(error)) for metric in ESTIMATES)
        return
    for metric, estimate in ESTIMATES.items():
        try:
            yield metric, estimate(values), None
        except ValueError as error:
            yield metric, None, str(error)


def measure(observation: Observation) -> Iterator[Value]:
    """Of each block's matrices, and of the hidden states; ``power_law_alpha`` of the model is the mean over matrices of
    at most 8, and ``power_law_unreliable`` how many are above."""
    alphas = []
    for layer, name, matrix in block_matrices(observation.weights):
        for metric, number, reason in _of_matrix(matrix):
            yield Value(f"{metric}/{name}", number, layer, reason)
            if metric == "power_law_alpha" and number is not None:
                alphas.append(number)
    reliable = [alpha for alpha in alphas if alpha <= UNRELIABLE_ALPHA]
    none = None if reliable else "no matrix has a power-law tail"
    yield Value("power_law_alpha", float(np.mean(reliable)) if reliable else None, reason=none)
    yield Value("power_law_unreliable", float(len(alphas) - len(reliable)))
    yield from per_layer(
        ("participation_ratio",), observation.hidden_states, lambda _, cloud: [participation_ratio(cloud)]
    )


METRIC = Metric(
    "spectra", 1, "effective and stable rank and power-law alpha of the blocks' matrices; participation ratio", measure
)
