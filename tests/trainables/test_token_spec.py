"""A token store's identity changes exactly with what changes its tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trainables import models
from trainables.config import ModelConfig
from trainables.corpus import Files
from trainables.shards import Columns, Document, ShardError, write_shard
from trainables.token_spec import TokenSpec, corpus_fingerprint
from trainables.tokenizers import train_bpe


def small(vocab_size: int) -> ModelConfig:
    return models.gpt_neox("small", 2, 16, 2, vocab_size, 16, 1e-3)


def spec_of(corpus: Path, vocab_size: int = 300) -> TokenSpec:
    return TokenSpec.of(corpus=str(corpus), tokenizer="bpe", model=small(vocab_size), seq_len=16)


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
        seen.add(corpus_fingerprint(str(tmp_path)))
    assert len(seen) == 3


def test_a_corpus_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="nowhere"):
        spec_of(tmp_path / "nowhere")


def test_a_tokenizer_larger_than_the_model_is_refused(shard_folder: Path, tmp_path: Path) -> None:
    train_bpe(Files(str(shard_folder)).shards(), 300).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"its 300 tokens do not fit the vocabulary of small, 299;"):
        TokenSpec.of(corpus=str(shard_folder), tokenizer=str(tmp_path), model=small(299), seq_len=16)
