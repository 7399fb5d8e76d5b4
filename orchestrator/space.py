"""What a search may choose: a range or a list for each setting, as words of the command line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.words import SpecError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

NUMBER = r"[0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?"
RANGE = re.compile(rf"({NUMBER})\.\.({NUMBER})(log)?", re.IGNORECASE)
WHOLE = ("batch_size", "seq_len")  # settings that are whole numbers
DIGITS = 4  # of a value in a range: more distinguish nothing, and are read by people


@dataclass(frozen=True)
class Dimension:
    """A setting that is one of ``choices``, or where there are none a number from ``low`` to ``high``."""

    name: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def ends(self) -> tuple[str, ...]:
        """Its extremes, or all choices, as words."""
        return tuple(map(self.words, self.choices or (self.low, self.high)))

    def words(self, value: Any) -> str:
        """A value as a variant has it, with four significant digits and still in the range."""
        if self.choices:
            return f"{self.name}={value}"
        short = float(f"{value:.{DIGITS}g}")
        number = short if self.low <= short <= self.high else float(value)
        return f"{self.name}={int(number) if self.name in WHOLE else number!r}"

    def value(self, text: str) -> Any:
        """What :meth:`words` has after the equals sign, as Optuna has it."""
        return text if self.choices else int(text) if self.name in WHOLE else float(text)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if self.name in WHOLE:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


def parse(texts: Sequence[str]) -> tuple[Dimension, ...]:
    """``learning_rate=1e-4..1e-2log``, ``batch_size=4/8/16``. Raises SpecError; what a setting may be is not asked."""
    dimensions = tuple(map(_parse, texts))
    names = [one.name for one in dimensions]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SpecError(f"space: {twice} is given twice")
    return dimensions


def _parse(text: str) -> Dimension:
    name, equals, values = text.partition("=")
    if name == "model":
        raise SpecError(f"space={text}: each model is searched by itself; give them by model=")
    found = RANGE.fullmatch(values)
    if found:
        low, high, log = float(found[1]), float(found[2]), bool(found[3])
        if not low < high:
            raise SpecError(f"space={text}: {low:g} is not below {high:g}")
        if log and low <= 0:
            raise SpecError(f"space={text}: a logarithmic range begins above 0")
        if name == "seq_len":
            raise SpecError(f"space={text}: each length has tokens of its own; list them: seq_len=64/128")
        if name in WHOLE and not (low.is_integer() and high.is_integer()):
            raise SpecError(f"space={text}: {name} is a whole number")
        return Dimension(name, (), low, high, log)
    choices = tuple(values.split("/"))
    if not equals or len(choices) < 2 or not all(choices) or len(set(choices)) < len(choices):
        raise SpecError(
            f"space={text}: write a range, such as learning_rate=1e-4..1e-2log, or a list, batch_size=4/8/16"
        )
    return Dimension(name, choices)


def corners(texts: Sequence[str]) -> tuple[str, ...]:
    """Variants that have each setting at its extremes, in all combinations."""
    return tuple(":".join(words) for words in itertools.product(*(one.ends for one in parse(texts))))


def variant(dimensions: Sequence[Dimension], values: Mapping[str, Any]) -> str:
    """Values by setting as a variant's words."""
    return ":".join(one.words(values[one.name]) for one in dimensions)


def values(dimensions: Sequence[Dimension], words: str) -> dict[str, Any]:
    """The inverse of :func:`variant`."""
    texts = dict(word.split("=", 1) for word in words.split(":"))
    return {one.name: one.value(texts[one.name]) for one in dimensions}
