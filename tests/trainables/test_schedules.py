"""Learning rates and checkpoint steps."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.config import Optimization
from trainables.schedules import checkpoint_steps, decay_start, learning_rate, warmup_steps

COSINE = Optimization(4, 1e-3, "cosine", 0.01, 0.1, 0.1, 0.9, 0.95, 1e-8, 0.1, 1.0)
WSD = replace(COSINE, schedule="wsd", warmup=10)
BOTH = pytest.mark.parametrize("optimization", [COSINE, WSD], ids=["cosine", "wsd"])


def rates(optimization: Optimization, total: int) -> list[float]:
    return [learning_rate(optimization, step, total) for step in range(total)]


def test_checkpoint_steps_are_pythias() -> None:
    steps = checkpoint_steps(COSINE, 143_000, 1000)
    assert steps == (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *range(1000, 143_001, 1000))
    assert len(steps) == 154


@BOTH
@given(total=st.integers(0, 3000), every=st.integers(1, 1000))
def test_checkpoint_steps_ascend_from_0_to_the_last(optimization: Optimization, total: int, every: int) -> None:
    steps = checkpoint_steps(optimization, total, every)
    assert (steps[0], steps[-1]) == (0, total)
    assert all(a < b for a, b in pairwise(steps))
    assert set(range(0, total, every)) <= set(steps)


@pytest.mark.parametrize(("decay", "start"), [(0.1, 270), (0.2, 240), (0.0, 300), (1.0, 0)])
def test_the_start_of_a_wsd_decay_is_kept(decay: float, start: int) -> None:
    optimization = replace(WSD, decay=decay)
    assert decay_start(optimization, 300) == start
    assert start in checkpoint_steps(optimization, 300, 1000)


def test_a_decay_start_off_the_grid_is_kept() -> None:
    assert 270 not in checkpoint_steps(COSINE, 300, 1000)
    assert checkpoint_steps(WSD, 300, 1000)[-2:] == (270, 300)


def test_pythia_warms_up_over_one_percent() -> None:
    assert warmup_steps(COSINE, 143_000) == 1430
    assert learning_rate(COSINE, 0, 143_000) == pytest.approx(1e-3 / 1430)
    assert learning_rate(COSINE, 1429, 143_000) == 1e-3


@pytest.mark.parametrize("total", [100, 1000])
def test_wsd_warms_up_over_the_same_steps_for_every_budget(total: int) -> None:
    assert rates(WSD, total)[:11] == pytest.approx([1e-4 * (step + 1) for step in range(10)] + [1e-3])


@BOTH
@given(total=st.integers(20, 3000))
def test_the_rate_stays_between_zero_and_the_peak(optimization: Optimization, total: int) -> None:
    assert all(0 < rate <= optimization.learning_rate for rate in rates(optimization, total))


@BOTH
@given(total=st.integers(20, 3000))
def test_after_the_warmup_the_rate_falls_and_never_below_its_floor(optimization: Optimization, total: int) -> None:
    after = rates(optimization, total)[warmup_steps(optimization, total) :]
    assert all(a >= b for a, b in pairwise(after))
    assert after[-1] >= optimization.min_lr_ratio * optimization.learning_rate


@pytest.mark.parametrize(
    ("optimization", "largest"),
    [(replace(COSINE, warmup=0.1), 1 / 1000), (replace(WSD, warmup=1000), 0.9 * math.sqrt(1 / 1000))],
    ids=["cosine", "wsd"],
)
def test_the_rate_has_no_jump(optimization: Optimization, largest: float) -> None:
    """In shares of the peak, the steepest move is a step of the warmup for cosine, the first of the decay for WSD."""
    moves = [abs(b - a) / optimization.learning_rate for a, b in pairwise(rates(optimization, 10_000))]
    assert max(moves) == pytest.approx(largest, rel=1e-9)


def test_half_way_the_cosine_is_half_way() -> None:
    flat = replace(COSINE, warmup=0.0, min_lr_ratio=0.2)
    assert learning_rate(flat, 500, 1000) == pytest.approx(1e-3 * 0.6)


def test_a_quarter_into_its_decay_wsd_is_half_way() -> None:
    optimization = replace(WSD, min_lr_ratio=0.2)
    assert learning_rate(optimization, 925, 1000) == pytest.approx(1e-3 * 0.6)


@given(small=st.integers(20, 1000), more=st.integers(0, 1000))
def test_wsd_budgets_share_the_part_before_the_decay(small: int, more: int) -> None:
    stable = decay_start(WSD, small)
    assert rates(WSD, small)[:stable] == rates(WSD, small + more)[:stable]
    assert decay_start(WSD, small + more) >= stable
