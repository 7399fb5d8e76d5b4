"""How every bad input must end: a code, a message that names it, and within a time."""

from __future__ import annotations

import contextlib
import signal
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

import pytest

import sweep

PATIENCE_S = 120  # of a slow machine; what hangs takes for ever


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """What was said, whatever the width of the terminal."""
        return " ".join(self.err.split())


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    def stop(signum: int, frame: FrameType | None) -> None:
        raise AssertionError(f"hangs for {PATIENCE_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    """The command line in this process; no traceback, and no control character for the terminal."""
    capsys.readouterr()
    with in_time():
        try:
            code: object = sweep.main(list(arguments))
        except SystemExit as error:  # argparse's
            code = error.code
    shown = capsys.readouterr()
    assert isinstance(code, int)
    ended = Ended(code, shown.out, shown.err)
    assert "Traceback" not in ended.out + ended.err
    assert not [one for one in ended.err if unicodedata.category(one) in ("Cc", "Cs") and one not in "\n\t"]
    return ended


def assert_refused(ended: Ended, *said: str) -> None:
    """Exit code 2 and a message that holds all this."""
    assert ended.code == 2, ended
    assert "sweep.py" in ended.said
    for part in said:
        assert part in ended.said
