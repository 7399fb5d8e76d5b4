"""When a running trial is to save and end: its process gets SIGTERM, Ray drains its node (a machine that is about to be
taken away), or the driver says so by the store's lease."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import FrameType

from orchestrator import lease
from trainables.storage import Folder

POLL_S = 1.0
SIGTERM_HEARD = threading.Event()  # by a main thread for the trial that runs in another
JOIN_S = 5.0  # a watch that asks a control store that has died waits for longer


@dataclass
class Stop:
    """Called, it says whether to stop. by_driver: it, or the one that took its place, wants no trial to run on."""

    by_driver: bool = False
    by_signal: bool = False
    by_drain: bool = False
    _changed: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> bool:
        return self.by_driver or self.by_signal or self.by_drain or SIGTERM_HEARD.is_set()

    def wait(self, seconds: float) -> None:
        """Sleep, or until there is something to stop for."""
        self._changed.wait(seconds)

    def on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.by_signal = True
        self._changed.set()

    def on_lease(self) -> None:
        self.by_driver = True
        self._changed.set()

    def on_drain(self) -> None:
        self.by_drain = True
        self._changed.set()


@contextlib.contextmanager
def watching(root: Folder, *, nodes: Iterable[str] = ()) -> Iterator[Stop]:
    """Watches the lease of a store and Ray's drains in threads of their own, and SIGTERM where this is the main thread.

    nodes: those whose drain counts, too, beside the node of this process.
    """
    stop, end = Stop(), threading.Event()
    watches = [threading.Thread(target=_watch_lease, args=(root, stop, end), name="stop: lease", daemon=True)]
    if own := node_id():
        watched = frozenset((own, *nodes))
        watches.append(
            threading.Thread(target=_watch_drains, args=(watched, stop, end), name="stop: drain", daemon=True)
        )
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop.on_signal) if main else None
    for thread in watches:
        thread.start()
    try:
        yield stop
    finally:
        end.set()
        for thread in watches:
            thread.join(JOIN_S)
        if main:
            signal.signal(signal.SIGTERM, before)


def hear_sigterm() -> None:
    """For the main thread of a process whose trial runs in another; until the process ends."""
    signal.signal(signal.SIGTERM, lambda signum, frame: SIGTERM_HEARD.set())


def node_id() -> str | None:
    """Ray's name of the node on which this process is; None outside Ray."""
    ray = sys.modules.get("ray")  # a process of Ray's has imported it
    return ray.get_runtime_context().get_node_id() if ray is not None and ray.is_initialized() else None


def _watch_lease(root: Folder, stop: Stop, end: threading.Event) -> None:
    owner = None
    while not end.is_set():
        with contextlib.suppress(OSError):  # a store that is gone for a while asks for nothing
            holder = lease.read(root)
            if holder is not None and holder.owner:
                owner = owner or holder.owner
                if holder.stopping or holder.owner != owner:
                    stop.on_lease()
                    return
        end.wait(POLL_S)


def _watch_drains(nodes: frozenset[str], stop: Stop, end: threading.Event) -> None:
    """Ray Train's own notice is not enough: it comes within 5 s, not 1, and never to a trial without workers."""
    import ray

    while not end.is_set():
        with contextlib.suppress(ray.exceptions.RayError):  # Ray's control store may be away for a while
            if not nodes.isdisjoint(ray._private.state.state.get_draining_nodes()):
                stop.on_drain()
                return
        end.wait(POLL_S)
