"""Packing: no more than is asked for, and the same blocks however much is taken and whoever packs beside us."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainables.corpus import SPLITS
from trainables.packing import Stream as TokenStream
from trainables.packing import pack
from trainables.shards import ShardError
from trainables.storage import CorruptFileError, Folder
from trainables.token_spec import TokenSpec
from trainables.token_store import HELD_OUT_BLOCKS, META, TOKENIZER, WINDOW, TokenStore

Stream = Callable[[], Iterator[tuple[str, str, np.ndarray]]]
Pack = Callable[..., TokenStore]


@pytest.fixture
def packed(token_spec: TokenSpec, tokenizer_json: str, tokenized_stream: Stream, tmp_path: Path) -> Pack:
    """Packs the endless stream (or another) into a folder of this name."""

    def run(name: str, blocks: int, documents: Iterator[tuple[str, str, np.ndarray]] | None = None) -> TokenStore:
        folder = Folder.open(tmp_path / name)
        stream = TokenStream(SPLITS, documents or tokenized_stream())
        return pack([stream], token_spec, folder, blocks=blocks, tokenizer_json=tokenizer_json)

    return run


@pytest.mark.parametrize(("blocks", "parts"), [(2 * WINDOW, 2), (2 * WINDOW + 1, 3), (3 * WINDOW, 3)])
def test_no_more_is_taken_than_is_asked_for(packed: Pack, blocks: int, parts: int) -> None:
    store = packed("a", blocks)
    assert not store.complete
    assert store.train_blocks == parts * WINDOW
    assert store.serves(blocks)


def test_more_of_the_corpus_changes_no_batch_of_the_smaller(packed: Pack) -> None:
    small, large = packed("small", WINDOW), packed("large", 3 * WINDOW)
    assert large.train_blocks > small.train_blocks
    batches = [store.batch(data_seed=1, start=0, count=WINDOW) for store in (small, large)]
    assert np.array_equal(*batches)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_more_of_the_corpus_changes_no_held_out_block(packed: Pack, split: str) -> None:
    small, large = packed("small", 1).held_out(split, 999), packed("large", 3 * WINDOW).held_out(split, 999)
    assert len(small) == HELD_OUT_BLOCKS
    assert np.array_equal(small.tokens, large.tokens)
    assert small.domains == large.domains


def test_a_store_extended_is_the_store_made_at_once(packed: Pack, tmp_path: Path) -> None:
    packed("grown", 1)
    grown, direct = packed("grown", 3 * WINDOW), packed("direct", 3 * WINDOW)
    assert grown.folder.names() == direct.folder.names()
    for name in grown.folder.names():
        assert grown.folder.read(name) == direct.folder.read(name)


def test_a_store_that_another_sweep_made_larger_meanwhile_stays_so(packed: Pack, tokenized_stream: Stream) -> None:
    packed("a", 1)
    started = tokenized_stream()

    def slow() -> Iterator[tuple[str, str, np.ndarray]]:
        yield next(started)
        packed("a", 4 * WINDOW)  # beside us, and done before us
        yield from started

    store = packed("a", 3 * WINDOW, slow())
    assert store.train_blocks == TokenStore.open(store.folder).train_blocks == 4 * WINDOW
    assert not store.lost_files()


def test_a_changed_corpus_is_refused(packed: Pack, tokenized_stream: Stream) -> None:
    store = packed("a", 1)
    meta = store.folder.read(META)

    def changed() -> Iterator[tuple[str, str, np.ndarray]]:
        for index, (split, domain, ids) in enumerate(tokenized_stream()):
            yield split, domain, np.where(ids == 1, 2, ids) if index == 52 else ids

    with pytest.raises(CorruptFileError, match=r"train-000000.*its files were changed"):
        packed("a", 2 * WINDOW, changed())
    assert store.folder.read(META) == meta


def test_a_held_out_document_fills_four_blocks_at_most(packed: Pack) -> None:
    long = np.arange(1, 50, dtype=np.uint32).repeat(100)
    store = packed("a", 10**6, iter([(split, "A", long) for split in ("train", "validation", "test")]))
    assert store.meta["validation"]["blocks"] == store.meta["test"]["blocks"] == 4
    assert np.array_equal(store.held_out("test", 9).tokens.ravel(), long[: 4 * 17])
    assert store.train_blocks == len(long) // 17


@pytest.mark.parametrize("missing", ["train", "validation", "test"])
def test_a_corpus_too_small_for_a_block_is_refused_and_leaves_no_store(
    packed: Pack, missing: str, tmp_path: Path
) -> None:
    ids = np.ones(40, dtype=np.uint32)
    documents = [(split, "A", ids[:15] if split == missing else ids) for split in ("train", "validation", "test")]
    with pytest.raises(ShardError, match=f"too small for one block of 17 tokens in: {missing};"):
        packed("a", 5, iter(documents))
    assert not (tmp_path / "a" / META).exists()


def test_parts_that_are_gone_are_made_anew_and_equal(packed: Pack) -> None:
    store = packed("a", 2 * WINDOW)
    before = {name: store.folder.read(name) for name in store.folder.names()}
    gone = [TOKENIZER, "train-000001.parquet", "validation-000000.parquet"]
    for name in gone:
        store.folder.delete(name)
    assert store.lost_files() == gone
    with pytest.raises(CorruptFileError, match=r"train-000001\.parquet: is gone"):
        store.read_part("train", 1)
    packed("a", 2 * WINDOW)
    assert {name: store.folder.read(name) for name in store.folder.names()} == before


@pytest.mark.parametrize(("vocab_size", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.uint32)])
def test_the_largest_token_fits(
    token_spec: TokenSpec, tokenizer_json: str, tmp_path: Path, vocab_size: int, dtype: type
) -> None:
    ids = np.full(40, vocab_size - 1, dtype=np.uint32)
    documents = [(split, "A", ids) for split in ("train", "validation", "test")]
    spec, folder = replace(token_spec, vocab_size=vocab_size), Folder.open(tmp_path)
    stream = TokenStream(SPLITS, iter(documents))
    part = pack([stream], spec, folder, blocks=9, tokenizer_json=tokenizer_json).read_part("train", 0)
    assert part.tokens.dtype == dtype
    assert set(part.tokens.ravel().tolist()) == {vocab_size - 1}


def test_a_domain_that_a_small_corpus_does_not_have_is_named(
    token_spec: TokenSpec, tokenizer_json: str, tmp_path: Path
) -> None:
    documents = [(split, "A", np.ones(40, dtype=np.uint32)) for split in SPLITS * 50]
    spec = replace(token_spec, mixture=("A:1", "Typo:1"))
    stream = TokenStream(SPLITS, iter(documents))
    with pytest.raises(ShardError, match="no document of Typo among the first 50; there were A"):
        pack([stream], spec, Folder.open(tmp_path), blocks=500, tokenizer_json=tokenizer_json)
