"""Why training ends before its budget is spent: it is asked to, or a plain rule of the sweep says so."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class TrainingInterruptedError(Exception):
    """Training was asked to stop, and all that was done is saved."""


class StoppedEarlyError(Exception):
    """A rule of ``early_stop`` ended the trial; its checkpoints so far are its results."""


@dataclass(frozen=True)
class Rule:
    """From ``step`` on, a trial whose loss is above ``loss`` (nats per token) at a checkpoint ends there."""

    loss: float
    step: int

    @classmethod
    def parse(cls, text: str) -> Rule:
        """``7.5@1000``: a loss and a step. Raises ValueError."""
        loss, at, step = text.partition("@")
        if at and re.fullmatch(r"[0-9]{1,18}", step):
            try:
                found = cls(float(loss), int(step))
            except ValueError:
                found = cls(math.nan, 0)
            if math.isfinite(found.loss) and found.loss > 0:
                return found
        raise ValueError(f"{text!r} is no rule; write LOSS@STEP, for example 7.5@1000")


def broken(rules: Iterable[str], step: int, recent: Sequence[float]) -> str | None:
    """The rule that a checkpoint breaks, in words; None for none. recent: sum and number of the losses since the
    checkpoint before."""
    total, count = recent
    for text in rules:
        rule = Rule.parse(text)
        if count and step >= rule.step and total / count > rule.loss:
            return f"early_stop={text}: the mean loss of the {count:.0f} steps up to {step} is {total / count:.4g}"
    return None
