"""Means and spreads are over the seeds of one model, variant and budget, of checkpoints without a fault."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from orchestrator import results
from orchestrator.report import series
from orchestrator.report.series import Cell, Values, of_metric
from orchestrator.store import Store


def test_cells_are_by_model_variant_and_budget_the_largest_first(values: Values) -> None:
    assert len(values.cells) == 12
    assert len(values.kinds) == 4
    for kind in values.kinds:
        assert [values.cells[place].budget for place in values.cells_of(kind)] == [2e11, 1e11, 5e10]
    assert values.cells[0] == Cell("neox-100k", "batch_size=4", 2e11)
    assert values.cells[0].label == "neox-100k batch_size=4, 2e11 FLOPs"


def test_means_are_those_of_the_seeds_of_a_cell(values: Values, frame: pd.DataFrame) -> None:
    rows = frame[(frame["metric"] == "twonn_dimension") & (frame["variant"] == "batch_size=8")]
    expected = rows.groupby(["model", "budget_flops", "layer", "step"])["value"].agg(["mean", "std", "count"])
    found = of_metric(values.means, "twonn_dimension")
    for one in found.itertuples(index=False):
        cell = values.cells[int(one.place)]
        if cell.variant == "batch_size=8":
            row = expected.loc[cell.model, cell.budget, one.layer, one.step]
            assert (one.mean, one.std, one.count) == (pytest.approx(row["mean"]), pytest.approx(row["std"]), 3)
    assert len(found) == 12 * 4 * 5


def test_at_ends_is_the_last_step_of_trials_that_are_done(values: Values, frame: pd.DataFrame, store: Store) -> None:
    ends = results.ends(store)
    last = frame[(frame["metric"] == "held_out_loss") & (frame["step"] == frame["trial"].map(ends))]
    expected = last.groupby(["model", "variant", "budget_flops"])["value"].mean()
    found = of_metric(values.at_ends, "held_out_loss").set_index("place")["mean"]
    for place, cell in enumerate(values.cells):
        assert found[place] == pytest.approx(expected[cell.model, cell.variant, cell.budget])


def test_a_trial_that_is_not_done_has_no_end(frame: pd.DataFrame) -> None:
    assert Values.of(frame, {}).at_ends.empty


def test_faults_are_no_part_of_means_and_published_trials_are_one_cell(
    published: Callable[..., pd.DataFrame],
) -> None:
    values = Values.of(published(3), {})
    assert values.published
    assert [cell.label for cell in values.cells] == ["m"]
    found = of_metric(values.means, "held_out_loss")
    assert list(found["step"]) == [0, 1, 2, 16]
    assert list(found["mean"]) == [101.0, 102.0, 103.0, 117.0]
    assert list(found["at"]) == [0, 1e9, 2e9, 16e9]
    assert values.along == "flops"
    assert Values.of(published(1, flops=False), {}).along == "step"


def test_nothing_measured_is_no_value(frame: pd.DataFrame) -> None:
    values = Values.of(frame.iloc[:0], {})
    assert values.cells == ()
    assert values.means.empty
    assert values.metrics(layered=True) == []


def test_metrics_of_layers_and_of_the_model_and_of_pairs(values: Values) -> None:
    assert values.metrics(layered=False)[:2] == ["held_out_loss", "bits_per_byte"]
    layered = values.metrics(layered=True)
    assert layered[0] == "h0_total_persistence_scaled"
    assert "linear_cka/across_steps" in layered
    assert "linear_cka/across_seeds" not in layered
    assert set(values.metrics(layered=True, pairs=True)) == {
        "linear_cka/across_seeds",
        "representation_topology_divergence/across_seeds",
    }


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("most", [2, 5, 10])
def test_thinned_keeps_the_ends(count: int, most: int) -> None:
    places = series.thinned(range(count), most)
    assert places == sorted(set(places))
    assert len(places) <= most
    assert count == 0 or (places[0], places[-1]) == (0, count - 1)
    assert count > most or len(places) == count


def test_a_matrix_has_a_gap_where_nothing_was_measured() -> None:
    table = pd.DataFrame({"layer": [0.0, 0.0, 2.0], "step": [1.0, 4.0, 4.0], "mean": [5.0, 6.0, 7.0]})
    layers, cells = series.matrix(table, "mean", np.array([1.0, 4.0]))
    assert layers == [0.0, 2.0]
    np.testing.assert_array_equal(cells, [[5, 6], [np.nan, 7]])


@pytest.mark.parametrize(("number", "said"), [(4e11, "4e11"), (2.5, "2.5"), (1.2345e7, "1.23e07"), (124.0, "124")])
def test_short_numbers(number: float, said: str) -> None:
    assert series.short(number) == said
