"""A model, a corpus and a token store small enough that a trial takes a fraction of a second."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from tokenizers import Tokenizer
from tokenizers import models as tokenizer_models

from trainables import models, packing
from trainables.budget import Budget
from trainables.config import ModelConfig, Optimization, TrialConfig
from trainables.corpus import SPLITS
from trainables.packing import Stream
from trainables.shards import Document, write_shard
from trainables.storage import Folder
from trainables.token_spec import TokenSpec
from trainables.token_store import TokenStore
from trainables.tokenizers import BPE, END_OF_TEXT

settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.load_profile("reproducible")

TokenizedDocument = tuple[str, str, np.ndarray]


@pytest.fixture(scope="session")
def tiny_model() -> ModelConfig:
    return models.gpt_neox("tiny", 2, 16, 2, vocab_size=64, context=16, learning_rate=3e-3)


@pytest.fixture(scope="session")
def tiny_config(tiny_model: ModelConfig) -> TrialConfig:
    """24 steps of 4 sequences of 16 tokens: checkpoints at 0, 1, 2, 4, 8, 16, 20 and 24."""
    optimization = Optimization(
        batch_size=4,
        learning_rate=3e-3,
        schedule="cosine",
        warmup=0.1,
        min_lr_ratio=0.1,
        decay=0.1,
        adam_beta1=0.9,
        adam_beta2=0.95,
        adam_eps=1e-8,
        weight_decay=0.1,
        grad_clip=1.0,
    )
    return TrialConfig(
        model=tiny_model,
        init_seed=1,
        data_seed=2,
        budget=Budget(24.0, "steps"),
        seq_len=16,
        optimization=optimization,
        tokens="synthetic",
        threads=1,
        workers=1,
        seed=0,
        checkpoint_every=20,
    )


@pytest.fixture(scope="session")
def token_spec() -> TokenSpec:
    return TokenSpec("synthetic", "synthetic-1", BPE, "none", END_OF_TEXT, vocab_size=64, seq_len=16)


@pytest.fixture(scope="session")
def tokenizer_json() -> str:
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer.to_str()


@pytest.fixture(scope="session")
def tokenized_stream() -> Callable[[], Iterator[TokenizedDocument]]:
    """Endless, repeatable documents of two domains, 1 in 10 for each held-out split; low ids are frequent."""

    def stream() -> Iterator[TokenizedDocument]:
        rng = np.random.default_rng(0)
        for index in itertools.count():
            split = {0: "validation", 1: "test"}.get(index % 10, "train")
            ids = np.minimum(rng.geometric(0.2, size=rng.integers(1, 300)), 63)
            yield split, f"domain-{index % 3 // 2}", ids.astype(np.uint32)

    return stream


@pytest.fixture(scope="session")
def token_store(
    tmp_path_factory: pytest.TempPathFactory,
    token_spec: TokenSpec,
    tokenizer_json: str,
    tokenized_stream: Callable[[], Iterator[TokenizedDocument]],
) -> TokenStore:
    """A complete store of a finite corpus, a little over one part, so that a trial can go round it."""
    folder = Folder.open(tmp_path_factory.mktemp("tokens"))
    documents = itertools.islice(tokenized_stream(), 170)
    return packing.pack([Stream(SPLITS, documents)], token_spec, folder, blocks=10**6, tokenizer_json=tokenizer_json)


@pytest.fixture(scope="session")
def shard_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of 200 documents of made-up words in two domains."""
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    words = [hashlib.sha256(bytes([index])).hexdigest()[: 2 + index % 7] for index in range(200)]
    for name in ("a", "b", "c"):
        texts = [" ".join(rng.choice(words, size=rng.integers(5, 60))) for _ in range(200)]
        documents = [Document(text, f"domain-{len(text) % 2}") for text in texts]
        write_shard(folder / f"{name}.jsonl.zst", documents)
    return folder
