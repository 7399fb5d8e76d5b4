"""Corpus ingestion with Ray Data: shards are streamed, tokenised and packed once, for all trials of a sweep."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables import corpus as corpora
from trainables import embedded, mixture
from trainables import tokenizers as tokenizing
from trainables.config import ModelConfig
from trainables.corpus import SPLITS, Files, Shard, labelled
from trainables.shards import PILE, SPLIT_VERSION, Columns, Document, ShardError
from trainables.storage import CorruptFileError, Folder, canonical_json, sha256
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

if TYPE_CHECKING:
    from ray.data import Dataset

DOCUMENTS_PER_BATCH = 64
CHARACTERS_PER_BATCH = 1 << 20  # a batch of books is cut earlier: its tokens take 20 bytes a character
# Ray Data hands a task's output on in blocks of this size; by default 128 MB, 34 million tokens that a small budget
# would wait for in vain. Of 1 MB, a third of the time goes into handing them on.
OUTPUT_BYTES = 8 << 20
TokenizedDocument = tuple[str, str, np.ndarray]  # split, domain, token ids


@dataclass(frozen=True)
class TokenSpec:
    """What determines the tokens of a corpus. ``corpus`` and ``tokenizer`` are the user's words, the latter a path once
    found; ``vocab_size`` is that of the tokenizer (of a BPE yet to be trained: the model's)."""

    corpus: str
    corpus_fingerprint: str
    tokenizer: str
    tokenizer_fingerprint: str
    end_of_text: str
    vocab_size: int
    seq_len: int
    columns: Columns = PILE
    mixture: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        corpus: str,
        tokenizer: str,
        model: ModelConfig,
        seq_len: int,
        columns: Columns = PILE,
        mixture: tuple[str, ...] = (),
    ) -> TokenSpec:
        """Raises ValueError for a corpus (then a ShardError) or a tokenizer that is not there, or one that does not fit
        the model's vocabulary."""
        path = tokenizing.find(tokenizer, model)
        digest, size, end_of_text = (
            tokenizing.describe(path)
            if path
            else (f"bpe {model.vocab_size} {tokenizing.TRAINING_BYTES}", model.vocab_size, tokenizing.END_OF_TEXT)
        )
        if size > model.vocab_size:
            raise ValueError(
                f"tokenizer {path}: its {size} tokens do not fit the vocabulary of {model.name}, {model.vocab_size}; "
                f"choose a model whose vocab_size is at least {size}, or tokenizer={tokenizing.BPE}"
            )
        word = str(path) if path else tokenizing.BPE
        fingerprint = corpus_fingerprint(corpus, columns)
        return cls(corpus, fingerprint, word, digest, end_of_text, size, seq_len, columns, mixture)

    @property
    def fingerprint(self) -> str:
        """The same for equal tokens, wherever the corpus lies."""
        identity = {
            "corpus": self.corpus_fingerprint,
            "tokenizer": self.tokenizer_fingerprint,
            "vocab_size": self.vocab_size,
            "seq_len": self.seq_len,
            "columns": asdict(self.columns),
            "mixture": mixture.parse(self.mixture),
            "split_version": SPLIT_VERSION,
            "window": WINDOW,
            "held_out": (HELD_OUT_BLOCKS, HELD_OUT_BLOCKS_PER_DOCUMENT),
        }
        return sha256(canonical_json(identity))[:12]


def corpus_fingerprint(corpus: str, columns: Columns = PILE) -> str:
    """Names a corpus without reading it. Raises ShardError for one that is not there."""
    return embedded.fingerprint() if corpus == corpora.EMBEDDED else corpora.find(corpus, columns).fingerprint


def prepare(
    spec: TokenSpec,
    folder: Folder,
    *,
    blocks: int,
    embedded_shards: Path,
    commit: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda blocks: None,
) -> TokenStore:
    """The token store in ``folder`` with at least ``blocks`` training blocks (or the whole corpus); made where missing.

    commit: of a Hub data set, where it is known from before; else what its revision stands for now. ``progress`` hears
    of the training blocks packed so far. Needs a running Ray. Raises ShardError, HubError and others for bad input.
    """
    if store := prepared(folder, blocks):
        return store
    if folder.exists(META):
        store = TokenStore.open(folder)
        blocks, commit = max(blocks, store.train_blocks), store.meta["commit"]
    source = _corpus(spec, embedded_shards, say)
    commit = commit or source.commit()
    shards = source.shards(commit)
    tokenizer_json = _tokenizer_json(spec, shards)
    say(f"streaming {spec.corpus} through Ray Data: tokenise and pack {blocks:,} blocks of {spec.seq_len} tokens")
    streams = _streams(shards, tokenizer_json, spec.seq_len)
    return pack(streams, spec, folder, blocks=blocks, tokenizer_json=tokenizer_json, commit=commit, progress=progress)


def _tokenizer_json(spec: TokenSpec, shards: Sequence[Shard]) -> str:
    if spec.tokenizer != tokenizing.BPE:
        return tokenizing.load(spec.tokenizer)[0].to_str()
    tokenizer = tokenizing.train_bpe(shards, spec.vocab_size)
    if (size := tokenizer.get_vocab_size()) > spec.vocab_size:
        raise ValueError(
            f"tokenizer {tokenizing.BPE}: its {size} tokens do not fit the model's vocabulary of {spec.vocab_size}; "
            "the 256 bytes and the end of text are always there"
        )
    return tokenizer.to_str()


def prepared(folder: Folder, blocks: int) -> TokenStore | None:
    """The token store in ``folder`` if it is whole and serves ``blocks``."""
    if not folder.exists(META):
        return None
    store = TokenStore.open(folder)
    return store if store.serves(blocks) and not store.lost_files() else None


def _corpus(spec: TokenSpec, embedded_shards: Path, say: Callable[[str], None]) -> corpora.Corpus:
    if spec.corpus == corpora.EMBEDDED:
        if len(list(embedded_shards.glob("*.jsonl.zst"))) != embedded.SHARDS:
            say("writing the embedded corpus (CPython's language reference and standard library) as Pile-format shards")
            embedded.write_shards(embedded_shards)
        return Files(str(embedded_shards))
    if line := corpora.said_once(spec.corpus):
        say(line)
    return corpora.find(spec.corpus, spec.columns)


@dataclass(frozen=True)
class Stream:
    """Tokenised documents of these splits; it is left as soon as enough of them is packed."""

    splits: tuple[str, ...]
    documents: Generator[TokenizedDocument, None, None]


def _streams(shards: Sequence[Shard], tokenizer_json: str, seq_len: int) -> Iterator[Stream]:
    """A stream for each held-out split that has shards of its own, and then one of the train split's."""
    for splits in sorted({shard.splits for shard in shards}, key=lambda splits: SPLITS[::-1].index(splits[0])):
        own = [shard for shard in shards if shard.splits == splits]
        # Closed whatever stops packing: a stream that outlives Ray makes Ray Data start another Ray.
        with contextlib.closing(tokenized_documents(own, tokenizer_json, seq_len)) as documents:
            yield Stream(splits, documents)


def tokenized_documents(
    shards: Sequence[Shard], tokenizer_json: str, seq_len: int
) -> Generator[TokenizedDocument, None, None]:
    """(split, domain, token ids) of every document, in the order of the shards, streamed by Ray Data; of the held-out
    ones, as many as can be wanted for blocks of ``seq_len`` tokens.

    Each shard is one generator task: a batch of documents leaves it as soon as it is tokenised, so memory is bounded
    by the batch, not by the shard. Raises ShardError.
    """
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it prints its plan and its pace
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True  # else the order, and with it every trial, depends on timing
    context.enable_progress_bars = False
    context.target_max_block_size = OUTPUT_BYTES
    rows = [{"shard": index} for index in range(len(shards))]
    alone = len(shards) < ray.cluster_resources().get("CPU", 1)  # then a task takes the cores that would be idle
    task = functools.partial(
        tokenize_shard, shards=shards, tokenizer_json=tokenizer_json, seq_len=seq_len, all_cores=alone
    )
    dataset: Dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        task, batch_size=1, zero_copy_batch=True
    )
    try:
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
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


def tokenize_shard(
    row: dict[str, np.ndarray],
    shards: Sequence[Shard],
    tokenizer_json: str,
    seq_len: int,
    all_cores: bool = False,
) -> Iterator[dict[str, Any]]:
    """Ray Data's generator UDF: a shard's documents as batches of {split, domain, ids}; of the held-out ones as many as
    can be wanted."""
    import pyarrow as pa
    from tokenizers import Tokenizer

    os.environ["TOKENIZERS_PARALLELISM"] = "true" if all_cores else "false"
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.encode_special_tokens = True  # a text that mentions <|endoftext|> does not end there
    held_out = _HeldOut(seq_len + 1)
    batch: list[tuple[str, Document]] = []
    characters = 0
    for split, document in labelled(shards[int(row["shard"][0])]):
        if not held_out.wanted(split):
            continue
        batch.append((split, document))
        characters += len(document.text)
        if len(batch) == DOCUMENTS_PER_BATCH or characters > CHARACTERS_PER_BATCH:
            yield _tokenize(tokenizer, batch, held_out, pa)
            batch, characters = [], 0
    if batch:
        yield _tokenize(tokenizer, batch, held_out, pa)


@dataclass
class _HeldOut:
    """How many held-out blocks of ``length`` tokens a shard gives, were it alone. Once these fill the split, no more of
    it is wanted: what other shards give before can only fill it earlier."""

    length: int
    _tokens: dict[tuple[str, str], int] = field(default_factory=dict)

    def wanted(self, split: str) -> bool:
        blocks = sum(tokens // self.length for (name, _), tokens in self._tokens.items() if name == split)
        return split == "train" or blocks < HELD_OUT_BLOCKS

    def add(self, split: str, domain: str, tokens: int) -> None:
        if split != "train":
            known = self._tokens.get((split, domain), 0)
            self._tokens[split, domain] = known + min(tokens, HELD_OUT_BLOCKS_PER_DOCUMENT * self.length) + 1


def _tokenize(tokenizer: Any, batch: list[tuple[str, Document]], held_out: _HeldOut, pa: Any) -> Any:
    encoded = tokenizer.encode_batch_fast([document.text for _, document in batch], add_special_tokens=False)
    for (split, document), one in zip(batch, encoded, strict=True):
        held_out.add(split, document.domain, len(one))
    return pa.table(
        {
            "split": [split for split, _ in batch],
            "domain": [document.domain for _, document in batch],
            "ids": pa.array([np.asarray(one.ids, dtype=np.uint32) for one in encoded], type=pa.list_(pa.uint32())),
        }
    )


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
