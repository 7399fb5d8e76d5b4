"""FLOPs per token, counted from the configuration, against torch's FlopCounterMode on the real model.

python benchmarks/flops.py
"""

from __future__ import annotations

import json

import torch
from torch.utils.flop_counter import FlopCounterMode

from trainables import models
from trainables.budget import flops_per_token
from trainables.config import ModelConfig

SEQUENCES = 2
SHAPES = (("neox-280k", 128), ("pythia-14m", 256), ("pythia-31m", 512))


def counted(config: ModelConfig, seq_len: int) -> float:
    """FLOPs per token of one forward and backward pass, as torch counts them with eager attention."""
    model = models.build(config)
    model.set_attn_implementation("eager")
    tokens = torch.zeros((SEQUENCES, seq_len), dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens).logits.sum().backward()
    return float(counter.get_total_flops() / (SEQUENCES * seq_len))


def main() -> None:
    print(f"{'model':12} {'seq_len':>8} {'ours':>16} {'torch':>16} {'6N':>16} {'ours/torch':>12}")
    ratios = {}
    for name, seq_len in SHAPES:
        config = models.MODELS[name]
        ours, reference = flops_per_token(config, seq_len), counted(config, seq_len)
        six_n = 6 * config.n_params_non_embedding
        print(f"{name:12} {seq_len:8} {ours:16,} {reference:16,.0f} {six_n:16,} {ours / reference:12.5f}")
        ratios[name] = ours / reference
    print(json.dumps({"name": "flops", "ratios": ratios}))


if __name__ == "__main__":
    main()
