"""Compute budgets: what a trial may spend, and what a token costs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from trainables.config import ModelConfig

Unit = Literal["flops", "tokens", "steps"]


@dataclass(frozen=True)
class Budget:
    """An amount of compute with its unit; ``str`` and :meth:`parse` are inverse."""

    amount: float
    unit: Unit = "flops"

    def __post_init__(self) -> None:
        object.__setattr__(self, "amount", float(self.amount))  # 24 and 24.0 are one budget and must hash alike
        if not 0 < self.amount < float("inf"):
            raise ValueError(f"budget {self.amount!r} {self.unit}: must be a positive, finite number")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """``1e11`` or ``1e11flops`` (FLOPs), ``3e6tokens``, ``200steps``. Raises ValueError."""
        match = re.fullmatch(r"\s*((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*(flops|tokens|steps)?\s*", text)
        if match is None:
            raise ValueError(f"{text!r} is not a budget; write for example 1e11 (FLOPs), 3e6tokens or 200steps")
        return cls(float(match[1]), match[2] or "flops")  # type: ignore[arg-type]

    def __str__(self) -> str:
        short = f"{self.amount:g}"
        amount = short if float(short) == self.amount else repr(self.amount)
        return amount.replace("+", "") + ("" if self.unit == "flops" else self.unit)

    def steps(self, *, flops_per_token: int, tokens_per_step: int) -> int:
        """Whole optimizer steps that the budget buys, rounded down."""
        per_step = {"flops": flops_per_token * tokens_per_step, "tokens": tokens_per_step, "steps": 1}[self.unit]
        return int(self.amount // per_step)


def flops_per_token(model: ModelConfig, seq_len: int) -> int:
    """Training FLOPs per token: 3 x the forward matrix products (projections, attention, MLP, output head).

    Attention is counted at the full ``seq_len`` x ``seq_len`` (no causal discount) and embedding look-ups are free,
    which is what ``torch.utils.flop_counter`` counts with eager attention.
    """
    return 3 * (2 * model.n_params_matmul + 4 * seq_len * model.attention_width)
