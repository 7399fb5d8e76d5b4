"""Tokenizers: reproducible, and exact about how many bytes a token stands for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from tests.hub import Hub
from tests.hub_content import tiny_model, tokenizer_files
from trainables import models as pythia
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


def sentencepiece(folder: Path, **settings: object) -> Path:
    """A tokenizer of SentencePiece's kind: U+2581 for spaces, a token for each byte, and its own end of text."""
    names = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"abcdefghijklmnopqrstuvwxyzé"]
    tokenizer = Tokenizer(
        models.BPE({name: index for index, name in enumerate(names)}, [], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.add_special_tokens(["<unk>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"} | settings))
    return folder / "tokenizer.json"


@pytest.mark.parametrize("eos", ["</s>", {"content": "</s>", "lstrip": False}])
def test_a_text_ends_with_the_token_of_the_tokenizers_settings(tmp_path: Path, eos: object) -> None:
    assert tokenizing.load(sentencepiece(tmp_path, eos_token=eos))[1] == "</s>"


@given(text=st.text())
@example(text="é 日本 a b\n")
def test_the_bytes_of_byte_fallback_are_the_bytes_of_the_text(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tokenizer, _ = tokenizing.load(sentencepiece(tmp_path_factory.getbasetemp()))
    lengths = tokenizing.token_bytes(tokenizer, 300)
    tokenizer.encode_special_tokens = True
    assert lengths[tokenizer.encode(text.replace("\u2581", ""), add_special_tokens=False).ids].sum() == len(
        text.replace("\u2581", "").encode()
    )


def test_a_models_own_tokenizer_comes_from_its_repository(hub: Hub, tmp_path: Path) -> None:
    model = pythia.find("pythia-14m")
    commit = hub.add("EleutherAI/pythia-14m", tokenizer_files(300) | tiny_model("gpt_neox"))
    path = tokenizing.find("auto", model)
    assert path is not None
    assert path.parent.name == commit
    assert path.read_bytes() == tokenizer_files(300)["tokenizer.json"]
    assert not hub.downloads("safetensors")
    assert tokenizing.describe(path)[1:] == (300, END_OF_TEXT)


def test_words_for_a_tokenizer(hub: Hub, tmp_path: Path) -> None:
    plain = pythia.find("neox-280k")
    assert tokenizing.find("auto", plain) is None  # it has none of its own: a BPE is trained
    assert tokenizing.find("bpe", pythia.find("pythia-14m")) is None
    for name, content in tokenizer_files(300).items():
        (tmp_path / name).write_bytes(content)
    file = tmp_path / "tokenizer.json"
    assert tokenizing.find(str(tmp_path), plain) == tokenizing.find(str(file), plain) == file
    hub.add("org/other", tokenizer_files(290))
    found = tokenizing.find("org/other", plain)
    assert found is not None
    assert tokenizing.describe(found)[1] == 290


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("nothing", r"tokenizer nothing: no such file; give `auto`"),
        ("org/none", r"the tokenizer of org/none: not found .*give tokenizer= the path"),
        ("org/slow", r"tokenizer org/slow: has no tokenizer\.json; convert it: .*save_pretrained"),
    ],
)
def test_a_tokenizer_that_cannot_be_had_says_why(hub: Hub, word: str, said: str) -> None:
    hub.add("org/slow", {"tokenizer_config.json": b"{}", "tokenizer.model": b"sentencepiece"})
    with pytest.raises(ValueError, match=said):
        tokenizing.find(word, pythia.find("neox-280k"))


def test_what_a_fine_tuned_model_saved_does_not_cut_or_pad_a_text(bpe: Tokenizer, tmp_path: Path) -> None:
    other = Tokenizer.from_str(bpe.to_str())
    other.enable_truncation(8)
    other.enable_padding()
    other.save(str(tmp_path / "tokenizer.json"))
    text = "a text of more than eight tokens, which stay more than eight"
    loaded, _ = tokenizing.load(tmp_path / "tokenizer.json")
    assert loaded.encode_batch([text, "x"])[0].ids == bpe.encode(text).ids
    assert len(loaded.encode_batch([text, "x"])[1].ids) == 1


def test_ids_with_gaps_count_by_the_largest(bpe: Tokenizer, tmp_path: Path) -> None:
    data = json.loads(bpe.to_str())
    vocabulary = data["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.get)
    vocabulary[last] = 5000
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    assert tokenizing.describe(tmp_path / "tokenizer.json")[1] == 5001


def test_a_tokenizer_that_draws_lots_is_refused(bpe: Tokenizer, tmp_path: Path) -> None:
    data = json.loads(bpe.to_str())
    data["model"]["dropout"] = 0.1
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="drops merges at random"):
        tokenizing.load(tmp_path / "tokenizer.json")
