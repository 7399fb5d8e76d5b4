"""Shards read back as written, and a damaged one is named, with the line."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from trainables.shards import Document, ShardError, read_documents, write_shard

PACKERS = {
    ".jsonl.zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".jsonl.gz": gzip.compress,
    ".jsonl": bytes,
}
GOOD = b'{"text": "fine", "meta": {"pile_set_name": "A"}}\n'
each_packing = pytest.mark.parametrize("suffix", PACKERS)


def write(folder: Path, suffix: str, lines: bytes) -> Path:
    path = folder / f"shard{suffix}"
    path.write_bytes(PACKERS[suffix](lines))
    return path


@given(texts=st.lists(st.text(), min_size=1), domain=st.text())
def test_documents_read_back_as_written(
    texts: list[str], domain: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.jsonl.zst"
    documents = [Document(text, domain) for text in texts]
    write_shard(path, documents)
    assert list(read_documents(path)) == documents


@each_packing
def test_every_packing_reads_alike(tmp_path: Path, suffix: str) -> None:
    lines = GOOD + b"\n" + '{"text": "zwölf\\n"}\n'.encode() + b'{"text": "", "meta": null}'
    documents = list(read_documents(write(tmp_path, suffix, lines)))
    assert documents == [Document("fine", "A"), Document("zwölf\n", "all"), Document("", "all")]


@pytest.mark.parametrize("suffix", [".jsonl.zst", ".jsonl.gz"])
def test_a_shard_of_several_frames_is_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, suffix, GOOD)
    path.write_bytes(path.read_bytes() * 3)
    assert len(list(read_documents(path))) == 3


@each_packing
@pytest.mark.parametrize("content", ["no bytes", "no lines"])
def test_an_empty_shard_is_refused(tmp_path: Path, suffix: str, content: str) -> None:
    path = write(tmp_path, suffix, b"")
    if content == "no bytes":
        path.write_bytes(b"")
    with pytest.raises(ShardError, match=r"shard\.jsonl.*empty"):
        list(read_documents(path))


@each_packing
@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"text": "\xff"}\n', "line 3: not valid UTF-8"),
        (b'{"text": "half\n', "line 3: not valid JSON"),
        (b'{"meta": {}}\n', 'line 3: no "text"'),
        (b'{"text": 3}\n', 'line 3: no "text"'),
        (b'["text"]\n', 'line 3: no "text"'),
        (b'{"text": "\\ud800"}\n', "line 3: an unpaired surrogate"),
        (b'{"text": "x", "meta": {"pile_set_name": "\\ud800"}}\n', "line 3: "),
        (b'{"text": "x", "n": ' + b"1" * 5000 + b"}\n", "line 3: "),
        (b'{"text": "x", "n": ' + b"[" * 10**5 + b"}\n", "line 3: "),
    ],
    ids=[
        "utf-8",
        "json",
        "no text",
        "text is a number",
        "list",
        "surrogate",
        "surrogate domain",
        "long number",
        "deep",
    ],
)
def test_a_bad_line_is_named_after_the_good_ones(tmp_path: Path, suffix: str, line: bytes, what: str) -> None:
    path = write(tmp_path, suffix, GOOD * 2 + line + GOOD)
    documents = read_documents(path)
    assert [next(documents), next(documents)] == [Document("fine", "A")] * 2
    with pytest.raises(ShardError) as caught:
        next(documents)
    assert f"{path}, {what}" in str(caught.value)


def noise(lines: int, characters: int) -> bytes:
    """Lines that do not compress, each ``characters`` long with its line feed."""
    rng = np.random.default_rng(0)
    frame = len(json.dumps({"text": ""})) + 1
    texts = (rng.bytes(characters).hex()[: characters - frame] for _ in range(lines))
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


@pytest.mark.parametrize("suffix", [".jsonl.zst", ".jsonl.gz"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_shard_cut_short_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = write(tmp_path, suffix, noise(300, 1000))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ShardError, match=r"shard\.jsonl"):
        list(read_documents(path))


def test_a_zstandard_shard_cut_between_lines_is_refused(tmp_path: Path) -> None:
    """Zstandard's blocks hold 128 KiB of text: here the lines end where the blocks end, and so does what is left."""
    whole = noise(4, 2**17)
    path = write(tmp_path, ".jsonl.zst", whole)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 5 // 8])
    with pytest.raises(ShardError):
        list(read_documents(path))


@pytest.mark.parametrize("suffix", [".jsonl.zst", ".jsonl.gz"])
@pytest.mark.parametrize("place", [0.0, 0.2, 0.5, 0.8])
def test_overwritten_bytes_are_refused(tmp_path: Path, suffix: str, place: float) -> None:
    path = write(tmp_path, suffix, noise(300, 1000))
    data = bytearray(path.read_bytes())
    start = int(len(data) * place)
    data[start : start + 64] = b"\xff" * 64
    path.write_bytes(bytes(data))
    with pytest.raises(ShardError, match=r"shard\.jsonl.*line \d+"):
        list(read_documents(path))


DOCUMENTS = [Document(f"document {number} " + "word " * (number % 50), "A") for number in range(500)]


@pytest.fixture(scope="module", params=["write_shard", ".jsonl.gz"])
def whole_shard(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 documents, as our own writer packs them and as gzip does."""
    path = tmp_path_factory.mktemp("whole") / "shard.jsonl.zst"
    write_shard(path, DOCUMENTS)
    if request.param == "write_shard":
        return path
    return write(path.parent, request.param, zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read())


@given(where=st.integers(0, 10**6), mask=st.integers(1, 255))
def test_any_changed_byte_is_noticed_or_harmless(
    whole_shard: Path, where: int, mask: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(whole_shard.read_bytes())
    data[where % len(data)] ^= mask
    changed = tmp_path_factory.getbasetemp() / f"changed-{whole_shard.name}"
    changed.write_bytes(bytes(data))
    try:
        read = list(read_documents(changed))
    except ShardError:
        return
    assert read == DOCUMENTS


@pytest.mark.parametrize("where", [0, 5, 10, 15])
def test_a_changed_byte_inside_gzip_is_a_shard_error(tmp_path: Path, where: int) -> None:
    path = write(tmp_path, ".jsonl.gz", noise(40, 1000))
    data = bytearray(path.read_bytes())
    data[10 + where] ^= 0xFF  # after the header of 10 bytes come the Huffman tables
    path.write_bytes(bytes(data))
    with pytest.raises(ShardError, match=r"shard\.jsonl\.gz.*line \d+"):
        list(read_documents(path))


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    for suffix in (".jsonl.zst", ".jsonl.gz"):
        path = tmp_path / f"shard{suffix}"
        path.write_bytes(GOOD)
        with pytest.raises(ShardError, match="cannot be read"):
            list(read_documents(path))


def test_a_missing_shard_is_a_shard_error(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"gone\.jsonl"):
        list(read_documents(tmp_path / "gone.jsonl"))


def test_a_shard_whose_writing_failed_does_not_appear(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_shard(tmp_path / "x.jsonl.zst", [Document("good", "A"), Document("\ud800", "A")])
    assert not (tmp_path / "x.jsonl.zst").exists()


@given(text=st.text(), domains=st.tuples(st.text(), st.text()))
def test_copies_of_a_text_lie_in_one_split(text: str, domains: tuple[str, str]) -> None:
    assert Document(text, domains[0]).split == Document(text, domains[1]).split


def test_a_twentieth_is_held_out_for_each_of_validation_and_test() -> None:
    counts = Counter(Document(f"document {number}", "A").split for number in range(20_000))
    assert counts.keys() == {"train", "validation", "test"}
    assert counts["validation"] == pytest.approx(1000, abs=5 * 31)  # five standard deviations
    assert counts["test"] == pytest.approx(1000, abs=5 * 31)


def test_a_line_of_many_megabytes_is_read_in_linear_time(tmp_path: Path) -> None:
    """Each chunk is looked at once: 32 MB took 8 s when the line so far was copied for every chunk."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "x" * (32 << 20)}) + "\n" + json.dumps({"text": "y"}))
    assert [len(document.text) for document in read_documents(path)] == [32 << 20, 1]
