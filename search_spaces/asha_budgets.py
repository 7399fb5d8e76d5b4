"""Many candidates get little compute, few get much: successive halving over budgets of tokens."""

from orchestrator.spec import Sweep
from trainables.budget import Budget


def search_space() -> Sweep:
    """9 candidates by ASHA up a ladder of 3 token budgets, going on from their own checkpoints; 2 seeds each."""
    return Sweep(
        search="asha",
        space=("learning_rate=1e-4..3e-2log", "weight_decay=0.01..1log"),
        candidates=9,
        reduction=3,
        schedule="wsd",
        warmup=8,
        seeds=(0, 1),
        budgets=tuple(Budget(tokens, "tokens") for tokens in (65_536, 196_608, 589_824)),
        metrics=("held_out", "parameter_norm"),
    )
