"""The summary in words."""

from __future__ import annotations

from orchestrator import results
from orchestrator.report import words
from tests.orchestrator.report.conftest import Made


def test_losses_at_both_ends_are_named_as_they_are(made: Made) -> None:
    final = results.at_budget(made.store, made.frame)
    losses = final[(final["metric"] == "held_out_loss") & (final["variant"] == final["variant"].iloc[0])]
    means = losses.groupby("budget_flops")["value"].mean()
    said = " ".join(words.found(final, made.analysis))
    assert f"{means.iloc[0]:.4g}" in said
    assert f"{means.iloc[-1]:.4g}" in said


def test_what_was_tried_is_counted(made: Made) -> None:
    record = made.store.read_sweep()
    assert record is not None
    said = words.tried(record, trials=9, done=4, checkpoints=12, values=3456)
    assert "4 of 9 trials" in said
    assert "3,456" in said
