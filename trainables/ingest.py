"""Corpus ingestion with Ray Data: shards are streamed, tokenised and packed once, for all trials of a sweep."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables import embedded
from trainables import tokenizers as tokenizing
from trainables.shards import SPLIT_VERSION, ShardError, find_shards, read_documents
from trainables.storage import CorruptFileError, Folder, canonical_json, sha256
from trainables.token_store import (
    HELD_OUT_BLOCKS,
    HELD_OUT_BLOCKS_PER_DOCUMENT,
    HELD_OUT_SPLITS,
    META,
    SPLITS,
    TOKENIZER,
    WINDOW,
    Blocks,
    Packer,
    TokenStore,
    encode_part,
    part_name,
)

if TYPE_CHECKING:
    from ray.data import Dataset

EMBEDDED = "embedded"
BPE = "bpe"
DOCUMENTS_PER_BATCH = 64


@dataclass(frozen=True)
class TokenSpec:
    """What determines the tokens of a corpus. ``corpus`` and ``tokenizer`` are the user's words or paths."""

    corpus: str
    corpus_fingerprint: str
    tokenizer: str
    vocab_size: int
    seq_len: int

    @classmethod
    def of(cls, *, corpus: str, tokenizer: str, vocab_size: int, seq_len: int) -> TokenSpec:
        """Raises ValueError for a corpus (then a ShardError) or a tokenizer that is not there."""
        if tokenizer != BPE and not Path(tokenizer).expanduser().is_file():
            raise ValueError(f"tokenizer {tokenizer}: no such file; give `{BPE}` or the path of a tokenizer.json")
        return cls(corpus, corpus_fingerprint(corpus), tokenizer, vocab_size, seq_len)

    @property
    def fingerprint(self) -> str:
        """The same for equal tokens, wherever the corpus lies."""
        identity = asdict(self) | {"split_version": SPLIT_VERSION, "window": WINDOW}
        identity["held_out"] = (HELD_OUT_BLOCKS, HELD_OUT_BLOCKS_PER_DOCUMENT)
        del identity["corpus"]
        if self.tokenizer == BPE:
            identity["training_bytes"] = tokenizing.TRAINING_BYTES
        else:
            identity["tokenizer"] = sha256(Path(self.tokenizer).expanduser().read_bytes())
        return sha256(canonical_json(identity))[:12]


def corpus_fingerprint(corpus: str) -> str:
    """Names a corpus by its files' names and sizes, without reading them. Raises ShardError if there are none."""
    if corpus == EMBEDDED:
        return embedded.fingerprint()
    files = [[path.name, path.stat().st_size] for path in find_shards(corpus)]
    return f"shards-{sha256(canonical_json(files))[:12]}"


def prepare(
    spec: TokenSpec,
    folder: Folder,
    *,
    blocks: int,
    embedded_shards: Path,
    say: Callable[[str], None] = lambda line: None,
) -> TokenStore:
    """The token store in ``folder`` with at least ``blocks`` training blocks (or the whole corpus); made where missing.

    Needs a running Ray. Raises ShardError for bad input, ValueError for a tokenizer that does not fit the model.
    """
    if folder.exists(META):
        store = TokenStore.open(folder)
        if store.serves(blocks) and not store.lost_files():
            return store
        blocks = max(blocks, store.train_blocks)
    if spec.corpus == EMBEDDED:
        shards = sorted(embedded_shards.glob("*.jsonl.zst"))
        if len(shards) != embedded.SHARDS:
            say("writing the embedded corpus (CPython's language reference and standard library) as Pile-format shards")
            shards = embedded.write_shards(embedded_shards)
    else:
        shards = find_shards(spec.corpus)
    tokenizer = _tokenizer(spec, shards)
    say(f"streaming {len(shards)} shards through Ray Data: tokenise and pack {blocks} blocks of {spec.seq_len}")
    # Closed whatever stops packing: a stream that outlives Ray makes Ray Data start another Ray.
    with contextlib.closing(tokenized_documents(shards, tokenizer.to_str())) as documents:
        return pack(documents, spec, folder, blocks=blocks, tokenizer_json=tokenizer.to_str())


def _tokenizer(spec: TokenSpec, shards: list[Path]) -> Any:
    if spec.tokenizer == BPE:
        tokenizer = tokenizing.train_bpe(shards, spec.vocab_size)
    else:
        tokenizer = tokenizing.load(spec.tokenizer)
    size = tokenizer.get_vocab_size()
    if size > spec.vocab_size:
        raise ValueError(
            f"tokenizer {spec.tokenizer}: {size} tokens do not fit the model's vocabulary of {spec.vocab_size}; "
            f"choose a model whose vocab_size is at least {size}, or tokenizer={BPE}"
        )
    return tokenizer


def tokenized_documents(
    shards: Iterable[Path], tokenizer_json: str
) -> Generator[tuple[str, str, np.ndarray], None, None]:
    """(split, domain, token ids) of every document, in the order of the shards, streamed by Ray Data.

    Each shard is one generator task: a batch of documents leaves it as soon as it is tokenised, so memory is bounded
    by the batch, not by the shard. Raises ShardError.
    """
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it prints its plan and its pace
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True  # else the order, and with it every trial, depends on timing
    context.enable_progress_bars = False
    rows = [{"shard": str(path), "tokenizer": tokenizer_json} for path in shards]
    dataset: Dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        tokenize_shard, batch_size=1, zero_copy_batch=True
    )
    try:
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2):
            splits, domains = batch.column("split").to_pylist(), batch.column("domain").to_pylist()
            for index, (split, domain) in enumerate(zip(splits, domains, strict=True)):
                yield split, domain, batch.column("ids")[index].values.to_numpy()
    except Exception as error:
        found = _shard_error(error)
        if found is None:
            raise
        raise found from error


def _shard_error(error: BaseException) -> ShardError | None:
    """The ShardError that a Ray task raised, without Ray's wrapping; its message is all a user needs."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ShardError):
            return ShardError(*seen.args)
        seen = getattr(seen, "cause", None) or seen.__cause__
    return None


def tokenize_shard(row: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Ray Data's generator UDF: a shard's documents as batches of {split, domain, ids}."""
    import pyarrow as pa
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(str(row["tokenizer"][0]))
    tokenizer.encode_special_tokens = True  # a text that mentions <|endoftext|> does not end there
    batch = []
    for document in read_documents(str(row["shard"][0])):
        batch.append(document)
        if len(batch) == DOCUMENTS_PER_BATCH:
            yield _tokenize(tokenizer, batch, pa)
            batch = []
    if batch:
        yield _tokenize(tokenizer, batch, pa)


def _tokenize(tokenizer: Any, documents: list[Any], pa: Any) -> Any:
    encoded = tokenizer.encode_batch_fast([document.text for document in documents], add_special_tokens=False)
    return pa.table(
        {
            "split": [document.split for document in documents],
            "domain": [document.domain for document in documents],
            "ids": pa.array([np.asarray(one.ids, dtype=np.uint32) for one in encoded], type=pa.list_(pa.uint32())),
        }
    )


def pack(
    documents: Iterable[tuple[str, str, np.ndarray]],
    spec: TokenSpec,
    folder: Folder,
    *,
    blocks: int,
    tokenizer_json: str,
) -> TokenStore:
    """Pack a stream of tokenised documents into ``folder`` until ``blocks`` training blocks are there, or it ends."""
    from tokenizers import Tokenizer

    known_store = TokenStore.open(folder) if folder.exists(META) else None
    before, lost = (known_store.meta, known_store.lost_files()) if known_store else (None, [])
    end_of_text = Tokenizer.from_str(tokenizer_json).token_to_id(tokenizing.END_OF_TEXT)
    assert end_of_text is not None, "every tokenizer we train or load has the token"
    digests: dict[str, list[str]] = {split: [] for split in SPLITS}

    def writer(split: str) -> Callable[[int, Blocks], None]:
        def write(index: int, part: Blocks) -> None:
            if index and split != "train":
                return  # held-out splits are their first part
            data = encode_part(part)
            known = before[split]["sha256"][index : index + 1] if before else []
            if known and known != [sha256(data)]:
                raise CorruptFileError(
                    f"{folder}/{part_name(split, index)}: the corpus {spec.corpus} no longer gives these tokens; "
                    "its files were changed. Use another store for the changed corpus."
                )
            digests[split].append(sha256(data))
            if not known or part_name(split, index) in lost:
                folder.write(part_name(split, index), data)

        return write

    dtype = np.dtype(np.uint16 if spec.vocab_size <= 2**16 else np.uint32)
    packers = {
        split: Packer(
            length=spec.seq_len + 1,
            dtype=dtype,
            end_of_text=end_of_text,
            size=WINDOW if split == "train" else HELD_OUT_BLOCKS,
            write=writer(split),
        )
        for split in digests
    }
    held_out_length = HELD_OUT_BLOCKS_PER_DOCUMENT * (spec.seq_len + 1)
    complete = True
    for split, domain, ids in documents:
        packers[split].add(domain, ids if split == "train" else ids[:held_out_length])
        if packers["train"].parts * WINDOW >= blocks and all(packers[name].parts for name in HELD_OUT_SPLITS):
            complete = False
            break
    if complete:
        for packer in packers.values():
            packer.finish()
        if not all(digests.values()):
            short = ", ".join(split for split, parts in digests.items() if not parts)
            raise ShardError(
                f"corpus {spec.corpus}: too small for one block of {spec.seq_len + 1} tokens in: {short}; "
                "give more text or a smaller seq_len"
            )
    folder.write(TOKENIZER, tokenizer_json.encode())
    counts = {
        split: {
            "blocks": packer.blocks if split == "train" else min(packer.blocks, HELD_OUT_BLOCKS),
            "sha256": digests[split],
        }
        for split, packer in packers.items()
    }
    about = {"complete": complete, "fingerprint": spec.fingerprint, "tokenizer_sha256": sha256(tokenizer_json.encode())}
    folder.write_json(META, {**asdict(spec), **counts, **about})
    return TokenStore.open(folder)
