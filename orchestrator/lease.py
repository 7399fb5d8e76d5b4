"""A lease: one driver at a time works on a folder, and one that died is followed by the next.

The holder writes ``.lease.json`` anew every ``BEAT_S`` seconds, with a counter. Whoever else wants the folder watches
the counter by a clock of its own, since clocks of machines differ: as long as it goes up the lease is held, and once it
has stood still for ``STALE_S`` it is taken over; at once, if the holder was a process of this machine that is gone.
Running trials read the lease, too: so the driver asks them to save and stop.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.alarm import Alarm
from orchestrator.words import SpecError
from trainables.storage import AWAY_S, CorruptFileError, Folder

LEASE = ".lease.json"
BEAT_S = 3.0
STALE_S = 20.0
SETTLE_S = 2.0  # an object store has no exclusive creation: of two that write at once, the last is seen after this


class HeldError(SpecError):
    """Another driver works on the folder."""


class LostError(OSError):
    """The folder went away, or another driver took it over while this one was held up."""


@dataclass(frozen=True)
class Holder:
    """Who holds the lease. place: machine, and process-number namespace, in which ``pid`` and its ``start`` count."""

    owner: str
    host: str
    pid: int
    start: str
    place: str
    since: str
    beat: int = 0
    stopping: bool = False

    @classmethod
    def of_this_process(cls) -> Holder:
        pid = os.getpid()
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(uuid.uuid4().hex, platform.node(), pid, _start(pid), _place(), since)

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be: a process of this machine that is no more. False where that cannot be known."""
        return bool(self.place) and self.place == _place() and _start(self.pid) != self.start

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}" if self.pid else "an unknown process"


def _start(pid: int) -> str:
    """When a process began, in ticks since boot; empty where there is none: numbers are used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _place() -> str:
    """Names machine, boot and namespace: containers of one host may share its name. Empty where it cannot be known."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def read(folder: Folder, name: str = LEASE) -> Holder | None:
    """Who holds the folder's lease, None for nobody. Raises OSError.

    One that is damaged, or being written, has a holder of whom nothing is known.
    """
    try:
        return Holder(**folder.read_json(name))
    except FileNotFoundError:
        return None
    except (CorruptFileError, TypeError):
        return Holder("", "", 0, "", "", "")


@contextlib.contextmanager
def hold(folder: Folder, alarm: Alarm, *, waiting: Callable[[Holder], None] | None = None) -> Iterator[Lease]:
    """Hold the folder's lease until the end.

    waiting: told of another holder, and then it is waited for; without it HeldError is raised once the other's lease
    was seen to be alive. An alarm with LostError goes off where the lease is lost.
    """
    lease = Lease(folder, alarm, Holder.of_this_process())
    while not lease.take():
        other = _watch(folder)
        if other is None:
            continue
        if waiting is None:
            raise HeldError(
                f"{folder}: {other} is working on it. Wait for its end, or stop it; should it have died, the next run "
                f"takes over within {STALE_S:.0f} s"
            )
        waiting(other)
    beating = threading.Thread(target=lease.keep, name="lease", daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        lease.end.set()
        beating.join()
        lease.give_back()


def _watch(folder: Folder) -> Holder | None:
    """The holder, if it is alive; None once its lease is free: given back, or taken from a holder that is dead."""
    seen, since = read(folder), time.monotonic()
    while seen is not None:
        if seen.is_dead or time.monotonic() - since > STALE_S:
            _remove(folder, seen)
            return None
        time.sleep(min(1.0, BEAT_S / 2))
        now = read(folder)
        if now is not None and (now.owner, now.beat) != (seen.owner, seen.beat):
            return now
        seen = now
    return None


def _remove(folder: Folder, seen: Holder) -> None:
    """Take away a stale lease, but not the one that another has put in its place meanwhile."""
    if not folder.is_local:
        folder.delete(LEASE)
        return
    place, aside = Path(folder.path) / LEASE, Path(folder.path) / f"{LEASE}.tmp-{uuid.uuid4().hex[:8]}"
    with contextlib.suppress(FileNotFoundError):  # another was faster
        place.rename(aside)
        now = read(folder, aside.name)
        if now is not None and now.owner != seen.owner:
            aside.rename(place)
        aside.unlink(missing_ok=True)


@dataclass
class Lease:
    """A lease that is, or is to be, held by this process."""

    folder: Folder
    alarm: Alarm
    holder: Holder
    end: threading.Event = field(default_factory=threading.Event)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> bool:
        """Whether it was free, and is now ours. Raises OSError where the folder cannot be written."""
        if not self.folder.create_json(LEASE, dataclasses.asdict(self.holder)):
            return False
        if not self.folder.is_local:
            time.sleep(SETTLE_S)
        found = read(self.folder)
        return found is not None and found.owner == self.holder.owner

    def keep(self) -> None:
        """The thread's loop: beat until the end, or until the lease is lost."""
        last, problem = time.monotonic(), ""
        patience = STALE_S if self.folder.is_local else max(STALE_S, AWAY_S)  # taken over meanwhile, it shows when back
        while not self.end.wait(BEAT_S):
            try:
                found = read(self.folder)
                if found is not None and found.owner == self.holder.owner:
                    self._write(beat=self.holder.beat + 1)
                    last = time.monotonic()
                    continue
                problem = f"{LEASE} is gone" if found is None else f"{found} has taken it over"
                if found is not None:
                    break
            except OSError as error:  # a store may go away for a moment
                problem = str(error)
            if time.monotonic() - last > patience:
                break
        if not self.end.is_set():
            self.alarm.raise_in_main(LostError(f"{self.folder}: this run no longer holds the store: {problem}"))

    def ask_to_stop(self) -> None:
        """Ask the running trials to save and stop. Raises OSError."""
        self._write(stopping=True)

    def _write(self, **changes: object) -> None:
        with self._writing:
            self.holder = dataclasses.replace(self.holder, **changes)  # type: ignore[arg-type]
            self.folder.write_json(LEASE, dataclasses.asdict(self.holder))

    def give_back(self) -> None:
        """Also where the store is gone by now."""
        with contextlib.suppress(OSError):
            found = read(self.folder)
            if found is not None and found.owner == self.holder.owner:
                self.folder.delete(LEASE)
