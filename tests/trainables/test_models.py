"""Models are Pythia's, and a seed fixes every weight."""

from __future__ import annotations

import math

import pytest
import torch

from trainables import models
from trainables.config import ModelConfig


def test_a_name_finds_the_model_of_that_name() -> None:
    assert all(name == config.name for name, config in models.MODELS.items())


def test_the_seed_alone_fixes_every_weight(tiny_model: ModelConfig) -> None:
    torch.manual_seed(1)
    first = models.build(tiny_model, init_seed=5).state_dict()
    torch.manual_seed(2)
    second = models.build(tiny_model, init_seed=5).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_changes_every_matrix(tiny_model: ModelConfig) -> None:
    first, second = (dict(models.build(tiny_model, init_seed=seed).named_parameters()) for seed in (5, 6))
    assert not any(torch.equal(first[name], second[name]) for name in first if first[name].ndim > 1)


@pytest.fixture(scope="module")
def wide_model() -> dict[str, torch.Tensor]:
    config = models.gpt_neox("wide", 4, 256, 4, 1000, 16, 1e-3)
    return {name: weight.detach() for name, weight in models.build(config, init_seed=0).named_parameters()}


@pytest.mark.parametrize(
    ("matrix", "std"),
    [
        ("embed_in.weight", math.sqrt(2 / (5 * 256))),
        ("attention.query_key_value.weight", math.sqrt(2 / (5 * 256))),
        ("mlp.dense_h_to_4h.weight", math.sqrt(2 / (5 * 256))),
        ("attention.dense.weight", 2 / (4 * 16)),
        ("mlp.dense_4h_to_h.weight", 2 / (4 * 16)),
    ],
)
def test_matrices_are_drawn_as_pythias(wide_model: dict[str, torch.Tensor], matrix: str, std: float) -> None:
    found = [weight for name, weight in wide_model.items() if name.endswith(matrix)]
    assert found
    for weight in found:  # 65,536 draws and more: six standard errors are 0.017 of the standard deviation
        assert weight.std().item() == pytest.approx(std, rel=0.017)
        assert abs(weight.mean().item()) < 6 * std / math.sqrt(weight.numel())


def test_biases_start_at_zero_and_layer_norms_at_one(wide_model: dict[str, torch.Tensor]) -> None:
    vectors = {name: weight for name, weight in wide_model.items() if weight.ndim == 1}
    assert sum(name.endswith("bias") for name in vectors) == 4 * 6 + 1
    for name, weight in vectors.items():
        assert weight.unique().tolist() == [0.0 if name.endswith("bias") else 1.0]


def test_embeddings_are_not_tied(wide_model: dict[str, torch.Tensor]) -> None:
    big = [weight for weight in wide_model.values() if len(weight) == 1000]
    assert len(big) == 2
    assert not torch.equal(*big)


def test_a_token_does_not_see_what_follows(tiny_model: ModelConfig) -> None:
    model = models.build(tiny_model, init_seed=0).eval()
    block = torch.arange(16)[None]
    other = block.clone()
    other[0, 10:] += 1
    with torch.inference_mode():
        first, second = model(block).logits, model(other).logits
    assert torch.allclose(first[:, :10], second[:, :10], atol=1e-6)
    assert not torch.allclose(first[:, 10:], second[:, 10:], atol=1e-6)


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_rotary_fraction_reaches_the_model(fraction: float) -> None:
    model = models.build(models.gpt_neox("rotary", 2, 64, 2, 64, 16, 1e-3, rotary_pct=fraction))
    assert model.gpt_neox.rotary_emb.inv_freq.numel() == int(64 // 2 * fraction) // 2
