"""The Hub: what is fetched is checked and pinned, and what goes wrong says its cause and the mend."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainables import hub


@pytest.mark.parametrize(("word", "is_one"), [("a/b", True), ("a.b/c-d_e", True), ("gpt2", False), ("a/b/c", False)])
def test_a_repo_id_is_owner_and_name(word: str, is_one: bool) -> None:
    assert hub.is_repo_id(word) is is_one


def test_a_folder_is_itself_and_its_fingerprint_follows_its_weights(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"x" * (3 << 20))
    (tmp_path / "notes.txt").write_text("anything")
    assert hub.fetch(str(tmp_path), ("*.safetensors",)) == tmp_path
    before = hub.commit(tmp_path, ("*.safetensors",))
    (tmp_path / "notes.txt").write_text("something else")
    assert hub.commit(tmp_path, ("*.safetensors",)) == before
    with (tmp_path / "a.safetensors").open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"y")
    assert hub.commit(tmp_path, ("*.safetensors",)) != before


@pytest.mark.parametrize(
    ("set_before", "expected"),
    [({}, "{scratch}/huggingface"), ({"HF_HOME": "/elsewhere"}, "/elsewhere"), ({"SCRATCH": "/nowhere"}, None)],
)
def test_downloads_go_to_scratch_unless_told_otherwise(
    set_before: dict[str, str], expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    for name, value in set_before.items():
        monkeypatch.setenv(name, value)
    hub.use_scratch()
    assert os.environ.get("HF_HOME") == (expected and expected.format(scratch=tmp_path))


def test_an_error_of_another_kind_is_left_as_it_is() -> None:
    with pytest.raises(KeyError), hub.explained("x"):
        raise KeyError("not the Hub's")
