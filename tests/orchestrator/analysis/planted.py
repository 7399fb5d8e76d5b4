"""Results of sweeps that never ran, with what is to be found in them planted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from orchestrator.results import COLUMNS

STEPS = 100
Columns = Mapping[tuple[str, int | None], np.ndarray]


def grid(seeds: int, budgets: tuple[float, ...], **more: object) -> pd.DataFrame:
    """A trial for every seed and budget: what :func:`results` takes as ``about``."""
    cells = [(seed, budget) for seed in range(seeds) for budget in budgets]
    return pd.DataFrame(cells, columns=["seed", "budget_flops"]).assign(**more)


def results(about: pd.DataFrame, at_end: Columns, early: Columns | None = None) -> tuple[pd.DataFrame, dict[str, int]]:
    """The frame of ``results.collect`` and the last steps, of trials whose values are given, one for each row of about.

    at_end, early: (metric, layer) -> values at step 100 and 10; NaN is a value that is not there. Settings of about
    that the results lack become their ``config/...``.
    """
    names = [f"trial-{number}" for number in range(len(about))]
    fixed = {"model": "m", "variant": "", "n_params": 10**6, "tokens": 10**6, "flops": about["budget_flops"]}
    about = about.assign(**{name: value for name, value in fixed.items() if name not in about}, trial=names)
    about = about.rename(columns={name: f"config/{name}" for name in about.columns if name not in COLUMNS.names})
    parts = [
        about.assign(step=step, metric=metric, layer=layer, value=value)
        for step, columns in ((STEPS // 10, early or {}), (STEPS, at_end))
        for (metric, layer), value in columns.items()
    ]
    frame = pd.concat(parts, ignore_index=True).assign(metric_version=1, fault=None)
    frame["status"] = np.where(frame["value"].isna(), "skipped", "ok")
    for column in set(COLUMNS.names) - set(frame.columns):
        frame[column] = None
    return frame.astype({"layer": "Int64", "metric_version": "Int64"}), dict.fromkeys(names, STEPS)


def null(about: pd.DataFrame, count: int, random: np.random.Generator) -> dict[tuple[str, int | None], np.ndarray]:
    """Values that depend on the budget, each in a way of its own, and persist within a seed, but on nothing else."""
    found: dict[tuple[str, int | None], np.ndarray] = {}
    decades = np.log10(about["budget_flops"].to_numpy(dtype=float))
    for number in range(count):
        of_seed = random.normal(size=about["seed"].nunique())[about["seed"]]
        trend = random.normal() * np.exp(random.normal() * (decades - decades.mean()))
        found[f"nothing_{number}", 1] = 3 * trend + 0.5 * of_seed + random.normal(size=len(about))
    return found
