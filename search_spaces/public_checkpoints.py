"""Published checkpoints: every revision of a model is measured, and nothing is trained."""

from orchestrator.spec import Sweep


def search_space() -> Sweep:
    """The 154 published checkpoints of pythia-14m and of its nine PolyPythia seeds; or give model= and checkpoints=."""
    return Sweep(
        model=("pythia-14m", *(f"pythia-14m-seed{seed}" for seed in range(1, 10))),
        checkpoints=("all",),
        seeds=(),
        corpus="pile",
        seq_len=512,
        probe_sequences=32,
        keep="none",
    )
