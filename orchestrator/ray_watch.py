"""Watches the Ray under a driver: else the driver would wait a minute, and then Ray would end it without a word."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

from orchestrator.alarm import Alarm

POLL_S = 1.0
SILENT_S = 20.0  # that the head of a cluster may not answer; Ray itself gives up after 60
PATIENCE_S = 5.0  # then the process ends, as Ray would end it later, and its own Ray processes with it


class RayDiedError(OSError):
    """A process that Ray cannot do without has ended, or the head of the cluster does not answer."""


@contextlib.contextmanager
def watching(alarm: Alarm) -> Iterator[None]:
    """Watch the Ray that this process runs or has joined, and shut it down at the end."""
    import ray

    end = threading.Event()
    own = ray._private.worker._global_node
    died = _died_here if own is not None and own.head else _silence(ray.get_runtime_context().gcs_address)
    thread = threading.Thread(target=_watch, args=(died, alarm, end), name="ray watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        if alarm.error is None:  # else, should this hang, the watch ends the process
            end.set()
            thread.join()
        ray.shutdown()
        end.set()


def _watch(died: Callable[[], str | None], alarm: Alarm, end: threading.Event) -> None:
    while not end.wait(POLL_S):
        if what := died():
            alarm.raise_in_main(RayDiedError(what))
            if not end.wait(PATIENCE_S):  # the main thread waits inside Ray, for an answer that will never come
                print(f"sweep.py: {what}; what was written is kept, run again", file=sys.stderr, flush=True)
                os._exit(1)
            return


def _died_here() -> str | None:
    """The first of the processes of our own Ray to have ended."""
    import ray

    node = ray._private.worker._global_node
    for kind, process in node.dead_processes() if node is not None else ():
        if kind in ("gcs_server", "raylet"):
            return f"Ray's {kind} ended with {process.poll()} (killed, out of memory?)"
    return None


def _silence(address: str) -> Callable[[], str | None]:
    """Says so once nobody has answered at the address of a cluster's head for ``SILENT_S``."""
    host, _, port = address.rpartition(":")
    heard = time.monotonic()

    def died() -> str | None:
        nonlocal heard
        try:
            socket.create_connection((host, int(port)), timeout=SILENT_S / 2).close()
            heard = time.monotonic()
        except OSError as error:
            if time.monotonic() - heard > SILENT_S:
                return f"the head of the Ray cluster at {address} does not answer: {error}"
        return None

    return died
