"""Which size a budget is best spent on: several sizes at equal compute (Hoffmann et al. 2022, approach 2)."""

from orchestrator.spec import Sweep
from trainables.budget import Budget


def search_space() -> Sweep:
    """4 sizes x 3 FLOP budgets x 2 seeds of small GPT-NeoX; for Pythia give model=, budgets=, corpus= and seq_len=."""
    return Sweep(
        model=("neox-40k", "neox-100k", "neox-280k", "neox-530k"),  # the best sizes lie between the first and the third
        seeds=(0, 1),
        budgets=tuple(Budget(flops) for flops in (2e11, 4e11, 8e11)),
        batch_size=4,
        probe_points=256,
    )
