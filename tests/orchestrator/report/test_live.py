"""The report served while a sweep runs: a real process, asked over HTTP."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.report import live
from orchestrator.store import Store
from tests import synthetic

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("live") / "live"
    synthetic.write(found, "seeds=0", "budgets=5e10", checkpoints=3)
    return found


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, str(ROOT / "sweep.py"), "report", str(place), "--live"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "http://127.0.0.1:" in line)
        yield process, int(line.split("http://127.0.0.1:")[1].split("/")[0])
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def _ask(port: int, path: str = "/", method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


def test_the_page_changes_with_the_store(served: tuple[subprocess.Popen[str], int], place: Path) -> None:
    _, port = served
    first = _ask(port)
    assert first.status == 200
    tag = first.headers["ETag"]
    assert b"<html" in first.read()
    assert _ask(port, **{"If-None-Match": tag}).status == 304
    store = Store.existing(str(place))
    step = store.measured_steps(store.trial_ids()[0])[-1]
    known = dict(store.read_measurements(store.trial_ids()[0], step))
    one = {**known["held_out@1"], "metric": "planted"}
    store.add_measurements(store.trial_ids()[0], step, [one])
    until = time.monotonic() + 60
    while _ask(port).headers["ETag"] == tag:
        assert time.monotonic() < until, "the page is as it was"
        time.sleep(0.5)


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/", "GET", {"Host": "elsewhere.example:80"}, 403),
        ("/sweep.json", "GET", {}, 404),
        ("/tables/../sweep.json", "GET", {}, 404),
        ("/", "POST", {}, 501),
    ],
)
def test_what_is_not_the_reports_is_refused(
    served: tuple[subprocess.Popen[str], int], path: str, method: str, headers: dict[str, str], status: int
) -> None:
    assert _ask(served[1], path, method, **headers).status == status


def test_files_beside_the_page_are_the_reports_alone(place: Path) -> None:
    store = Store.existing(str(place))
    assert live.of_report(store, "/sweep.json") is None
    assert live.of_report(store, "/tables/nothing.csv") is None
