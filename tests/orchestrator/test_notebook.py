"""A sweep from Python, and the example of one."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from orchestrator import load_results, run
from orchestrator.notebook import _words
from orchestrator.words import SpecError
from search_spaces.quickstart import search_space

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "from_a_notebook.py"


def test_the_example_runs_and_a_second_run_does_nothing(
    shared_tokens: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (shared_tokens / "results").mkdir()
    (shared_tokens / "tokens").rename(shared_tokens / "results" / "tokens")
    monkeypatch.chdir(shared_tokens)
    found = runpy.run_path(str(EXAMPLE))["found"]
    said = capsys.readouterr().out
    assert "held_out_loss" in said
    assert "layer" in said
    assert "Empty" not in said
    assert found.failures == ()
    assert set(found.values["seed"]) == {0, 1}
    assert list(found.by_budget[("trials", "")]) == [2, 2]
    again = run(search_space(), found.store, seeds=range(2), budgets="2e9,4e9", metrics="held_out,persistent_homology")
    assert "nothing to do" in capsys.readouterr().out
    pd.testing.assert_frame_equal(again.values, found.values)


def test_results_are_the_tables_of_the_command_line(finished: Path) -> None:
    found = load_results(str(finished))
    written = pd.read_parquet(finished / "results.parquet")
    assert len(found.values) == len(written)
    pd.testing.assert_series_equal(found.values["value"], written["value"])
    assert set(found.final["trial"]) == set(written["trial"])
    assert any("2 seeds" in remark for remark in found.analysis.remarks)  # which are too few for all else


def test_what_is_wrong_is_said_as_on_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="Did you mean 'seeds'"):
        run(search_space(), str(tmp_path / "s"), sedes=(0, 1))
    with pytest.raises(SpecError, match="not a store"):
        load_results(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("value", "words"),
    [((0, 1), "0,1"), ([], "none"), (None, "none"), (True, "true"), (1e-3, "0.001"), ("5e10,1e11", "5e10,1e11")],
)
def test_python_values_are_words(value: object, words: str) -> None:
    assert _words(value) == words


def test_the_package_alone_imports_nothing_heavy() -> None:
    code = "import sys, orchestrator; assert not {'pandas', 'ray', 'torch'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
