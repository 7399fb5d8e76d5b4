"""Every optimizer step is logged once, and the first that is not finite stops the trial."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from trainables.step_log import COLUMNS, StepLog, TrainingDivergedError, read_segment, segment_starts
from trainables.storage import CorruptFileError, Folder


@pytest.fixture
def trial(tmp_path: Path) -> Folder:
    return Folder.open(tmp_path)


def add(log: StepLog, steps: range, *, loss: float = 2.0, grad_norm: float = 1.0) -> None:
    for step in steps:
        log.add(step, 0.1 * step, torch.tensor(loss), torch.tensor(grad_norm))


def logged_steps(trial: Folder) -> list[int]:
    return [step for start in segment_starts(trial) for step in read_segment(trial, start)["step"]]


def test_a_segment_holds_its_steps_as_columns(trial: Folder) -> None:
    log = StepLog(trial, 0, tokens_per_step=64)
    add(log, range(1, 4), loss=2.5, grad_norm=0.5)
    log.flush()
    columns = read_segment(trial, 0)
    assert tuple(columns) == COLUMNS
    assert columns["step"] == [1, 2, 3]
    assert columns["learning_rate"] == [0.1 * step for step in (1, 2, 3)]
    assert (columns["loss"], columns["grad_norm"]) == ([2.5] * 3, [0.5] * 3)
    assert columns["time"] == sorted(columns["time"])
    assert all(0 < rate < math.inf for rate in columns["tokens_per_s"])


def test_segments_follow_each_other(trial: Folder) -> None:
    log = StepLog(trial, 0, 64)
    for steps in (range(1, 4), range(4, 5), range(5, 9)):
        add(log, steps)
        log.flush()
    assert segment_starts(trial) == [0, 3, 4]
    assert logged_steps(trial) == list(range(1, 9))


def test_nothing_to_write_writes_nothing(trial: Folder) -> None:
    StepLog(trial, 0, 64).flush()
    assert segment_starts(trial) == []


@pytest.mark.parametrize(("resume_at", "kept"), [(0, []), (3, [1, 2, 3]), (4, [1, 2, 3, 4]), (8, list(range(1, 9)))])
def test_a_resumed_trial_drops_what_it_will_write_again(trial: Folder, resume_at: int, kept: list[int]) -> None:
    test_segments_follow_each_other(trial)
    StepLog(trial, resume_at, 64)
    assert logged_steps(trial) == kept


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("what", ["loss", "grad_norm"])
def test_a_step_that_is_not_finite_is_named_and_those_before_it_kept(trial: Folder, bad: float, what: str) -> None:
    log = StepLog(trial, 0, 64)
    add(log, range(1, 4))
    add(log, range(4, 5), **{what: bad})
    add(log, range(5, 7))
    with pytest.raises(TrainingDivergedError, match=r"^step 4: .* at learning rate 0\.4;"):
        log.flush()
    assert logged_steps(trial) == [1, 2, 3]


def test_a_changed_segment_is_refused(trial: Folder) -> None:
    log = StepLog(trial, 0, 64)
    add(log, range(1, 4))
    log.flush()
    (Path(trial.path) / "log" / "00000000.json").write_bytes(
        (trial / "log").read("00000000.json").replace(b"2.0", b"1.0")
    )
    with pytest.raises(CorruptFileError):
        read_segment(trial, 0)
