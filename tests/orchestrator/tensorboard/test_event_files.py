"""Files that runs are written to."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from orchestrator.store import Store
from orchestrator.tensorboard.event_files import Run, log_directory, quiet_writers
from orchestrator.tensorboard.summaries import scalars


def test_a_run_goes_on_in_a_file_of_its_own_after_it_was_closed(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.close()
    assert not run.directory.exists()
    for step in (1, 2):
        run.write(scalars({"a": 10.0 * step}), step, 5.0 + step)
        run.close()
        time.sleep(1.1)  # the files are named by the second
    accumulator = EventAccumulator(str(run.directory))
    accumulator.Reload()
    assert [(one.step, one.value, one.wall_time) for one in accumulator.Scalars("a")] == [(1, 10, 6), (2, 20, 7)]


def test_they_lie_in_a_local_store_and_beside_the_results_of_a_remote_one(tmp_path: Path) -> None:
    assert log_directory(Store.open(str(tmp_path))) == tmp_path / "tensorboard"
    assert log_directory(Store.open("mock:///some/store")) == Path("results/store/tensorboard")


def test_a_writer_whose_disk_went_away_is_an_error_for_the_caller_and_nothing_is_said_of_its_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: said.append(args.exc_type))

    def write() -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            writer.add_event(Event(wall_time=1.0, step=3))
            time.sleep(0.01)

    with quiet_writers():
        writer = EventFileWriter(str(tmp_path / "board"))
        writer.add_event(Event(wall_time=1.0, step=1))
        shutil.rmtree(tmp_path / "board")
        with pytest.raises(FileNotFoundError, match="board"):
            write()
        assert said == []
        thread = threading.Thread(target=lambda: [][1])  # others are heard as ever
        thread.start()
        thread.join()
    assert said == [IndexError]
