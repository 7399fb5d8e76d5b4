"""All findings of a sweep together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from orchestrator import results
from orchestrator.analysis import COLUMNS, Analysis, analyse
from orchestrator.store import Store
from tests.orchestrator.analysis import planted


def _tables(found: Analysis) -> dict[str, pd.DataFrame]:
    return {name: getattr(found, name) for name in COLUMNS}


def test_every_table_has_its_columns_whether_something_was_found_or_not() -> None:
    assert {*COLUMNS, "remarks"} == {field.name for field in dataclasses.fields(Analysis)}
    frame, _ = planted.results(planted.grid(2, (1e9,)), {("held_out_loss", None): np.array([3.0, 3.1])})
    found = analyse(frame, {})
    assert {name: tuple(table.columns) for name, table in _tables(found).items()} == COLUMNS
    assert all(table.empty for table in _tables(found).values())
    assert found.remarks[0].startswith("2 trials are left out")


def test_a_sweep_of_four_budgets_and_three_seeds_says_something() -> None:
    about, random = planted.grid(3, (1e9, 1e10, 1e11, 1e12)), np.random.default_rng(0)
    loss = 9 - 0.5 * np.log10(about["budget_flops"].to_numpy(dtype=float)) + 0.01 * random.normal(size=12)
    columns = {("held_out_loss", None): loss, **planted.null(about, 5, random)}
    found = analyse(*planted.results(about, columns, columns))
    assert {name for name, table in _tables(found).items() if len(table)} == {"effects", "correlations", "prediction"}
    assert set(found.correlations["layer"]) == {1}
    assert found.effects[found.effects["metric"] == "held_out_loss"]["layer"].isna().all()
    again = analyse(*planted.results(about, columns, columns))
    for name, table in _tables(found).items():
        pd.testing.assert_frame_equal(table, getattr(again, name))


def test_a_store_of_two_seeds_has_too_little_and_says_so(finished: object) -> None:
    store = Store.existing(str(finished))
    found = analyse(results.collect(store), results.ends(store))
    assert all(found_table.empty for found_table in _tables(found).values())
    assert any("effect of compute" in remark and "2 seeds" in remark for remark in found.remarks)
    assert not any("nan" in remark for remark in found.remarks)


@pytest.mark.parametrize("models", [1, 2])
def test_false_discoveries_are_controlled_within_a_model(models: int) -> None:
    random = np.random.default_rng(1)
    parts = [planted.grid(4, (1e9, 1e10, 1e11), model=f"m{number}") for number in range(models)]
    about = pd.concat(parts).reset_index(drop=True)
    columns = {("held_out_loss", None): 3 + random.uniform(size=len(about)), **planted.null(about, 5, random)}
    found = analyse(*planted.results(about, columns)).correlations
    assert found["model"].nunique() == models
    for _, rows in found.groupby(["model", "given"]):
        assert (rows["q"] >= rows["p"] - 1e-12).all()
        assert rows["q"].max() == pytest.approx(rows["p"].max())
