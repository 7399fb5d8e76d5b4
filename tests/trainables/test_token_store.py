"""Packed blocks: nothing lost, nothing reordered but by the seed."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.storage import CorruptFileError, Folder, sha256
from trainables.token_store import META, TOKENIZER, WINDOW, Blocks, Packer, TokenStore, decode_part, encode_part

documents_strategy = st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.integers(1, 9), max_size=30)), max_size=30)


def packed(documents: list[tuple[str, list[int]]], length: int, size: int) -> list[Blocks]:
    parts: list[Blocks] = []

    def keep(index: int, part: Blocks) -> None:
        assert index == len(parts)
        parts.append(part)

    packer = Packer(length=length, dtype=np.dtype(np.uint16), end_of_text=0, size=size, write=keep)
    for domain, ids in documents:
        packer.add(domain, np.array(ids, dtype=np.uint32))
    packer.finish()
    assert packer.parts == len(parts)
    assert packer.blocks == sum(map(len, parts))
    return parts


@given(documents=documents_strategy, length=st.integers(1, 12), size=st.integers(1, 5))
def test_blocks_are_each_domains_documents_end_to_end(
    documents: list[tuple[str, list[int]]], length: int, size: int
) -> None:
    parts = packed(documents, length, size)
    for wanted in "ab":
        stream = [token for domain, ids in documents if domain == wanted for token in (*ids, 0)]
        whole = len(stream) // length * length
        found = [
            block for part in parts for block, domain in zip(part.tokens, part.domains, strict=True) if domain == wanted
        ]
        assert np.concatenate([[], *found]).tolist() == stream[:whole]


@given(documents=documents_strategy, size=st.integers(1, 5))
def test_all_parts_but_the_last_are_full(documents: list[tuple[str, list[int]]], size: int) -> None:
    lengths = [len(part) for part in packed(documents, 4, size)]
    assert all(length == size for length in lengths[:-1])
    assert all(0 < length <= size for length in lengths)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_a_part_reads_back_as_written(dtype: type) -> None:
    tokens = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, size=(7, 5), endpoint=True).astype(dtype)
    part = decode_part(encode_part(Blocks(tokens, tuple("aabbaba"))))
    assert part.tokens.dtype == dtype
    assert np.array_equal(part.tokens, tokens)
    assert part.domains == tuple("aabbaba")


def rows(tokens: np.ndarray) -> list[tuple[int, ...]]:
    return sorted(map(tuple, tokens.tolist()))


def all_train(store: TokenStore) -> np.ndarray:
    parts = range(len(store.meta["train"]["sha256"]))
    return np.concatenate([store.read_part("train", index).tokens for index in parts])


def test_an_epoch_visits_the_parts_in_order_and_each_block_once(token_store: TokenStore) -> None:
    blocks = token_store.train_blocks
    assert WINDOW < blocks < 2 * WINDOW
    order = token_store.batch(data_seed=3, start=0, count=blocks)
    assert rows(order[:WINDOW]) == rows(token_store.read_part("train", 0).tokens)
    assert rows(order[WINDOW:]) == rows(token_store.read_part("train", 1).tokens)


def test_blocks_are_shuffled_by_the_seed(token_store: TokenStore) -> None:
    stored = token_store.read_part("train", 0).tokens
    first, second = (token_store.batch(data_seed=seed, start=0, count=WINDOW) for seed in (3, 4))
    assert not np.array_equal(first, stored)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, TokenStore.open(token_store.folder).batch(data_seed=3, start=0, count=WINDOW))


def test_a_batch_is_a_slice_of_the_order_wherever_it_is_read_from(token_store: TokenStore) -> None:
    order = token_store.batch(data_seed=3, start=0, count=WINDOW + 50)
    for start in (WINDOW - 2, 5, WINDOW + 7, 0):
        fresh = TokenStore.open(token_store.folder)
        assert np.array_equal(fresh.batch(data_seed=3, start=start, count=9), order[start : start + 9])
        assert np.array_equal(token_store.batch(data_seed=3, start=start, count=9), order[start : start + 9])


def test_a_second_epoch_has_the_same_blocks_in_another_order(token_store: TokenStore) -> None:
    blocks = token_store.train_blocks
    first = token_store.batch(data_seed=3, start=0, count=blocks)
    second = token_store.batch(data_seed=3, start=blocks, count=blocks)
    assert rows(second) == rows(first)
    assert not np.array_equal(second, first)


def test_a_batch_has_one_token_more_than_the_sequence(token_store: TokenStore) -> None:
    batch = token_store.batch(data_seed=0, start=2, count=3)
    assert batch.shape == (3, 17)
    assert batch.dtype == np.int64


def test_a_store_of_part_of_the_corpus_serves_no_more_than_it_holds(token_store: TokenStore) -> None:
    part = TokenStore(token_store.folder, {**token_store.meta, "complete": False})
    blocks = part.train_blocks
    assert part.serves(blocks)
    assert not part.serves(blocks + 1)
    assert len(part.batch(data_seed=0, start=blocks - 1, count=1)) == 1
    with pytest.raises(ValueError, match=rf"holds {blocks} training blocks, {blocks + 1} are needed"):
        part.batch(data_seed=0, start=blocks, count=1)


def test_a_complete_store_serves_any_number(token_store: TokenStore) -> None:
    assert token_store.complete
    assert token_store.serves(10**9)
    empty = dataclasses.replace(token_store, meta={**token_store.meta, "train": {"blocks": 0, "sha256": []}})
    assert not empty.serves(1)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_damaged_part_is_refused(token_store: TokenStore, tmp_path: Path, split: str) -> None:
    shutil.copytree(token_store.folder.path, tmp_path / "copy")
    damaged = tmp_path / "copy" / f"{split}-000000.parquet"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(bytes(data))
    store = TokenStore.open(Folder.open(tmp_path / "copy"))
    with pytest.raises(CorruptFileError, match=damaged.name):
        store.read_part(split, 0)


def test_a_damaged_tokenizer_is_refused(token_store: TokenStore, tmp_path: Path) -> None:
    folder = Folder.open(shutil.copytree(token_store.folder.path, tmp_path / "copy"))
    assert TokenStore.open(folder).read_tokenizer() == token_store.folder.read(TOKENIZER).decode()
    folder.write(TOKENIZER, folder.read(TOKENIZER).replace(b'"id": 0', b'"id": 1').replace(b'"id":0', b'"id":1'))
    with pytest.raises(CorruptFileError, match=r"tokenizer\.json: does not match its sha256; delete this file"):
        TokenStore.open(folder).read_tokenizer()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_out_blocks_are_the_first_of_their_split(token_store: TokenStore, split: str) -> None:
    whole = token_store.read_part(split, 0)
    first = token_store.held_out(split, 5)
    assert np.array_equal(first.tokens, whole.tokens[:5])
    assert first.domains == whole.domains[:5]
    assert len(token_store.held_out(split, 10**6)) == len(whole)


def test_opening_what_is_no_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no token store there"):
        TokenStore.open(Folder.open(tmp_path))


def test_a_changed_record_of_the_store_is_refused(token_store: TokenStore, tmp_path: Path) -> None:
    folder = Folder.open(tmp_path)
    folder.write(META, token_store.folder.read(META).replace(b'"complete": true', b'"complete": false'))
    with pytest.raises(CorruptFileError, match="delete this file and run again"):
        TokenStore.open(folder)


def test_the_store_records_the_hash_of_every_part(token_store: TokenStore) -> None:
    names = [f"train-{index:06d}.parquet" for index in range(2)]
    assert [sha256(token_store.folder.read(name)) for name in names] == token_store.meta["train"]["sha256"]
