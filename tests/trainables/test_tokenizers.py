"""Tokenizers: reproducible, and exact about how many bytes a token stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from trainables import tokenizers as tokenizing
from trainables.corpus import Files
from trainables.shards import Document, write_shard
from trainables.tokenizers import END_OF_TEXT


@pytest.fixture(scope="module")
def bpe(shard_folder: Path) -> Tokenizer:
    return tokenizing.train_bpe(Files(str(shard_folder)).shards(), 400)


@given(text=st.text())
@example("naïve 日本語 \U0001f600\x00\r\n\t  ")
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(bpe: Tokenizer, text: str) -> None:
    lengths = tokenizing.token_bytes(bpe, 400)
    assert lengths[bpe.encode(text).ids].sum() == len(text.encode())


@given(text=st.text())
def test_decoding_gives_the_text_back(bpe: Tokenizer, text: str) -> None:
    assert bpe.decode(bpe.encode(text).ids, skip_special_tokens=False) == text


def test_training_again_gives_the_same_tokenizer(bpe: Tokenizer, shard_folder: Path) -> None:
    assert tokenizing.train_bpe(Files(str(shard_folder)).shards(), 400).to_str() == bpe.to_str()


def test_the_vocabulary_is_as_large_as_asked_and_token_0_ends_a_text(bpe: Tokenizer) -> None:
    assert bpe.get_vocab_size() == 400
    assert bpe.token_to_id(END_OF_TEXT) == 0


def test_special_and_unused_ids_stand_for_no_bytes(bpe: Tokenizer) -> None:
    lengths = tokenizing.token_bytes(bpe, 500)
    assert lengths[0] == 0
    assert not lengths[400:].any()
    assert (lengths[1:400] > 0).all()


def test_an_added_word_stands_for_its_utf8_bytes(bpe: Tokenizer) -> None:
    larger = Tokenizer.from_str(bpe.to_str())
    larger.add_tokens([AddedToken("  é", normalized=False)])
    assert tokenizing.token_bytes(larger, 401)[400] == 4


def test_only_the_train_split_is_learnt_from(tmp_path: Path) -> None:
    held_out = [text for text in (f"qqqqqq{number}" for number in range(300)) if Document(text, "A").split != "train"]
    write_shard(tmp_path / "a.jsonl.zst", [Document(text, "A") for text in [*held_out * 50, "zz zz zz"]])
    vocabulary = tokenizing.train_bpe(Files(str(tmp_path)).shards(), 1000).get_vocab()
    assert Document("zz zz zz", "A").split == "train"
    assert "zz" in vocabulary
    assert "qq" not in vocabulary


def test_load_reads_what_was_saved(bpe: Tokenizer, tmp_path: Path) -> None:
    bpe.save(str(tmp_path / "tokenizer.json"))
    loaded, end_of_text = tokenizing.load(tmp_path / "tokenizer.json")
    assert loaded.to_str() == bpe.to_str()
    assert end_of_text == END_OF_TEXT


@pytest.mark.parametrize("content", [None, b"", b"{}", b"junk", b"[1]", b"\xff\xfe"])
def test_load_refuses_what_is_no_tokenizer(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer"):
        tokenizing.load(path)


def test_load_refuses_a_tokenizer_that_cannot_end_a_text(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"no <\|endoftext\|> token"):
        tokenizing.load(tmp_path / "tokenizer.json")


def test_load_refuses_a_tokenizer_whose_bytes_cannot_be_counted(tmp_path: Path) -> None:
    Tokenizer(models.WordPiece({"[UNK]": 0, END_OF_TEXT: 1}, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="not byte-level"):
        tokenizing.load(tmp_path / "tokenizer.json")
