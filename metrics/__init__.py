"""Metrics: pure functions of what was observed. A ``Metric`` in a module here is found by itself; no list to edit."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache

from metrics.base import Kind, Metric

OF_CHECKPOINT: tuple[Kind, ...] = ("checkpoint", "evaluation")  # what is measured on the weights of one checkpoint


@cache
def registry() -> dict[str, Metric]:
    """All metrics by name. Imports no torch, so that planning stays quick."""
    modules = pkgutil.walk_packages(__path__, f"{__name__}.")
    contents = (vars(importlib.import_module(module.name)).values() for module in modules)
    found = {value for values in contents for value in values if isinstance(value, Metric)}
    named = {metric.name: metric for metric in sorted(found, key=lambda metric: metric.name)}
    if len(named) < len(found):
        raise ValueError(f"two metrics share a name: {', '.join(sorted(metric.key for metric in found))}")
    return named


def find(name: str) -> Metric:
    """The metric of this name; what is not one of ours is taken for a task of lm-eval, whether it knows it or not."""
    from metrics.evaluation import harness

    return registry().get(name) or harness.metric(name)


def observed() -> tuple[str, ...]:
    """Names of all metrics but evaluations: they read what is observed anyway, and are measured unless told not to."""
    return tuple(name for name, metric in registry().items() if metric.kind != "evaluation")


def evaluations() -> tuple[str, ...]:
    """Names of our own evaluations."""
    return tuple(name for name, metric in registry().items() if metric.kind == "evaluation")


def of_kind(kind: Kind | tuple[Kind, ...], names: Iterable[str]) -> tuple[str, ...]:
    """Those of the metrics named that are of a kind."""
    kinds = (kind,) if isinstance(kind, str) else kind
    return tuple(name for name in names if find(name).kind in kinds)
