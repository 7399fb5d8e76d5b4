"""The mission's sweep: what compute buys, and what shape it leaves, from the smallest Pythia to the 1.4b."""

from orchestrator.spec import Sweep
from trainables.budget import Budget


def search_space() -> Sweep:
    """7 Pythia sizes up to 1.4b x 3 seeds x 4 FLOP budgets on the Pile; for GPUs, or give model= and corpus=."""
    return Sweep(
        model=tuple(f"pythia-{size}" for size in ("14m", "31m", "70m", "160m", "410m", "1b", "1.4b")),
        seeds=(0, 1, 2),
        budgets=tuple(Budget(flops) for flops in (1e16, 3e16, 1e17, 3e17)),
        corpus="pile",
        seq_len=2048,
        batch_size=8,
    )
