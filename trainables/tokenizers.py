"""The tokenizer of a corpus: the model's own, a byte-level BPE trained on the train split, or one of the user's."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainables import hub
from trainables.config import ModelConfig
from trainables.corpus import Shard, labelled
from trainables.storage import sha256

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

AUTO, BPE = "auto", "bpe"
END_OF_TEXT = "<|endoftext|>"
TRAINING_BYTES = 4_000_000  # enough for a vocabulary of some thousands; 1.5 s on one core
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
FILE, SETTINGS = "tokenizer.json", "tokenizer_config.json"
IDS_AT_MOST = 2**24  # the largest vocabularies have 2**18
_MEND = f"fetch it anew, or give another, or tokenizer={BPE}"


def find(word: str, model: ModelConfig) -> Path | None:
    """The ``tokenizer.json`` that ``word`` means: ``auto`` is the model's own, others are files, folders or Hub ids.

    None for a BPE to be trained: ``bpe``, or ``auto`` of a model without one. Raises ValueError where it cannot be had.
    """
    source = model.source if word == AUTO else word
    if source is None or source == BPE:
        return None
    if word != AUTO and (path := hub.local(source)):
        source = str(path)
        if path.is_file():
            return path
    elif not hub.is_repo_id(source) and not hub.is_own(source):
        raise ValueError(
            f"tokenizer {word}: no such file; give `{AUTO}` (the model's own), `{BPE}`, a tokenizer.json, a folder, "
            "or a Hub id"
        )
    commit = model.commit if source == model.source and not hub.is_own(source) else None
    try:
        path = hub.fetch(source, (FILE, SETTINGS), commit, whole=lambda folder: (folder / FILE).is_file()) / FILE
    except hub.HubError as error:
        raise hub.HubError(f"the tokenizer of {error}; or give tokenizer= the path of its tokenizer.json") from error
    if not path.is_file():
        raise ValueError(
            f"tokenizer {source}: has no {FILE}; convert it: AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)"
        )
    return path


def train_bpe(shards: Sequence[Shard], vocab_size: int) -> Tokenizer:
    """A byte-level BPE (Radford et al. 2019) trained on the first documents of the train split; token 0 ends a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_training_texts(shards), trainer)
    return tokenizer


def _training_texts(shards: Iterable[Shard]) -> Iterator[str]:
    left = TRAINING_BYTES
    for split, document in (pair for shard in shards if "train" in shard.splits for pair in labelled(shard)):
        if split == "train":
            yield document.text
            left -= len(document.text)
            if left <= 0:
                return


def load(path: str | Path) -> tuple[Tokenizer, str]:
    """A ``tokenizer.json``, and its token that ends a text: that of the ``tokenizer_config.json`` beside it, or
    ``<|endoftext|>``. Raises ValueError where it is none, or has no such token."""
    from tokenizers import Tokenizer

    path = Path(path).expanduser()
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise ValueError(f"tokenizer {path}: not a tokenizer.json ({error}); {_MEND}") from error
    if (last := max(tokenizer.get_vocab().values(), default=0)) >= IDS_AT_MOST:  # its JSON lists every id
        raise ValueError(f"tokenizer {path}: has a token of id {last}, and {IDS_AT_MOST:,} are read at most; {_MEND}")
    tokenizer.no_truncation()  # a fine-tuned model's may have been saved with either
    tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None):
        raise ValueError(
            f"tokenizer {path}: its BPE drops merges at random, so no two runs would see the same tokens; {_MEND}"
        )
    if not _is_byte_level(tokenizer) and not _has_byte_fallback(tokenizer):
        raise ValueError(f"tokenizer {path}: not byte-level, so the bytes of its tokens cannot be counted; {_MEND}")
    try:
        own = json.loads(path.with_name(SETTINGS).read_text()).get("eos_token")
    except (OSError, ValueError, AttributeError, RecursionError):
        own = None
    own = own.get("content") if isinstance(own, dict) else own
    for token in (own, END_OF_TEXT):
        if isinstance(token, str) and token and tokenizer.token_to_id(token) is not None:
            return tokenizer, token
    raise ValueError(
        f"tokenizer {path}: has no {END_OF_TEXT} token to separate documents with, nor {SETTINGS} another; {_MEND}"
    )


@functools.lru_cache(maxsize=8)
def _described(path: Path, modified_ns: int) -> tuple[str, int, str]:
    tokenizer, end_of_text = load(path)
    size = max(tokenizer.get_vocab().values()) + 1  # ids may have gaps
    return f"{sha256(path.read_bytes())} {end_of_text}", size, end_of_text


def describe(path: Path) -> tuple[str, int, str]:
    """(fingerprint, vocabulary size, end-of-text token) of a ``tokenizer.json``. Raises ValueError as :func:`load`."""
    return _described(path, path.stat().st_mtime_ns)


def _is_byte_level(tokenizer: Tokenizer) -> bool:
    """GPT-2's: each character of a token's name is a byte."""
    return '"ByteLevel"' in tokenizer.to_str()


def _has_byte_fallback(tokenizer: Tokenizer) -> bool:
    """SentencePiece's: a token's name is its text, with U+2581 for a space, and <0x0A> for a byte of no token."""
    return "\u2581" in tokenizer.to_str() and tokenizer.token_to_id("<0x0A>") is not None


def token_bytes(tokenizer: Tokenizer, size: int) -> np.ndarray:
    """Bytes of text that each token id stands for, shape (size,) int64; 0 for special and unused ids.

    Of a tokenizer that normalises (GPT-NeoX-20B's: NFC), these are the bytes of the normalised text; of SentencePiece's
    kind, the space that it puts before a text counts.
    """
    import numpy as np

    lengths = np.zeros(size, dtype=np.int64)
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    byte_level = _is_byte_level(tokenizer)
    for name, index in tokenizer.get_vocab().items():
        if name not in special:
            if byte_level:
                lengths[index] = len(name.encode()) if name in added else len(name)
            else:
                lengths[index] = 1 if _BYTE.fullmatch(name) else len(name.replace("\u2581", " ").encode())
    return lengths
