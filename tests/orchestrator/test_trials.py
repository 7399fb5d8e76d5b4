from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import trials
from orchestrator.store import Store
from orchestrator.trials import roots_of, said
from trainables.checkpoint import CHECKPOINTS, step_name
from trainables.config import PublishedConfig
from trainables.storage import Folder


class WrapperError(Exception):
    """Stands for Ray's: the cause is an attribute."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("wrapped\nTraceback ...")
        self.cause = cause


class WorkersError(Exception):
    def __init__(self, failures: dict[int, BaseException]) -> None:
        super().__init__("workers")
        self.worker_failures = failures


def chained() -> BaseException:
    try:
        try:
            raise ValueError("the root\nsecond line")
        except ValueError as error:
            raise RuntimeError("around it") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "reasons"),
    [
        (ValueError("plain"), ["ValueError: plain"]),
        (MemoryError(), ["MemoryError: "]),
        (WrapperError(ValueError("inner")), ["ValueError: inner"]),
        (chained(), ["ValueError: the root"]),
        (WorkersError({0: ValueError("a"), 1: WrapperError(OSError("b"))}), ["ValueError: a", "OSError: b"]),
    ],
)
def test_the_reason_is_the_root_cause(error: BaseException, reasons: list[str]) -> None:
    assert [said(root) for root in roots_of(error)] == reasons


def test_fetching_waits_until_there_is_room(
    published_trial: PublishedConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(str(tmp_path / "store"))
    folder = store.trial(published_trial.trial_id)
    on_disk: list[int] = []
    full, seen = threading.Event(), threading.Event()

    def fetch(config: PublishedConfig, trial: Folder, steps: list[int], wait_for_room: Callable[[], None]) -> None:
        for step in steps:
            if len(on_disk) == 2:
                full.set()
            wait_for_room()
            on_disk.append(step)
            (trial / CHECKPOINTS / step_name(step)).commit([], step=step)
        seen.set()

    monkeypatch.setattr(trials, "fetch_checkpoints", fetch)
    settings = {"keep": "none", "fetch": {published_trial.trial_id: [0, 1, 2]}}
    thread = threading.Thread(target=trials._fetch, args=(published_trial, store, settings))
    thread.start()
    assert full.wait(20)
    assert not seen.wait(3 * trials.POLL_S)
    assert on_disk == [0, 1]
    (folder / CHECKPOINTS / step_name(0)).delete()
    assert seen.wait(20)
    thread.join()
    assert on_disk == [0, 1, 2]
