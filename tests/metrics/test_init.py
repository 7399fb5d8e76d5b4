"""The registry finds every metric by its file, without torch."""

from __future__ import annotations

import importlib
import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import metrics
from metrics.base import Kind
from metrics.topology import divergence


def test_every_metric_that_a_module_declares_is_registered() -> None:
    """By whatever name; two metrics of one name would hide each other, so they are counted where they are made."""
    root = Path(metrics.__file__).parent
    made = re.compile(r"^(\w+) = Metric\(", re.MULTILINE)
    declared = []
    for path in root.rglob("*.py"):
        module = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        declared += [getattr(importlib.import_module(module), name) for name in made.findall(path.read_text())]
    assert set(metrics.registry().values()) == set(declared)
    assert len(metrics.registry()) == len(declared) >= 10


def test_metrics_are_listed_by_name() -> None:
    assert list(metrics.registry()) == sorted(metrics.registry())
    assert all(name == metric.name for name, metric in metrics.registry().items())


def test_every_metric_says_what_it_is() -> None:
    assert all(metric.description and metric.version >= 1 for metric in metrics.registry().values())


def test_a_module_may_declare_several_metrics() -> None:
    assert {divergence.RTD, divergence.CKA} <= set(metrics.registry().values())


def test_each_metric_is_of_one_kind_in_the_order_asked_for() -> None:
    names = list(metrics.registry())[::-1]
    kinds = {kind: metrics.of_kind(kind, names) for kind in get_args(Kind)}
    assert sorted(itertools.chain(*kinds.values())) == sorted(names)
    for kind, found in kinds.items():
        assert list(found) == [name for name in names if metrics.registry()[name].kind == kind]


def test_the_kinds_are_those_the_metrics_say() -> None:
    named = ["weight_trajectory_dimension", "linear_cka", "spectra", "representation_topology_divergence"]
    assert metrics.of_kind("checkpoint", named) == ("spectra",)
    assert metrics.of_kind("pair", named) == ("linear_cka", "representation_topology_divergence")
    assert metrics.of_kind("trajectory", named) == ("weight_trajectory_dimension",)
    assert metrics.of_kind("pair", ["spectra"]) == ()


@pytest.mark.parametrize("name", ["mrpc", "unheard_of"])
def test_what_is_no_metric_of_ours_is_taken_for_a_task_of_lm_eval(name: str) -> None:
    """Whether lm-eval knows it is asked when a sweep is planned, and when it is measured."""
    assert metrics.find(name).name == name
    assert metrics.of_kind("evaluation", ["spectra", name]) == (name,)
    assert metrics.of_kind("pair", [name]) == ()
    assert name not in metrics.registry()


def test_our_own_metrics_are_found_by_their_names() -> None:
    assert all(metrics.find(name) is metric for name, metric in metrics.registry().items())


def test_the_registry_imports_no_torch() -> None:
    code = "import sys, metrics; metrics.registry(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
