"""The probe set, and what one forward pass over it shows of a checkpoint. All metrics read the same observation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Shapes: S sequences, T tokens, D hidden size, L blocks, P points, H heads.

SEQUENCES_PER_BATCH = 16
LOGITS_PER_BATCH = 2**26  # .25 GB of float32, and as much again for the loss: Pythia's at 2048 tokens go one by one
ATTENTION_SEQUENCES, ATTENTION_TOKENS = 4, 48  # H1 of a head takes 2 ms, of 64 tokens 4, of 128 40


@dataclass(frozen=True)
class ProbeSet:
    """Fixed held-out sequences, the same for every checkpoint of a sweep.

    blocks: token ids (S, T + 1); domains: of each sequence; target_bytes: bytes of text that each target stands for
    (S, T), 0 for special tokens; points: the token positions (P,) in the flattened (S * T) whose hidden states make
    the point clouds.
    """

    blocks: np.ndarray
    domains: tuple[str, ...]
    target_bytes: np.ndarray
    points: np.ndarray

    @classmethod
    def of(
        cls, blocks: np.ndarray, domains: tuple[str, ...], token_bytes: np.ndarray, *, n_points: int, seed: int = 0
    ) -> ProbeSet:
        """``token_bytes`` (V,) from :func:`trainables.tokenizers.token_bytes`; the points are a seeded sample."""
        positions = blocks.shape[0] * (blocks.shape[1] - 1)
        points = np.sort(np.random.default_rng(seed).choice(positions, size=min(n_points, positions), replace=False))
        return cls(blocks, domains, token_bytes[blocks[:, 1:]], points)


@dataclass(frozen=True)
class Observation:
    """One checkpoint seen through the probe set.

    loss: nats of each target (S, T), float64; hidden_states: the clouds (L + 1, P, D), float64: the embeddings, then
    the residual stream after each block, the last one before the final layer norm, which ``transformers`` hides in its
    own ``hidden_states``; attention: (L, S', H, T', T'), float32, of the first tokens of the first sequences, which in
    a causal model do not depend on the later ones; weights: every parameter as float32 array by its ``transformers``
    name, that of a layer as (outputs, inputs), whichever way the architecture keeps it.
    """

    probe_set: ProbeSet
    loss: np.ndarray
    hidden_states: np.ndarray
    attention: np.ndarray
    weights: dict[str, np.ndarray]


def observe(model: PreTrainedModel, probe_set: ProbeSet) -> Observation:
    """One forward pass of a causal language model over the probe set; of the hidden states only the points are kept."""
    import torch
    import torch.nn.functional as F

    device = next(model.parameters()).device
    tokens = probe_set.blocks.shape[1] - 1
    batch = max(1, min(SEQUENCES_PER_BATCH, LOGITS_PER_BATCH // (tokens * model.config.vocab_size)))
    losses, clouds = [], []
    model.eval()
    with torch.inference_mode(), _residual_stream(model) as stream:
        for first in range(0, len(probe_set.blocks), batch):
            block = torch.from_numpy(probe_set.blocks[first : first + batch].astype(np.int64)).to(device)
            inside = (probe_set.points >= first * tokens) & (probe_set.points < (first + len(block)) * tokens)
            stream.points = torch.from_numpy(probe_set.points[inside] - first * tokens).to(device)
            logits = model(input_ids=block[:, :-1]).logits.float().flatten(0, 1)
            losses.append(F.cross_entropy(logits, block[:, 1:].flatten(), reduction="none").view(len(block), -1).cpu())
            clouds.append(stream.taken())
    return Observation(
        probe_set,
        torch.cat(losses).double().numpy(),
        torch.cat(clouds, dim=1).double().numpy(),
        _attention(model, probe_set.blocks[:ATTENTION_SEQUENCES, :-1][:, :ATTENTION_TOKENS]),
        _weights(model),
    )


def _weights(model: PreTrainedModel) -> dict[str, np.ndarray]:
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer, which keeps (inputs, outputs)

    turned = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Conv1D)}
    arrays = {name: weight.detach().float().cpu().numpy() for name, weight in model.named_parameters()}
    return {name: array.T if name in turned else array for name, array in arrays.items()}


def blocks(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The transformer blocks, by order: the base model's list of as many modules as its configuration has layers.

    Raises ValueError for an architecture that keeps them otherwise.
    """
    import torch

    count = model.config.get_text_config().num_hidden_layers
    for module in model.base_model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise ValueError(f"{type(model).__name__}: has no list of {count} blocks, so its hidden states cannot be read")


def _attention(model: PreTrainedModel, tokens: np.ndarray) -> np.ndarray:
    """Attention weights (L, S, H, T, T) of token ids (S, T); only the eager implementation shows them."""
    import torch

    implementation = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            inputs = torch.from_numpy(tokens.astype(np.int64)).to(model.device)
            return torch.stack(model.base_model(inputs, output_attentions=True).attentions).float().cpu().numpy()
    finally:
        model.set_attn_implementation(implementation)


@dataclass
class _Stream:
    """The residual stream at ``points`` (positions in the flattened batch): the embeddings, then after each block."""

    points: torch.Tensor | None = None
    layers: list[torch.Tensor] = field(default_factory=list)

    def take(self, hidden: Any) -> None:
        state = hidden[0] if isinstance(hidden, tuple) else hidden
        self.layers.append(state.flatten(0, 1)[self.points].cpu())

    def taken(self) -> torch.Tensor:
        """(L + 1, points, D) of the last forward pass."""
        import torch

        layers, self.layers = self.layers, []
        return torch.stack(layers)


@contextmanager
def _residual_stream(model: PreTrainedModel) -> Iterator[_Stream]:
    stream = _Stream()
    layers = blocks(model)
    hooks = [layers[0].register_forward_pre_hook(lambda _, inputs: stream.take(inputs))]
    hooks += [layer.register_forward_hook(lambda _, __, output: stream.take(output)) for layer in layers]
    try:
        yield stream
    finally:
        for hook in hooks:
            hook.remove()
