from pathlib import Path

import pytest

import search_spaces
import sweep
from orchestrator.overrides import override
from orchestrator.words import SpecError
from trainables import published


@pytest.mark.parametrize("name", search_spaces.names())
def test_every_space_expands_and_says_what_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "_listed", lambda source: {"main": "c" * 40, "step0": "c" * 40})
    space = override(search_spaces.find(name)(), ["tokenizer=bpe"])  # Pythia's own is on the Hub
    trials = space.bounds()
    assert len({trial.trial_id for trial in trials}) == len(trials) > 1
    assert len(search_spaces.describe(name)) > 20


def test_an_unknown_space_suggests_the_nearest() -> None:
    with pytest.raises(SpecError, match="Did you mean 'quickstart'"):
        search_spaces.find("quickstrat")


@pytest.fixture
def spaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules are search spaces too."""
    monkeypatch.setattr(search_spaces, "__path__", [*search_spaces.__path__, str(tmp_path)])
    return tmp_path


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("cut_off", "x = (\n", r"search_spaces/cut_off\.py: line 1: SyntaxError"),
        ("wrong_import", "import os\nimport nothing_of_this_name\n", r"line 2: ModuleNotFoundError: No module named"),
        ("without_function", "x = 1\n", r"has no function search_space\(\)"),
    ],
)
def test_a_module_that_cannot_be_used_is_named_and_the_others_are_listed(
    spaces: Path, capsys: pytest.CaptureFixture[str], name: str, source: str, said: str
) -> None:
    (spaces / f"{name}.py").write_text(source)
    with pytest.raises(SpecError, match=said):
        search_spaces.find(name)
    assert sweep.main(["spaces"]) == 2
    out, error = capsys.readouterr()
    assert "quickstart" in out
    assert f"search_spaces/{name}.py" in error


def test_helpers_are_no_spaces_and_a_docstring_is_not_required(spaces: Path) -> None:
    (spaces / "_common.py").write_text("x = 1\n")
    (spaces / "silent.py").write_text("def search_space(): ...\n")
    assert "_common" not in search_spaces.names()
    assert search_spaces.describe("silent") == ""
