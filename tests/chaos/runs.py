"""Real sweeps in processes of their own, what they leave behind, and whether two stores hold the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 300.0
RAY_LINGERS_S = 150.0  # agents of a raylet that was killed notice it within so long
KEYS = ["trial", "step", "metric", "metric_version", "layer", "other_trial", "other_step"]


class ChaosError(AssertionError):
    """A promise was broken."""


def require(holds: bool, broken: str) -> None:
    if not holds:
        raise ChaosError(broken)


@dataclass(frozen=True)
class Living:
    pid: int
    parent: int
    title: str


def living(session: int | None = None) -> list[Living]:
    """The processes of a session, or all; zombies not."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            state, parent, _, of_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if session in (None, int(of_session)) and state != "Z":
                title = (folder / "cmdline").read_text().replace("\0", " ")
                found.append(Living(int(folder.name), int(parent), title))
    return found


@dataclass
class Run:
    """A ``sweep.py`` process, the leader of a session of its own."""

    process: subprocess.Popen[bytes]
    place: Place
    out: Path

    def find(self, word: str) -> list[int]:
        """Its Ray's processes of a kind, by a word of their titles, which holds no path of the store."""
        return sorted(one.pid for one in living(self.process.pid) if word in one.title and "sweep.py" not in one.title)

    def running(self) -> bool:
        return self.process.poll() is None

    def wait_until(self, shows: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> bool:
        """Whether it came to that before the run ended."""
        until = time.monotonic() + timeout_s
        while not shows():
            if not self.running():
                return False
            require(time.monotonic() < until, f"hangs: nothing new for {timeout_s:.0f} s\n{self.said()}")
            time.sleep(0.02)
        return True

    def wait_for_checkpoints(self, more: int) -> bool:
        """Until so many more have been committed than there are now."""
        have = self.place.committed()
        return self.wait_until(lambda: self.place.committed() >= have + more)

    def end(self, *expected: int) -> int:
        """Wait for its end; its exit code, which is one of those."""
        try:
            code = self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise ChaosError(f"hangs for {TIMEOUT_S:.0f} s\n{self.said()}") from None
        require(code in expected, f"exit code {code}, expected {' or '.join(map(str, expected))}\n{self.said()}")
        require("Traceback" not in self.said() or code < 0, f"a traceback\n{self.said()}")
        return code

    def said(self) -> str:
        return self.out.read_text(errors="replace")[-8000:]


@dataclass
class Place:
    """Where a scenario happens: its store, token stores beside it, and its own folder for temporary files."""

    folder: Path
    settings: tuple[str, ...]
    runs: list[Run] = field(default_factory=list)
    address: str | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def results(self) -> Path:
        """The folder that is mounted over, or moved, by scenarios."""
        return self.folder / "results"

    @property
    def store(self) -> Path:
        return self.results / "store"

    @property
    def temporary(self) -> Path:
        return self.folder / "t"

    def start(self, *settings: str, command: str = "run", wrapper: tuple[str, ...] = ()) -> Run:
        self.temporary.mkdir(parents=True, exist_ok=True)
        out = self.folder / f"out-{len(self.runs)}"
        given = dict(one.split("=", 1) for one in (*self.settings, *settings))  # a later one counts
        words = ["run", "quickstart", "--store", str(self.store), *(f"{key}={value}" for key, value in given.items())]
        if command != "run":
            words = [command, str(self.store)]
        elif self.address:
            words += ["--address", self.address]
        environment = {**os.environ, "TMPDIR": str(self.temporary), **self.environment}
        with out.open("wb") as stream:
            process = subprocess.Popen(
                [*wrapper, sys.executable, "sweep.py", *words],
                cwd=ROOT, env=environment, stdout=stream, stderr=stream, start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )  # fmt: skip
        self.runs.append(Run(process, self, out))
        return self.runs[-1]

    def committed(self) -> int:
        return sum(1 for _ in self.store.glob("trials/*/checkpoints/*/manifest.json"))

    def files(self, pattern: str) -> list[Path]:
        return sorted(self.results.glob(pattern))

    def kill_all(self) -> None:
        for run in self.runs:
            for one in living(run.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
            run.process.wait()

    def leftovers(self) -> list[str]:
        """Processes, temporary files and leases, once Ray's own have had time to go."""
        until = time.monotonic() + RAY_LINGERS_S
        sessions = [run.process.pid for run in self.runs]
        while (there := [one for pid in sessions for one in living(pid)]) and time.monotonic() < until:
            time.sleep(0.5)
        found = [f"process {one.pid} {one.title}" for one in there]
        found += [str(path) for path in self.results.rglob("*.tmp-*")]
        found += [str(path) for path in self.results.rglob(".lease.json")]
        return found + [str(path) for path in self.temporary.glob("toposweep-*")]


@dataclass(frozen=True)
class Outcome:
    """What a store holds: its table without durations, and the sha256 of all weights, of so many bytes together."""

    table: pd.DataFrame
    weights: dict[str, str]
    bytes: int

    @classmethod
    def of(cls, store: Path) -> Outcome:
        files = sorted(store.glob("trials/*/checkpoints/*/model.safetensors"))
        hashes = {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        table = pd.read_parquet(store / "results.parquet").drop(columns="seconds")
        return cls(table, hashes, sum(path.stat().st_size for path in files))

    def require_equal(self, reference: Outcome) -> None:
        doubled = int(self.table.duplicated(KEYS).sum())
        require(doubled == 0, f"{doubled} rows are doubled")
        require(len(self.table) == len(reference.table), f"{len(self.table)} rows, undisturbed {len(reference.table)}")
        pd.testing.assert_frame_equal(self.table, reference.table)
        require(self.weights.keys() == reference.weights.keys(), "other checkpoints than undisturbed")
        other = [name for name, digest in self.weights.items() if digest != reference.weights[name]]
        require(not other, f"other bits than undisturbed: {other}")


def flip_bit(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))


def undisturbed(place: Place) -> Outcome:
    """Run a sweep from the beginning to the end."""
    place.start().end(0)
    return Outcome.of(place.store)


def states(place: Place) -> list[str]:
    return [one["state"] for one in statuses(place)]


def statuses(place: Place) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in place.store.glob("trials/*/status.json")]


@contextlib.contextmanager
def mounted(place: Place, *options: str) -> Iterator[None]:
    """A file system of its own for the results; needs root."""
    place.results.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *options, str(place.results)], check=True)
    try:
        yield
    finally:
        place.kill_all()
        subprocess.run(["umount", "-l", str(place.results)], check=True)


def copy(source: Path, place: Place) -> None:
    """A finished sweep with its tokens, to damage."""
    shutil.copytree(source, place.results)
