"""Tables as files and as text."""

from __future__ import annotations

import pandas as pd
import pytest

from orchestrator.report import tables
from tests.orchestrator.report.conftest import Made


def test_costs_are_of_all_trials(made: Made) -> None:
    costs = tables.costs(made.store)
    configs = [made.store.read_trial(trial_id) for trial_id in made.store.trial_ids()]
    assert costs["trials"].sum() == len(configs) == costs["done"].sum()
    assert costs["asked"].sum() == pytest.approx(sum(config.flops(config.steps) or 0 for config in configs))
    assert (costs["spent"] + costs["saved"]).sum() == pytest.approx(costs["asked"].sum())
    assert costs["seconds"].sum() == pytest.approx(12.5 * len(configs))


@pytest.mark.parametrize("value", [None, pd.NA, float("nan")])
def test_what_is_missing_is_no_number(value: object) -> None:
    assert not any(one.isdigit() for one in tables.text(value))


def test_tables_of_the_analysis_have_headings_for_their_columns(made: Made) -> None:
    for table in tables.of_analysis(made.analysis):
        assert len(table.headings) == len(table.as_text(1)[0])
