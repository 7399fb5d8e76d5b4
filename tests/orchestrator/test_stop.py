from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from orchestrator import stop
from orchestrator.alarm import Alarm
from orchestrator.lease import LEASE, hold
from orchestrator.stop import watching
from trainables.storage import Folder


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "POLL_S", 0.05)


def becomes(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def test_sigterm_is_heard_and_another_handler_is_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with watching(Folder.open(tmp_path)) as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert becomes(asked)
        assert (asked.by_signal, asked.by_driver) == (True, False)
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_is_heard_for_a_trial_in_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "SIGTERM_HEARD", threading.Event())
    before = signal.getsignal(signal.SIGTERM)
    found: list[bool] = []

    def work() -> None:
        with watching(Folder.open(tmp_path)) as asked:
            found.append(asked())
            found.append(becomes(asked))

    try:
        stop.hear_sigterm()
        thread = threading.Thread(target=work)
        thread.start()
        assert becomes(lambda: found == [False])
        os.kill(os.getpid(), signal.SIGTERM)
        thread.join(30)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert found == [False, True]


class Draining:
    """What Ray says of its nodes: a name of each that is drained, and its deadline."""

    def __init__(self, *answers: dict[str, int] | Exception) -> None:
        self.answers = list(answers)

    def __call__(self) -> dict[str, int]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize("drained", ["own", "driver"])
def test_a_drain_of_its_node_or_of_the_one_it_depends_on_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drained: str
) -> None:
    draining = Draining({}, ray.exceptions.RaySystemError("away"), {"other": 0}, {"other": 0, drained: 9})
    monkeypatch.setattr(ray._private.state.state, "get_draining_nodes", draining)
    monkeypatch.setattr(stop, "node_id", lambda: "own")
    with watching(Folder.open(tmp_path), nodes=("driver",)) as asked:
        assert becomes(asked)
        assert (asked.by_drain, asked.by_signal, asked.by_driver) == (True, False, False)
        assert len(draining.answers) == 1


def test_drains_of_other_nodes_mean_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray._private.state.state, "get_draining_nodes", Draining({"other": 0}))
    monkeypatch.setattr(stop, "node_id", lambda: "own")
    with watching(Folder.open(tmp_path)) as asked:
        asked.wait(0.5)
        assert not asked()


def test_a_node_has_a_name_only_inside_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert stop.node_id() is None
    monkeypatch.delitem(sys.modules, "ray")
    assert stop.node_id() is None


def test_the_driver_asks_through_its_lease_also_where_no_signal_can_be_heard(tmp_path: Path) -> None:
    found: list[tuple[bool, bool]] = []

    def work() -> None:
        with watching(Folder.open(tmp_path)) as asked:
            began = time.monotonic()
            asked.wait(30)
            found.append((asked.by_driver, time.monotonic() - began < 20))

    with hold(Folder.open(tmp_path), Alarm()) as held:
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.2)
        assert found == []
        held.ask_to_stop()
        thread.join(30)
    assert found == [(True, True)]


def test_another_driver_in_its_place_means_stop_and_no_lease_means_nothing(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path)
    with watching(folder) as asked:
        for owner in ("one", "", "two"):
            time.sleep(0.2)
            assert not asked()
            folder.write(LEASE, b"damaged")
            time.sleep(0.1)
            if owner:
                holder = {"owner": owner, "host": "", "pid": 1, "start": "", "place": "", "since": ""}
                folder.write_json(LEASE, holder)
            else:
                folder.delete(LEASE)
        assert becomes(asked)
        assert asked.by_driver
