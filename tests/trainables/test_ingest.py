"""Ingestion: the same corpus gives the same tokens, however much of it is taken and whatever streams it."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, pre_tokenizers

from trainables import ingest, models
from trainables.config import ModelConfig
from trainables.corpus import SPLITS, Files, FileShard
from trainables.packing import Stream as TokenStream
from trainables.packing import pack
from trainables.shards import PILE, Document, ShardError, read_documents, write_shard
from trainables.storage import Folder
from trainables.token_spec import TokenSpec
from trainables.token_store import TOKENIZER, TokenStore
from trainables.tokenizers import END_OF_TEXT, token_bytes, train_bpe


def small(vocab_size: int) -> ModelConfig:
    return models.gpt_neox("small", 2, 16, 2, vocab_size, 16, 1e-3)


def spec_of(corpus: Path, vocab_size: int = 300) -> TokenSpec:
    return TokenSpec.of(corpus=str(corpus), tokenizer="bpe", model=small(vocab_size), seq_len=16)


def test_a_text_that_speaks_of_the_end_of_text_does_not_end_there(tmp_path: Path) -> None:
    """Only what ``pack`` puts between documents ends a text; else the bytes of these 13 characters are counted as 0."""
    text = "a <|endoftext|> b " * 20
    write_shard(tmp_path / "a.jsonl.zst", [Document(text, "A")])
    shard = FileShard(str(tmp_path / "a.jsonl.zst"), PILE, SPLITS)
    tokenizer = train_bpe([shard], 300)
    (table,) = ingest.tokenize_shard({"shard": np.array([0])}, [shard], tokenizer.to_str(), 16)
    ids = table["ids"].to_pylist()[0]
    assert tokenizer.token_to_id(END_OF_TEXT) not in ids
    assert token_bytes(tokenizer, 300)[ids].sum() == len(text.encode())


@pytest.fixture(scope="module")
def prepared(ray_session: object, shard_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    folder = Folder.open(tmp_path_factory.mktemp("prepared"))
    return ingest.prepare(spec_of(shard_folder), folder, blocks=10**6, embedded_shards=Folder.open("unused"))


def test_held_out_documents_that_cannot_be_wanted_are_not_tokenised(tmp_path: Path, tokenizer_json: str) -> None:
    """With and without them, the packed splits are the same; a rare domain, and shards that end in mid-block."""
    rng = np.random.default_rng(0)
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.add_tokens([f"w{index}" for index in range(63)])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    spec = TokenSpec("words", "words", "none", "none", END_OF_TEXT, vocab_size=64, seq_len=16)
    shards = []
    for name in "abc":
        texts = [" ".join(f"w{i}" for i in rng.integers(0, 63, size=rng.integers(1, 90))) for _ in range(3000)]
        write_shard(
            tmp_path / f"{name}.jsonl.zst", [Document(text, "rare" if len(text) % 9 else "A") for text in texts]
        )
        shards.append(FileShard(str(tmp_path / f"{name}.jsonl.zst"), PILE, SPLITS))

    def stream(seq_len: int) -> Iterator[tuple[str, str, np.ndarray]]:
        for index in range(3):
            for table in ingest.tokenize_shard({"shard": np.array([index])}, shards, tokenizer.to_str(), seq_len):
                ids = [np.array(one, dtype=np.uint32) for one in table["ids"].to_pylist()]
                yield from zip(table["split"].to_pylist(), table["domain"].to_pylist(), ids, strict=True)

    few, every = (list(stream(seq_len)) for seq_len in (16, 10**6))
    assert len(few) < len(every)
    stores = [
        pack(
            [TokenStream(SPLITS, iter(documents))],
            spec,
            Folder.open(tmp_path / str(len(documents))),
            blocks=10**6,
            tokenizer_json=tokenizer.to_str(),
        )
        for documents in (few, every)
    ]
    assert {split: stores[0].meta[split] for split in SPLITS} == {split: stores[1].meta[split] for split in SPLITS}


def test_ray_streams_the_shards_documents_in_order(
    ray_session: object, prepared: TokenStore, shard_folder: Path
) -> None:
    tokenizer = prepared.folder.read(TOKENIZER).decode()
    streamed = ingest.tokenized_documents(Files(str(shard_folder)).shards(), tokenizer, 10**6)
    expected = itertools.chain.from_iterable(map(read_documents, sorted(shard_folder.iterdir())))
    for (split, domain, ids), document in zip(streamed, expected, strict=True):
        assert (split, domain) == (document.split, document.domain)
        assert ids.tolist() == Tokenizer.from_str(tokenizer).encode(document.text).ids


def test_a_prepared_store_holds_the_tokens_of_the_train_documents(prepared: TokenStore, shard_folder: Path) -> None:
    tokenizer = Tokenizer.from_str(prepared.folder.read(TOKENIZER).decode())
    documents = [d for path in sorted(shard_folder.iterdir()) for d in read_documents(path) if d.split == "train"]
    stored = [prepared.read_part("train", index) for index in range(len(prepared.meta["train"]["sha256"]))]
    for wanted in ("domain-0", "domain-1"):
        stream = [i for d in documents if d.domain == wanted for i in (*tokenizer.encode(d.text).ids, 0)]
        blocks = [part.tokens[np.array(part.domains) == wanted] for part in stored]
        assert np.concatenate(blocks).ravel().tolist() == stream[: len(stream) // 17 * 17]


def test_preparing_again_changes_nothing(prepared: TokenStore, shard_folder: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in Path(prepared.folder.path).iterdir()}
    again = ingest.prepare(spec_of(shard_folder), prepared.folder, blocks=10**7, embedded_shards=Folder.open("unused"))
    assert again.meta == prepared.meta
    assert {path: path.stat().st_mtime_ns for path in Path(prepared.folder.path).iterdir()} == times


def test_preparing_less_brings_back_a_part_that_is_gone(
    prepared: TokenStore, shard_folder: Path, tmp_path: Path
) -> None:
    folder = Folder.open(shutil.copytree(prepared.folder.path, tmp_path / "copy"))
    folder.delete("train-000000.parquet")
    again = ingest.prepare(spec_of(shard_folder), folder, blocks=1, embedded_shards=Folder.open("unused"))
    assert again.meta == prepared.meta
    assert again.folder.read("train-000000.parquet") == prepared.folder.read("train-000000.parquet")


def test_a_bad_line_is_named_through_ray(ray_session: object, tmp_path: Path, tokenizer_json: str) -> None:
    shard = tmp_path / "bad.jsonl"
    shard.write_text('{"text": "fine"}\n{"text": 3}\n')
    with pytest.raises(ShardError) as caught:
        list(ingest.tokenized_documents([FileShard(str(shard), PILE, SPLITS)], tokenizer_json, 16))
    assert str(caught.value).startswith(f"{shard}, line 2: no ")


def test_a_vocabulary_smaller_than_the_bytes_is_refused(shard_folder: Path, tmp_path: Path) -> None:
    """256 bytes and the end of text do not fit 200 ids; nothing is streamed before that is known."""
    with pytest.raises(ValueError, match="257 tokens do not fit the model's vocabulary of 200"):
        ingest.prepare(
            spec_of(shard_folder, 200), Folder.open(tmp_path), blocks=1, embedded_shards=Folder.open(tmp_path)
        )
