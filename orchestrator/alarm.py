"""Lets a watching thread end the main thread's work, with the error that says why."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType

SIGNAL = signal.SIGUSR2  # a real one, which ends a sleep, too; what a shell starts in its background ignores SIGINT


@dataclass
class Alarm:
    error: BaseException | None = None
    _heard: bool = False
    _sending: threading.Lock = field(default_factory=threading.Lock)

    def raise_in_main(self, error: BaseException) -> None:
        """Call it from any thread; the main thread is interrupted as by Ctrl-C. The first error counts."""
        with self._sending:
            if self.error is None:
                self.error = error
                if self._heard:
                    signal.pthread_kill(threading.main_thread().ident or 0, SIGNAL)

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """In the main thread: what an alarm interrupts here ends with its error, not with KeyboardInterrupt."""
        before = signal.signal(SIGNAL, _interrupt)
        self._heard = True
        try:
            yield
        except KeyboardInterrupt:
            if self.error is not None:
                raise self.error from None
            raise
        finally:
            with self._sending:
                self._heard = False
            signal.signal(SIGNAL, before)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
