"""What stays on disk, as words."""

from __future__ import annotations

import pytest

from orchestrator.keep import Keep
from orchestrator.overrides import override
from orchestrator.spec import Sweep, fields_by_role
from trainables.budget import Budget

BASE = Sweep(budgets=(Budget(1e10),))


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("all", Keep("all")),
        ("weights", Keep("weights")),
        ("log", Keep("log")),
        ("last:1", Keep("last", 1)),
        ("last:40", Keep("last", 40)),
    ],
)
def test_what_is_kept_is_read_and_changes_no_trial(text: str, keep: Keep) -> None:
    sweep = override(BASE, [f"keep={text}"])
    assert Keep.parse(sweep.keep) == keep
    assert sweep.trials() == BASE.trials()
    assert "keep" in fields_by_role("free")
