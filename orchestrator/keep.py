"""What stays on disk of measured checkpoints, as a sweep's ``keep`` says it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.words import SpecError


@dataclass(frozen=True)
class Keep:
    """What of measured checkpoints stays: ``all``, ``weights``, ``log``, of the ``last`` so many, or ``none``."""

    what: str
    count: int = 0

    @classmethod
    def parse(cls, text: str) -> Keep:
        """``all``, ``weights``, ``last:3``, ``log`` or ``none``. Raises SpecError."""
        if text in ("all", "weights", "log", "none"):
            return cls(text)
        match = re.fullmatch(r"last:([1-9][0-9]*)", text)
        if match is None:
            raise SpecError(
                f"keep={text}: unknown. Allowed: all, weights, log, none, and last:K for a whole number K >= 1"
            )
        return cls("last", int(match[1]))
