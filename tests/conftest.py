"""One Hub and one Ray for the whole test session, and one small finished sweep that tests read or copy."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))  # finds `tests.hub`, however pytest was started

from tests import hub as stand_in
from tests import object_store

signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in its background ignores it
HUB = stand_in.Hub().start()
HF_HOME = Path(tempfile.mkdtemp(prefix="hf-home-"))
stand_in.isolate(os.environ, HUB.endpoint, HF_HOME)  # before any of the clients is imported: they read it only then
os.environ.update(object_store.KEYS)  # before Ray is started: its workers ask a stand-in of S3, too

import ray  # noqa: E402

import sweep  # noqa: E402
from orchestrator import authentication  # noqa: E402

SMALL = ["seeds=0,1", "budgets=6steps,12steps", "batch_size=4", "probe_sequences=16", "probe_points=48"]


def pytest_unconfigure() -> None:
    HUB.stop()
    shutil.rmtree(HF_HOME, ignore_errors=True)


@pytest.fixture
def hub() -> stand_in.Hub:
    """The session's stand-in of the Hugging Face Hub: no repository, no fault, no request yet, and no cache of it."""
    HUB.clear()
    stand_in.forget(HF_HOME)
    return HUB


@pytest.fixture(scope="module")
def hub_of_module() -> stand_in.Hub:
    """The same, for all tests of a module, which then do not use the other."""
    HUB.clear()
    stand_in.forget(HF_HOME)
    return HUB


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A Ray of this session's own, whatever else runs on the machine; the driver uses it because it is running."""
    authentication.require_token()
    ray.init(
        address="local",
        num_cpus=2,
        resources={"evaluator": 2, "trial_driver": 1},
        include_dashboard=True,  # distributed trials need it to free their placement groups
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    session: int
    command: str


@pytest.fixture(scope="session")
def processes() -> Callable[[], list[Process]]:
    """Lists the machine's living processes."""
    return list_processes


def list_processes() -> list[Process]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (folder / "cmdline").read_text().replace("\0", " ")
        except (OSError, ValueError):
            continue  # it ended while we looked
        if state != "Z":
            found.append(Process(int(folder.name), int(parent), int(session), command))
    return found


@pytest.fixture(scope="session")
def ray_workers() -> Callable[[str], list[int]]:
    """Process ids of this session's own Ray workers whose title holds a word: its raylet is our child, they are its."""

    def find(word: str) -> list[int]:
        living = {one.pid: one for one in list_processes()}
        named = (one for one in living.values() if word in one.command and one.parent in living)
        return [one.pid for one in named if living[one.parent].parent == os.getpid()]

    return find


@pytest.fixture(scope="session")
def finished(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a finished sweep: 2 seeds x 2 budgets. Read only; :func:`store_copy` is for changing."""
    path = tmp_path_factory.mktemp("finished") / "store"
    assert sweep.main(["run", "quickstart", "--store", str(path), *SMALL]) == 0
    return path


@pytest.fixture
def shared_tokens(finished: Path, tmp_path: Path) -> Path:
    """A folder whose stores find a copy of the finished sweep's token store."""
    shutil.copytree(finished.parent / "tokens", tmp_path / "tokens")
    return tmp_path


@pytest.fixture
def store_copy(finished: Path, shared_tokens: Path) -> Path:
    return Path(shutil.copytree(finished, shared_tokens / "store"))
