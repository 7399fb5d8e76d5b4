"""Models by name, and how one is built from scratch. Adding a model is one line in ``MODELS``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trainables.config import ModelConfig

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM

# name, layers, d, heads, vocabulary, context, learning rate. Pythia: Biderman et al. 2023, published configurations.
MODELS = {
    row[0]: ModelConfig(*row)
    for row in (
        ("neox-280k", 3, 64, 4, 1024, 128, 3e-3),  # the quickstart's: seconds a trial on one core
        ("pythia-14m", 6, 128, 4, 50304, 2048, 1e-3),
        ("pythia-31m", 6, 256, 8, 50304, 2048, 1e-3),
        ("pythia-70m", 6, 512, 8, 50304, 2048, 1e-3),
        ("pythia-160m", 12, 768, 12, 50304, 2048, 6e-4),
        ("pythia-410m", 24, 1024, 16, 50304, 2048, 3e-4),
        ("pythia-1b", 16, 2048, 8, 50304, 2048, 2.5e-4),
        ("pythia-1.4b", 24, 2048, 16, 50304, 2048, 2e-4),
        ("pythia-2.8b", 32, 2560, 32, 50304, 2048, 1.6e-4),
        ("pythia-6.9b", 32, 4096, 32, 50432, 2048, 1.2e-4),
        ("pythia-12b", 36, 5120, 40, 50688, 2048, 1.2e-4),
    )
}


def build(config: ModelConfig, *, init_seed: int | None = None, device: str = "cpu") -> GPTNeoXForCausalLM:
    """An untrained GPT-NeoX causal language model, float32.

    ``init_seed`` draws Pythia's initialisation on the CPU, so that it does not depend on the device; without it the
    weights are whatever the library's constructor leaves (to be overwritten by a checkpoint, or ``device="meta"``).
    """
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    neox = GPTNeoXConfig(
        hidden_size=config.d_model,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        intermediate_size=4 * config.d_model,
        vocab_size=config.vocab_size,
        max_position_embeddings=config.context,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": config.rotary_pct,
        },
        use_parallel_residual=True,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    with torch.device("meta" if device == "meta" else "cpu"):
        model = GPTNeoXForCausalLM(neox)
    if device == "meta":
        return model
    if init_seed is not None:
        initialize(model, init_seed)
    return model.to(device)


def initialize(model: GPTNeoXForCausalLM, seed: int) -> None:
    """Draw the weights in place as GPT-NeoX does for Pythia.

    Small init (Nguyen & Salazar 2019): normal with std sqrt(2 / 5d); the matrices that write into the residual stream
    use Wang init: std 2 / (L sqrt d). Biases 0, layer norms 1.
    """
    import torch

    d, n_layers = model.config.hidden_size, model.config.num_hidden_layers
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.fill_(1.0 if "layer_norm" in name or "layernorm" in name else 0.0)
                if name.endswith("bias"):
                    weight.zero_()
                continue
            residual = name.endswith(("attention.dense.weight", "mlp.dense_4h_to_h.weight"))
            std = 2 / (n_layers * math.sqrt(d)) if residual else math.sqrt(2 / (5 * d))
            weight.normal_(0.0, std, generator=generator)
