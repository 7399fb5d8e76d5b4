"""Event files: where TensorBoard's runs lie, and what writes them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from orchestrator.store import TENSORBOARD, Store

FLUSH_S = 5


def log_directory(store: Store) -> Path:
    """Inside a local store; under the working directory for a remote one, since event files are appended to."""
    return (
        Path(store.root.path) / TENSORBOARD if store.root.is_local else Path("results") / store.root.name / TENSORBOARD
    )


@dataclass
class Run:
    """A folder that is one run of TensorBoard's; its file is opened when something is written, beside what is there."""

    directory: Path
    _writer: EventFileWriter | None = None

    @property
    def is_open(self) -> bool:
        return self._writer is not None

    def write(self, summary: Summary, step: int, wall_time: float) -> None:
        if self._writer is None:
            self._writer = EventFileWriter(str(self.directory), flush_secs=FLUSH_S)
        self._writer.add_event(Event(wall_time=wall_time, step=step, summary=summary))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


@contextlib.contextmanager
def quiet_writers() -> Iterator[None]:
    """An event file that cannot be written is an OSError for who adds the next value; TensorBoard's own thread need not
    print its traceback before that."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if type(args.thread).__name__ != "_AsyncWriterThread" or not issubclass(args.exc_type, OSError):
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
