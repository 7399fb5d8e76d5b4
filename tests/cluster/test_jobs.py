"""Sweeps as jobs of a cluster: what is sent, and one that runs. tests/lab sends them to several machines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import ray

import sweep
from cluster import jobs
from orchestrator import authentication
from orchestrator.words import SpecError
from tests.conftest import SMALL


@pytest.mark.parametrize("address", ["job", "http://h:8265", "https://h", "ray://h:10001"])
def test_these_addresses_are_elsewhere(address: str) -> None:
    assert jobs.is_elsewhere(address)


@pytest.mark.parametrize("address", ["auto", "10.0.0.1:6379", None])
def test_these_are_joined(address: str | None) -> None:
    assert not jobs.is_elsewhere(address)


def test_the_command_line_is_a_shells(tmp_path: Path) -> None:
    line = jobs.entrypoint("run", "quickstart", ["corpus=/data/my pile"], "s3://b/r?x=1&y=2")
    assert line == "python sweep.py run quickstart 'corpus=/data/my pile' --address auto --store 's3://b/r?x=1&y=2'"
    line = jobs.entrypoint("run", "quickstart", [], None).replace("python sweep.py", "echo")
    shell = ["sh", "-c", line]
    said = subprocess.run(shell, env={"TOPOSWEEP_RESULTS": "/mnt/r"}, capture_output=True, text=True)
    assert said.stdout == "run quickstart --address auto --store /mnt/r/quickstart\n"
    said = subprocess.run(shell, env={}, capture_output=True, text=True)
    assert (said.returncode, "the cluster does not say where results go" in said.stderr) == (2, True)


@pytest.mark.parametrize("store", ["results/mine", "~/mine", "./x"])
def test_a_store_in_the_jobs_own_folder_is_refused(store: str) -> None:
    with pytest.raises(SpecError, match=f"--store {store}: for a job this is a path on the cluster"):
        jobs.entrypoint("run", "quickstart", [], store)


def test_what_is_wrong_is_said_before_anything_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["run", "quickstart", "seds=0", "--address", "job"]) == 2
    assert "seds" in capsys.readouterr().err


class CutOffClient:
    """Of a cluster whose connection is lost while the job's output is shown."""

    def list_jobs(self) -> list[Any]:
        return []

    def submit_job(self, **_: Any) -> str:
        return "raysubmit_1"

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        yield "4 trials\n"
        raise RuntimeError("WebSocket connection closed unexpectedly with close code 1006")


def test_a_lost_connection_is_not_the_end_of_the_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jobs, "_client", lambda address: CutOffClient())
    assert sweep.main(["run", "quickstart", "--address", "job", "--store", "/x"]) == 1
    said = capsys.readouterr()
    assert "4 trials" in said.out
    assert "job raysubmit_1 goes on, the same command shows it again" in said.err


class BusyClient(CutOffClient):
    """Of a cluster that gives these answers to what is submitted, the last one for ever."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), 0

    def submit_job(self, **_: Any) -> str:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.startswith("raysubmit"):
            return answer
        raise RuntimeError(f"Request failed with status code 500: {answer}.\nTraceback")


NOT_YET = f"{jobs.NO_AGENT} to submit job, please try again later."


@pytest.mark.parametrize(
    ("answers", "patience_s", "asked", "said"),
    [
        ((NOT_YET, NOT_YET, "raysubmit_1"), 60.0, 3, "job raysubmit_1 goes on"),
        ((NOT_YET,), -1.0, 1, "did not take the job (Request failed with status code 500: No available agent"),
        (("working_dir is too large",), 60.0, 1, "did not take the job (Request failed with status code 500: working"),
    ],
)
def test_a_head_that_takes_no_job_yet_is_waited_for_and_one_that_never_does_is_named(
    answers: tuple[str, ...],
    patience_s: float,
    asked: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = BusyClient(*answers)
    monkeypatch.setattr(jobs, "_client", lambda address: client)
    monkeypatch.setattr(jobs, "AGENT_S", patience_s)
    monkeypatch.setattr(jobs, "AGENT_POLL_S", 0.0)
    assert sweep.main(["run", "quickstart", "--address", "job", "--store", "/x"]) == 1
    assert (client.asked, said in capsys.readouterr().err) == (asked, True)


def test_a_cluster_that_does_not_list_its_jobs_is_sent_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = BusyClient("raysubmit_1")
    monkeypatch.setattr(client, "list_jobs", lambda: (_ for _ in ()).throw(RuntimeError("status code 500: x")))
    monkeypatch.setattr(jobs, "_client", lambda address: client)
    assert sweep.main(["run", "quickstart", "--address", "job", "--store", "/x"]) == 1
    assert "does not list its jobs (status code 500: x); nothing was sent" in capsys.readouterr().err
    assert client.asked == 0


@pytest.fixture
def dashboard(ray_session: None) -> str:
    return f"http://{ray._private.worker.get_dashboard_url()}"


def test_a_job_runs_this_code_and_ends_with_its_exit_code(
    dashboard: str, shared_tokens: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PYTHON", sys.executable)
    words = ["prepare", "quickstart", *SMALL, "--address", dashboard]
    assert sweep.main([*words, "--store", str(shared_tokens / "store")]) == 0
    said = capfd.readouterr().out
    assert f"prepared {shared_tokens}/tokens/" in said
    assert re.search(r"job raysubmit_\w+: Ctrl-C leaves it running", said)
    (shared_tokens / "file").write_text("in the store's place")
    assert sweep.main([*words, "--store", str(shared_tokens / "file")]) == 2
    assert "Traceback" not in capfd.readouterr().out


def test_a_wrong_token_and_an_address_where_nobody_answers_are_told(
    dashboard: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main(["run", "quickstart", "--store", "/x", "--address", "http://127.0.0.1:9"]) == 1
    assert "no cluster answers at http://127.0.0.1:9. Is it up" in capsys.readouterr().err
    script = "import sys, sweep; sys.exit(sweep.main(['run', 'quickstart', '--store', '/x', '--address', sys.argv[1]]))"
    environment = {**os.environ, authentication.TOKEN: "0" * 64}
    wrong = subprocess.run(
        [sys.executable, "-c", script, dashboard], cwd=jobs.PROJECT, env=environment, capture_output=True, text=True
    )
    assert (wrong.returncode, "does not let this machine in" in wrong.stderr) == (2, True), wrong.stderr
