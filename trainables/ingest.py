"""Corpus ingestion with Ray Data: shards are streamed, tokenised and packed once, for all trials of a sweep."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainables import corpus as corpora
from trainables import embedded
from trainables import tokenizers as tokenizing
from trainables.corpus import SPLITS, Files, Shard, labelled
from trainables.packing import Stream, TokenizedDocument, pack, prepared
from trainables.shards import Document, ShardError
from trainables.storage import Folder
from trainables.token_spec import TokenSpec
from trainables.token_store import (
    HELD_OUT_BLOCKS,
    HELD_OUT_BLOCKS_PER_DOCUMENT,
    META,
    TokenStore,
)

if TYPE_CHECKING:
    from ray.data import Dataset
    from tokenizers import Tokenizer

DOCUMENTS_PER_BATCH = 64
CHARACTERS_PER_BATCH = 1 << 20  # a batch of books is cut earlier: its tokens take 20 bytes a character
# Ray Data hands a task's output on in blocks of this size; by default 128 MB, 34 million tokens that a small budget
# would wait for in vain. Of 1 MB, a third of the time goes into handing them on.
OUTPUT_BYTES = 8 << 20
THREADS_AT_MOST = 8  # of a task; reading and packing tokens, 8 % of its work, go one thread at a time


def prepare(
    spec: TokenSpec,
    folder: Folder,
    *,
    blocks: int,
    embedded_shards: Folder,
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
    what = f"{blocks:,} blocks" if blocks else "the held-out blocks"
    say(f"streaming {spec.corpus} through Ray Data: tokenise and pack {what} of {spec.seq_len} tokens")
    streams = _streams(shards, tokenizer_json, spec.seq_len)
    store = pack(streams, spec, folder, blocks=blocks, tokenizer_json=tokenizer_json, commit=commit, progress=progress)
    if store.complete and store.train_blocks < blocks:
        say(f"that is all of {spec.corpus}: {store.train_blocks:,} blocks; larger budgets go round again")
    return store


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


def _corpus(spec: TokenSpec, embedded_shards: Folder, say: Callable[[str], None]) -> corpora.Corpus:
    if spec.corpus == corpora.EMBEDDED:
        if not embedded.is_whole(embedded_shards):
            say("writing the embedded corpus (CPython's language reference and standard library) as Pile-format shards")
            embedded.write_shards(embedded_shards)
        return Files(embedded_shards.uri)
    if line := corpora.said_once(spec.corpus):
        say(line)
    return corpora.find(spec.corpus, spec.columns)


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
    cores = min(int(node["Resources"].get("CPU", 0)) or THREADS_AT_MOST for node in ray.nodes() if node["Alive"])
    threads = min(cores, THREADS_AT_MOST)
    task = functools.partial(
        tokenize_shard, shards=shards, tokenizer_json=tokenizer_json, seq_len=seq_len, threads=threads
    )
    dataset: Dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        task, batch_size=1, zero_copy_batch=True, num_cpus=threads
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
    row: dict[str, np.ndarray], shards: Sequence[Shard], tokenizer_json: str, seq_len: int, threads: int = 1
) -> Iterator[pa.Table]:
    """Ray Data's generator UDF: a shard's documents as batches of {split, domain, ids}; of the held-out ones as many as
    can be wanted.

    Threads share one tokenizer, which lets Python go on while it works. Measured with GPT-NeoX-20B's on 2 cores: 1.5
    million tokens/s, of two processes with a tokenizer each, 1.1, of the tokenizer's own threads, 1.3.
    """
    from tokenizers import Tokenizer

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.encode_special_tokens = True  # a text that mentions <|endoftext|> does not end there
    held_out = _HeldOut(seq_len + 1)
    batches = _batches(labelled(shards[int(row["shard"][0])]), held_out.wanted)
    working: deque[Future[pa.Table]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for batch in batches:
            working.append(pool.submit(_tokenize, tokenizer, batch))
            if len(working) > threads + 1:
                yield held_out.counted(working.popleft().result())
        while working:
            yield held_out.counted(working.popleft().result())


def _batches(
    documents: Iterable[tuple[str, Document]], wanted: Callable[[str], bool]
) -> Iterator[list[tuple[str, Document]]]:
    batch: list[tuple[str, Document]] = []
    characters = 0
    for split, document in documents:
        if wanted(split):
            batch.append((split, document))
            characters += len(document.text)
        if len(batch) == DOCUMENTS_PER_BATCH or characters > CHARACTERS_PER_BATCH:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


@dataclass
class _HeldOut:
    """How many held-out blocks of ``length`` tokens a shard gives, were it alone. Once these fill the split, no more of
    it is wanted: what other shards give before can only fill it earlier."""

    length: int
    _tokens: dict[tuple[str, str], int] = field(default_factory=dict)

    def wanted(self, split: str) -> bool:
        blocks = sum(tokens // self.length for (name, _), tokens in self._tokens.items() if name == split)
        return split == "train" or blocks < HELD_OUT_BLOCKS

    def counted(self, table: pa.Table) -> pa.Table:
        """``table`` as it is, after its held-out documents are counted."""
        columns = (table.column(name).to_pylist() for name in ("split", "domain"))
        lengths = pc.list_value_length(table.column("ids")).to_pylist()
        for split, domain, tokens in zip(*columns, lengths, strict=True):
            if split != "train":
                known = self._tokens.get((split, domain), 0)
                self._tokens[split, domain] = known + min(tokens, HELD_OUT_BLOCKS_PER_DOCUMENT * self.length) + 1
        return table


def _tokenize(tokenizer: Tokenizer, batch: list[tuple[str, Document]]) -> pa.Table:
    encoded = tokenizer.encode_batch_fast([document.text for _, document in batch], add_special_tokens=False)
    return pa.table(
        {
            "split": [split for split, _ in batch],
            "domain": [document.domain for _, document in batch],
            "ids": pa.array([np.asarray(one.ids, dtype=np.uint32) for one in encoded], type=pa.list_(pa.uint32())),
        }
    )
