"""Ingestion: the same corpus gives the same tokens, however much of it is taken and whatever streams it."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, pre_tokenizers

from trainables import ingest, models
from trainables.config import ModelConfig
from trainables.corpus import SPLITS, Files, FileShard
from trainables.ingest import Stream as TokenStream
from trainables.ingest import TokenSpec, pack
from trainables.shards import PILE, Columns, Document, ShardError, read_documents, write_shard
from trainables.storage import CorruptFileError, Folder
from trainables.token_store import HELD_OUT_BLOCKS, META, TOKENIZER, WINDOW, TokenStore
from trainables.tokenizers import END_OF_TEXT, token_bytes, train_bpe

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


def test_equal_tokens_have_equal_fingerprints_wherever_the_corpus_lies(shard_folder: Path, tmp_path: Path) -> None:
    for path in shard_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    here, there = (spec_of(folder) for folder in (shard_folder, tmp_path))
    assert here.fingerprint == there.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"corpus_fingerprint": "x"},
        {"tokenizer_fingerprint": "x"},
        {"vocab_size": 65},
        {"seq_len": 17},
        {"columns": Columns(("story",))},
        {"columns": Columns((), "source")},
        {"mixture": ("A:1", "B:2")},
    ],
)
def test_what_changes_the_tokens_changes_the_fingerprint(token_spec: TokenSpec, change: dict[str, object]) -> None:
    assert replace(token_spec, **change).fingerprint != token_spec.fingerprint


def test_a_tokenizer_of_ones_own_counts_by_its_content(shard_folder: Path, tmp_path: Path) -> None:
    paths = [tmp_path / name / "tokenizer.json" for name in ("a", "copy", "other")]
    for path, size in zip(paths, (300, 300, 290), strict=True):
        path.parent.mkdir()
        train_bpe(Files(str(shard_folder)).shards(), size).save(str(path))
    same, copy, other = (
        TokenSpec.of(corpus=str(shard_folder), tokenizer=str(path), model=small(300), seq_len=16).fingerprint
        for path in paths
    )
    assert same == copy != other


def test_models_of_one_tokenizer_share_their_tokens(shard_folder: Path, tmp_path: Path) -> None:
    train_bpe(Files(str(shard_folder)).shards(), 300).save(str(tmp_path / "tokenizer.json"))
    seen = {
        TokenSpec.of(corpus=str(shard_folder), tokenizer=str(tmp_path), model=small(size), seq_len=16).fingerprint
        for size in (300, 320)
    }
    assert len(seen) == 1


def test_another_or_a_longer_shard_changes_the_corpus(tmp_path: Path) -> None:
    seen = set()
    for name, text in (("a", "x"), ("b", "x"), ("b", "longer text")):
        write_shard(tmp_path / f"{name}.jsonl.zst", [Document(text, "A")])
        seen.add(ingest.corpus_fingerprint(str(tmp_path)))
    assert len(seen) == 3


def test_a_corpus_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="nowhere"):
        spec_of(tmp_path / "nowhere")


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


# --- through Ray Data


def small(vocab_size: int) -> ModelConfig:
    return models.gpt_neox("small", 2, 16, 2, vocab_size, 16, 1e-3)


def spec_of(corpus: Path, vocab_size: int = 300) -> TokenSpec:
    return TokenSpec.of(corpus=str(corpus), tokenizer="bpe", model=small(vocab_size), seq_len=16)


@pytest.fixture(scope="module")
def prepared(ray_session: object, shard_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    folder = Folder.open(tmp_path_factory.mktemp("prepared"))
    return ingest.prepare(spec_of(shard_folder), folder, blocks=10**6, embedded_shards=Path("unused"))


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
    again = ingest.prepare(spec_of(shard_folder), prepared.folder, blocks=10**7, embedded_shards=Path("unused"))
    assert again.meta == prepared.meta
    assert {path: path.stat().st_mtime_ns for path in Path(prepared.folder.path).iterdir()} == times


def test_preparing_less_brings_back_a_part_that_is_gone(
    prepared: TokenStore, shard_folder: Path, tmp_path: Path
) -> None:
    folder = Folder.open(shutil.copytree(prepared.folder.path, tmp_path / "copy"))
    folder.delete("train-000000.parquet")
    again = ingest.prepare(spec_of(shard_folder), folder, blocks=1, embedded_shards=Path("unused"))
    assert again.meta == prepared.meta
    assert again.folder.read("train-000000.parquet") == prepared.folder.read("train-000000.parquet")


def test_a_bad_line_is_named_through_ray(ray_session: object, tmp_path: Path, tokenizer_json: str) -> None:
    shard = tmp_path / "bad.jsonl"
    shard.write_text('{"text": "fine"}\n{"text": 3}\n')
    with pytest.raises(ShardError) as caught:
        list(ingest.tokenized_documents([FileShard(str(shard), PILE, SPLITS)], tokenizer_json, 16))
    assert str(caught.value).startswith(f"{shard}, line 2: no ")


def test_a_tokenizer_larger_than_the_model_is_refused(shard_folder: Path, tmp_path: Path) -> None:
    train_bpe(Files(str(shard_folder)).shards(), 300).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"its 300 tokens do not fit the vocabulary of small, 299;"):
        TokenSpec.of(corpus=str(shard_folder), tokenizer=str(tmp_path), model=small(299), seq_len=16)


def test_a_vocabulary_smaller_than_the_bytes_is_refused(shard_folder: Path, tmp_path: Path) -> None:
    """256 bytes and the end of text do not fit 200 ids; nothing is streamed before that is known."""
    with pytest.raises(ValueError, match="257 tokens do not fit the model's vocabulary of 200"):
        ingest.prepare(spec_of(shard_folder, 200), Folder.open(tmp_path), blocks=1, embedded_shards=tmp_path)
