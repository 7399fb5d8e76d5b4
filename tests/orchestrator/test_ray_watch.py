"""What is seen of a Ray that dies; that a driver then ends, and says so, is for tests/chaos."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest
import ray

from orchestrator import ray_watch


def test_the_processes_of_our_own_ray_are_watched(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray_watch._died_here() is None
    dead = [("log_monitor", SimpleNamespace(poll=lambda: 1)), ("gcs_server", SimpleNamespace(poll=lambda: -9))]
    node = SimpleNamespace(dead_processes=lambda: dead)
    monkeypatch.setattr(ray._private.worker, "_global_node", node)
    assert ray_watch._died_here() == "Ray's gcs_server ended with -9 (killed, out of memory?)"
    dead.pop()
    assert ray_watch._died_here() is None  # a log monitor is no loss


def test_a_head_is_silent_once_nobody_has_answered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_watch, "SILENT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        died = ray_watch._silence(address)
        assert died() is None
    assert died() is None  # not yet
    monkeypatch.setattr(ray_watch, "SILENT_S", -1.0)
    monkeypatch.setattr(socket, "create_connection", _refused)
    assert died() == f"the head of the Ray cluster at {address} does not answer: refused"


def _refused(*_: object, **__: object) -> None:
    raise ConnectionRefusedError("refused")
