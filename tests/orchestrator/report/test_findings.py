"""What is gathered of a store."""

from __future__ import annotations

from orchestrator.report import findings
from tests.orchestrator.report.conftest import Made


def test_what_was_found_is_gathered(made: Made) -> None:
    found = made.found
    assert "32 of 32 trials" in found.summary[0]
    assert len(found.rows) == 8  # two variants of four budgets
    effects = found.table("effects")
    assert effects is not None
    assert len(effects.frame) == len(made.analysis.effects)
    assert found.table("no such table") is None
    assert found.compared is None
    assert found.failures == ()


def test_a_store_with_no_measurement_yet_is_gathered_too(made: Made) -> None:
    empty = findings.gather(made.store, made.frame.iloc[:0], made.analysis)
    assert empty.rows == []
    assert empty.diagrams == []
