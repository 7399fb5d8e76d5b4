"""Files are whole or absent, and no change to one goes unnoticed."""

from __future__ import annotations

import errno
import math
import os
import resource
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from tests.object_store import ObjectStore, serving
from trainables.storage import MANIFEST, CorruptFileError, Folder, canonical_json, sha256

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
records = st.dictionaries(st.text().filter(lambda key: key != "sha256"), values, max_size=4)


@pytest.fixture(scope="module")
def service() -> Iterator[ObjectStore]:
    with serving() as running:
        yield running


@pytest.fixture(params=["local", "subtree", "mock", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, service: ObjectStore) -> Folder:
    """An existing folder on a local file system, on two that are not known to be local, and on an object store."""
    if request.param == "local":
        return Folder.open(tmp_path)
    if request.param == "s3":
        return Folder.open(service.uri(f"store {uuid.uuid4().hex}".replace(" ", "%20")))
    if request.param == "subtree":
        return Folder(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "")
    mock = fs._MockFileSystem()
    mock.create_dir("store")
    return Folder(mock, "store")


@contextmanager
def full_disk(limit_bytes: int) -> Iterator[None]:
    """No file may grow beyond the limit: the kernel refuses, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["a", "a.jsonl.zst", "a.json.gz"])
def test_a_written_file_reads_back(folder: Folder, name: str) -> None:
    folder.write(name, b"old")
    folder.write(name, b"\x00new\xff")
    assert folder.read(name) == b"\x00new\xff"


def test_reading_what_is_not_there_raises(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read("absent")


def test_names_are_sorted_and_deleted_ones_gone(folder: Folder) -> None:
    for name in ("c", "a", "b"):
        folder.write(name, b"")
    folder.delete("b")
    folder.delete("never-there")
    assert folder.names() == ["a", "c"]
    assert folder.exists("a")
    assert not folder.exists("b")


def test_a_missing_folder_has_no_names(folder: Folder) -> None:
    assert (folder / "missing").names() == []
    assert not (folder / "missing").exists()


def test_writing_makes_the_folders_on_the_way(folder: Folder) -> None:
    deep = folder / "trial" / "step"
    deep.write("file", b"1")
    assert deep.read("file") == b"1"


def test_deleting_a_folder_deletes_what_is_inside(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path / "x")
    folder.write("y", b"")
    folder.delete()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path)
    folder.write("a", b"old")
    with full_disk(10_000), pytest.raises(OSError, match="large") as caught:
        folder.write("a", b"n" * 20_000)
    assert caught.value.errno == errno.EFBIG
    assert folder.read("a") == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_failed_rename_leaves_no_temporary_file(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path)
    (folder / "a").write("inside", b"kept")
    with pytest.raises(IsADirectoryError):
        folder.write("a", b"new")
    assert os.listdir(tmp_path) == ["a"]
    assert (folder / "a").read("inside") == b"kept"


def test_temporary_files_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / "a.tmp-12345678").write_bytes(b"half")
    assert Folder.open(tmp_path).names() == []


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path)
    contents = (b"a" * 300_000, b"b" * 200_000)
    folder.write("f", contents[0])
    writer = threading.Thread(target=lambda: [folder.write("f", contents[turn % 2]) for turn in range(60)])
    writer.start()
    seen = {folder.read("f")}
    while writer.is_alive():
        seen.add(folder.read("f"))
    writer.join()
    assert seen <= set(contents)


@given(body=records, compact=st.booleans())
def test_a_record_reads_back_as_written(
    body: dict[str, Any], compact: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = Folder.open(tmp_path_factory.getbasetemp() / "records")
    folder.write_json("r.json", body, compact=compact and bool(body))
    assert folder.read_json("r.json") == body


@given(body=records, mask=st.integers(1, 255), where=st.integers(0, 10**6), compact=st.booleans())
def test_any_changed_byte_of_a_record_is_noticed_or_harmless(
    body: dict[str, Any], mask: int, where: int, compact: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = Folder.open(tmp_path_factory.getbasetemp() / "flipped")
    folder.write_json("r.json", body, compact=compact and bool(body))
    data = bytearray(folder.read("r.json"))
    data[where % len(data)] ^= mask
    folder.write("r.json", bytes(data))
    try:
        read = folder.read_json("r.json")
    except CorruptFileError:
        return
    assert read == body  # one kind of white space for another, e for E


@pytest.mark.parametrize(
    ("body", "old", "new"),
    [
        pytest.param({"a": "xud800"}, b"xud800", rb"\ud800", id="half a surrogate pair, escaped"),
        pytest.param({"a": "\ud7ff"}, b"\xed\x9f\xbf", b"\xed\xbf\xbf", id="half a surrogate pair, encoded"),
        pytest.param({"a": 1.5e300}, b"e+300", b"e+900", id="a number too large"),
    ],
)
def test_a_changed_byte_that_json_accepts_but_we_cannot_hash_is_a_corrupt_file(
    tmp_path: Path, body: dict[str, Any], old: bytes, new: bytes
) -> None:
    folder = Folder.open(tmp_path)
    folder.write_json("r.json", body)
    data = folder.read("r.json")
    assert data.count(old) == 1
    folder.write("r.json", data.replace(old, new))
    with pytest.raises(CorruptFileError):
        folder.read_json("r.json")


@pytest.mark.parametrize("data", [b"", b"[]", b"3", b"{}", b'{"sha256": "0"}', b'{"a": NaN, "sha256": "0"}', b"\xff"])
def test_what_is_not_a_record_of_ours_is_a_corrupt_file(tmp_path: Path, data: bytes) -> None:
    folder = Folder.open(tmp_path)
    folder.write("r.json", data)
    with pytest.raises(CorruptFileError):
        folder.read_json("r.json")


def test_a_committed_folder_gives_back_its_files(folder: Folder) -> None:
    folder.commit([("a", b"one"), ("b", b"")], step=3)
    assert folder.is_committed()
    assert [folder.read_committed(name) for name in ("a", "b")] == [b"one", b""]
    assert folder.read_json(MANIFEST)["step"] == 3
    assert folder.read_json(MANIFEST)["files"]["a"] == {"bytes": 3, "sha256": sha256(b"one")}


def test_a_folder_without_its_manifest_is_not_committed(folder: Folder) -> None:
    assert not (folder / "absent").is_committed()
    folder.commit([("a", b"one")])
    folder.delete(MANIFEST)
    assert not folder.is_committed()


def test_a_commit_that_fails_half_way_does_not_count(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path)
    with full_disk(10_000), pytest.raises(OSError, match="large"):
        folder.commit([("a", b"small"), ("b", b"n" * 20_000)])
    assert folder.names() == ["a"]
    assert not folder.is_committed()


@pytest.mark.parametrize("data", [b"onf", b"on", b"one1", b""])
def test_a_changed_file_of_a_committed_folder_is_noticed(folder: Folder, data: bytes) -> None:
    folder.commit([("a", b"one")])
    folder.write("a", data)
    with pytest.raises(CorruptFileError, match="a: "):
        folder.read_committed("a")


def test_a_file_missing_from_a_committed_folder_raises(folder: Folder) -> None:
    folder.commit([("a", b"one")])
    folder.delete("a")
    with pytest.raises(FileNotFoundError):
        folder.read_committed("a")


def test_a_file_that_was_never_committed_raises_as_documented(folder: Folder) -> None:
    folder.commit([("a", b"one")])
    with pytest.raises(FileNotFoundError):
        folder.read_committed("other")


@given(body=records)
def test_canonical_json_does_not_depend_on_the_order_of_keys(body: dict[str, Any]) -> None:
    assert canonical_json(dict(reversed(body.items()))) == canonical_json(body)


@pytest.mark.parametrize("value", [{1, 2}, print, b"x", math.nan, math.inf])
def test_canonical_json_refuses_what_json_cannot_say(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical_json(value)


def test_a_file_uri_is_the_local_path(tmp_path: Path) -> None:
    assert Folder.open(f"file://{tmp_path}") == Folder.open(tmp_path)
    assert Folder.open(tmp_path).is_local


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="nosuch://x"):
        Folder.open("nosuch://x")


def test_total_bytes_are_of_all_files_at_any_depth(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path / "there")
    assert folder.total_bytes() == 0
    for name, size in (("a", 3), ("deep/er/b", 40), ("empty", 0)):
        folder.write(name, bytes(size))
    assert folder.total_bytes() == 43


@pytest.mark.parametrize(
    "uri", ["s3://key:word@bucket", "s3://key:wo/rd@bucket", "s3://bucket/x?secret_key=word", "file:///x?token=word"]
)
def test_an_address_with_keys_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ValueError, match="AWS_SECRET_ACCESS_KEY") as error:
        Folder.open(uri)
    assert "word" not in str(error.value)


def test_folders_that_hold_a_file_are_told_from_others(folder: Folder) -> None:
    for name in ("b/yes", "a/yes", "c/no", "d/deeper/yes", "yes"):
        folder.write(name, b"1")
    assert folder.holding("yes") == ["a", "b"]
    assert (folder / "missing").holding("yes") == []
    assert [folder.has(name) for name in ("yes", "no", "c/no")] == [True, False, True]


@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_folder_is_opened_again_by_its_uri(place: str, tmp_path: Path, service: ObjectStore) -> None:
    folder = Folder.open(str(tmp_path) if place == "local" else service.uri("opened"))
    (folder / "a b").write("x", b"1")
    assert Folder.open((folder / "a b").uri).read("x") == b"1"
    assert Folder.open((folder / "a b").parent.uri).names() == ["a b"]


def test_on_s3_a_small_file_is_one_request_and_so_is_to_find_what_is_committed(service: ObjectStore) -> None:
    folder = Folder.open(service.uri("counted"))
    before = service.counts()
    for step in range(10):
        (folder / f"step-{step}").write(MANIFEST, b"1")
    assert service.counts() - before == {"PUT": 10}
    before = service.counts()
    assert len(folder.holding(MANIFEST)) == 10
    assert service.counts() - before == {"LIST": 1}
    before = service.counts()
    assert not folder.has("nothing")
    assert service.counts() - before == {"HEAD": 1}


def test_requests_to_s3_that_fail_are_repeated(service: ObjectStore) -> None:
    folder = Folder.open(service.uri("disturbed"))
    service.disturb(failing=0.1, cut=0.1)
    try:
        for number in range(10):
            folder.write(f"{number}", b"1" * 100_000 * number)
        assert [len(folder.read(f"{number}")) for number in range(10)] == [100_000 * number for number in range(10)]
    finally:
        service.disturb()
