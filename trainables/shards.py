"""Pile-format shards: JSON lines of ``{"text": ..., "meta": {"pile_set_name": ...}}``, plain, gzip or zstandard."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

from trainables.storage import sha256

SUFFIXES = (".jsonl.zst", ".jsonl.gz", ".jsonl")
SPLIT_VERSION = 1  # raise it when a document could change its split
CHUNK_BYTES = 1 << 16
HELD_OUT_PERCENT = 5  # each of validation and test, by document hash


class ShardError(ValueError):
    """A shard that cannot be read; the message names file and line."""


@dataclass(frozen=True)
class Document:
    text: str
    domain: str

    @property
    def split(self) -> str:
        """``train``, ``validation`` or ``test``: a function of the text alone, so that copies stay on one side."""
        bucket = int(sha256(self.text.encode())[:8], 16) % 100
        if bucket < HELD_OUT_PERCENT:
            return "validation"
        return "test" if bucket < 2 * HELD_OUT_PERCENT else "train"


def find_shards(folder: str | Path) -> list[Path]:
    """The shards in a folder (or the one shard named), sorted by name. Raises ShardError if there is none."""
    root = Path(folder).expanduser()
    if root.is_file() and root.name.endswith(SUFFIXES):
        return [root]
    shards = sorted(path for path in root.glob("*") if _is_shard(path.name)) if root.is_dir() else []
    if not shards:
        raise ShardError(f"corpus {root}: no Pile-format shard there; expected files ending in {', '.join(SUFFIXES)}")
    return shards


def _is_shard(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.startswith(".")  # macOS leaves "._name" beside files on foreign disks


def write_shard(path: Path, documents: Iterable[Document]) -> None:
    """Write documents as ``.jsonl.zst``, the Pile's own packing; the file appears whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)  # without it a flipped bit reads as other text
    try:
        with temporary.open("wb") as raw, compressor.stream_writer(raw) as packed:
            for document in documents:
                line = {"text": document.text, "meta": {"pile_set_name": document.domain}}
                packed.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_documents(path: str | Path) -> Iterator[Document]:
    """Stream a shard's documents in bounded memory (one line at a time).

    Raises ShardError, naming file and line, for a shard that is empty, cut off or corrupt, and for a line that is not
    UTF-8, not JSON, or has no ``text``.
    """
    path = Path(path)
    number = found = 0
    try:
        for number, line in enumerate(_lines(path), start=1):
            if line.strip():
                found += 1
                yield _parse(line, path, number)
    except (zstandard.ZstdError, zlib.error, EOFError, OSError) as error:
        raise ShardError(f"{path}, after line {number}: cannot be read ({error}); fetch the file anew") from error
    if not found:
        raise ShardError(f"{path}: the shard is empty; fetch it anew or remove it")


def _lines(path: Path) -> Iterator[bytes]:
    if path.name.endswith(".zst"):
        yield from _split_lines(_zstandard_chunks(path))
        return
    with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as lines:
        yield from lines


def _zstandard_chunks(path: Path) -> Iterator[bytes]:
    """The frames of a file one after the other. zstandard's own reader takes a frame that was cut off for its end."""
    with path.open("rb") as packed:
        frame = None
        while chunk := packed.read(CHUNK_BYTES):
            while chunk:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                yield frame.decompress(chunk)
                chunk, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    if frame is not None:
        raise EOFError("the file ends in the middle of a zstandard frame")


def _split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _parse(line: bytes, path: Path, number: int) -> Document:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ShardError(f"{path}, line {number}: not valid UTF-8 (byte {error.start} of the line)") from error
    except json.JSONDecodeError as error:
        raise ShardError(f"{path}, line {number}: not valid JSON ({error.msg}, column {error.colno})") from error
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, or nesting without end
        raise ShardError(f"{path}, line {number}: not JSON that Python reads ({error})") from error
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise ShardError(f'{path}, line {number}: no "text" string; a Pile document is {{"text": ..., "meta": ...}}')
    meta = record.get("meta")
    domain = meta.get("pile_set_name") if isinstance(meta, dict) else None
    document = Document(text, domain if isinstance(domain, str) else "all")
    try:  # JSON can spell half a surrogate pair, which is no character and has no UTF-8 form
        (document.text + document.domain).encode()
    except UnicodeEncodeError as error:
        raise ShardError(f"{path}, line {number}: an unpaired surrogate, {error.object[error.start]!a}") from error
    return document
