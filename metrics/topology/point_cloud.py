"""Checks and scales that all point-cloud metrics share."""

from __future__ import annotations

import numpy as np


def validated(points: np.ndarray, *, at_least: int = 2) -> np.ndarray:
    """``points`` as a float64 array (points, dimensions).

    Raises ValueError for another shape, fewer than ``at_least`` points, NaN or inf.
    """
    cloud = np.asarray(points, dtype=np.float64)
    if cloud.ndim != 2:
        raise ValueError(f"a point cloud has shape (points, dimensions), not {cloud.shape}")
    if len(cloud) < at_least:
        raise ValueError(f"{len(cloud)} points are too few: at least {at_least} are needed")
    if not np.isfinite(cloud).all():
        raise ValueError("the point cloud holds NaN or infinite coordinates")
    return cloud


def distance_scale(points: np.ndarray) -> float:
    """The 0.9-quantile of the pairwise distances, by which clouds of different norm are made comparable."""
    from scipy.spatial.distance import pdist

    return float(np.quantile(pdist(validated(points)), 0.9))
