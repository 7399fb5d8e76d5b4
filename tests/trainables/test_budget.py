"""Budgets: their text, their steps, and what a token costs."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from trainables import models
from trainables.budget import Budget, flops_per_token

units = st.sampled_from(["flops", "tokens", "steps"])
amounts = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@given(amount=st.sampled_from([1e11, 2.5e6, 5e6, 200.0, 1e-3, 4e18]), unit=units)
def test_parse_undoes_str_of_round_amounts(amount: float, unit: str) -> None:
    budget = Budget(amount, unit)  # type: ignore[arg-type]
    assert Budget.parse(str(budget)) == budget


@given(amount=amounts, unit=units)
def test_parse_undoes_str(amount: float, unit: str) -> None:
    budget = Budget(amount, unit)  # type: ignore[arg-type]
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("1e11", 1e11, "flops"),
        (" 1e11flops ", 1e11, "flops"),
        ("3e6tokens", 3e6, "tokens"),
        ("200 steps", 200, "steps"),
    ],
)
def test_parse_understands(text: str, amount: float, unit: str) -> None:
    assert Budget.parse(text) == Budget(amount, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "flops", "1e11 hours", "-5", "0", "1e999", "1.2.3", ".", "nan", "inf", "1e"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Budget.parse(text)


@pytest.mark.parametrize("amount", [0, -1, float("nan"), float("inf")])
def test_an_amount_that_buys_nothing_or_everything_is_refused(amount: float) -> None:
    with pytest.raises(ValueError, match="positive, finite"):
        Budget(amount)


@given(
    amount=st.floats(1e-3, 2.0**50),
    unit=units,
    flops=st.integers(1, 10**9),
    tokens=st.integers(1, 10**6),
)
def test_steps_are_rounded_down(amount: float, unit: str, flops: int, tokens: int) -> None:
    steps = Budget(amount, unit).steps(flops_per_token=flops, tokens_per_step=tokens)  # type: ignore[arg-type]
    cost = {"flops": flops * tokens, "tokens": tokens, "steps": 1}[unit]
    assert steps * cost <= Fraction(amount) < (steps + 1) * cost


@pytest.mark.parametrize("spare", [0, 1])
def test_a_budget_of_exactly_so_many_steps_buys_them(spare: int) -> None:
    assert Budget(7.0 * 30 + spare).steps(flops_per_token=10, tokens_per_step=3) == 7
    assert Budget(7.0 * 30 - 1).steps(flops_per_token=10, tokens_per_step=3) == 6


@pytest.mark.parametrize(
    ("layers", "d", "heads", "vocabulary", "seq_len"), [(2, 16, 2, 64, 16), (3, 64, 4, 1024, 128), (1, 96, 3, 777, 33)]
)
def test_flops_per_token_are_what_torch_counts(layers: int, d: int, heads: int, vocabulary: int, seq_len: int) -> None:
    shape = models.gpt_neox("x", layers, d, heads, vocabulary, seq_len, 1e-3)
    model = models.build(shape, init_seed=0)
    model.set_attn_implementation("eager")
    block = torch.zeros(2, seq_len, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=block).logits.sum().backward()
    assert flops_per_token(shape, seq_len) == pytest.approx(counter.get_total_flops() / block.numel(), rel=0.01)
