"""Leases between real processes, and with the clock's seconds cut short."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyarrow import fs

from orchestrator import lease
from orchestrator.alarm import Alarm
from orchestrator.lease import LEASE, HeldError, Holder, LostError, hold
from trainables.storage import Folder

HOLD = """
import sys, time
from orchestrator import lease
from orchestrator.alarm import Alarm
from trainables.storage import Folder
lease.BEAT_S = 0.2
alarm = Alarm()
with alarm.heard(), lease.hold(Folder.open(sys.argv[1]), alarm):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.1)
    monkeypatch.setattr(lease, "STALE_S", 0.8)
    monkeypatch.setattr(lease, "AWAY_S", 0.8)
    monkeypatch.setattr(lease, "SETTLE_S", 0.05)


@pytest.fixture(params=["local", "object store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """The second has no exclusive creation and no rename that a lease could use."""
    if request.param == "local":
        return Folder.open(tmp_path / "store")
    (tmp_path / "store").mkdir()
    return Folder(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "store")


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def elsewhere(folder: Folder, beat: int = 0) -> None:
    """The lease of a process of another machine."""
    holder = dataclasses.replace(Holder.of_this_process(), owner="other", host="far", place="elsewhere", beat=beat)
    folder.write_json(LEASE, dataclasses.asdict(holder))


def test_it_is_there_while_held_beats_and_is_gone_afterwards(folder: Folder) -> None:
    with hold(folder, Alarm()):
        first = lease.read(folder)
        assert first is not None
        assert (first.pid, first.stopping) == (os.getpid(), False)
        time.sleep(0.5)
        second = lease.read(folder)
        assert second is not None
        assert second.beat > first.beat
    assert lease.read(folder) is None


def test_a_second_driver_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        with pytest.raises(HeldError, match=f"process {process.pid} on .* is working on it. Wait for its end"):
            hold(Folder.open(tmp_path), Alarm()).__enter__()
        assert lease.read(Folder.open(tmp_path)) is not None


def test_after_one_that_was_killed_here_the_next_need_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "STALE_S", 600.0)
    with another_process(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with hold(Folder.open(tmp_path), Alarm()):
            pass
    assert [path.name for path in tmp_path.iterdir()] == []


def test_one_that_was_stopped_is_followed_and_notices_when_it_wakes(tmp_path: Path) -> None:
    """SIGSTOP, as of a laptop that sleeps, on a machine of which nothing is known."""
    with another_process(tmp_path) as process:
        process.send_signal(signal.SIGSTOP)
        with hold(Folder.open(tmp_path), Alarm()) as mine:
            process.send_signal(signal.SIGCONT)
            assert process.wait(20) != 0
            assert lease.read(Folder.open(tmp_path)) == mine.holder


def test_a_lease_of_another_machine_is_taken_over_once_it_stands_still(folder: Folder) -> None:
    elsewhere(folder)
    began = time.monotonic()
    with hold(folder, Alarm()) as mine:
        assert time.monotonic() - began > lease.STALE_S
        found = lease.read(folder)
        assert found is not None
        assert found.owner == mine.holder.owner


def test_a_damaged_lease_is_one_that_stands_still(folder: Folder) -> None:
    folder.write(LEASE, b"{")
    with hold(folder, Alarm()):
        pass
    assert lease.read(folder) is None


def test_who_waits_is_told_of_the_other_and_gets_it_in_the_end(folder: Folder) -> None:
    beats, end = iter(range(1, 1000)), threading.Event()

    def beat() -> None:
        while not end.wait(0.05):
            elsewhere(folder, next(beats))
        folder.delete(LEASE)

    elsewhere(folder)
    thread = threading.Thread(target=beat)
    thread.start()
    heard: list[str] = []

    def waiting(holder: Holder) -> None:
        heard.append(holder.host)
        end.set()

    with hold(folder, Alarm(), waiting=waiting):
        assert set(heard) == {"far"}
    thread.join()


def test_of_many_that_want_a_stale_lease_at_once_one_has_it_at_a_time(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path)
    elsewhere(folder)
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with hold(folder, Alarm(), waiting=lambda _: None):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] * 6


@pytest.mark.parametrize("how", ["taken over", "deleted", "folder gone"])
def test_who_loses_the_lease_is_alarmed(folder: Folder, tmp_path: Path, how: str) -> None:
    def lose() -> None:
        if how == "taken over":
            while alarm.error is None:  # ours may just be writing, and then it stays ours
                elsewhere(folder)
                time.sleep(0.05)
        elif how == "deleted":
            folder.delete(LEASE)
        else:
            (tmp_path / "store").rename(tmp_path / "away")

    began, alarm, thread = time.monotonic(), Alarm(), threading.Timer(0.3, lose)
    thread.start()
    with pytest.raises(LostError, match="no longer holds"), alarm.heard(), hold(folder, alarm):
        time.sleep(30)
    assert time.monotonic() - began < 20
    assert (tmp_path / "store").exists() == (how != "folder gone")
    thread.join()


def test_a_folder_that_goes_away_for_a_moment_is_no_loss(folder: Folder, tmp_path: Path) -> None:
    alarm = Alarm()
    with hold(folder, alarm) as mine:
        (tmp_path / "store").rename(tmp_path / "away")
        time.sleep(0.3)
        (tmp_path / "away").rename(tmp_path / "store")
        time.sleep(0.3)
        found = lease.read(folder)
        assert found is not None
        assert found.owner == mine.holder.owner
        time.sleep(lease.STALE_S)
    assert alarm.error is None


def test_to_ask_for_a_stop_outlasts_beats(folder: Folder) -> None:
    with hold(folder, Alarm()) as mine:
        mine.ask_to_stop()
        time.sleep(0.4)
        found = lease.read(folder)
        assert found is not None
        assert found.stopping
        assert found.beat > 1
