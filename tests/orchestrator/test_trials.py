from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import search_spaces
from orchestrator import trials
from orchestrator.overrides import override
from orchestrator.store import ERROR_LOG, Status, Store
from orchestrator.trials import roots_of, said
from trainables.checkpoint import CHECKPOINTS, INTERIM, TRAINING_STATE, step_name
from trainables.config import PublishedConfig, TrialConfig
from trainables.step_log import TrainingDivergedError
from trainables.stopping import StoppedEarlyError, TrainingInterruptedError
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


class ControllerError(Exception):
    def __init__(self, failure: BaseException) -> None:
        super().__init__("controller")
        self.controller_failure = failure


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
        (ControllerError(ValueError("no place")), ["ValueError: no place"]),
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


@pytest.fixture(scope="module")
def trained() -> TrialConfig:
    settings = ["seeds=0", "budgets=12steps", "batch_size=4"]
    (config,) = override(search_spaces.find("quickstart")(), settings).trials()
    assert isinstance(config, TrialConfig)
    return config


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def attempt(store: Store, config: TrialConfig, retries: int, *, saved: int | None = None) -> Status:
    """Begin one, which then dies; ``saved``: the step that it got to."""
    status = trials.begin(store, config, retries)
    if saved is not None:
        (store.trial(config.trial_id) / INTERIM / step_name(saved)).commit([], step=saved)
    return status


def test_attempts_that_get_nowhere_are_counted_and_bounded(store: Store, trained: TrialConfig) -> None:
    found = [attempt(store, trained, 2) for _ in range(4)]
    assert [(one.state, one.deaths) for one in found] == [("running", 0), ("running", 1), ("running", 2), ("failed", 3)]
    assert found[-1].reason == f"{trials.DIED}, 3 times without getting further than step 0"
    assert store.read_status(trained.trial_id) == found[-1]
    assert store.trial(trained.trial_id).read(ERROR_LOG).decode() == found[-1].reason


def test_an_attempt_that_got_further_is_a_first_one(store: Store, trained: TrialConfig) -> None:
    """As on machines that are taken away again and again: each of these got to a further checkpoint, or saved between
    two."""
    found = []
    for step in (0, 1, 2, 4):
        found.append(attempt(store, trained, 1))
        for kind in (CHECKPOINTS, TRAINING_STATE):
            (store.trial(trained.trial_id) / kind / step_name(step)).commit([], step=step)
    found += [attempt(store, trained, 1, saved=step) for step in (5, 6)]
    assert [(one.state, one.step) for one in found] == [("running", step) for step in (0, 0, 1, 2, 4, 5)]
    assert [one.deaths for one in found] == [0, 1, 1, 1, 1, 1]
    assert attempt(store, trained, 1).deaths == 1
    assert attempt(store, trained, 1).deaths == 2


def test_an_interruption_is_no_death(store: Store, trained: TrialConfig) -> None:
    for _ in range(5):
        status = attempt(store, trained, 0)
        assert (status.state, status.deaths) == ("running", 0)
        store.write_status(trained.trial_id, dataclasses.replace(status, state="interrupted"))


@pytest.mark.parametrize(("deaths", "seconds"), [(0, 0.0), (1, 2.0), (2, 4.0), (3, 8.0), (50, 60.0)])
def test_the_pause_doubles_up_to_a_minute(deaths: int, seconds: float) -> None:
    assert trials.pause_s(deaths) == seconds


class WorkerHealthCheckFailedError(Exception):
    """Named as Ray Train's."""


class WorkerGroupStartupTimeoutError(Exception):
    """Named as Ray Train's."""


GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error [10.0.0.3]:4017: Connection reset by peer"


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (WrapperError(TrainingInterruptedError("asked")), "interrupted", None),
        (WrapperError(StoppedEarlyError("early_stop=7@1: the mean ...")), "stopped", "early_stop=7@1: the mean ..."),
        (OSError(28, "No space left on device", "f"), "running", "OSError: [Errno 28] No space left on device: 'f'"),
        (WrapperError(ControllerError(WorkerGroupStartupTimeoutError("2 workers"))), "interrupted", None),
        (WorkersError({0: WorkerHealthCheckFailedError("x")}), "running", "WorkerHealthCheckFailedError: x"),
        (RuntimeError(GLOO), "running", "RuntimeError: [/pytorch/third_party/gloo/gloo/transport"),
        (WorkersError({0: RuntimeError(GLOO), 1: WorkerHealthCheckFailedError("x")}), "running", "RuntimeError: [/pyt"),
        (WorkersError({0: TrainingDivergedError("step 3"), 1: RuntimeError(GLOO)}), "failed", "TrainingDivergedError:"),
        (WorkersError({0: RuntimeError("size mismatch"), 1: OSError("x")}), "failed", "RuntimeError: size mismatch"),
        (WrapperError(TrainingDivergedError("step 3: loss nan")), "failed", "TrainingDivergedError: step 3: loss nan"),
        (MemoryError(), "failed", "out of memory: it needs about 0.0 GB, and this machine has, free, "),
    ],
)
def test_what_may_go_better_another_time_is_tried_again_and_what_will_repeat_is_not(
    store: Store, trained: TrialConfig, error: Exception, state: str, reason: str | None
) -> None:
    (store.trial(trained.trial_id) / CHECKPOINTS / step_name(2)).commit([], step=2)
    running = Status("running", step=0, seconds=0.0)
    found = trials._ended(running, error, trained, store)
    assert found.state == state
    assert (found.reason or "").startswith(reason or "")
    if state in ("stopped", "failed"):
        assert found.step == 2
