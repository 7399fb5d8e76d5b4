"""When a running trial is to save and end: its process gets SIGTERM, or the driver says so by the store's lease."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType

from orchestrator import lease
from trainables.storage import Folder

POLL_S = 1.0


@dataclass
class Stop:
    """Called, it says whether to stop. by_driver: it, or the one that took its place, wants no trial to run on."""

    by_driver: bool = False
    by_signal: bool = False
    _changed: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> bool:
        return self.by_driver or self.by_signal

    def wait(self, seconds: float) -> None:
        """Sleep, or until there is something to stop for."""
        self._changed.wait(seconds)

    def on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.by_signal = True
        self._changed.set()

    def on_lease(self) -> None:
        self.by_driver = True
        self._changed.set()


@contextlib.contextmanager
def watching(root: Folder) -> Iterator[Stop]:
    """Watches the lease of a store in a thread of its own, and SIGTERM where this is the main thread."""
    stop, end = Stop(), threading.Event()
    thread = threading.Thread(target=_watch_lease, args=(root, stop, end), name="stop", daemon=True)
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop.on_signal) if main else None
    thread.start()
    try:
        yield stop
    finally:
        end.set()
        thread.join()
        if main:
            signal.signal(signal.SIGTERM, before)


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
