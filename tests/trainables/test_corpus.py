"""Corpora: what a word means, which files are found, and which split a document belongs to."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hub import ALWAYS, Corrupt, Fault, Hub, Reset, Status, Truncated
from tests.hub_content import json_gz_dataset, jsonl_zst_dataset, parquet_dataset, pile_rows
from tests.object_store import serving
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


# --- data sets of the Hub, against the stand-in


def rows(split: str, count: int, **columns: str) -> list[dict[str, str]]:
    return [{name: f"{value} {split} {number}" for name, value in columns.items()} for number in range(count)]


def texts(word: str, columns: Columns = PILE) -> dict[str, list[str]]:
    """Every document of a data set by its split, in the order of its shards."""
    corpus = find(word, columns)
    assert isinstance(corpus, HubDataset)
    found: dict[str, list[str]] = {}
    for shard in corpus.shards(corpus.commit()):
        for split, document in labelled(shard):
            found.setdefault(split, []).append(document.text)
    return found


def test_the_pile_streams_its_splits_and_domains(hub: Hub) -> None:
    """Its repository has no card that says which file is which split."""
    train = [*pile_rows([f"code {n}" for n in range(30)], "Github"), *pile_rows([f"page {n}" for n in range(30)])]
    files = jsonl_zst_dataset(train, pile_rows(["a", "b"], "ArXiv"), pile_rows(["c"], "DM Mathematics"), shards=3)
    hub.add("monology/pile-uncopyrighted", files, repo_type="dataset")
    corpus = find("EleutherAI/pile")
    assert isinstance(corpus, HubDataset)
    shards = corpus.shards(corpus.commit())
    found = [(split, document) for shard in shards for split, document in labelled(shard)]
    expected = [("train", Document(row["text"], row["meta"]["pile_set_name"])) for row in train]
    assert [pair for pair in found if pair[0] == "train"] == expected
    assert [pair for pair in found if pair[0] != "train"] == [
        ("validation", Document("a", "ArXiv")),
        ("validation", Document("b", "ArXiv")),
        ("test", Document("c", "DM Mathematics")),
    ]
    assert [shard.splits for shard in shards] == [("train",)] * 3 + [("validation",), ("test",)]


def test_c4_streams_from_compressed_lines(hub: Hub) -> None:
    parts = {split: rows(split, 20, text="page", url="http") for split in ("train", "validation")}
    hub.add("allenai/c4", json_gz_dataset({"en": parts, "de": parts}, shards=2), repo_type="dataset")
    found = texts("c4")
    assert found["validation"] == [f"page validation {n}" for n in range(20)]
    assert sorted(found["train"] + found.get("test", [])) == sorted(f"page train {n}" for n in range(20))


def test_a_name_chooses_configuration_and_columns(hub: Hub) -> None:
    pairs = {split: rows(split, 3, sentence1="one", sentence2="two") for split in SPLITS}
    hub.add("nyu-mll/glue", parquet_dataset({"mrpc": pairs, "sst2": pairs}), repo_type="dataset")
    assert texts("mrpc")["validation"] == [f"one validation {n}\ntwo validation {n}" for n in range(3)]


def test_the_lines_of_wikitext_are_articles(hub: Hub) -> None:
    lines = [
        "",
        " = Valkyria = \n",
        "",
        " It is . \n",
        " = = Plot = = \n",
        " Long . \n",
        " = Robert Boulter = \n",
        " He = she \n",
    ]
    parts = {split: [{"text": line} for line in lines] for split in SPLITS}
    hub.add("Salesforce/wikitext", parquet_dataset({"wikitext-2-raw-v1": parts, "other": parts}), repo_type="dataset")
    expected = ["", "".join(lines[1:6]), "".join(lines[6:])]
    assert texts("wikitext") == dict.fromkeys(("train", "validation", "test"), expected)


def test_any_data_set_streams_its_only_column_of_text(hub: Hub) -> None:
    split = [{"story": f"tale {n}", "length": n} for n in range(40)]
    hub.add("org/stories", parquet_dataset({"default": {"train": split}}, shards=2), repo_type="dataset")
    found = texts("org/stories")
    assert found.keys() <= set(SPLITS)
    assert sorted(text for part in found.values() for text in part) == sorted(row["story"] for row in split)


def test_a_commit_stays_while_its_branch_moves_on(hub: Hub) -> None:
    hub.add("org/data", parquet_dataset({"default": {"train": [{"text": "old"}]}}), repo_type="dataset")
    corpus = HubDataset("org/data")
    commit = corpus.commit()
    hub.add("org/data", parquet_dataset({"default": {"train": [{"text": "new"}]}}), repo_type="dataset")
    assert [d.text for shard in corpus.shards(commit) for d in shard.documents()] == ["old"]
    assert corpus.commit() != commit


def test_a_configuration_that_is_left_open_is_asked_for(hub: Hub) -> None:
    parts = {"train": [{"text": "x"}]}
    hub.add("org/data", parquet_dataset({"a": parts, "b": parts}), repo_type="dataset")
    for word in ("org/data", "org/data:c"):
        with pytest.raises(ShardError, match=r"which configuration\? Say corpus=org/data:NAME, NAME one of: a, b"):
            texts(word)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"data/test-00000-of-00001.parquet": [{"text": "x"}]}, "has no train split, but test"),
        (
            {"data.py": b"import datasets"},
            "data set org/data: .*a script no longer loads: corpus=org/data@refs/convert",
        ),
        ({"README.md": b"nothing"}, "data set org/data: .*data files"),
    ],
    ids=["no train", "script", "empty"],
)
def test_a_data_set_that_cannot_be_trained_on_says_why(hub: Hub, files: dict[str, Any], said: str) -> None:
    parts = {"test": files["data/test-00000-of-00001.parquet"]} if "has no" in said else None
    hub.add("org/data", parquet_dataset({"default": parts}) if parts else files, repo_type="dataset")
    with pytest.raises(ShardError, match=said):
        texts("org/data")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tries, and no waits between them."""
    clock = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    for module in ("huggingface_hub.utils._http", "huggingface_hub.file_download", "trainables.hub"):
        monkeypatch.setattr(f"{module}.time", clock)
    for name in ("OPEN_RETRY_INTERVAL", "READ_RETRY_INTERVAL", "READ_SERVER_UNAVAILABLE_RETRY_INTERVAL"):
        monkeypatch.setattr(datasets.config, f"STREAMING_{name}", 0)
    monkeypatch.setattr(datasets.config, "STREAMING_READ_MAX_RETRIES", 2)


@pytest.mark.parametrize("fault", [Status(503), Reset(), Truncated()], ids=str)
def test_a_stream_that_breaks_is_taken_up_again(hub: Hub, impatient: None, fault: Fault) -> None:
    split = [{"text": f"tale {n} " * 50} for n in range(400)]
    hub.add("org/stories", parquet_dataset({"default": {"train": split}}), repo_type="dataset")
    corpus = HubDataset("org/stories")
    shards = corpus.shards(corpus.commit())
    hub.fail("/cdn/", fault)
    assert [d.text for shard in shards for d in shard.documents()] == [row["text"] for row in split]


@pytest.mark.parametrize(
    ("fault", "said"),
    [(Status(403), r"refuses access \(403\)"), (Status(404), "404"), (Reset(), "cannot be reached"), (Corrupt(), "")],
    ids=str,
)
def test_a_stream_that_stays_broken_is_explained(hub: Hub, impatient: None, fault: Fault, said: str) -> None:
    hub.add("org/stories", parquet_dataset({"default": {"train": [{"text": "tale"}] * 9}}), repo_type="dataset")
    corpus = HubDataset("org/stories")
    shards = corpus.shards(corpus.commit())
    hub.fail("/cdn/", fault, ALWAYS)
    with pytest.raises(ShardError, match=rf"org/stories \(train, part 1 of 1\), after row 0: .*{said}"):
        list(shards[0].documents())


def test_files_of_the_hub_are_read_by_their_address(hub: Hub) -> None:
    hub.add("org/pile", jsonl_zst_dataset(pile_rows(["a", "b"], "ArXiv")), repo_type="dataset")
    (shard,) = find("hf://datasets/org/pile").shards()
    assert list(shard.documents()) == [Document("a", "ArXiv"), Document("b", "ArXiv")]
    (single,) = find("hf://datasets/org/pile/train/00.jsonl.zst").shards()
    assert list(single.documents()) == list(shard.documents())
    with pytest.raises(ShardError, match="hf://datasets/org/nothing"):
        find("hf://datasets/org/nothing").shards()


def test_files_of_an_object_store_are_found_and_read() -> None:
    pile = jsonl_zst_dataset(pile_rows(["a", "b"], "ArXiv"), pile_rows(["c"]))
    table = parquet_dataset({"default": {"train": [{"text": "d"}]}})
    with serving() as service:
        service.put({f"my/pile/{name}": content for name, content in (pile | table).items()})
        found = [pair for shard in find(service.uri("my/pile")).shards() for pair in labelled(shard)]
        assert [(split, document.text) for split, document in found] == [
            ("train", "a"),
            ("train", "b"),
            ("validation", "c"),
        ]
        (shard,) = find(service.uri("my/pile/data/train-00000-of-00001.parquet")).shards()
        assert [document.text for document in shard.documents()] == ["d"]
        with pytest.raises(ShardError, match=r"s3://bucket/my/nothing.*no shard there"):
            find(service.uri("my/nothing")).shards()


@pytest.mark.parametrize("alone", [True, False])
def test_files_of_one_size_are_different_corpora(tmp_path: Path, alone: bool) -> None:
    seen = set()
    for name, text in (("a", "aaaa"), ("b", "bbbb")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text(json.dumps({"text": text}))
        seen.add(find(str(tmp_path / name / "train.jsonl" if alone else tmp_path / name)).fingerprint)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("test_0.jsonl", "test"),
        ("Test.jsonl", "test"),
        ("validation_data.jsonl", "validation"),
        ("eval.jsonl", "validation"),
    ],
)
def test_common_names_of_held_out_files_are_known(tmp_path: Path, name: str, split: str) -> None:
    for file in ("train.jsonl", name):
        (tmp_path / file).write_text('{"text": "x"}')
    assert (split,) in {splits for _, splits in names(Files(str(tmp_path)))}


def test_keys_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(ShardError, match="AWS_ACCESS_KEY_ID") as caught:
        find("s3://AKIA:secret@bucket/pile")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("word", ["~nobody-at-all/pile", "x" * 5000, "y/" * 3000])
def test_words_that_are_no_path_are_refused(word: str) -> None:
    with pytest.raises(ShardError, match="corpus"):
        find(word).shards()


def test_rows_without_text_are_passed_over(tmp_path: Path, hub: Hub) -> None:
    rows = [{"text": None}, {"text": "x"}, {"text": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (shard,) = find(str(tmp_path)).shards()
    assert list(shard.documents()) == [Document("x", "all")]
    hub.add("org/nulls", parquet_dataset({"default": {"train": rows}}), repo_type="dataset")
    assert [text for part in texts("org/nulls").values() for text in part] == ["x"]


def test_a_column_that_a_table_does_not_have_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"], "meta": [{"note": "y"}]}), tmp_path / "a.parquet")
    for wanted in ("story", "meta.story"):
        (shard,) = find(str(tmp_path), Columns((wanted,))).shards()
        if wanted == "story":
            with pytest.raises(ShardError, match='row 1: no "story" string'):
                list(shard.documents())
        else:  # the struct is there, its field may be left out of a row
            with pytest.raises(ShardError, match="empty"):
                list(shard.documents())


def test_columns_of_odd_names_and_kinds_are_read(tmp_path: Path) -> None:
    column = pa.array(["x", "x"]).dictionary_encode()
    pq.write_table(pa.table({"a.b": column, "n": [1, 2]}), tmp_path / "a.parquet")
    (shard,) = find(str(tmp_path)).shards()
    assert [document.text for document in shard.documents()] == ["x", "x"]


def test_a_domain_alone_leaves_the_columns_of_text_as_they_are_known() -> None:
    assert find("mrpc", Columns((), "idx")) == replace(
        CORPORA["mrpc"], columns=Columns(("sentence1", "sentence2"), "idx")
    )
