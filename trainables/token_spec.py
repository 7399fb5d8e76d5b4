"""What determines the tokens of a sweep: the identity of a token store."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from trainables import corpus as corpora
from trainables import embedded, mixture
from trainables import tokenizers as tokenizing
from trainables.config import ModelConfig
from trainables.shards import PILE, SPLIT_VERSION, Columns
from trainables.storage import canonical_json, sha256
from trainables.token_store import HELD_OUT_BLOCKS, HELD_OUT_BLOCKS_PER_DOCUMENT, WINDOW


@dataclass(frozen=True)
class TokenSpec:
    """What determines the tokens of a corpus. ``corpus`` and ``tokenizer`` are the user's words, the latter a path once
    found; ``vocab_size`` is that of the tokenizer (of a BPE yet to be trained: the model's)."""

    corpus: str
    corpus_fingerprint: str
    tokenizer: str
    tokenizer_fingerprint: str
    end_of_text: str
    vocab_size: int
    seq_len: int
    columns: Columns = PILE
    mixture: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        corpus: str,
        tokenizer: str,
        model: ModelConfig,
        seq_len: int,
        columns: Columns = PILE,
        mixture: tuple[str, ...] = (),
    ) -> TokenSpec:
        """Raises ValueError for a corpus (then a ShardError) or a tokenizer that is not there, or one that does not fit
        the model's vocabulary."""
        path = tokenizing.find(tokenizer, model)
        digest, size, end_of_text = (
            tokenizing.describe(path)
            if path
            else (f"bpe {model.vocab_size} {tokenizing.TRAINING_BYTES}", model.vocab_size, tokenizing.END_OF_TEXT)
        )
        if size > model.vocab_size:
            raise ValueError(
                f"tokenizer {path}: its {size} tokens do not fit the vocabulary of {model.name}, {model.vocab_size}; "
                f"choose a model whose vocab_size is at least {size}, or tokenizer={tokenizing.BPE}"
            )
        word = str(path) if path else tokenizing.BPE
        fingerprint = corpus_fingerprint(corpus, columns)
        return cls(corpus, fingerprint, word, digest, end_of_text, size, seq_len, columns, mixture)

    @property
    def fingerprint(self) -> str:
        """The same for equal tokens, wherever the corpus lies."""
        identity = {
            "corpus": self.corpus_fingerprint,
            "tokenizer": self.tokenizer_fingerprint,
            "vocab_size": self.vocab_size,
            "seq_len": self.seq_len,
            "columns": asdict(self.columns),
            "mixture": mixture.parse(self.mixture),
            "split_version": SPLIT_VERSION,
            "window": WINDOW,
            "held_out": (HELD_OUT_BLOCKS, HELD_OUT_BLOCKS_PER_DOCUMENT),
        }
        return sha256(canonical_json(identity))[:12]


def corpus_fingerprint(corpus: str, columns: Columns = PILE) -> str:
    """Names a corpus without reading it. Raises ShardError for one that is not there."""
    return embedded.fingerprint() if corpus == corpora.EMBEDDED else corpora.find(corpus, columns).fingerprint
