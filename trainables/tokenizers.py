"""The tokenizer of a corpus: a byte-level BPE trained on its train split, or a ``tokenizer.json`` of one's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.shards import read_documents

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"
TRAINING_BYTES = 4_000_000  # enough for a vocabulary of some thousands; 1.5 s on one core


def train_bpe(shards: Iterable[Path], vocab_size: int) -> Tokenizer:
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


def _training_texts(shards: Iterable[Path]) -> Iterator[str]:
    left = TRAINING_BYTES
    for document in chain.from_iterable(read_documents(path) for path in shards):
        if document.split == "train":
            yield document.text
            left -= len(document.text)
            if left <= 0:
                return


def load(path: str | Path) -> Tokenizer:
    """A ``tokenizer.json``. Raises ValueError where it is none, or has no end-of-text token."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(Path(path).expanduser()))
    except Exception as error:  # tokenizers raises bare Exception
        raise ValueError(f"tokenizer {path}: not a tokenizer.json ({error})") from error
    if tokenizer.token_to_id(END_OF_TEXT) is None:
        raise ValueError(f"tokenizer {path}: has no {END_OF_TEXT} token to separate documents with")
    if '"ByteLevel"' not in tokenizer.to_str():
        raise ValueError(f"tokenizer {path}: not byte-level, so the bytes of its tokens cannot be counted")
    return tokenizer


def token_bytes(tokenizer: Tokenizer, size: int) -> np.ndarray:
    """Bytes of text that each token id stands for, shape (size,) int64; 0 for special and unused ids.

    Exact for byte-level tokenizers, where each character of a token's name is one byte; of a tokenizer that
    normalises (GPT-NeoX-20B's: NFC), these are the bytes of the normalised text.
    """
    import numpy as np

    lengths = np.zeros(size, dtype=np.int64)
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    for name, index in tokenizer.get_vocab().items():
        if name not in special:
            lengths[index] = len(name.encode()) if name in added else len(name)
    return lengths
