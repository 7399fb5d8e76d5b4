"""Data sets; what users see of them is in tests/test_verify_downloads.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.overrides import override
from preflight import data
from preflight.check import Problem
from preflight.data import Source
from search_spaces import find
from tests.hub import Hub
from tests.hub_content import parquet_dataset, pile_rows
from trainables.shards import Document, ShardError, write_shard

TEXTS = [f"document {number} of a small corpus" for number in range(300)]


def test_a_source_is_any_corpus(tmp_path: Path) -> None:
    assert Source.of("embedded").corpus is None
    assert Source.of("pile").is_remote
    assert Source.of("hf://datasets/org/data").is_remote
    assert not Source.of(str(tmp_path)).is_remote
    with pytest.raises(ShardError, match="no corpus of that name"):
        Source.of("nothing like it")


def test_shards_of_a_folder_are_counted_with_their_splits(tmp_path: Path) -> None:
    for name, texts in (("a", TEXTS[:200]), ("b", TEXTS[200:]), ("val", TEXTS[:5])):
        write_shard(tmp_path / f"{name}.jsonl.zst", [Document(text, "A") for text in texts])
    source = Source.of(str(tmp_path))
    said = data.structure(source)
    assert "train and test in 2 shards" in said
    assert "validation in 1 shard, " in said
    assert "a split of its own; the first 3 documents" in data.held_out(source)
    assert "documents" in data.streamed(source, None)


def test_what_is_held_out_by_a_hash_is_said_so(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.jsonl.zst", [Document(text, "Books") for text in TEXTS])
    held_out = [text for text in TEXTS if Document(text, "").split == "validation"]
    said = data.held_out(Source.of(str(tmp_path)))
    assert "held out by a hash of each document" in said
    assert f"characters of Books: {held_out[0]}" in said


def test_a_corpus_too_small_to_hold_out_from_is_said(tmp_path: Path) -> None:
    train = next(text for text in TEXTS if Document(text, "").split == "train")
    write_shard(tmp_path / "a.jsonl.zst", [Document(train, "A")])
    with pytest.raises(Problem, match="the validation split has no documents"):
        data.held_out(Source.of(str(tmp_path)))


def test_rows_without_text_are_no_stream(hub: Hub) -> None:
    hub.add("org/data", parquet_dataset({"default": {"train": [{"text": ""}] * 3}}), repo_type="dataset")
    with pytest.raises(Problem, match="no text"):
        data.streamed(Source.of("org/data"), None)


def test_streaming_stops_in_time(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/data", parquet_dataset({"default": {"train": pile_rows(TEXTS)}}), repo_type="dataset")
    monkeypatch.setattr(data, "STREAMED_S", 0.0)
    assert data.streamed(Source.of("org/data"), None).startswith("1 documents")


def test_a_split_that_an_evaluation_lacks_is_named(hub: Hub) -> None:
    one = data.EVALUATIONS["hellaswag"]
    hub.add(one.dataset.repo, parquet_dataset({"default": {"train": [{"ctx": "a"}]}}), repo_type="dataset")
    with pytest.raises(Problem, match="has no split validation, but train in 1 file"):
        data.evaluation(one, with_row=False)


def test_long_texts_are_cut() -> None:
    assert data._shown("a\n b " * 100) == "a b " * 15 + "..."


def test_the_data_of_a_sweeps_evaluations(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A local copy is read, a common task's data set looked at, and any other's loaded by lm-eval, unless --quick."""
    settings = [f"evaluations={','.join(('finetuning_dimension', 'mrpc', 'lambada_openai', 'arc_easy'))}"]
    sweep = override(find("quickstart")(), settings)
    assert data.tasks(sweep) == ["mrpc", "lambada_openai", "arc_easy"]
    path = tmp_path / "lambada.jsonl"
    path.write_text('{"text": "the last word"}\n')
    words = [f"lambada_openai:{path}"]
    assert data.task("lambada_openai", words, depth="quick") == f"read from {path}"
    hub.add(
        "nyu-mll/glue",
        parquet_dataset({"mrpc": {"validation": [dict.fromkeys(data.EVALUATIONS["mrpc"].columns, "text")]}}),
        repo_type="dataset",
    )
    assert "nyu-mll/glue:mrpc" in data.task("mrpc", words, depth="quick")
    assert "looked at without --quick" in data.task("arc_easy", words, depth="quick")
    assert not hub.downloads("arc")
    with pytest.raises(Problem, match="arc_easy: the data set allenai/ai2_arc ARC-Easy"):
        data.task("arc_easy", words, depth="default")
    path.write_text('{"words": "the last word"}\n')
    with pytest.raises(Problem, match=r"lambada_openai: its local data .* columns are words"):
        data.task("lambada_openai", words, depth="quick")
