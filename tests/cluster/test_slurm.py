"""cluster/slurm.sbatch has no fault that is looked for, each planted one is found, and it fails closed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cluster import slurm

SCRIPT = Path(slurm.__file__).with_name("slurm.sbatch")
TEMPLATE = SCRIPT.read_text()


def test_the_template_has_no_problem() -> None:
    assert list(slurm.problems(TEMPLATE)) == []
    assert list(slurm.problems(TEMPLATE.replace("SET_ME", "a"))) == []


def test_every_value_that_is_to_be_set_says_what_to_put() -> None:
    lines = [line for line in TEMPLATE.splitlines() if "SET_ME" in line and not line.startswith("# ")]
    assert len(lines) == 6
    assert all("# " in line for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("#SBATCH --requeue", "#SBATCH --no-requeue", "#SBATCH --requeue"),
        ("#SBATCH --requeue", "# SBATCH --requeue", "#SBATCH --requeue"),
        ("#SBATCH --exclusive", "#SBATCH --oversubscribe", "#SBATCH --exclusive"),
        ("#SBATCH --signal=B:TERM@120", "#SBATCH --signal=TERM@120", "#SBATCH --signal"),
        ("#SBATCH --signal=B:TERM@120", "#SBATCH --signal=B:TERM@20", "#SBATCH --signal"),
        ("#SBATCH --signal=B:TERM@120", "#SBATCH --signal=B:KILL@120", "#SBATCH --signal"),
        ("trap save TERM", "trap save HUP", "trap"),
        ("export RAY_AUTH_MODE=token", "RAY_AUTH_MODE=token", "RAY_AUTH_MODE"),
        ("export RAY_AUTH_MODE=token", "export RAY_AUTH_MODE=disabled", "RAY_AUTH_MODE"),
        ("export RAY_AUTH_MODE=token", "# export RAY_AUTH_MODE=token", "RAY_AUTH_MODE"),
        ("export TOPOSWEEP_RESULTS=$SHARED/results", "", "TOPOSWEEP_RESULTS"),
        ("export TOPOSWEEP_RESULTS=$SHARED/results", "export TOPOSWEEP_RESULTS=", "TOPOSWEEP_RESULTS"),
        ("ray symmetric-run", "ray start", "ray symmetric-run"),
        ("--min-worker-port=0", "--dashboard-host=0.0.0.0 --min-worker-port=0", "0.0.0.0"),
    ],
)
def test_a_fault_is_found_with_its_line_and_field(old: str, new: str, field: str) -> None:
    assert old in TEMPLATE
    text = TEMPLATE.replace(old, new)
    (found,) = slurm.problems(text)
    assert found.field == field
    assert found.mend
    there = field in new and not new.startswith("# ")
    assert found.line == (TEMPLATE[: TEMPLATE.index(old)].count("\n") + 1 if there else 1)


def test_an_empty_script_lacks_everything() -> None:
    assert {found.line for found in slurm.problems("")} == {1}


def test_bash_reads_it() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


@pytest.mark.parametrize(
    ("mode", "content", "complaint"),
    [
        (None, "", "no token in"),
        (0o600, "", "no token in"),
        (0o644, "secret", "can read"),
        (0o640, "secret", "can read"),
    ],
)
def test_without_a_private_token_nothing_is_started(
    mode: int | None, content: str, complaint: str, tmp_path: Path
) -> None:
    token, called = tmp_path / ".ray" / "auth_token", tmp_path / "called"
    token.parent.mkdir()
    if mode is not None:
        token.write_text(content)
        token.chmod(mode)
    srun = tmp_path / "srun"
    srun.write_text(f"#!/bin/sh\ntouch {called}\n")
    srun.chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "secret" not in done.stderr
    assert not called.exists()
