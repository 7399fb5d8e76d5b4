"""Ranks and exponents against closed forms, numpy's own norms and eigenvalues, and the ``powerlaw`` package."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import powerlaw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ortho_group

from metrics.probe import Observation
from metrics.topology.spectra import (
    effective_rank,
    measure,
    participation_ratio,
    power_law_alpha,
    singular_values,
    stable_rank,
)

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 12)
factors = st.floats(1e-6, 1e6)
NO_MATRIX = [np.zeros((0, 3)), np.ones(3), np.array(1.0), np.ones((2, 2, 2))]
NOT_FINITE = [np.array([[1.0, np.nan]]), np.array([[1.0, np.inf]]), np.array([[-np.inf, 1.0]])]


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_the_effective_rank_of_equal_values_is_their_number(n: int) -> None:
    assert effective_rank(np.ones(n)) == pytest.approx(n, rel=1e-12)


def test_the_effective_rank_of_halves_is_four() -> None:
    assert effective_rank(2.0 ** -np.arange(1, 51)) == pytest.approx(4, rel=1e-12)


@given(seed=seeds, n=st.integers(1, 30), power=st.integers(0, 20), factor=factors)
def test_the_effective_rank_lies_between_1_and_the_number_of_values(
    seed: int, n: int, power: int, factor: float
) -> None:
    values = np.random.default_rng(seed).random(n) ** power
    rank = effective_rank(values)
    assert 1 - 1e-12 <= rank <= n * (1 + 1e-12)
    assert effective_rank(factor * values) == pytest.approx(rank, rel=1e-9)
    assert effective_rank(np.append(values, [0.0, 0.0])) == pytest.approx(rank, rel=1e-12)


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e200, 1e308])
def test_the_effective_rank_neither_overflows_nor_underflows(size: float) -> None:
    assert effective_rank(np.array([size, size, 0.0])) == pytest.approx(2, rel=1e-12)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros(3), "zero"),
        (np.zeros(0), "zero"),
        (np.array([1.0, -1e-9]), "not negative"),
        (np.array([1.0, np.nan]), "finite"),
        (np.array([1.0, np.inf]), "finite"),
        (np.ones((2, 2)), "one axis"),
        (np.array(1.0), "one axis"),
    ],
    ids=["zeros", "none", "negative", "NaN", "infinite", "2-d", "0-d"],
)
def test_what_has_no_effective_rank_is_refused(values: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        effective_rank(values)


@given(seed=seeds, n=sides, m=sides)
def test_a_product_of_two_vectors_has_stable_rank_1(seed: int, n: int, m: int) -> None:
    assert stable_rank(np.outer(normal(seed, n), normal(seed + 1, m))) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_the_stable_rank_of_the_identity_is_its_size(n: int) -> None:
    assert stable_rank(np.eye(n)) == pytest.approx(n, rel=1e-12)


@given(seed=seeds, n=sides, m=sides, factor=factors)
def test_the_stable_rank_is_that_of_the_norms(seed: int, n: int, m: int, factor: float) -> None:
    matrix = normal(seed, n, m)
    expected = (np.linalg.norm(matrix, "fro") / np.linalg.norm(matrix, 2)) ** 2
    assert stable_rank(matrix) == pytest.approx(expected, rel=1e-9)
    assert stable_rank(-factor * matrix.T) == pytest.approx(expected, rel=1e-9)
    assert 1 - 1e-12 <= expected <= min(n, m) + 1e-12


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_the_stable_rank_neither_overflows_nor_underflows(size: float) -> None:
    assert stable_rank(size * np.eye(3)) == pytest.approx(3, rel=1e-12)


@given(seed=seeds, points=st.integers(2, 30), dimensions=st.integers(1, 9))
def test_the_participation_ratio_of_a_line_is_1(seed: int, points: int, dimensions: int) -> None:
    line = np.outer(normal(seed, points), normal(seed + 1, dimensions)) + normal(seed + 2, dimensions)
    assert participation_ratio(line) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("d", [1, 2, 3, 10])
def test_the_participation_ratio_of_a_cross_polytope_is_its_dimension(d: int) -> None:
    assert participation_ratio(np.vstack([np.eye(d), -np.eye(d)]) + 5) == pytest.approx(d, rel=1e-12)


@given(seed=seeds, points=st.integers(2, 30), dimensions=st.integers(1, 30))
def test_the_participation_ratio_is_that_of_numpys_covariance(seed: int, points: int, dimensions: int) -> None:
    """Fewer points than dimensions, and more."""
    cloud = normal(seed, points, dimensions) * 2.0 ** -np.arange(dimensions)
    eigenvalues = np.linalg.eigvalsh(np.atleast_2d(np.cov(cloud.T)))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert participation_ratio(cloud) == pytest.approx(expected, rel=1e-9)
    assert 1 - 1e-12 <= expected <= min(points - 1, dimensions) + 1e-9


@given(seed=seeds, factor=factors, shift=st.floats(-100, 100))
def test_the_participation_ratio_sees_no_rotation_scale_or_shift(seed: int, factor: float, shift: float) -> None:
    cloud = normal(seed, 20, 4) * [1, 2, 3, 4]
    moved = factor * (cloud @ ortho_group.rvs(4, random_state=seed) + shift)
    assert participation_ratio(moved) == pytest.approx(participation_ratio(cloud), rel=1e-9)


@pytest.mark.parametrize(
    ("points", "why"),
    [
        (np.ones((5, 3)), "coincide"),
        (np.ones((1, 3)), "too few"),
        (np.ones(4), "shape"),
        (np.array([[1.0], [np.nan]]), "NaN"),
    ],
    ids=["collapsed", "one point", "flat", "NaN"],
)
def test_what_has_no_participation_ratio_is_refused(points: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        participation_ratio(points)


def test_points_that_coincide_where_their_mean_is_rounded_have_no_participation_ratio() -> None:
    with pytest.raises(ValueError, match="coincide"):
        participation_ratio(np.full((3, 2), 0.1))


def with_squares(eigenvalues: np.ndarray) -> np.ndarray:
    """A matrix whose squared singular values these are."""
    return np.diag(np.sqrt(eigenvalues))


def pareto_quantiles(alpha: float, n: int) -> np.ndarray:
    """The quantiles of p(x) ~ x^-alpha, x > 1, in the middles of n equal parts."""
    return (1 - (np.arange(n) + 0.5) / n) ** (-1 / (alpha - 1))


@pytest.mark.parametrize("alpha", [2, 3, 5])
@pytest.mark.parametrize(("n", "tolerance"), [(50, 0.02), (300, 0.004)])
def test_a_planted_exponent_is_recovered(alpha: float, n: int, tolerance: float) -> None:
    """The middles of n parts lack the far tail, so the estimate is high by about 1 / n of alpha - 1."""
    assert power_law_alpha(with_squares(pareto_quantiles(alpha, n))) == pytest.approx(alpha, rel=tolerance)


def test_the_exponent_is_that_of_the_tail() -> None:
    """Below a tail of exponent 2.5 that begins at 1 lie as many values that are spread evenly."""
    spectrum = np.concatenate([np.linspace(0.01, 0.99, 200), pareto_quantiles(2.5, 200)])
    assert power_law_alpha(with_squares(spectrum)) == pytest.approx(2.5, rel=0.02)


def clauset(values: np.ndarray) -> float:
    """Clauset et al. (2009), sections 3.1 and 3.3, as their ``plfit.m`` does it, one smallest value after the other."""
    fits = []
    for smallest in np.unique(values)[:-1]:
        tail = np.sort(values[values >= smallest])
        alpha = 1 + len(tail) / np.log(tail / smallest).sum()
        distance = np.abs(1 - (tail / smallest) ** (1 - alpha) - np.arange(len(tail)) / len(tail)).max()
        fits.append((float(distance), float(alpha)))
    return min(fits)[1]


@given(seed=seeds, n=st.integers(10, 60), kind=st.sampled_from(["pareto", "exponential", "repeated", "normal matrix"]))
def test_the_exponent_is_clausets(seed: int, n: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    matrix = {
        "pareto": lambda: with_squares(1 + rng.pareto(1.5, size=n)),
        "exponential": lambda: with_squares(rng.exponential(size=n)),
        "repeated": lambda: with_squares(rng.geometric(0.3, size=n)),
        "normal matrix": lambda: rng.normal(size=(n, 2 * n)),
    }[kind]()
    assert power_law_alpha(matrix) == pytest.approx(clauset(np.linalg.svd(matrix)[1] ** 2), rel=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:powerlaw")
@pytest.mark.parametrize("alpha", [1.7, 2.0, 2.3])
@pytest.mark.parametrize("n", [40, 150])
def test_the_exponent_is_that_of_the_powerlaw_package(alpha: float, n: int) -> None:
    """Of heavy tails: version 2 of it looks for exponents up to 3 only."""
    for seed in range(3):
        spectrum = 1 + np.random.default_rng(seed).pareto(alpha - 1, size=n)
        fit = powerlaw.Fit(spectrum, verbose=False)
        assert power_law_alpha(with_squares(spectrum)) == pytest.approx(fit.power_law.alpha, rel=1e-9)


@given(seed=seeds, factor=factors)
def test_scale_and_direction_of_the_matrix_do_not_change_the_exponent(seed: int, factor: float) -> None:
    matrix = normal(seed, 20, 30)
    assert power_law_alpha(-factor * matrix.T) == pytest.approx(power_law_alpha(matrix), rel=1e-6)


@pytest.mark.parametrize("size", [1e-150, 1e150])
def test_the_exponent_neither_overflows_nor_underflows(size: float) -> None:
    """Squares of the singular values would."""
    spectrum = np.sqrt(pareto_quantiles(2, 100))
    assert power_law_alpha(np.diag(size * spectrum)) == pytest.approx(power_law_alpha(np.diag(spectrum)), rel=1e-6)


def test_values_that_are_zero_but_for_rounding_do_not_count() -> None:
    """A product of 40 x 12 and 12 x 40 has twelve singular values, whatever the rounding of the others."""
    factors_ = normal(0, 40, 12), normal(1, 12, 40)
    values = np.linalg.svd(factors_[0] @ factors_[1])[1]
    assert power_law_alpha(factors_[0] @ factors_[1]) == pytest.approx(clauset(values[:12] ** 2), rel=1e-6)


@pytest.mark.parametrize(
    ("matrix", "why"),
    [
        (normal(0, 9, 30), "9 singular values above zero are too few"),
        (normal(0, 30, 9), "9 singular values above zero are too few"),
        (np.outer(np.arange(1.0, 20), np.arange(1.0, 20)), "1 singular values above zero are too few"),
        (np.zeros((20, 20)), "0 singular values above zero are too few"),
        (3 * np.eye(20), "equal"),
    ],
    ids=["few rows", "few columns", "rank 1", "zero", "equal"],
)
def test_what_has_no_tail_is_refused(matrix: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        power_law_alpha(matrix)


def test_an_orthogonal_matrix_has_no_tail() -> None:
    with pytest.raises(ValueError, match="equal"):
        power_law_alpha(ortho_group.rvs(20, random_state=0))


def test_a_zero_matrix_has_no_stable_rank() -> None:
    with pytest.raises(ValueError, match="zero matrix"):
        stable_rank(np.zeros((2, 3)))


@pytest.mark.parametrize("function", [singular_values, stable_rank, power_law_alpha])
@pytest.mark.parametrize("matrix", [*NO_MATRIX, *NOT_FINITE], ids=str)
def test_what_is_no_matrix_is_refused(function: Callable[[np.ndarray], object], matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="matrix"):
        function(matrix)


@given(seed=seeds, n=sides, m=sides)
def test_singular_values_descend_and_are_numpys(seed: int, n: int, m: int) -> None:
    matrix = normal(seed, n, m).astype(np.float32)
    values = singular_values(matrix)
    assert values.dtype == np.float64
    assert values.shape == (min(n, m),)
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(values, np.linalg.svd(matrix.astype(np.float64))[1], rtol=1e-9, atol=1e-12)


# Four matrices: an exponent of about 2, one of about 3, one above 8, and one with too few values for any.
WEIGHTS = {
    "gpt_neox.embed_in.weight": np.ones((30, 30)),
    "gpt_neox.layers.0.mlp.dense_h_to_4h.weight": with_squares(pareto_quantiles(2, 100)),
    "gpt_neox.layers.0.mlp.dense_h_to_4h.bias": np.ones(100),
    "gpt_neox.layers.0.mlp.dense_4h_to_h.weight": with_squares(pareto_quantiles(3, 100)),
    "gpt_neox.layers.1.mlp.dense_h_to_4h.weight": with_squares(pareto_quantiles(12, 100)),
    "gpt_neox.layers.1.attention.dense.weight": np.eye(5),
}
CLOUDS = np.stack([np.vstack([np.eye(3), -np.eye(3)]), np.ones((6, 3)), np.arange(18.0).reshape(6, 3)])


@pytest.fixture(scope="module")
def values(observation: Callable[..., Observation]) -> dict[tuple[str, int | None], tuple[float | None, str | None]]:
    found = list(measure(observation(weights=WEIGHTS, hidden_states=CLOUDS)))
    by_name = {(value.metric, value.layer): (value.value, value.reason) for value in found}
    assert len(by_name) == len(found)
    return by_name


def test_every_matrix_of_a_block_has_its_values(
    values: dict[tuple[str, int | None], tuple[float | None, str | None]],
) -> None:
    matrices = [("mlp.dense_h_to_4h", 1), ("mlp.dense_4h_to_h", 1), ("mlp.dense_h_to_4h", 2), ("attention.dense", 2)]
    ranks = ("effective_rank", "stable_rank", "power_law_alpha")
    expected = {(f"{rank}/{name}", layer) for rank in ranks for name, layer in matrices}
    of_model = {("power_law_alpha", None), ("power_law_unreliable", None)}
    assert values.keys() == expected | of_model | {("participation_ratio", layer) for layer in range(3)}
    matrix = WEIGHTS["gpt_neox.layers.0.mlp.dense_4h_to_h.weight"]
    numbers = (effective_rank(singular_values(matrix)), stable_rank(matrix), power_law_alpha(matrix))
    for rank, number in zip(ranks, numbers, strict=True):
        assert values[f"{rank}/mlp.dense_4h_to_h", 1] == (pytest.approx(number, rel=1e-12), None)


def test_the_models_exponent_is_the_mean_of_those_up_to_8(
    values: dict[tuple[str, int | None], tuple[float | None, str | None]],
) -> None:
    first, second = (values[f"power_law_alpha/mlp.{name}", 1][0] for name in ("dense_h_to_4h", "dense_4h_to_h"))
    assert first is not None
    assert second is not None
    assert values["power_law_alpha", None] == (pytest.approx((first + second) / 2, rel=1e-12), None)
    assert values["power_law_unreliable", None] == (1.0, None)
    unreliable, _ = values["power_law_alpha/mlp.dense_h_to_4h", 2]
    assert unreliable is not None
    assert unreliable > 8


def test_a_matrix_without_an_exponent_says_why_and_has_its_ranks(
    values: dict[tuple[str, int | None], tuple[float | None, str | None]],
) -> None:
    alpha, reason = values["power_law_alpha/attention.dense", 2]
    assert alpha is None
    assert "too few" in str(reason)
    assert values["stable_rank/attention.dense", 2][0] == pytest.approx(5)
    assert values["effective_rank/attention.dense", 2][0] == pytest.approx(5)


def test_every_layer_has_its_participation_ratio_or_a_reason(
    values: dict[tuple[str, int | None], tuple[float | None, str | None]],
) -> None:
    assert values["participation_ratio", 0] == (pytest.approx(3), None)
    assert values["participation_ratio", 1][0] is None
    assert "coincide" in str(values["participation_ratio", 1][1])
    assert values["participation_ratio", 2] == (pytest.approx(1), None)


@pytest.mark.parametrize("matrix", [np.zeros((20, 20)), with_squares(pareto_quantiles(12, 100))], ids=["zero", "steep"])
def test_a_model_without_a_tail_says_so(observation: Callable[..., Observation], matrix: np.ndarray) -> None:
    found = {value.metric: value for value in measure(observation(weights={"h.0.w.weight": matrix}))}
    assert found["power_law_alpha"].value is None
    assert found["power_law_alpha"].reason == "no matrix has a power-law tail"
    assert found["power_law_unreliable"].value == float(matrix.any())
    if not matrix.any():
        assert {found[f"{rank}/w"].value for rank in ("effective_rank", "stable_rank", "power_law_alpha")} == {None}


def test_a_matrix_with_nan_has_a_reason_and_the_others_their_values(observation: Callable[..., Observation]) -> None:
    rng = np.random.default_rng(0)
    weights = {f"h.{layer}.w.weight": rng.normal(size=(20, 30)) for layer in range(2)}
    weights["h.0.w.weight"][3, 4] = np.nan
    values = {(v.metric, v.layer): v for v in measure(observation(weights=weights))}
    assert "NaN" in str(values["stable_rank/w", 1].reason)
    assert values["stable_rank/w", 2].value is not None
