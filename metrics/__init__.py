"""Metrics: pure functions of an observed checkpoint. A module here with a ``METRIC`` is a metric; no list to edit."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache

from metrics.base import Metric


@cache
def registry() -> dict[str, Metric]:
    """All metrics by name. Imports no torch, so that planning stays quick."""
    modules = pkgutil.walk_packages(__path__, f"{__name__}.")
    found = [getattr(importlib.import_module(module.name), "METRIC", None) for module in modules]
    return {metric.name: metric for metric in sorted(filter(None, found), key=lambda metric: metric.name)}


def keys(names: Iterable[str]) -> tuple[str, ...]:
    """``name@version`` of each metric named."""
    return tuple(registry()[name].key for name in names)
