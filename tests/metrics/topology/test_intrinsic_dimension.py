"""TwoNN against known clouds and a second implementation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from scipy.stats import ortho_group

from metrics.probe import Observation
from metrics.topology.intrinsic_dimension import measure, two_nn

seeds = st.integers(0, 2**32 - 1)


def cloud_of(seed: int, points: int = 50, dimensions: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(points, dimensions))


@pytest.mark.parametrize(("dimension", "expected"), [(2, 2.00), (5, 4.70), (10, 8.42)])
def test_uniform_cubes_have_the_known_dimension_and_bias(dimension: int, expected: float) -> None:
    estimates = [two_nn(np.random.default_rng(seed).random((2000, dimension))) for seed in range(10)]
    assert np.mean(estimates) == pytest.approx(expected, rel=0.02)


def slope(points: np.ndarray, discard: float) -> float:
    """The fit of Facco et al. by all distances and least squares."""
    distances = np.sort(squareform(pdist(points)), axis=1)
    mu = np.sort(distances[:, 2] / distances[:, 1])
    kept = int(len(mu) * (1 - discard))
    share = np.arange(1, kept + 1) / len(mu)
    solution, *_ = np.linalg.lstsq(np.log(mu[:kept, None]), -np.log(1 - share), rcond=None)
    return float(solution[0])


@given(seed=seeds, points=st.integers(10, 60), dimensions=st.integers(1, 8), discard=st.sampled_from([0.1, 0.25, 0.5]))
def test_it_is_the_least_squares_slope_through_the_origin(
    seed: int, points: int, dimensions: int, discard: float
) -> None:
    cloud = cloud_of(seed, points, dimensions)
    assert two_nn(cloud, discard) == pytest.approx(slope(cloud, discard), rel=1e-6)


@given(seed=seeds)
def test_the_order_of_the_points_does_not_matter(seed: int) -> None:
    cloud = cloud_of(seed)
    assert two_nn(np.random.default_rng(seed).permutation(cloud)) == two_nn(cloud)


@given(seed=seeds, factor=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_scaling_and_isometric_embedding_do_not_matter(seed: int, factor: float, shift: float) -> None:
    cloud = cloud_of(seed)
    embedded = factor * cloud @ ortho_group.rvs(7, random_state=seed)[:3] + shift
    assert two_nn(embedded) == pytest.approx(two_nn(cloud), rel=1e-4)


@given(seed=seeds, copies=st.integers(1, 5))
def test_duplicates_do_not_matter(seed: int, copies: int) -> None:
    cloud = cloud_of(seed)
    assert two_nn(np.vstack([cloud, *[cloud[:7]] * copies])) == two_nn(cloud)


def test_three_points_are_enough() -> None:
    """Distances 1, 2, 3 on a line: mu is 3, 2, 1.5; of which the two smallest are kept."""
    logs = np.log([1.5, 2.0])
    expected = -(logs @ np.log([2 / 3, 1 / 3])) / (logs @ logs)
    assert two_nn(np.array([[0.0], [1], [3]])) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("points", "why"),
    [
        (np.array([[0.0], [1]]), "too few"),
        (np.array([[0.0], [1], [1], [0]]), "too few"),
        (np.arange(9.0)[:, None] * 0 + 1, "too few"),
        (np.stack(np.meshgrid(*[np.arange(5.0)] * 2), -1).reshape(-1, 2), "equally far"),
        (np.array([[0.0, 0.0], [1e-300, 0.0], [1.0, 0.0], [0.0, 1.0]]), "floating point"),
        (np.array([[0.0], [np.nan], [1]]), "NaN"),
        (np.zeros(4), "shape"),
    ],
    ids=["two points", "two distinct points", "one point", "lattice", "too close", "NaN", "flat"],
)
def test_where_it_is_not_defined_it_says_so(points: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        two_nn(points)


@pytest.mark.parametrize("discard", [-0.1, 1.0, 2.0])
def test_a_share_to_discard_lies_in_0_to_1(discard: float) -> None:
    with pytest.raises(ValueError, match="discard"):
        two_nn(cloud_of(0), discard)


def test_every_layer_has_its_dimension_or_a_reason(observation: Callable[..., Observation]) -> None:
    clouds = np.stack([cloud_of(0), np.zeros((50, 3)), cloud_of(1)])
    first, collapsed, last = measure(observation(hidden_states=clouds))
    assert (first.value, last.value) == (two_nn(clouds[0]), two_nn(clouds[2]))
    assert collapsed.value is None
    assert "too few" in str(collapsed.reason)
