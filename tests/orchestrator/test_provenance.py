import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from orchestrator import provenance


def test_says_which_code_and_machine_gave_the_numbers() -> None:
    facts = provenance.collect()
    assert facts["packages"]["torch"] == torch.__version__
    assert facts["python"] == platform.python_version()
    assert facts["host"] == platform.node()
    assert facts["device"]
    assert facts["cpus"] >= 1
    json.dumps(facts, allow_nan=False)


def test_usable_cpus_are_those_that_this_process_may_use() -> None:
    script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import orchestrator.provenance as p; "
    shown = subprocess.run([sys.executable, "-c", f"{script}print(p.usable_cpus())"], capture_output=True, check=True)
    assert int(shown.stdout) == 1


def test_git_revision_is_a_full_hash_where_the_code_is_a_checkout() -> None:
    git = provenance.collect()["git"]
    assert git is None or (len(git["revision"]) == 40 and isinstance(git["dirty"], bool))


@pytest.mark.parametrize(
    ("script", "device"), [("echo NVIDIA H100", "NVIDIA H100"), ("exit 9", None), ("exec sleep 60", None)]
)
def test_the_device_is_the_gpu_that_the_driver_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, device: str | None
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(provenance, "PATIENCE_S", 1.0)
    found = provenance.collect()["device"]
    assert found == device if device else found and "NVIDIA" not in found


def test_the_command_is_kept_without_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-aws")
    monkeypatch.setattr(sys, "argv", ["sweep.py", "run", "corpus=s3://id:secret@bucket", "keep=secret-of-aws"])
    assert provenance.collect()["command"] == ["sweep.py", "run", "corpus=s3://***@bucket", "keep=***"]
