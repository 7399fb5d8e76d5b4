"""What the templates' machines have together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster import jobs
from cluster.most import most
from tests.cluster.templates import filled


@pytest.mark.parametrize("name", ["gcp", "azure"])
def test_four_gpu_machines_an_evaluator_and_the_head(name: str) -> None:
    expected = {"CPU": 2 + 4 * 8, "trial_driver": 1, "GPU": 4, "evaluator": 8}
    assert most(yaml.safe_load(filled(name))) == expected


def test_a_type_without_a_bound_has_that_of_all() -> None:
    config = {
        "head_node_type": "h",
        "max_workers": 3,
        "available_node_types": {"h": {}, "w": {"resources": {"GPU": 2}}},
    }
    assert most(config) == {"GPU": 6}


def test_it_is_printed_as_json(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(filled("on_premises"))
    command = [sys.executable, "-m", "cluster.most", str(tmp_path / "c.yaml")]
    assert json.loads(subprocess.run(command, cwd=jobs.PROJECT, capture_output=True, check=True).stdout) == {}
