"""A genuine TensorBoard, as users start it, and what it answers."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store import Store
from orchestrator.tensorboard import log_directory

STARTS_WITHIN_S, READS_WITHIN_S = 120, 120


@dataclass(frozen=True)
class Server:
    url: str

    def get(self, path: str, **query: str) -> Any:
        return json.loads(self.content(f"{path}?{urllib.parse.urlencode(query)}"))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return json.loads(self.content(path, json.dumps(body).encode()))

    def content(self, path: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"} if body else {}
        request = urllib.request.Request(f"{self.url}/data/{path}", data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def tags(self, plugin: str) -> dict[str, set[str]]:
        """By run, of those that have one."""
        found = self.get(f"plugin/{plugin}/tags")
        return {run: set(tags) for run, tags in found.items() if tags}

    def wait(self, holds: Callable[[], bool]) -> None:
        """It begins to answer before it has read everything."""
        until = time.monotonic() + READS_WITHIN_S
        while not holds():
            assert time.monotonic() < until
            time.sleep(0.2)

    def wait_for(self, plugin: str, tags: dict[str, set[str]]) -> None:
        """Until it shows these of each run; says which it lacks, or shows beside them."""
        with contextlib.suppress(AssertionError):
            self.wait(lambda: self.tags(plugin) == tags)
        assert self.tags(plugin) == tags


@contextlib.contextmanager
def _serving(directory: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(directory), "--host", "127.0.0.1"]
    command += ["--port", "0", "--reload_interval", "1"]
    log = directory.parent / "tensorboard.log"
    with log.open("wb") as said:
        process = subprocess.Popen(command, stderr=said, stdout=said)
    try:
        until = time.monotonic() + STARTS_WITHIN_S
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield Server(found[0])
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def serving() -> Callable[[Path], contextlib.AbstractContextManager[Server]]:
    """Starts a TensorBoard on a folder."""
    return _serving


@pytest.fixture(scope="session")
def server(finished: Path) -> Iterator[Server]:
    """TensorBoard on the finished sweep."""
    with _serving(log_directory(Store.existing(str(finished)))) as started:
        yield started
