"""Pythia's smallest model from scratch, for one GPU or a patient laptop."""

from orchestrator.spec import Sweep
from trainables.budget import Budget


def search_space() -> Sweep:
    """3 seeds x 4 token budgets of pythia-14m; give corpus= Pile shards and tokenizer= its tokenizer.json."""
    return Sweep(
        model=("pythia-14m",),
        seeds=(0, 1, 2),
        budgets=tuple(Budget(tokens, "tokens") for tokens in (2.5e6, 5e6, 1e7, 2e7)),
        seq_len=512,
        batch_size=64,
    )
