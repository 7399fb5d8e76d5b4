"""Streams of tokenised documents, packed into a token store."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trainables import mixture
from trainables.corpus import SPLITS
from trainables.shards import ShardError
from trainables.storage import CorruptFileError, Folder, sha256
from trainables.token_spec import TokenSpec
from trainables.token_store import (
    HELD_OUT_BLOCKS,
    HELD_OUT_BLOCKS_PER_DOCUMENT,
    META,
    TOKENIZER,
    WINDOW,
    Blocks,
    Packer,
    TokenStore,
    encode_part,
    part_name,
)

TokenizedDocument = tuple[str, str, np.ndarray]  # split, domain, token ids


@dataclass(frozen=True)
class Stream:
    """Tokenised documents of these splits; it is left as soon as enough of them is packed."""

    splits: tuple[str, ...]
    documents: Generator[TokenizedDocument, None, None]


def prepared(folder: Folder, blocks: int) -> TokenStore | None:
    """The token store in ``folder`` if it is whole and serves ``blocks``."""
    if not folder.exists(META):
        return None
    store = TokenStore.open(folder)
    return store if store.serves(blocks) and not store.lost_files() else None


def pack(
    streams: Iterable[Stream],
    spec: TokenSpec,
    folder: Folder,
    *,
    blocks: int,
    tokenizer_json: str,
    commit: str | None = None,
    progress: Callable[[int], None] = lambda blocks: None,
) -> TokenStore:
    """Pack streams of tokenised documents into ``folder`` until ``blocks`` training blocks are there, or they end."""
    from tokenizers import Tokenizer

    end_of_text = Tokenizer.from_str(tokenizer_json).token_to_id(spec.end_of_text)
    assert end_of_text is not None, "every tokenizer we train or load has the token"
    writer = _Writer.of(spec, folder)
    shares = mixture.parse(spec.mixture)
    packers = {
        split: Packer(
            length=spec.seq_len + 1,
            dtype=np.dtype(np.uint16 if spec.vocab_size <= 2**16 else np.uint32),
            end_of_text=end_of_text,
            size=WINDOW if split == "train" else HELD_OUT_BLOCKS,
            write=functools.partial(writer.write, split),
            mixer=mixture.Mixer(shares) if shares and split == "train" else None,
        )
        for split in SPLITS
    }

    def enough(split: str) -> bool:
        packer = packers[split]
        return packer.parts * WINDOW >= blocks if split == "train" else packer.parts > 0

    held_out_length = HELD_OUT_BLOCKS_PER_DOCUMENT * (spec.seq_len + 1)
    complete = True
    for stream in streams:
        for split, domain, ids in stream.documents:
            packers[split].add(domain, ids if split == "train" else ids[:held_out_length])
            if split == "train":
                progress(packers[split].packed)
            if all(map(enough, stream.splits)):
                complete = complete and "train" not in stream.splits
                break
    for split, packer in packers.items():
        if complete or (split != "train" and not packer.parts):
            packer.finish()
    if not all(writer.digests.values()):
        short = ", ".join(split for split, parts in writer.digests.items() if not parts)
        raise ShardError(
            f"corpus {spec.corpus}: too small for one block of {spec.seq_len + 1} tokens in: {short}; "
            "give more text or a smaller seq_len"
        )
    counts: dict[str, dict[str, Any]] = {
        split: {
            "blocks": packer.blocks if split == "train" else min(packer.blocks, HELD_OUT_BLOCKS),
            "sha256": writer.digests[split],
        }
        for split, packer in packers.items()
    }
    folder.write(TOKENIZER, tokenizer_json.encode())
    if (meanwhile := prepared(folder, counts["train"]["blocks"] + 1)) and not complete:
        return meanwhile  # another sweep, which shares this store, has packed more of the same
    about = {
        "complete": complete,
        "commit": commit,
        "fingerprint": spec.fingerprint,
        "tokenizer_sha256": sha256(tokenizer_json.encode()),
    }
    folder.write_json(META, {**asdict(spec), **counts, **about})
    return TokenStore.open(folder)


@dataclass(frozen=True)
class _Writer:
    """Writes parts that are not there yet, and compares the others with what an earlier ingestion wrote."""

    spec: TokenSpec
    folder: Folder
    known: dict[str, list[str]]
    lost: list[str]
    digests: dict[str, list[str]]

    @classmethod
    def of(cls, spec: TokenSpec, folder: Folder) -> _Writer:
        store = TokenStore.open(folder) if folder.exists(META) else None
        known = {split: store.meta[split]["sha256"] if store else [] for split in SPLITS}
        return cls(spec, folder, known, store.lost_files() if store else [], {split: [] for split in SPLITS})

    def write(self, split: str, index: int, part: Blocks) -> None:
        """Raises CorruptFileError where the corpus no longer gives the tokens of a part."""
        if index and split != "train":
            return  # held-out splits are their first part
        data = encode_part(part)
        known = self.known[split][index : index + 1]
        if known and known != [sha256(data)]:
            raise CorruptFileError(
                f"{self.folder}/{part_name(split, index)}: the corpus {self.spec.corpus} no longer gives these tokens; "
                "its files were changed. Use another folder of stores for the changed corpus."
            )
        self.digests[split].append(sha256(data))
        if not known or part_name(split, index) in self.lost:
            self.folder.write(part_name(split, index), data)
