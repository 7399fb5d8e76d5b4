"""Random subspaces of weights too many to write down a basis of: theta = theta_0 + P theta_d, P by fastfood.

Le, Sarlos and Smola 2013 make a Gaussian-like matrix of diagonals, a permutation and Walsh-Hadamard transforms; Li et
al. 2018 and Aghajanyan, Zettlemoyer and Gupta 2020 train in its image. No D x d matrix is ever there.
"""

# Shapes: D weights in all, d dimensions of the subspace, n the power of two from d on, m the blocks of n rows.

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor, device

RADIX = 32  # of 16, 32 and 64 the quickest on a CPU; 3 to 5 times as quick as additions in pairs


@functools.cache
def _hadamard_matrix(n: int) -> Tensor:
    import torch

    if n == 1:
        return torch.ones(1, 1)
    return torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), _hadamard_matrix(n // 2))


def hadamard(x_nm: Tensor) -> Tensor:
    """The Walsh-Hadamard transform of each column of (n, m), n a power of two; not normalised: twice is n times x.

    H_n is the Kronecker product of matrices of at most ``RADIX`` rows, applied one after the other: O(n log n) time a
    column, and room for one more copy of x.
    """
    shape, left = x_nm.shape, x_nm.shape[0]
    while left > 1:
        radix = min(RADIX, left)
        left //= radix
        rows = shape[0] // (left * radix)
        x_nm = _hadamard_matrix(radix).to(x_nm) @ x_nm.reshape(rows, radix, left * shape[1])
    return x_nm.reshape(shape)


@dataclass(frozen=True)
class Projection:
    """The rows of P for one tensor of weights, m blocks S H G Pi H B of n rows of which the last may not all be used.

    signs: B, (n, m) int8; order: Pi, (n,), one for all blocks; gaussians: G, (n, m); scale: S, which in Le et al. draws
    the length of each row and is one number here, so that a column of P has length 1 in the mean. 5 bytes a weight.
    """

    signs: Tensor
    order: Tensor
    gaussians: Tensor
    scale: float
    size: int

    @classmethod
    def draw(cls, d: int, size: int, n_weights: int, generator: Generator, where: device | str) -> Projection:
        """For ``size`` of ``n_weights`` weights. Drawn on the CPU, so that P does not depend on the device."""
        import torch

        n = 1 << (d - 1).bit_length()
        m = math.ceil(size / n)
        signs = torch.randint(0, 2, (n, m), dtype=torch.int8, generator=generator).mul_(2).sub_(1)
        order = torch.randperm(n, generator=generator)
        gaussians = torch.randn(n, m, generator=generator)
        scale = 1 / math.sqrt(n * n_weights)
        return cls(signs.to(where), order.to(where), gaussians.to(where), scale, size)

    def __call__(self, theta_d: Tensor) -> Tensor:
        """P theta_d, shape (size,). Its gradient is the transpose's, as quick; autograd keeps no copy for it."""
        from torch.nn.functional import pad

        x_n1 = pad(theta_d * self.scale, (0, len(self.signs) - len(theta_d)))[:, None]
        mixed_nm = hadamard(self.signs * x_n1).index_select(0, self.order)
        return hadamard(self.gaussians * mixed_nm).flatten()[: self.size]


def layer_of(name: str) -> str:
    """The layer that a weight belongs to by its name: its transformer block, or outside of the blocks its module."""
    block = re.match(r".*?\.\d+(?=\.)", name)
    return block[0] if block else name.rpartition(".")[0]


@dataclass(frozen=True)
class Subspace:
    """Weights as a function of theta_d, shape (d,).

    DID: theta_0 + P theta_d. SAID: the last entries of theta_d are scales, one for each of the layers, and those of
    layer i are theta_0 + scale_i P theta', theta' being the other d - layers entries. layers: names, empty for DID.
    """

    start: Mapping[str, Tensor]
    projections: Mapping[str, Projection]
    layers: tuple[str, ...]
    d: int

    @classmethod
    def draw(cls, start: Mapping[str, Tensor], d: int, seed: int, *, layers: Iterable[str] = ()) -> Subspace:
        """A random one through ``start``. Raises ValueError where no dimension is left beside the scales."""
        import torch

        layers = tuple(layers)
        if d <= len(layers):
            raise ValueError(f"d={d}: {len(layers)} scales of layers leave no dimension; take more than that")
        generator = torch.Generator().manual_seed(seed)
        n_weights = sum(weight.numel() for weight in start.values())
        projections = {
            name: Projection.draw(d - len(layers), weight.numel(), n_weights, generator, weight.device)
            for name, weight in start.items()
        }
        return cls(start, projections, layers, d)

    def origin(self) -> Tensor:
        """The theta_d at which the weights are those of the start: zeros, and scales of one."""
        import torch

        theta_d = torch.zeros(self.d, device=next(iter(self.start.values())).device)
        theta_d[self.d - len(self.layers) :] = 1
        return theta_d

    def weights(self, theta_d: Tensor) -> dict[str, Tensor]:
        """theta by name. A scale is multiplied in before the projection: there it costs d numbers, not D."""
        shared, scales = theta_d.tensor_split([self.d - len(self.layers)])
        of_layer = {layer: shared * scale for layer, scale in zip(self.layers, scales, strict=True)}
        return {
            name: start + self.projections[name](of_layer[layer_of(name)] if self.layers else shared).view_as(start)
            for name, start in self.start.items()
        }
