from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

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
