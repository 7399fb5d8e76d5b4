"""Learning rate at a step, and the steps at which a trial is kept: both pure functions of the step."""

from __future__ import annotations

import math

from trainables.config import Optimization

LOG_SPACED_STEPS = (0, *(2**k for k in range(10)))  # Pythia's 0, 1, 2, 4, ..., 512


def warmup_steps(optimization: Optimization, total: int) -> int:
    """Cosine: ``warmup`` is a fraction of the steps. WSD: a number of steps, the same for every budget."""
    if optimization.schedule == "wsd":
        return int(optimization.warmup)
    return _share(optimization.warmup, total)


def decay_start(optimization: Optimization, total: int) -> int:
    """The step at which the final decay of a WSD schedule begins."""
    return total - _share(optimization.decay, total)


def shared_steps(optimization: Optimization, total: int) -> tuple[int, ...]:
    """Steps at which trials of other budgets are in the same state: until a WSD schedule's decay begins."""
    return (decay_start(optimization, total),) if optimization.schedule == "wsd" else ()


def _share(fraction: float, total: int) -> int:
    """``fraction`` of ``total`` steps, rounded up; 0.07 of 100 is 7, though 0.07 * 100 is a little more."""
    return math.ceil(round(fraction * total, 6))


def learning_rate(optimization: Optimization, step: int, total: int) -> float:
    """Learning rate of optimizer step ``step`` (0-based) out of ``total``.

    Cosine: linear warm-up, then a half cosine down to ``min_lr_ratio`` (Pythia's). WSD (Hu et al. 2024, MiniCPM;
    1-sqrt decay of Hägele et al. 2024): linear warm-up, constant, then 1 - sqrt(progress) down to ``min_lr_ratio``.
    """
    peak, floor = optimization.learning_rate, optimization.min_lr_ratio
    warmup = warmup_steps(optimization, total)
    if step < warmup:
        return peak * (step + 1) / warmup
    if optimization.schedule == "cosine":
        progress = (step - warmup) / max(1, total - warmup)
        return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2)
    start = decay_start(optimization, total)
    if step < start:
        return peak
    progress = (step - start) / (total - start)
    return peak * (floor + (1 - floor) * (1 - math.sqrt(progress)))


def checkpoint_steps(optimization: Optimization, total: int, every: int) -> tuple[int, ...]:
    """Pythia's 0, 1, 2, 4, ..., 512, then every ``every``; always the last, and a WSD schedule's decay start."""
    steps = {step for step in (*LOG_SPACED_STEPS, *range(every, total, every)) if step <= total} | {total}
    if optimization.schedule == "wsd":
        steps.add(decay_start(optimization, total))
    return tuple(sorted(steps))
