from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from cluster import spot
from tests.cluster.metadata import Answer, Ec2, Metadata

ROOT = Path(__file__).parent.parent.parent


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def ec2_time(seconds: float) -> str:
    return in_seconds(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_ec2_asks_for_a_token_and_for_a_new_one_when_it_has_run_out() -> None:
    ec2 = Ec2()
    with Metadata(ec2) as metadata:
        aws = spot.Aws(metadata.url)
        assert [aws.notice() for _ in range(3)] == [None] * 3
        assert ec2.tokens == 1
        ec2.tokens += 1  # as if time had passed
        assert aws.notice() is None
        assert ec2.tokens == 3
        ec2.action = json.dumps({"action": "terminate", "time": ec2_time(120)})
        notice = aws.notice()
    assert notice is not None
    assert notice.what.startswith("EC2 will terminate it at 2")
    assert 115 < notice.seconds <= 120


@pytest.mark.parametrize(
    ("preempted", "maintenance", "seconds"),
    [
        ("FALSE", "NONE", None),
        ("FALSE", "MIGRATE_ON_HOST_MAINTENANCE", None),
        ("FALSE", "TERMINATE_ON_HOST_MAINTENANCE", 60),
        ("TRUE\n", "NONE", 30),
    ],
)
def test_compute_engine(preempted: str, maintenance: str, seconds: float | None) -> None:
    keys = {"preempted": preempted, "maintenance-event": maintenance}

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        if headers.get("metadata-flavor") != "Google":
            return 403, ""
        folder, _, key = path.rpartition("/")
        return (200, keys[key]) if folder == "/computeMetadata/v1/instance" else (404, "")

    with Metadata(answer) as metadata:
        notice = spot.Gcp(metadata.url).notice()
    assert (notice and notice.seconds) == seconds


def azure(*events: dict[str, object]) -> Answer:
    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        if headers.get("metadata") != "true":
            return 400, ""
        if path == "/metadata/instance/compute/name?api-version=2021-02-01&format=text":
            return 200, "set_7"
        if path == "/metadata/scheduledevents?api-version=2020-07-01":
            return 200, json.dumps({"DocumentIncarnation": 1, "Events": events})
        return 404, ""

    return answer


def event(kind: str, not_before: str, *machines: str) -> dict[str, object]:
    status = "Scheduled" if not_before else "Started"
    return {"EventType": kind, "NotBefore": not_before, "Resources": list(machines), "EventStatus": status}


def test_azure_counts_what_takes_this_machine_away_not_its_neighbour() -> None:
    soon = format_datetime(in_seconds(40), usegmt=True)
    others = (event("Preempt", soon, "set_8"), event("Freeze", soon, "set_7"), event("Reboot", soon, "set_7"))
    for events, bounds in [
        ((), None),
        (others, None),
        ((*others, event("Preempt", soon, "set_6", "set_7")), (35, 40)),
        ((event("Terminate", soon, "set_7"),), (35, 40)),
        ((event("Preempt", "", "set_7"),), (30, 30)),
    ]:
        with Metadata(azure(*events)) as metadata:
            notice = spot.Azure(metadata.url).notice()
        assert (notice is None) == (bounds is None)
        if notice is not None and bounds is not None:
            assert bounds[0] <= notice.seconds <= bounds[1]


@contextmanager
def raylet(node_id: str, gcs: str = "10.0.0.1:6379") -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like one."""
    command = ["/somewhere/raylet", "-c", "read line; :", "sh", f"--node_id={node_id}", f"--gcs-address={gcs}"]
    process = subprocess.Popen(command, executable="/bin/sh", stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def becomes(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 20
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def test_the_node_is_found_by_its_raylet() -> None:
    with raylet("spot-test-a") as first, raylet("spot-test-b", "10.0.0.1:1"):
        assert becomes(lambda: {"spot-test-a", "spot-test-b"} <= {one.node_id for one in spot.nodes_here()})
        assert spot.find_node("spot-test-b") == spot.Node("spot-test-b", "10.0.0.1:1")
        with pytest.raises(ValueError, match=r"Ray nodes run here: give --node-id, one of .*spot-test-"):
            spot.find_node(None)
        end(first)
        assert spot.find_node("spot-test-a") is None


class Drains:
    """Stands for `ray drain-node`: how often, with which time left, and what it answers."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.left: list[float] = []

    def __call__(self, node: spot.Node, notice: spot.Notice, until: float) -> str | None:
        self.left.append(until - time.monotonic())
        return self.answers.pop(0)


@contextmanager
def watching(ec2: Answer, node_id: str, ended: threading.Event) -> Iterator[tuple[list[int], threading.Thread]]:
    codes: list[int] = []
    with Metadata(ec2) as metadata, raylet(node_id):
        aws = spot.Aws(metadata.url)
        thread = threading.Thread(target=lambda: codes.append(spot.watch(aws, node_id, 0.02, ended)))
        thread.start()
        yield codes, thread
        ended.set()
        thread.join(20)
        assert not thread.is_alive()


def test_a_notice_drains_once_and_again_only_where_that_failed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    drains, ec2 = Drains("no leader", None), Ec2()
    monkeypatch.setattr(spot, "drain", drains)
    with watching(ec2, "spot-test-c", threading.Event()) as (codes, _):
        time.sleep(0.3)
        assert drains.left == []
        ec2.action = json.dumps({"action": "stop", "time": ec2_time(100)})
        assert becomes(lambda: len(drains.left) == 2)
        time.sleep(1.5)
        assert len(drains.left) == 2
    assert 90 < drains.left[1] < drains.left[0] <= 100
    assert codes == [0]
    said = capfd.readouterr().err.splitlines()
    assert said[0] == "spot: watching over Ray node spot-test-c"
    assert said[1].startswith("spot: EC2 will stop it at 2")
    assert said[2:] == ["spot: could not drain: no leader", "spot: drained: running trials save, and go on elsewhere"]


def test_a_service_that_is_silent_or_talks_nonsense_is_asked_on_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spot, "ANSWER_S", 0.1)
    monkeypatch.setattr(spot, "SILENT_S", 0.0)
    drains, hang = Drains(None), threading.Event()
    monkeypatch.setattr(spot, "drain", drains)
    ec2 = Ec2()
    faults = iter([(500, ""), (403, ""), (200, "no json"), (200, "[]"), (200, '{"action": "stop"}'), None])

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        if not path.endswith("instance-action"):
            return ec2(method, path, headers)
        fault = next(faults, ())
        if fault is None:
            hang.wait(0.5)  # no answer in time
        return fault or ec2(method, path, headers)

    ec2.action = json.dumps({"action": "terminate", "time": "soon"})
    with watching(answer, "spot-test-d", threading.Event()):
        assert becomes(lambda: bool(drains.left))
    hang.set()
    assert 110 < drains.left[0] <= 120  # what EC2 promises, where the time cannot be read
    said = capfd.readouterr().err
    assert said.count("does not answer, asking on: SilentError: http://127.0.0.1:") == 1


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with Metadata(Ec2()) as metadata:
        pass
    with pytest.raises(spot.SilentError, match=r"api/token: .*refused"):
        spot.Aws(metadata.url).notice()


def test_it_ends_with_ray(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    with raylet("spot-test-e") as process, Metadata(Ec2()) as metadata:
        timer = threading.Timer(0.5, end, [process])
        timer.start()
        assert spot.watch(spot.Aws(metadata.url), "spot-test-e", 0.02, threading.Event()) == 0
        timer.join()
    assert capfd.readouterr().err.endswith("spot: the Ray node has ended\n")
    monkeypatch.setattr(spot, "NEVER_RUN_S", 0.1)
    assert spot.watch(spot.Aws(metadata.url), "spot-test-e", 0.02, threading.Event()) == 1
    assert "no Ray node was started here within 0.1 s" in capfd.readouterr().err


def test_a_drain_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    node, until = spot.Node("ff" * 28, "127.0.0.1:1"), time.monotonic() + 30
    monkeypatch.setattr(spot, "DRAIN_S", 0.5)
    said = spot.drain(node, spot.Notice("test", 30), until)
    assert said == "no answer from 127.0.0.1:1 within 0.5 s"
    monkeypatch.setattr(spot.sys, "executable", "/bin/false")
    assert spot.drain(node, spot.Notice("test", 30), until) == "exit code 1"


def run(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cluster.spot", *words]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_the_command_ends_with_sigterm_and_refuses_what_it_does_not_know() -> None:
    with Metadata(Ec2()) as metadata, raylet("spot-test-f"):
        process = run("aws", "--metadata", metadata.url, "--node-id", "spot-test-f", "--every", "0.1")
        assert becomes(lambda: len(metadata.asked) > 3)
        os.kill(process.pid, signal.SIGTERM)
        assert (process.wait(10), process.communicate()[1]) == (0, "spot: watching over Ray node spot-test-f\n")
    for words in (("ibm",), ("aws", "--every", "0"), ("aws", "--metadata", "file:///etc/passwd"), ()):
        process = run(*words)
        assert "usage: python -m cluster.spot" in process.communicate()[1]
        assert process.returncode == 2
