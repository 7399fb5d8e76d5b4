from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.report import tables
from orchestrator.report.findings import Findings
from orchestrator.report.tables import Table
from orchestrator.store import Store
from tests import synthetic


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (math.nan, "-"),
        ("a", "a"),
        (3, "3"),
        (12345.0, "12,345"),
        (4e11, "4e11"),
        (0.123456, "0.1235"),
        (1.5e-7, "1.5e-7"),
        (True, "1"),
    ],
)
def test_cells_for_people(value: object, said: str) -> None:
    assert tables.text(value) == said


def test_tables_are_written_as_csv_and_parquet(found: Findings, tmp_path: Path) -> None:
    tables.write(Store.open(str(tmp_path)), list(found.tables))
    names = {table.name for table in found.tables}
    assert {"by_budget", "cost", "effects", "correlations"} <= names
    for table in found.tables:
        pd.testing.assert_frame_equal(
            pd.read_parquet(tmp_path / "tables" / f"{table.name}.parquet"),
            table.frame.reset_index(drop=True),
            check_dtype=False,
        )
        assert len(pd.read_csv(tmp_path / "tables" / f"{table.name}.csv")) == len(table.frame)
    effects = pd.read_csv(tmp_path / "tables" / "effects.csv")
    assert effects["q"].dropna().is_monotonic_increasing


def test_costs_are_what_trials_were_to_spend_and_did(store: Store) -> None:
    found = tables.costs(store)
    assert len(found) == 12
    assert (found["trials"] == 3).all()
    configs = [store.read_trial(trial) for trial in store.trial_ids()]
    assert found["asked"].sum() == pytest.approx(sum(one.flops(one.steps) or 0 for one in configs))
    assert (found["spent"] == found["asked"]).all()
    assert (found["saved"] == 0).all()
    assert found["seconds"].sum() == pytest.approx(12.5 * 36)


def test_steps_taken_over_were_not_spent(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path / "store", "seeds=0", "budgets=20steps,40steps", checkpoints=3, pictures=False)
    (long,) = (trial for trial in store.trial_ids() if "40steps" in trial)
    store.trial(long).write_json("prefix.json", {"trial": "the other", "step": 16})
    found = tables.costs(store).set_index("budget_flops").iloc[-1]
    assert found["asked"] == pytest.approx(found["spent"] + found["saved"])
    assert found["saved"] == pytest.approx(found["asked"] * 16 / 40)


def test_candidates_are_the_best_first() -> None:
    rows = [("m", 1e10, "a=1", 0, 4.0), ("m", 1e10, "a=1", 1, 4.2), ("m", 1e10, "a=2", 2, 3.0)]
    final = pd.DataFrame(rows, columns=["model", "budget_flops", "variant", "trial", "value"])
    found = tables.candidates(final.assign(metric="held_out_loss"))
    assert list(found["variant"]) == ["a=2", "a=1"]
    assert list(found["seeds"]) == [1, 2]
    assert list(found["loss"]) == [3.0, pytest.approx(4.1)]


def test_rows_and_headings_for_people() -> None:
    table = Table("t", "T", pd.DataFrame({"metric": ["a", "b"], "low": [0.5, math.nan]}))
    assert table.headings == ["metric", "95 % from"]
    assert table.as_text(1) == [["a", "0.5"]]
