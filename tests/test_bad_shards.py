"""Bad input, shards: files of documents and tokenizers that cannot be read are named, with the line and the mend."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.bad import assert_refused, command, in_time
from trainables import corpus, tokenizers
from trainables.shards import Columns, Document, ShardError

GOOD = b'{"text": "fine", "meta": {"pile_set_name": "A"}}\n'
LINES = GOOD * 2000
zst = zstandard.ZstdCompressor(write_checksum=True).compress


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, write_page_checksum=True)
    return sink.getvalue()


def arrow(batches: int = 1, **columns: Any) -> bytes:
    """As ``save_to_disk`` writes it."""
    sink, table = io.BytesIO(), pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for _ in range(batches):
            writer.write_table(table)
    return sink.getvalue()


def arrow_file() -> bytes:
    sink, table = io.BytesIO(), pa.table({"text": ["x"]})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def flipped(data: bytes, place: float = 0.5) -> bytes:
    changed = bytearray(data)
    changed[int(len(data) * place)] ^= 0x55
    return bytes(changed)


TEXTS = [f"document {number} word" for number in range(2000)]
MEND, ANEW, PILE = "mend it or leave it out", "fetch the file anew", "other columns are named by text_columns="
# name, content, place, and what is said
SHARDS: list[tuple[str, bytes, str, str]] = [
    ("not.jsonl.zst", GOOD, "after line 0", ANEW),
    ("cut.jsonl.zst", zst(LINES)[:-5], "after line 0", ANEW),
    ("cut-early.jsonl.zst", zst(LINES)[:9], "after line 0", ANEW),
    ("flipped.jsonl.zst", flipped(zst(LINES)), "after line 0", ANEW),
    ("header.jsonl.zst", flipped(zst(LINES), 0), "after line 0", ANEW),
    ("junk-behind.jsonl.zst", zst(LINES) + b"junk", "after line 2000", ANEW),
    ("zeros.jsonl.zst", bytes(100), "after line 0", ANEW),
    ("empty.jsonl.zst", b"", "", "fetch it anew or remove it"),
    ("nothing-in-it.jsonl.zst", zst(b""), "", "fetch it anew or remove it"),
    ("not.jsonl.gz", GOOD, "after line 0", ANEW),
    ("cut.jsonl.gz", gzip.compress(LINES)[:-20], "after line 1337", ANEW),
    ("crc.jsonl.gz", gzip.compress(LINES)[:-8] + bytes(8), "after line 1337", ANEW),
    ("junk-behind.jsonl.gz", gzip.compress(LINES) + b"junk", "after line 1337", ANEW),
    ("empty.jsonl.gz", b"", "", "fetch it anew or remove it"),
    ("nothing-in-it.jsonl.gz", gzip.compress(b""), "", "fetch it anew or remove it"),
    ("not.json.gz", b"{}", "after line 0", ANEW),
    ("not.json.zst", b"{}", "after line 0", ANEW),
    ("empty.jsonl", b"", "", "fetch it anew or remove it"),
    ("blank.jsonl", b"\n \n\t\r\n", "", "fetch it anew or remove it"),
    ("array.jsonl", GOOD + b"[1]\n", "line 2", PILE),
    ("number.jsonl", GOOD + b"3\n", "line 2", PILE),
    ("null.jsonl", b"null\n", "line 1", PILE),
    ("string.jsonl", b'"text"\n', "line 1", PILE),
    ("no-text.jsonl", b'{"txet": "x"}\n', "line 1", PILE),
    ("text-null.jsonl", b'{"text": null}\n', "line 1", PILE),
    ("text-number.jsonl", b'{"text": 3}\n', "line 1", PILE),
    ("text-list.jsonl", b'{"text": ["a"]}\n', "line 1", PILE),
    ("text-nested.jsonl", b'{"text": {"text": "a"}}\n', "line 1", PILE),
    ("text-twice.jsonl", b'{"text": "a", "text": 3}\n', "line 1", PILE),
    ("domain-number.jsonl", b'{"text": "a", "meta": {"pile_set_name": 3}}\n', "line 1", "domain_column="),
    ("domain-list.jsonl", b'{"text": "a", "meta": {"pile_set_name": ["A"]}}\n', "line 1", "domain_column="),
    ("domain-surrogate.jsonl", b'{"text": "a", "meta": {"pile_set_name": "\\ud800"}}\n', "line 1", MEND),
    ("utf-8.jsonl", b'{"text": "\xff\xfe"}\n', "line 1", MEND),
    ("utf-16.jsonl", GOOD.decode().encode("utf-16"), "line 1", MEND),
    ("latin-1.jsonl", GOOD + '{"text": "zwölf"}\n'.encode("latin-1"), "line 2", MEND),
    ("bom.jsonl", b"\xef\xbb\xbf" + GOOD, "line 1", MEND),
    ("surrogate.jsonl", b'{"text": "\\ud800"}\n', "line 1", MEND),
    ("nul.jsonl", b"\0\0\0\n", "line 1", MEND),
    ("nul-in-text.jsonl", b'{"text": "a\0b"}\n', "line 1", MEND),
    ("half.jsonl", GOOD + b'{"text": "ha', "line 2", MEND),
    ("two-on-a-line.jsonl", b'{"text": "a"}{"text": "b"}\n', "line 1", MEND),
    ("cr-only.jsonl", GOOD.replace(b"\n", b"\r") * 2, "line 1", MEND),
    ("comma.jsonl", b'{"text": "a",}\n', "line 1", MEND),
    ("quotes.jsonl", b"{'text': 'a'}\n", "line 1", MEND),
    ("pretty.jsonl", b'{\n"text": "a"\n}\n', "line 1", MEND),
    ("page.jsonl", b"<html>404</html>\n", "line 1", MEND),
    ("pointer.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "line 1", MEND),
    ("digits.jsonl", b'{"text": "a", "n": ' + b"1" * 5000 + b"}\n", "line 1", MEND),
    ("deep.jsonl", b"[" * 10**5 + b"\n", "line 1", MEND),
    ("long.jsonl", b'{"text": "' + b"x" * (8 << 20), "line 1", MEND),
    ("not.parquet", GOOD, "after row 0", ANEW),
    ("empty.parquet", b"", "after row 0", ANEW),
    ("cut.parquet", parquet(text=TEXTS)[:-30], "after row 0", ANEW),
    ("flipped.parquet", flipped(parquet(text=TEXTS), 0.3), "after row 0", ANEW),
    ("magic.parquet", b"PAR1PAR1", "after row 0", ANEW),
    ("footer.parquet", b"PAR1\xff\xff\xff\x7fPAR1", "after row 0", ANEW),
    ("no-rows.parquet", parquet(text=pa.array([], pa.string())), "", "fetch it anew or remove it"),
    ("nulls.parquet", parquet(text=pa.array([None, None], pa.string())), "", "fetch it anew or remove it"),
    ("no-columns.parquet", parquet(), "", "give a corpus of documents"),
    ("no-text.parquet", parquet(a=[1], b=[2.0]), "among its columns is no text: a, b", "give a corpus of documents"),
    ("text-number.parquet", parquet(text=[1, 2]), "", "give a corpus of documents"),
    ("text-bytes.parquet", parquet(text=[b"\xff"]), "", "give a corpus of documents"),
    ("text-struct.parquet", parquet(text=[{"a": "x"}]), "", "give a corpus of documents"),
    ("two-texts.parquet", parquet(a=["x"], b=["y"]), "which column is the text? It has a, b", "say text_columns=NAME"),
    ("not.arrow", GOOD, "after row 0", ANEW),
    ("empty.arrow", b"", "after row 0", ANEW),
    ("cut.arrow", arrow(text=TEXTS)[:-400], "after row 0", ANEW),
    ("cut-early.arrow", arrow(text=TEXTS)[:20], "after row 0", ANEW),
    ("cut-between-batches.arrow", arrow(batches=3, text=TEXTS)[:-8], "after row 0", ANEW),
    ("flipped.arrow", flipped(arrow(text=["x"]), 0.05), "after row 0", ANEW),
    ("length.arrow", b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(50), "after row 0", ANEW),
    ("other-format.arrow", arrow_file(), "after row 0", ANEW),
    ("text-number.arrow", arrow(text=[1]), "", "give a corpus of documents"),
]
FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda folder: None, "no shard there; expected files ending in"),
    "readme": (lambda folder: (folder / "README.md").write_text("x"), "no shard there"),
    "stray": (lambda folder: (folder / "._a.jsonl").write_text("x"), "no shard there"),
    "file for split": (lambda folder: (folder / "train").write_text("x"), "no shard there"),
    "empty split": (lambda folder: (folder / "train").mkdir(), "no shard there"),
    "folder for shard": (lambda folder: (folder / "a.jsonl.zst").mkdir(), "a.jsonl.zst is no file"),
    "pipe": (lambda folder: os.mkfifo(folder / "a.jsonl"), "a.jsonl is no file"),
    "link to nothing": (lambda folder: (folder / "a.jsonl").symlink_to("gone"), "mend it, or move it away"),
    "link to itself": (lambda folder: (folder / "a.jsonl").symlink_to("a.jsonl"), "mend it, or move it away"),
    "mixed": (lambda folder: (folder / "b.parquet").write_bytes(GOOD), "b.parquet, after row 0"),
}


def of_tokenizer(**change: Any) -> bytes:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.add_special_tokens([tokenizers.END_OF_TEXT])
    return json.dumps(json.loads(tokenizer.to_str()) | change).encode()


BPE = {"type": "BPE", "vocab": {}, "merges": []}
TOKENIZERS: dict[str, tuple[bytes, bytes, str]] = {
    "empty": (b"", b"{}", "not a tokenizer.json"),
    "array": (b"[]", b"{}", "not a tokenizer.json"),
    "null": (b"null", b"{}", "not a tokenizer.json"),
    "cut": (of_tokenizer()[:-20], b"{}", "not a tokenizer.json"),
    "utf-8": (b"\xff\xfe", b"{}", "not a tokenizer.json"),
    "deep": (b"[" * 10**5, b"{}", "not a tokenizer.json"),
    "model": (of_tokenizer(model="x"), b"{}", "not a tokenizer.json"),
    "merge": (of_tokenizer(model=BPE | {"merges": [["q", "z"]]}), b"{}", "not a tokenizer.json"),
    "negative id": (of_tokenizer(model=BPE | {"vocab": {"a": -1}}), b"{}", "not a tokenizer.json"),
    "huge id": (of_tokenizer(model=BPE | {"vocab": {"a": 2**31}}), b"{}", "has a token of id 2147483648"),
    "dropout": (of_tokenizer(model=BPE | {"dropout": 0.1}), b"{}", "drops merges at random"),
    "not bytes": (of_tokenizer(pre_tokenizer=None), b"{}", "not byte-level"),
    "no end": (of_tokenizer(added_tokens=[]), b"{}", "has no <|endoftext|> token"),
    "end is a list": (of_tokenizer(added_tokens=[]), b'{"eos_token": ["a"]}', "has no <|endoftext|> token"),
    "end is a number": (of_tokenizer(added_tokens=[]), b'{"eos_token": 3}', "has no <|endoftext|> token"),
    "end is an object": (of_tokenizer(added_tokens=[]), b'{"eos_token": {"content": 3}}', "has no <|endoftext|> token"),
    "settings": (of_tokenizer(added_tokens=[]), b"[" * 10**5, "has no <|endoftext|> token"),
}
ENDS_TO_END = ["line", "cut", "table", "small", "missing domain", "tokenizer"]


def read(word: Path, columns: Columns = Columns()) -> list[Document]:  # noqa: B008
    """As a sweep does: named by its files, and then read by tasks."""
    with in_time():
        found = corpus.find(str(word), columns)
        assert found.fingerprint
        return [document for shard in found.shards() for document in shard.documents()]


@pytest.mark.parametrize("alone", [False, True], ids=["folder", "file"])
@pytest.mark.parametrize(("name", "content", "place", "mend"), SHARDS, ids=[name for name, *_ in SHARDS])
def test_a_bad_shard_is_named_with_its_line_and_the_mend(
    name: str, content: bytes, place: str, mend: str, alone: bool, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ShardError) as caught:
        read(path if alone else tmp_path)
    for part in (str(path), place, mend):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_bad_folder_is_named_and_no_part_of_it_is_left_out_silently(name: str, tmp_path: Path) -> None:
    make, said = FOLDERS[name]
    make(tmp_path)
    if "no shard" not in said:
        (tmp_path / "good.jsonl").write_bytes(GOOD)
    with pytest.raises(ShardError) as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_shard_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD)
    path.chmod(0)
    with pytest.raises(ShardError, match=r"a\.jsonl.*permissions"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (Columns(("body",)), 'line 1: no "body" string, but text, meta'),
        (Columns(("text", "title")), 'no "text" and "title" string'),
        (Columns(("meta",)), 'no "meta" string'),
        (Columns(domain="topic"), 'no "topic" string; domain_column= names'),
        (Columns(domain="meta"), 'no "meta" string; domain_column= names'),
    ],
)
def test_columns_that_are_not_there_are_named(columns: Columns, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    with pytest.raises(ShardError) as caught:
        read(tmp_path, columns)
    assert f"{tmp_path / 'a.jsonl'}, line 1: " in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (GOOD.replace(b"\n", b"\r\n"), "fine"),
        (b'{"text": "a\\u0000b"}', "a\0b"),
        (b'{"text": "x", "meta": [1]}', "x"),
        (b'{"text": "x", "n": NaN}', "x"),
        (b'{"text": "one", "text": "x"}', "x"),
    ],
    ids=["crlf", "escaped nul", "other meta", "nan", "text twice"],
)
def test_what_is_odd_but_readable_is_read(content: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    assert [document.text for document in read(tmp_path)] == [text]


WHOLE = {".parquet": parquet(text=TEXTS[:50]), ".arrow": arrow(batches=2, text=TEXTS[:50]), ".jsonl": LINES[:500]}


@settings(max_examples=120, deadline=None, derandomize=True)
@given(suffix=st.sampled_from(sorted(WHOLE)), where=st.integers(0, 10**6), mask=st.integers(0, 255), cut=st.booleans())
def test_any_damage_is_a_shard_error_or_read(
    suffix: str, where: int, mask: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without a checksum a changed letter is another text; what no text can be is refused, and nothing else raised."""
    data = bytearray(WHOLE[suffix])
    data[where % len(data)] ^= mask
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(bytes(data[: where % len(data)] if cut else data))
    documents: list[Document] = []
    refused = None
    try:
        documents = read(path)
    except ShardError as error:
        refused = str(error)
    if refused is None:
        assert 0 < len(documents) <= 100
    else:
        assert str(path) in refused


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_bad_tokenizer_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, beside, said = TOKENIZERS[name]
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    (tmp_path / "tokenizer_config.json").write_bytes(beside)
    ended = command(capsys, "plan", "quickstart", f"tokenizer={path}", "--store", str(tmp_path / "store"))
    assert_refused(ended, f"tokenizer {path}: ", said, "or tokenizer=bpe")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("what", ENDS_TO_END)
def test_bad_input_ends_a_real_preparation_with_exit_2(
    what: str, tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through Ray Data: tasks in other processes read the shards."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    lines = b"".join(
        json.dumps({"text": f"document {number} " + "word " * 80}).encode() + b"\n" for number in range(400)
    )
    path, settings = folder / "0.jsonl", ["tokenizer=bpe"]
    said = [str(path)]
    if what == "line":
        path.write_bytes(lines + b'{"text": 3}\n' + lines)
        said += ["line 401", PILE]
    elif what == "cut":
        path = folder / "0.jsonl.zst"
        path.write_bytes(zst(lines)[:-5])
        said = [str(path), ANEW]
    elif what == "table":
        (folder / "1.parquet").write_bytes(flipped(parquet(text=TEXTS), 0.3))
        path.write_bytes(lines)
        said = [str(folder / "1.parquet"), ANEW]
    elif what == "small":
        path.write_bytes(GOOD * 3)
        said = ["too small for one block of 129 tokens", "give more text or a smaller seq_len"]
    elif what == "missing domain":
        path.write_bytes(lines)
        settings += ["mixture=Github:1,all:1"]
        said = ["mixture: no document of Github", "there were all"]
    else:
        path.write_bytes(lines)
        settings = [f"tokenizer={path}"]
        said += ["not a tokenizer.json"]
    store = ["--store", str(tmp_path / "store")]
    words = ["seeds=0", "budgets=100000steps", "checkpoint_every=1000", f"corpus={folder}"]
    assert_refused(command(capsys, "prepare", "quickstart", *words, *settings, *store), *said)
    assert not list(tmp_path.glob("tokens/*/tokens.json"))
