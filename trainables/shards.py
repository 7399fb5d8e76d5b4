"""Files of documents: Pile-format JSON lines (``{"text": ..., "meta": {"pile_set_name": ...}}``, plain, gzip or
zstandard), Parquet, and the Arrow files of ``datasets``' ``save_to_disk``, all streamed."""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from trainables.storage import open_binary, sha256

LINES = (".jsonl.zst", ".jsonl.gz", ".jsonl", ".json.gz", ".json.zst")
PARQUET, ARROW = ".parquet", ".arrow"
SUFFIXES = (*LINES, PARQUET, ARROW)
SPLIT_VERSION = 1  # raise it when a document could change its split
CHUNK_BYTES = 1 << 16
ROWS = 256  # of a table that are in memory at once
HELD_OUT_PERCENT = 5  # each of validation and test, by document hash
NO_DOMAIN = "all"
END_OF_ARROW = b"\xff\xff\xff\xff\0\0\0\0"  # pyarrow takes a stream that was cut off between batches for whole
_MEND = "mend it or leave it out"
_UNREADABLE = (zstandard.ZstdError, zlib.error, EOFError, OSError, pa.ArrowException)


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


@dataclass(frozen=True)
class Columns:
    """Where a record keeps its text and its domain; a dot goes into a struct. Several texts are joined by line ends.

    Without ``text`` it is the column of that name, or of a table its only column of text; without ``domain`` it is the
    Pile's ``meta.pile_set_name``, and ``all`` where there is none.
    """

    text: tuple[str, ...] = ()
    domain: str = ""

    def over(self, known: Columns) -> Columns:
        """These, and where they are left open those that are known of a corpus."""
        return Columns(self.text or known.text, self.domain or known.domain)

    def document(self, record: Any, place: str) -> Document:
        """A record as a document. Raises ShardError, which begins with ``place``."""
        texts = [_value(record, name) for name in self.text or ("text",)]
        if not all(isinstance(text, str) for text in texts):
            listed = ", ".join(record) if isinstance(record, Mapping) else type(record).__name__
            wanted = " and ".join(f'"{name}"' for name in self.text or ("text",))
            raise ShardError(
                f'{place}: no {wanted} string, but {listed}; a Pile document is {{"text": ..., "meta": ...}}, and '
                "other columns are named by text_columns="
            )
        domain = _value(record, self.domain or "meta.pile_set_name")
        if not isinstance(domain, str) and (self.domain or domain is not None):
            name = self.domain or "meta.pile_set_name"
            raise ShardError(f'{place}: no "{name}" string; domain_column= names the column of the domain')
        document = Document("\n".join(texts), domain if isinstance(domain, str) else NO_DOMAIN)
        try:  # JSON can spell half a surrogate pair, which is no character and has no UTF-8 form
            (document.text + document.domain).encode()
        except UnicodeEncodeError as error:
            wrong = f"an unpaired surrogate, {error.object[error.start]!a}"
            raise ShardError(f"{place}: {wrong}; {_MEND}") from error
        return document

    def is_null(self, record: Any) -> bool:
        """Whether a table's row has its columns of text, but nothing in them, as many data sets have rows."""
        names = self.text or ("text",)
        there = all(name in record or name.partition(".")[0] in record for name in names)
        return there and all(_value(record, name) is None for name in names)

    def of_table(self, schema: Mapping[str, bool], place: str) -> Columns:
        """The columns of a table, of which ``schema`` says whether each holds text. Raises ShardError."""
        if self.text or schema.get("text"):
            return self
        found = [name for name, is_text in schema.items() if is_text]
        if not found:
            listed = ", ".join(schema) or "none at all"
            raise ShardError(f"{place}: among its columns is no text: {listed}; give a corpus of documents")
        if len(found) != 1:
            raise ShardError(
                f"{place}: which column is the text? It has {', '.join(schema)}; say text_columns=NAME (or several)"
            )
        return Columns((found[0],), self.domain)


PILE = Columns()


def _value(record: Any, path: str) -> Any:
    if isinstance(record, Mapping) and path in record:
        return record[path]
    for name in path.split("."):
        if not isinstance(record, Mapping):
            return None
        record = record.get(name)
    return record


def write_shard(path: Path, documents: Iterable[Document]) -> None:
    """Write documents as ``.jsonl.zst``, the Pile's own packing; the file appears whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as raw:
            _pack(documents, raw)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def pack_shard(documents: Iterable[Document]) -> bytes:
    """What :func:`write_shard` writes."""
    packed = io.BytesIO()
    _pack(documents, packed)
    return packed.getvalue()


def _pack(documents: Iterable[Document], raw: BinaryIO) -> None:
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)  # without it a flipped bit reads as other text
    with compressor.stream_writer(raw, closefd=False) as packed:
        for document in documents:
            line = {"text": document.text, "meta": {"pile_set_name": document.domain}}
            packed.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


def read_documents(path: str | Path, columns: Columns = PILE) -> Iterator[Document]:
    """Stream the documents of a file (a path or a URI) in bounded memory: a line, or some rows, at a time.

    Raises ShardError, naming file and line, for a shard that is empty, cut off or corrupt, and for a line that is not
    UTF-8, not JSON, or has no ``text``.
    """
    number = 0
    name = str(path).partition("?")[0] if "://" in str(path) else str(path)  # of a URI, without its settings
    read, unit = (_from_lines, "line") if name.endswith(LINES) else (_from_table, "row")
    try:
        with open_binary(path, seekable=not name.endswith(LINES)) as stream:
            for number, document in read(stream, name, columns):  # noqa: B007
                yield document
    except (*_UNREADABLE, UnicodeDecodeError, OverflowError) as error:  # the last two of a Parquet file's values
        raise ShardError(f"{path}, after {unit} {number}: cannot be read ({error}); fetch the file anew") from error
    if not number:
        raise ShardError(f"{path}: the shard is empty; fetch it anew or remove it")


def read_records(path: str | Path) -> list[Any]:
    """The JSON of each line of a file of :data:`LINES`. Raises ShardError as :func:`read_documents`, but if empty."""
    number = 0
    records = []
    try:
        with open_binary(path) as stream:
            for number, record in _records(stream, str(path)):  # noqa: B007
                records.append(record)
    except _UNREADABLE as error:
        raise ShardError(f"{path}, after line {number}: cannot be read ({error}); fetch the file anew") from error
    return records


def _from_lines(stream: BinaryIO, path: str, columns: Columns) -> Iterator[tuple[int, Document]]:
    for number, record in _records(stream, path):
        yield number, columns.document(record, f"{path}, line {number}")


def _records(stream: BinaryIO, path: str) -> Iterator[tuple[int, Any]]:
    unpacked = gzip.GzipFile(fileobj=stream) if path.endswith(".gz") else stream
    chunks = _zstandard_chunks(stream) if path.endswith(".zst") else _chunks(unpacked)
    for number, line in enumerate(_split_lines(chunks), start=1):
        if line.strip():
            yield number, _parse(line, f"{path}, line {number}")


def _from_table(stream: BinaryIO, path: str, columns: Columns) -> Iterator[tuple[int, Document]]:
    if path.endswith(PARQUET):
        file = pq.ParquetFile(stream, page_checksum_verification=True)  # where the writer gave them
        schema, batches = file.schema_arrow, file.iter_batches(batch_size=ROWS)
    else:
        reader = pa.ipc.open_stream(stream)
        start = stream.tell()
        stream.seek(-len(END_OF_ARROW), os.SEEK_END)
        if stream.read() != END_OF_ARROW:
            raise EOFError("the file ends before its stream does")
        stream.seek(start)
        schema, batches = reader.schema, iter(reader)
    columns = columns.of_table({field.name: _is_text(field.type) for field in schema}, path)
    number = 0
    for batch in batches:
        batch.validate(full=True)  # a wrong offset in a damaged file would end the process, not raise
        for first in range(0, len(batch), ROWS):  # an Arrow file's batch may hold a thousand long documents
            for record in batch.slice(first, ROWS).to_pylist():
                number += 1
                if not columns.is_null(record):
                    yield number, columns.document(record, f"{path}, row {number}")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _chunks(stream: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _zstandard_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The frames of a file one after the other. zstandard's own reader takes a frame that was cut off for its end."""
    frame = None
    for chunk in _chunks(stream):
        while chunk:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(chunk)
            chunk, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
    if frame is not None:
        raise EOFError("the file ends in the middle of a zstandard frame")


def _split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    pieces: list[bytes] = []  # of a line that goes on; joined once, or a long one would be copied for each chunk
    for chunk in chunks:
        first, *more = chunk.split(b"\n")
        pieces.append(first)
        for line in more:
            yield b"".join(pieces)
            pieces = [line]
    if rest := b"".join(pieces):
        yield rest


def _parse(line: bytes, place: str) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ShardError(f"{place}: not valid UTF-8 (byte {error.start} of the line); {_MEND}") from error
    except json.JSONDecodeError as error:
        raise ShardError(f"{place}: not valid JSON ({error.msg}, column {error.colno}); {_MEND}") from error
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, or nesting without end
        raise ShardError(f"{place}: not JSON that Python reads ({error}); {_MEND}") from error
