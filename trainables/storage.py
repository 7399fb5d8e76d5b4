"""Atomic, hashed files in a folder on any ``pyarrow.fs`` file system.

A reader never sees half a file: locally a file is written beside its place and renamed over it; an object store
publishes an object only when it is complete. A folder of several files counts as committed once its
``manifest.json`` (sizes and sha256, written last) is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, TypeVar
from urllib.parse import quote

from pyarrow import fs

from trainables.address import Address, with_options
from trainables.redaction import holds_keys
from trainables.typed import FormError, read

MANIFEST = "manifest.json"
SHA256 = b'{"sha256":"'  # how a compact record begins
STREAM_BYTES = 1 << 20
AWAY_S = 60.0  # for so long a store on the network may be away, and a sweep waits for it
AGAIN_S = 1.0
T = TypeVar("T")


class CorruptFileError(ValueError):
    """A stored file is not what was written: cut short, changed, or not in our format."""


class _Entry(TypedDict):
    bytes: int
    sha256: str


class _Manifest(TypedDict):
    files: dict[str, _Entry]


def canonical_json(value: Any) -> bytes:
    """``value`` as the one JSON text that equal values share: sorted keys, no spaces, UTF-8.

    Raises TypeError for anything JSON cannot say exactly (a set, a callable, a NaN would hash differently each time).
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def local_path(word: str | os.PathLike[str]) -> Path:
    """A user's word as an absolute local path. Raises ValueError for the home folder of nobody, and for a URI with keys
    in it, which would no longer be told from a path."""
    refuse_keys(os.fspath(word))
    try:
        return Path(word).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"{os.fspath(word)}: {error} Write the path out") from error


def refuse_unprintable(word: str) -> None:
    """Raises ValueError for a word with a control character, or with a byte that is not UTF-8: no path or name that is
    meant has one, and neither records nor a terminal can hold it."""
    if wrong := next((one for one in word if unicodedata.category(one) in ("Cc", "Cs")), None):
        raise ValueError(f"{word!a}: holds {wrong!a}, which is no character of a text; leave it out")


def refuse_keys(uri: str) -> None:
    """Raises ValueError for a URI with a user, a password or a secret setting: words are recorded with the results."""
    if holds_keys(uri):
        scheme = uri.partition("://")[0]
        raise ValueError(
            f"{scheme}://...: keys in an address would be kept with the results; give them by the environment instead "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the provider's own)"
        )


def open_binary(uri: str | os.PathLike[str], *, seekable: bool = False) -> BinaryIO:
    """A file at a local path or URI, for reading in pieces. Raises OSError, and ValueError as :meth:`Folder.open`."""
    place = Folder.open(uri)
    if seekable:
        return place.filesystem.open_input_file(place.path)
    # buffered: each read of an object store is a request
    return place.filesystem.open_input_stream(place.path, compression=None, buffer_size=STREAM_BYTES)


def _record(body: dict[str, Any]) -> bytes:
    record = {**body, "sha256": sha256(canonical_json(body))}
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _compact(body: dict[str, Any]) -> bytes:
    """The same record on one line, its hash first: what follows is what was hashed, and need not be made again."""
    assert body, "there is something to record"
    text = canonical_json(body)
    return b'{"sha256":"%s",%s\n' % (sha256(text).encode(), text[1:])


def _is_compact(data: bytes) -> bool:
    """Whether it is a whole record of :func:`_compact`'s."""
    begin, digest, rest = data[: len(SHA256)], data[len(SHA256) : len(SHA256) + 64], data[len(SHA256) + 66 : -1]
    return begin == SHA256 and sha256(b"{" + rest).encode() == digest


@dataclass(frozen=True)
class Folder:
    """A folder, named by a path or a URI; it need not exist yet.

    anchor: a local file that must exist for anything to be written here. Where a disk is taken away, its empty mount
    point stays, or nothing; what is then made anew there is lost to those who look when it is back.
    address: of one that is not local. away: told, once for each time, when a store that was there cannot be reached,
    and then it is waited for; None: it is not.
    """

    filesystem: fs.FileSystem
    path: str
    anchor: str | None = None
    address: Address | None = None
    away: Callable[[str], None] | None = dataclasses.field(default=None, compare=False)

    @classmethod
    def open(cls, uri: str | os.PathLike[str]) -> Folder:
        """The folder at a local path or any URI that ``pyarrow.fs`` knows (``s3://``, ``gs://``, ``file://``).

        Raises ValueError for a URI of no known scheme or without a bucket, for one that holds keys, and for what is no
        text.
        """
        text = os.fspath(uri)
        refuse_unprintable(text)
        if "://" not in text:
            return cls(fs.LocalFileSystem(), str(local_path(text)))
        refuse_keys(text)
        try:
            filesystem, path = fs.FileSystem.from_uri(with_options(text))
        except Exception as error:
            raise ValueError(f"{text}: not a path or a URI that pyarrow can open ({error})") from error
        refuse_unprintable(path)
        if not path.strip("/") and filesystem.type_name != "local":  # gs:// would wait for ever
            raise ValueError(f"{text}: names no bucket; write for example {text.partition(':')[0]}://BUCKET/FOLDER")
        path = path.rstrip("/")
        return cls(filesystem, path, address=None if filesystem.type_name == "local" else Address.of(text, path))

    def __truediv__(self, name: str) -> Folder:
        return dataclasses.replace(self, path=f"{self.path}/{name}")

    @property
    def parent(self) -> Folder:
        """The folder around it; a bucket is its own."""
        return dataclasses.replace(self, path=self.path.rpartition("/")[0] or self.path, anchor=None)

    def anchored(self, name: str, away: Callable[[str], None] = lambda line: None) -> Folder:
        """This folder, with a file in it as the anchor. Raises FileNotFoundError where it is a local one and gone; of
        one on the network, ``away`` hears that it is, and it is waited for, at most ``AWAY_S``."""
        if not self.is_local:
            return dataclasses.replace(self, away=away)
        found = dataclasses.replace(self, anchor=f"{self.path}/{name}")
        found._require_anchor()
        return found

    def _patiently(self, action: Callable[[], T]) -> T:
        """What ``action`` gives, which may be repeated; pyarrow itself repeats a request of S3 for 6 s."""
        until = None
        while True:
            try:
                return action()
            except FileNotFoundError:
                raise
            except OSError as error:
                if self.away is None:
                    raise
                if until is None:
                    until = time.monotonic() + AWAY_S
                    self.away(f"{self}: cannot be reached, trying again for {AWAY_S:.0f} s: {error}")
                if time.monotonic() > until:
                    raise
            time.sleep(AGAIN_S)

    def _info(self, target: str | fs.FileSelector) -> Any:
        return self._patiently(lambda: self.filesystem.get_file_info(target))

    def _require_anchor(self) -> None:
        if self.anchor is not None and not os.path.exists(self.anchor):
            raise FileNotFoundError(errno.ENOENT, "has gone, and with it the folder that it is in", self.anchor)

    @property
    def is_local(self) -> bool:
        return bool(self.filesystem.type_name == "local")

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        """For people: a URI without its settings."""
        if self.address:
            return self.address.uri(self.path)
        return self.path if self.is_local else f"{self.filesystem.type_name}://{self.path}"

    @property
    def uri(self) -> str:
        """What :meth:`open` opens this folder by, in any process."""
        if self.address is None:
            return str(self)
        return self.address.uri(quote(self.path)) + self.address.settings

    def exists(self, name: str = "") -> bool:
        target = f"{self.path}/{name}" if name else self.path
        return bool(self._info(target).type != fs.FileType.NotFound)

    def has(self, name: str) -> bool:
        """Whether there is such a file: one request of an object store, where :meth:`exists` takes two to find that
        there is no folder of that name either."""
        if self.is_local:
            return self.exists(name)
        try:
            self._patiently(lambda: self.filesystem.open_input_file(f"{self.path}/{name}").close())
        except FileNotFoundError:
            return False
        return True

    def is_file(self) -> bool:
        return bool(self._info(self.path).type == fs.FileType.File)

    def names(self) -> list[str]:
        """Names of the files and folders directly inside, sorted; empty where the folder does not exist."""
        infos = self._info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in infos if ".tmp-" not in info.base_name)

    def holding(self, name: str) -> list[str]:
        """Names of the folders directly inside that have a file of that name, sorted.

        Of an object store all in it is listed: one request for each 1,000 files, not one for each folder.
        """
        if self.is_local:
            return [folder for folder in self.names() if (self / folder).has(name)]
        infos = self._info(fs.FileSelector(self.path, allow_not_found=True, recursive=True))
        inside = (info.path[len(self.path) :].strip("/").split("/") for info in infos if info.type == fs.FileType.File)
        return sorted(parts[0] for parts in inside if parts[1:] == [name])

    def sizes(self) -> dict[str, int]:
        """Bytes of the files directly inside, by name, sorted; nothing where the folder does not exist."""
        infos = self._info(fs.FileSelector(self.path, allow_not_found=True))
        files = (info for info in infos if info.type == fs.FileType.File and ".tmp-" not in info.base_name)
        return {info.base_name: info.size for info in sorted(files, key=lambda info: info.base_name)}

    def total_bytes(self) -> int:
        """Sizes of all files in it, at any depth; 0 where the folder does not exist."""
        infos = self._info(fs.FileSelector(self.path, allow_not_found=True, recursive=True))
        return sum(info.size for info in infos if info.type == fs.FileType.File)

    def remove_temporary(self, older_than_s: float = 0.0) -> int:
        """Delete what writers that were killed left half written, at any depth, and how many files that was.

        Nobody else may be writing here, or nothing that takes longer. An object store has nothing of the kind.
        """
        if not self.is_local:
            return 0
        count = 0
        for path in Path(self.path).rglob("*.tmp-*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime >= older_than_s:
                    path.unlink()
                    count += 1
        return count

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises FileNotFoundError, and CorruptFileError where a folder is in its place."""
        try:
            return self._patiently(lambda: self._read(f"{self.path}/{name}"))
        except FileNotFoundError:
            raise
        except OSError as error:
            if self.filesystem.get_file_info(f"{self.path}/{name}").type == fs.FileType.Directory:
                raise CorruptFileError(f"{self}/{name}: is a folder, and a file belongs there; move it away") from error
            raise

    def _read(self, path: str) -> bytes:
        with self.filesystem.open_input_file(path) as stream:
            return bytes(stream.read())

    def write(self, name: str, data: bytes) -> None:
        """Write the whole file or nothing; an older file of that name is replaced at once."""
        if self.is_local:
            self._require_anchor()
            self._write_local(Path(self.path) / name, data)
        else:
            self._patiently(lambda: self._write_remote(f"{self.path}/{name}", data))

    def _write_remote(self, path: str, data: bytes) -> None:
        try:
            stream = self.filesystem.open_output_stream(path, compression=None)  # else it goes by the name: .zst, .gz
        except FileNotFoundError:  # object stores have no folders to make, other file systems do
            self.filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            stream = self.filesystem.open_output_stream(path, compression=None)
        with stream:
            stream.write(data)

    @staticmethod
    def _write_local(target: Path, data: bytes) -> None:
        temporary = target.with_name(f"{target.name}.tmp-{uuid.uuid4().hex[:8]}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        except OSError as error:  # a full disk does not say where
            raise OSError(error.errno, error.strerror, str(target)) from error
        finally:
            temporary.unlink(missing_ok=True)

    def delete(self, name: str = "") -> None:
        """Delete a file or a whole folder; nothing happens where there is none."""
        self._patiently(lambda: self._delete(f"{self.path}/{name}" if name else self.path))

    def _delete(self, target: str) -> None:
        kind = self.filesystem.get_file_info(target).type
        if kind == fs.FileType.Directory:
            self.filesystem.delete_dir(target)
        elif kind == fs.FileType.File:
            self.filesystem.delete_file(target)

    def write_json(self, name: str, body: dict[str, Any], *, compact: bool = False) -> None:
        """Write a record that carries its own sha256, so that :meth:`read_json` notices any change. compact: on one
        line, which is read twice as fast."""
        self.write(name, _compact(body) if compact else _record(body))

    def create_json(self, name: str, body: dict[str, Any]) -> bool:
        """Write such a record if there is no file of that name; whether it did. Of several that try at once one does;
        on an object store, which has no such promise, the last one's stays."""
        if not self.is_local:
            if self.has(name):
                return False
            self.write_json(name, body)
            return True
        Path(self.path).mkdir(parents=True, exist_ok=True)
        try:
            with (Path(self.path) / name).open("xb") as stream:
                stream.write(_record(body))
        except FileExistsError:
            return False
        return True

    def read_json(self, name: str) -> dict[str, Any]:
        """A record written by :meth:`write_json`. Raises FileNotFoundError, CorruptFileError."""
        data = self.read(name)
        try:
            body = json.loads(data)
            digest = body.pop("sha256")
            unchanged = _is_compact(data) or digest == sha256(canonical_json(body))
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise CorruptFileError(f"{self}/{name}: not a record of ours ({error!r})") from error
        if not unchanged:
            raise CorruptFileError(f"{self}/{name}: its content does not match its sha256")
        return dict(body)

    def read_record(self, name: str, form: Callable[[dict[str, Any]], T]) -> T:
        """A record as ``form`` makes it of :meth:`read_json`'s, or refuses it with a FormError: what another program
        wrote has a right sha256, too. Raises FileNotFoundError, CorruptFileError."""
        body = self.read_json(name)
        try:
            return form(body)
        except FormError as error:
            raise CorruptFileError(f"{self}/{name}: not a record of ours ({error})") from error

    def manifest(self) -> dict[str, _Entry]:
        """Sizes and hashes of the files of a committed folder. Raises FileNotFoundError, CorruptFileError."""
        found: _Manifest = self.read_record(MANIFEST, functools.partial(read, _Manifest))
        return found["files"]

    def commit(self, files: Iterable[tuple[str, bytes]], **about: Any) -> None:
        """Write several files and then the manifest that makes them count. Streams: one file in memory at a time."""
        entries = {}
        for name, data in files:
            self.write(name, data)
            entries[name] = {"bytes": len(data), "sha256": sha256(data)}
        self.write_json(MANIFEST, {"files": entries, **about})

    def is_committed(self) -> bool:
        return self.has(MANIFEST)

    def read_committed(self, name: str) -> bytes:
        """A file of a committed folder, checked against the manifest. Raises FileNotFoundError, CorruptFileError."""
        entry = self.manifest().get(name)
        if entry is None:
            raise FileNotFoundError(f"{self}/{name}: not one of the files that were committed here")
        data = self.read(name)
        if len(data) != entry["bytes"] or sha256(data) != entry["sha256"]:
            raise CorruptFileError(f"{self}/{name}: {len(data)} bytes that do not match the manifest's sha256")
        return data
