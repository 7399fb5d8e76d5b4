"""What counts as a point cloud, and its scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.topology.point_cloud import distance_scale, validated


@pytest.mark.parametrize(
    ("points", "why"),
    [
        (np.zeros(3), "shape"),
        (np.zeros((2, 2, 2)), "shape"),
        (np.zeros((1, 3)), "too few"),
        (np.zeros((0, 3)), "too few"),
        (np.array([[0.0, np.nan], [1, 2]]), "NaN"),
        (np.array([[0.0, np.inf], [1, 2]]), "infinite"),
    ],
)
def test_what_is_no_cloud_is_refused(points: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        validated(points)


@pytest.mark.parametrize("dtype", [np.int8, np.float16, np.float32, np.float64])
def test_a_cloud_becomes_float64(dtype: type) -> None:
    cloud = validated(np.array([[1, 2], [3, 4]], dtype=dtype))
    assert cloud.dtype == np.float64
    assert cloud.tolist() == [[1, 2], [3, 4]]


def test_the_scale_of_a_line_is_known() -> None:
    """Points 0 ... 4: distances 1 x 4, 2 x 3, 3 x 2, 4 x 1; their 0.9-quantile lies a tenth of the way from 3 to 4."""
    assert distance_scale(np.arange(5.0)[:, None]) == pytest.approx(3.1)


@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(1e-3, 1e3))
def test_the_scale_scales(seed: int, factor: float) -> None:
    cloud = np.random.default_rng(seed).normal(size=(10, 3))
    assert distance_scale(factor * cloud) == pytest.approx(factor * distance_scale(cloud))
