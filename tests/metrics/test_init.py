"""The registry finds every metric by its file, without torch."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import metrics


def test_every_module_with_a_metric_is_registered() -> None:
    root = Path(metrics.__file__).parent
    files = [path for path in root.rglob("*.py") if "\nMETRIC = " in path.read_text()]
    modules = [".".join(path.relative_to(root.parent).with_suffix("").parts) for path in files]
    declared = {importlib.import_module(module).METRIC for module in modules}
    assert set(metrics.registry().values()) == declared
    assert len(metrics.registry()) == len(files) >= 5  # two metrics of one name would hide each other


def test_metrics_are_listed_by_name() -> None:
    assert list(metrics.registry()) == sorted(metrics.registry())
    assert all(name == metric.name for name, metric in metrics.registry().items())


def test_every_metric_says_what_it_is() -> None:
    assert all(metric.description and metric.version >= 1 for metric in metrics.registry().values())


def test_keys_name_the_versions_in_the_order_asked_for() -> None:
    names = list(metrics.registry())[::-1]
    assert metrics.keys(names) == tuple(metrics.registry()[name].key for name in names)
    assert all("@" in key for key in metrics.keys(names))


def test_the_registry_imports_no_torch() -> None:
    code = "import sys, metrics; metrics.registry(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
