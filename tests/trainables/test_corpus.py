"""Corpora: what a word means, which files are found, and which split a document belongs to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainables.corpus import CORPORA, OLD_IDS, SPLITS, Files, HubDataset, find, labelled, said_once
from trainables.shards import PILE, Columns, Document, ShardError, write_shard


def names(corpus: Files) -> list[tuple[str, tuple[str, ...]]]:
    root = os.path.commonpath([corpus.uri])
    return [(os.path.relpath(shard.path, root), shard.splits) for shard in corpus.shards()]  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", [".jsonl.zst", ".jsonl.gz", ".jsonl", ".json.gz", ".parquet", ".arrow"])
def test_shards_of_a_folder_are_found_in_order(tmp_path: Path, suffix: str) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}{suffix}").touch()
    for other in ("readme.txt", f"._a{suffix}", f"cache-a{suffix}"):
        (tmp_path / other).touch()
    assert names(Files(str(tmp_path))) == [(f"a{suffix}", SPLITS), (f"b{suffix}", SPLITS)]
    assert names(Files(str(tmp_path / f"a{suffix}"))) == [(".", SPLITS)]


def test_the_published_piles_layout_gives_its_splits(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for name in ("train/01.jsonl.zst", "train/00.jsonl.zst", "val.jsonl.zst", "test.jsonl.zst"):
        (tmp_path / name).touch()
    assert names(Files(str(tmp_path))) == [
        ("test.jsonl.zst", ("test",)),
        ("train/00.jsonl.zst", ("train",)),
        ("train/01.jsonl.zst", ("train",)),
        ("val.jsonl.zst", ("validation",)),
    ]


def test_a_split_that_is_missing_is_told_apart_by_hash(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "validation-00000-of-00001.parquet"):
        (tmp_path / name).touch()
    assert {splits for _, splits in names(Files(str(tmp_path)))} == {("train", "test"), ("validation",)}


@pytest.mark.parametrize("name", ["absent", "empty", "file.txt"])
def test_no_shards_is_an_error_that_names_the_place(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").touch()
    with pytest.raises(ShardError, match=name):
        Files(str(tmp_path / name)).shards()


def test_documents_of_a_split_of_their_own_stay_there(tmp_path: Path) -> None:
    documents = [Document(f"text {number}", "A") for number in range(200)]
    for name in ("train", "validation"):
        write_shard(tmp_path / f"{name}.jsonl.zst", documents)
    found = {shard.splits: {split for split, _ in labelled(shard)} for shard in Files(str(tmp_path)).shards()}
    # no document's hash sends it to validation: that split has a shard of its own
    assert found == {("train", "test"): {"train", "test"}, ("validation",): {"validation"}}


ROWS = [{"text": "one", "source": "A"}, {"text": "zwölf", "source": "B"}]


def test_every_format_reads_alike(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    places = (tmp_path / "a.parquet", tmp_path / "a.jsonl", tmp_path / "saved", (tmp_path / "a.parquet").as_uri())
    for place in places:
        (shard,) = find(str(place), Columns(("text",), "source")).shards()
        assert list(shard.documents()) == [Document("one", "A"), Document("zwölf", "B")]


def test_a_saved_data_set_of_several_splits_keeps_them(tmp_path: Path) -> None:
    parts = {split: datasets.Dataset.from_list([{"text": f"of {split}"}]) for split in SPLITS}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    found = [pair for shard in Files(str(tmp_path / "saved")).shards() for pair in labelled(shard)]
    assert {split: document.text for split, document in found} == {split: f"of {split}" for split in SPLITS}


def test_several_columns_of_text_are_joined() -> None:
    record = {"a": "one", "b": {"c": "two"}}
    assert Columns(("a", "b.c")).document(record, "here") == Document("one\ntwo", "all")


@pytest.mark.parametrize(
    ("schema", "text"), [({"text": True, "x": True}, ()), ({"story": True, "n": False}, ("story",))]
)
def test_the_only_column_of_text_is_the_text(schema: dict[str, bool], text: tuple[str, ...]) -> None:
    assert PILE.of_table(schema, "here").text == text


def test_a_table_with_two_columns_of_text_asks_which() -> None:
    with pytest.raises(ShardError, match=r"here: which column is the text\? It has a, b; say text_columns=NAME"):
        PILE.of_table({"a": True, "b": True}, "here")


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    for columns, said in ((Columns(("story",)), '"story"'), (Columns((), "source"), '"source"')):
        (shard,) = find(str(tmp_path), columns).shards()
        with pytest.raises(ShardError, match=f"a.jsonl, line 1: no {said}"):
            list(shard.documents())


@pytest.mark.parametrize("word", CORPORA)
def test_a_name_is_its_data_set_and_nothing_need_be_said(word: str) -> None:
    assert find(word) == CORPORA[word]
    assert said_once(word) is None


@pytest.mark.parametrize(("word", "name"), OLD_IDS.items())
def test_an_old_id_is_resolved_and_said(word: str, name: str) -> None:
    assert find(word) == CORPORA[name]
    assert f"corpus {word}: is a script" in (said_once(word) or "")
    assert CORPORA[name].repo in (said_once(word) or "")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("owner/name", HubDataset("owner/name")),
        ("owner/name:part", HubDataset("owner/name", "part")),
        ("owner/name:part@v1.0", HubDataset("owner/name", "part", "v1.0")),
        ("owner/name@refs/convert/parquet", HubDataset("owner/name", None, "refs/convert/parquet")),
        ("nyu-mll/glue:mrpc", CORPORA["mrpc"]),
        ("nyu-mll/glue:sst2", HubDataset("nyu-mll/glue", "sst2")),
        ("hf://datasets/owner/name", Files("hf://datasets/owner/name")),
        ("/data/pile", Files("/data/pile")),
    ],
)
def test_a_word_says_where_the_corpus_lies(word: str, expected: object) -> None:
    assert find(word) == expected


def test_an_unknown_word_lists_what_is_known() -> None:
    with pytest.raises(ShardError, match=r"corpus nothing: .*wikitext-2.*owner/name"):
        find("nothing")


def test_columns_of_ones_own_replace_those_of_the_name() -> None:
    assert find("mrpc", Columns(("sentence2",))) == HubDataset("nyu-mll/glue", "mrpc", columns=Columns(("sentence2",)))


def test_the_fingerprint_is_of_words_and_asks_nobody() -> None:
    words = ("pile", "c4", "owner/name", "owner/name:part", "owner/name@v1")
    assert len({find(word).fingerprint for word in words}) == len(words)
    assert find("pile").fingerprint == find("EleutherAI/pile").fingerprint
