"""Which learning rate, batch and warmup suit a model at a budget."""

from orchestrator.spec import Sweep
from trainables.budget import Budget


def search_space() -> Sweep:
    """20 candidates of learning rate x batch x warmup by Optuna's TPE (or search=gp), each on 2 seeds at 5e10 FLOPs."""
    return Sweep(
        search="tpe",
        space=("learning_rate=1e-4..3e-2log", "batch_size=4/8/16", "warmup=0..0.1"),
        candidates=20,
        seeds=(0, 1),
        budgets=(Budget(5e10),),
        metrics=("held_out", "parameter_norm"),
    )
