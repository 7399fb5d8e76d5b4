"""What different shortages do at equal compute: of precision, batch, context and width."""

from orchestrator.spec import Sweep
from trainables.budget import Budget


def search_space() -> Sweep:
    """2 seeds x 8 variants at 2e11 FLOPs: bfloat16, smaller and larger batches, shorter sequences, other widths."""
    return Sweep(
        variants=(
            "plain",
            "precision=bfloat16",
            "batch_size=4",
            "batch_size=16",
            "seq_len=32",
            "seq_len=64",
            "model=neox-100k",
            "model=neox-530k",
        ),
        seeds=(0, 1),
        budgets=(Budget(2e11),),
        probe_points=256,
    )
