"""The token store: packed, fixed-length token blocks in Parquet, read in an order that is a pure function.

A block holds ``seq_len + 1`` token ids (inputs and targets overlap by all but one) of one domain. Blocks keep the order
of the stream and lie in parts of ``WINDOW`` blocks. Training visits the parts in order and shuffles within each part by
(data_seed, epoch, part): the order up to any step does not depend on how much of the corpus was ingested, so a sweep
can be extended by larger budgets, and a trial needs just one part in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainables.corpus import SPLITS
from trainables.mixture import Mixer
from trainables.storage import CorruptFileError, Folder, sha256
from trainables.typed import read

WINDOW = 1024  # blocks per part; at 2049 uint16 tokens a part is 4 MB
META = "tokens.json"
TOKENIZER = "tokenizer.json"
HELD_OUT_BLOCKS = 128  # of each; the first of the stream, so that ingesting more never changes them
HELD_OUT_BLOCKS_PER_DOCUMENT = 4  # a held-out document is cut here, or one long file would be the whole split


class Parts(TypedDict):
    """Of a split: its blocks, and the sha256 of each part."""

    blocks: int
    sha256: list[str]


class Meta(TypedDict):
    """What a token store says of itself, beside the :class:`trainables.token_spec.TokenSpec` that it was made by."""

    train: Parts
    validation: Parts
    test: Parts
    complete: bool
    commit: str | None
    tokenizer_sha256: str
    end_of_text: str
    vocab_size: int


@dataclass(frozen=True)
class Blocks:
    """Packed blocks: ``tokens`` (blocks, seq_len + 1) and the domain of each block."""

    tokens: np.ndarray
    domains: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass
class Packer:
    """Concatenates a split's documents per domain and cuts blocks; a part is handed on as soon as it is full.

    mixer: which of the blocks are taken; without one, all are.
    """

    length: int
    dtype: np.dtype
    end_of_text: int
    size: int
    write: Callable[[int, Blocks], None]
    mixer: Mixer | None = None
    parts: int = 0
    blocks: int = 0  # handed on
    _pending: dict[str, list[np.ndarray]] = field(default_factory=dict)
    _pending_length: dict[str, int] = field(default_factory=dict)
    _blocks: list[np.ndarray] = field(default_factory=list)
    _domains: list[str] = field(default_factory=list)

    def add(self, domain: str, ids: np.ndarray) -> None:
        """Append one document and its end-of-text token."""
        pieces = self._pending.setdefault(domain, [])
        pieces += [ids.astype(self.dtype), np.array([self.end_of_text], dtype=self.dtype)]
        length = self._pending_length.get(domain, 0) + len(ids) + 1
        cut: list[np.ndarray] = []
        if length >= self.length:
            joined = np.concatenate(pieces)
            whole = len(joined) // self.length
            cut = list(joined[: whole * self.length].reshape(whole, self.length))
            self._pending[domain] = [joined[whole * self.length :]]
            length = len(joined) - whole * self.length
        self._pending_length[domain] = length
        for name, block in self.mixer.take(domain, cut) if self.mixer else ((domain, block) for block in cut):
            self._blocks.append(block)
            self._domains.append(name)
        while len(self._blocks) >= self.size:
            self._hand_on(self.size)

    @property
    def packed(self) -> int:
        """Blocks handed on and waiting for their part to be full."""
        return self.blocks + len(self._blocks)

    def finish(self) -> None:
        """Hand on the last, partial part; a tail shorter than one block is dropped.

        Raises ShardError where the corpus has nothing of a domain that the mixture wants.
        """
        if self.mixer:
            self.mixer.check()
        if self._blocks:
            self._hand_on(len(self._blocks))

    def _hand_on(self, count: int) -> None:
        self.write(self.parts, Blocks(np.stack(self._blocks[:count]), tuple(self._domains[:count])))
        self.parts += 1
        self.blocks += count
        del self._blocks[:count], self._domains[:count]


def part_name(split: str, index: int) -> str:
    return f"{split}-{index:06d}.parquet"


def encode_part(blocks: Blocks) -> bytes:
    """A part as Parquet: column ``tokens`` (fixed-size list of uint16 or uint32) and ``domain`` (dictionary)."""
    values = pa.array(blocks.tokens.reshape(-1))
    table = pa.table(
        {
            "tokens": pa.FixedSizeListArray.from_arrays(values, blocks.tokens.shape[1]),
            "domain": pa.array(blocks.domains).dictionary_encode(),
        }
    )
    sink = pa.BufferOutputStream()
    # Split by byte, real text packs to .70 of its 16 bits, and is written in 2/3 and read in 1/7 of the time that the
    # default takes, a dictionary of 24,000 tokens.
    split = {"use_dictionary": ["domain"], "use_byte_stream_split": ["tokens.list.element"]}
    pq.write_table(table, sink, compression="zstd", **split)
    return sink.getvalue().to_pybytes()


def decode_part(data: bytes) -> Blocks:
    table = pq.read_table(pa.BufferReader(data)).combine_chunks()
    tokens = table.column("tokens").combine_chunks()
    array = tokens.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1)
    return Blocks(array, tuple(table.column("domain").to_pylist()))


@dataclass
class TokenStore:
    """A prepared token store. :meth:`open` raises ValueError where there is none, or a damaged one."""

    folder: Folder
    meta: dict[str, Any]  # a Meta
    _window: tuple[tuple[int, int, int], np.ndarray] | None = None  # (data_seed, epoch, part) and its shuffled blocks

    @classmethod
    def open(cls, folder: Folder) -> TokenStore:
        if not folder.exists(META):
            raise ValueError(f"{folder}: no token store there ({META} is missing)")
        try:
            return cls(folder, folder.read_record(META, functools.partial(read, Meta)))
        except CorruptFileError as error:
            raise CorruptFileError(f"{error}; delete this file and run again, it is made anew") from error

    @property
    def train_blocks(self) -> int:
        return int(self.meta["train"]["blocks"])

    @property
    def complete(self) -> bool:
        """Whether the whole corpus was ingested, so that training beyond it means further epochs."""
        return bool(self.meta["complete"])

    def serves(self, blocks: int) -> bool:
        """Whether a trial that reads ``blocks`` blocks finds them all here (or may go round again)."""
        return self.train_blocks >= blocks or (self.complete and self.train_blocks > 0)

    def lost_files(self) -> list[str]:
        """Names of the files that are gone; :func:`trainables.ingest.prepare` makes them anew."""
        names = set(self.folder.names())
        parts = (part_name(split, i) for split in SPLITS for i in range(len(self.meta[split]["sha256"])))
        return [name for name in (TOKENIZER, *parts) if name not in names]

    def read_tokenizer(self) -> str:
        """The tokenizer's JSON, checked against its sha256. Raises CorruptFileError."""
        try:
            return self._read(TOKENIZER, self.meta["tokenizer_sha256"]).decode()
        except UnicodeDecodeError as error:
            raise CorruptFileError(f"{self.folder}/{TOKENIZER}: not a tokenizer ({error})") from error

    def read_part(self, split: str, index: int) -> Blocks:
        """One part, checked against its sha256. Raises CorruptFileError."""
        name = part_name(split, index)
        data = self._read(name, self.meta[split]["sha256"][index])
        try:
            return decode_part(data)
        except pa.ArrowException as error:
            raise CorruptFileError(f"{self.folder}/{name}: not Parquet ({error})") from error

    def _read(self, name: str, digest: str) -> bytes:
        try:
            data = self.folder.read(name)
        except FileNotFoundError:
            raise CorruptFileError(f"{self.folder}/{name}: is gone; run again and it is made anew") from None
        if sha256(data) != digest:
            raise CorruptFileError(f"{self.folder}/{name}: does not match its sha256; delete this file and run again")
        return data

    def held_out(self, split: str, limit: int) -> Blocks:
        """The first ``limit`` blocks of a held-out split (they always fit one part)."""
        part = self.read_part(split, 0)
        return Blocks(part.tokens[:limit], part.domains[:limit])

    def batch(self, *, data_seed: int, start: int, count: int) -> np.ndarray:
        """Blocks ``start .. start + count`` of the training order, shape (count, seq_len + 1), int64.

        Raises ValueError where the store is too small and the corpus goes on.
        """
        if not self.serves(start + count):
            raise ValueError(
                f"{self.folder}: holds {self.train_blocks} training blocks, {start + count} are needed; "
                "run the sweep again so that more of the corpus is ingested"
            )
        return np.stack([self._block(data_seed, position) for position in range(start, start + count)])

    def _block(self, data_seed: int, position: int) -> np.ndarray:
        epoch, offset = divmod(position, self.train_blocks)
        index, place = divmod(offset, WINDOW)
        key = (data_seed, epoch, index)
        if self._window is None or self._window[0] != key:
            tokens = self.read_part("train", index).tokens
            self._window = (key, tokens[np.random.default_rng(key).permutation(len(tokens))])
        return self._window[1][place].astype(np.int64)
