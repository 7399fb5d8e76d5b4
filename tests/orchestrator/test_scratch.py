from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.scratch import remove_abandoned, scratch_folder

HOLD = "from orchestrator.scratch import scratch_folder as s\nwith s() as f: print(f, flush=True); input()"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other runs on the machine have scratch folders, too."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_scratch_folder_is_gone_at_the_end_whatever_is_in_it() -> None:
    with scratch_folder() as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("x")
        assert remove_abandoned() == []
    assert not folder.exists()


def test_the_folder_of_a_killed_process_is_deleted_and_not_that_of_a_living_one() -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        killed, living = (Path(str(process.stdout.readline()).strip()) for process in processes if process.stdout)
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait()
        assert remove_abandoned() == [killed]
        assert (killed.exists(), living.exists()) == (False, True)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert remove_abandoned() == [living]


def test_a_folder_that_has_no_lock_yet_is_left_alone_until_it_is_old(tmp_path: Path) -> None:
    young, old = tmp_path / "toposweep-young", tmp_path / "toposweep-old"
    for folder in (young, old):
        folder.mkdir()
    os.utime(old, (0, 0))
    (tmp_path / "somebody-elses").mkdir()
    assert remove_abandoned() == [old]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["somebody-elses", "toposweep-young"]
