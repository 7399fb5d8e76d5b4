"""The default sweep: nothing downloaded, about two minutes on two cores."""

from orchestrator.spec import Sweep
from trainables.budget import Budget


def search_space() -> Sweep:
    """3 seeds x 4 FLOP budgets of a 280k-parameter GPT-NeoX on text that ships with Python."""
    return Sweep(
        model=("neox-280k",),
        seeds=(0, 1, 2),
        budgets=tuple(Budget(flops) for flops in (5e10, 1e11, 2e11, 4e11)),
        probe_points=256,
    )
