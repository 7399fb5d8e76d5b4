"""The projection against the matrix that it stands for, and the subspaces that it makes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard as dense_hadamard

from metrics.evaluation.fastfood import Projection, Subspace, hadamard, layer_of

NAMES = ("embed.weight", "layers.0.a.weight", "layers.0.b.bias", "layers.1.a.weight")
SHAPES = ((7, 5), (4, 9), (3,), (11, 2))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def start() -> dict[str, torch.Tensor]:
    drawn = generator(9)
    return {name: torch.randn(shape, generator=drawn) for name, shape in zip(NAMES, SHAPES, strict=True)}


def flat(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in weights.values()])


@pytest.mark.parametrize("n", [1, 2, 8, 32, 64, 2048])
def test_the_transform_is_scipys_matrix(n: int) -> None:
    x = torch.randn(n, 3, generator=generator(), dtype=torch.float64)
    expected = dense_hadamard(n) @ x.numpy()
    assert np.allclose(hadamard(x).numpy(), expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("n", [1, 16, 4096])
def test_the_transform_is_its_own_inverse_up_to_n(n: int) -> None:
    x = torch.randn(n, 2, generator=generator())
    assert torch.allclose(hadamard(hadamard(x)) / n, x, atol=1e-5)


@pytest.mark.parametrize(("d", "size"), [(1, 6), (3, 100), (8, 64), (5, 3), (13, 37)])
def test_a_projection_is_the_product_of_its_factors(d: int, size: int) -> None:
    """S H G Pi H B of each block, written out as dense matrices and stacked."""
    projection = Projection.draw(d, size, size, generator(), "cpu")
    n, m = projection.gaussians.shape
    h, permutation = dense_hadamard(n), np.eye(n)[projection.order.numpy()]
    blocks = [
        h @ np.diag(projection.gaussians[:, i].numpy()) @ permutation @ h @ np.diag(projection.signs[:, i].numpy())
        for i in range(m)
    ]
    dense = np.stack(blocks, axis=1).reshape(n * m, n)[:size, :d] / math.sqrt(n * size)
    x = torch.randn(d, generator=generator(1), requires_grad=True)
    found = projection(x)
    assert np.allclose(found.detach().numpy(), dense @ x.detach().numpy(), atol=1e-5)
    cotangent = torch.randn(size, generator=generator(2))
    (gradient,) = torch.autograd.grad(found, x, cotangent)
    assert np.allclose(gradient.numpy(), dense.T @ cotangent.numpy(), atol=1e-5)


@pytest.mark.parametrize("d", [1, 10, 64, 100])
def test_columns_are_nearly_orthonormal(d: int) -> None:
    """P^T P is I up to terms of order sqrt(d / D)."""
    projection = Projection.draw(d, 60_000, 60_000, generator(), "cpu")
    columns = torch.stack([projection(unit) for unit in torch.eye(d)])
    gram = columns @ columns.T
    assert torch.linalg.matrix_norm(gram - torch.eye(d), ord=2) < 3 * math.sqrt(d / 60_000) + 0.02


def test_entries_are_gaussian_and_blocks_independent() -> None:
    entries = torch.cat(
        [Projection.draw(4, 64, 64, generator(seed), "cpu")(torch.eye(4)[0])[None] for seed in range(4000)]
    )
    standard = entries * math.sqrt(64)
    assert standard.mean().abs() < 0.02
    assert (standard**2).mean() == pytest.approx(1, abs=0.02)
    assert (standard**4).mean() == pytest.approx(3, abs=0.15)
    assert torch.corrcoef(entries.T).fill_diagonal_(0).abs().max() < 5 / math.sqrt(4000)


def test_a_large_projection_needs_no_dense_matrix() -> None:
    """2^20 x 1000 numbers would be 4 GB; no tensor that is made on the way is longer than the weights, padded."""
    projection = Projection.draw(1000, 2**20, 2**20, generator(), "cpu")
    x = torch.randn(1000, generator=generator(1))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        projected = projection(x)
    allocated = max(event.self_cpu_memory_usage for event in profile.events())
    assert allocated == 4 * 2**20
    held = sum(t.numel() * t.element_size() for t in (projection.signs, projection.order, projection.gaussians))
    assert held <= 5.01 * 2**20
    assert projected.norm() == pytest.approx(float(x.norm()), rel=0.05)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("layers.3.attention.dense.weight", "layers.3"),
        ("h.11.mlp.c_fc.bias", "h.11"),
        ("embed_in.weight", "embed_in"),
        ("final_layer_norm.bias", "final_layer_norm"),
    ],
)
def test_layers_are_blocks_and_what_is_outside_of_them(name: str, layer: str) -> None:
    assert layer_of(name) == layer


@pytest.mark.parametrize("layers", [(), ("embed", "layers.0", "layers.1")])
def test_the_origin_is_where_training_starts(start: dict[str, torch.Tensor], layers: tuple[str, ...]) -> None:
    subspace = Subspace.draw(start, 5, 0, layers=layers)
    assert subspace.origin().shape == (5,)
    weights = subspace.weights(subspace.origin())
    assert all(torch.equal(weights[name], start[name]) for name in NAMES)


def test_direct_moves_all_weights_by_one_projection_of_nearly_the_same_length(start: dict[str, torch.Tensor]) -> None:
    lengths = []
    for seed in range(200):
        subspace = Subspace.draw(start, 6, seed)
        x = torch.randn(6, generator=generator(seed))
        lengths.append(float((flat(subspace.weights(x)) - flat(start)).norm() ** 2 / x.norm() ** 2))
    assert np.mean(lengths) == pytest.approx(1, abs=0.05)


def test_structured_scales_each_layers_share(start: dict[str, torch.Tensor]) -> None:
    layers = ("embed", "layers.0", "layers.1")
    subspace = Subspace.draw(start, 7, 0, layers=layers)
    shared = torch.randn(4, generator=generator())
    plain, scaled = (
        subspace.weights(torch.cat([shared, torch.tensor(s)])) for s in ([1.0, 1.0, 1.0], [2.0, 0.0, -3.0])
    )
    factor = dict(zip(layers, (2.0, 0.0, -3.0), strict=True))
    for name in NAMES:
        expected = start[name] + factor[layer_of(name)] * (plain[name] - start[name])
        assert torch.allclose(scaled[name], expected, atol=1e-5)


def test_structured_needs_a_dimension_beside_the_scales(start: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="d=3: 3 scales"):
        Subspace.draw(start, 3, 0, layers=("embed", "layers.0", "layers.1"))


def test_a_seed_draws_one_subspace_and_leaves_torchs_own_dice(start: dict[str, torch.Tensor]) -> None:
    before = torch.get_rng_state()
    x = torch.ones(5)
    first, again, other = (flat(Subspace.draw(start, 5, seed).weights(x)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(before, torch.get_rng_state())
