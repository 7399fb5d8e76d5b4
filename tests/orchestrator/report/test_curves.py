"""Curves and heat maps hold the values that were measured, and cross out what has a fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from orchestrator.report import curves
from orchestrator.report.charts import MANY, Panel
from orchestrator.report.series import Values, of_metric
from orchestrator.store import Store
from tests import synthetic


def chosen(panel: Panel | None, *words: str) -> list[dict[str, Any]]:
    """The frame of some options."""
    assert panel is not None
    places = [list(control.options).index(word) for control, word in zip(panel.controls, words, strict=True)]
    return list(panel.charts[0].frames[".".join(map(str, places))])


def named(traces: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (trace for trace in traces if trace.get("name") == name and trace.get("showlegend", True))
    return found


def test_the_loss_has_a_line_for_each_group_its_seeds_and_its_ends(values: Values) -> None:
    traces = chosen(curves.against_compute(values), "held_out_loss")
    cell = values.cells[0]
    found = of_metric(values.means, "held_out_loss")
    found = found[(found["place"] == 0) & (found["at"] > 0)]
    mean = named(traces, cell.label)
    assert mean["y"] == pytest.approx(list(found["mean"]), rel=1e-4)
    assert mean["x"] == pytest.approx(list(found["at"]), rel=1e-4)
    assert sum(trace.get("name") == f"{cell.label}, seed 1" for trace in traces) == 1
    (ends,) = (trace for trace in traces if trace.get("name") == f"{cell.kind}, at the end")
    assert not ends["showlegend"]
    assert len(ends["x"]) == 3
    assert all(later < earlier for earlier, later in zip(ends["y"], ends["y"][1:], strict=False))
    assert all(error > 0 for error in ends["error_y"]["array"])


def test_every_whole_model_metric_can_be_chosen(values: Values) -> None:
    panel = curves.against_compute(values)
    assert panel is not None
    assert list(panel.controls[0].options) == values.metrics(layered=False)
    assert set(panel.charts[0].frames) == {str(place) for place in range(len(values.metrics(layered=False)))}


def test_layers_are_shown_at_the_ends_of_budgets_and_through_training(values: Values) -> None:
    panel = curves.by_layer(values)
    kind = values.kinds[1]
    ends = chosen(panel, "twonn_dimension", kind, "at the end of each budget")
    assert [trace["name"] for trace in ends if "name" in trace] == ["embeddings", "layer 1", "layer 2", "layer 3"]
    table = of_metric(values.at_ends, "twonn_dimension")
    table = table[table["place"].isin(values.cells_of(kind)) & (table["layer"] == 2)].sort_values("at")
    assert named(ends, "layer 2")["y"] == pytest.approx(list(table["mean"]), rel=1e-4)
    through = chosen(panel, "twonn_dimension", kind, "through the training of the largest budget")
    assert len(named(through, "layer 2")["x"]) == 4  # of five steps the first cost nothing


def test_a_heat_map_has_the_mean_of_each_layer_and_step_and_each_trial(values: Values) -> None:
    panel = curves.heat(values)
    assert panel is not None
    options = list(panel.controls[1].options)
    assert options[0] == f"{values.cells[0].label}: mean over seeds"
    assert len(options) <= MANY
    (trace,) = chosen(panel, "mle_dimension", options[0])
    table = of_metric(values.means, "mle_dimension")
    one = table[(table["place"] == 0) & (table["layer"] == 3)].sort_values("step")
    assert trace["y"] == ["0", "1", "2", "3"]
    assert trace["z"][3] == pytest.approx(list(one["mean"]), rel=1e-4)
    alone = next(option for option in options if option.endswith("seed 1"))
    assert chosen(panel, "mle_dimension", alone)[0]["z"] != trace["z"]


def test_colours_are_logarithmic_where_values_differ_much(published: Callable[..., pd.DataFrame]) -> None:
    table = published(1)
    table.loc[(table["metric"] == "twonn_dimension") & (table["step"] == 16), "value"] = 1e5
    (trace, *_) = chosen(curves.heat(Values.of(table, {})), "twonn_dimension", "m: mean over seeds")
    assert trace["z"][0][-1] == pytest.approx(5.0)
    assert trace["text"][0][-1] == "1e+05"
    assert trace["colorbar"]["ticktext"][-1] == "1e05"


def test_seeds_are_compared_at_each_step(values: Values) -> None:
    traces = chosen(curves.seeds(values), "linear_cka", values.cells[0].label)
    table = of_metric(values.means, "linear_cka/across_seeds")
    one = table[(table["place"] == 0) & (table["layer"] == 1)].sort_values("step")
    assert named(traces, "layer 1")["x"] == list(one["step"])
    assert named(traces, "layer 1")["y"] == pytest.approx(list(one["mean"]), rel=1e-4)


@pytest.mark.parametrize("along", ["flops", "step"])
def test_faulty_checkpoints_are_crosses_and_no_part_of_a_line(
    published: Callable[..., pd.DataFrame], along: str
) -> None:
    values = Values.of(published(2, flops=along == "flops"), {})
    scale = 1e9 if along == "flops" else 1
    panel = curves.against_compute(values)
    traces = chosen(panel, "held_out_loss")
    assert panel is not None
    assert "cross" in panel.caption
    assert named(traces, "m")["x"] == [scale, 2 * scale, 16 * scale]
    crosses = named(traces, "with a fault")
    assert set(crosses["x"]) == {4 * scale, 8 * scale}
    assert crosses["marker"]["symbol"] == "x"
    layers = chosen(curves.by_layer(values), "twonn_dimension", "m", "through the training of the largest budget")
    assert set(named(layers, "with a fault")["x"]) == {4 * scale, 8 * scale}
    heat = chosen(curves.heat(values), "twonn_dimension", "m: mean over seeds")
    assert heat[0]["z"][0][3:5] == [None, None]
    assert heat[1]["x"] == ["4", "8"]


def test_nothing_measured_is_no_panel(frame: pd.DataFrame) -> None:
    values = Values.of(frame.iloc[:0], {})
    assert [draw(values) for draw in (curves.against_compute, curves.by_layer, curves.heat, curves.seeds)] == [None] * 4


def test_of_very_many_groups_and_seeds_a_chart_draws_some(tmp_path: object, frame: pd.DataFrame) -> None:
    one = frame[(frame["model"] == "neox-280k") & (frame["variant"] == "batch_size=8") & frame["layer"].isna()]
    one = one[one["metric"] == "held_out_loss"]
    many = pd.concat(
        one.assign(budget_flops=one["budget_flops"] * 1.01**k, trial=one["trial"] + f"-{k}", seed=k) for k in range(40)
    )
    values = Values.of(many, {})
    assert len(values.cells) == 120
    panel = curves.against_compute(values)
    assert panel is not None
    assert "Lines are of 1 of 120 groups" in panel.caption
    assert len(panel.charts[0].frames["0"]) < 2 * curves.LINES


def test_synthetic_values_are_what_was_planted(store: Store, values: Values) -> None:
    found = of_metric(values.at_ends, "twonn_dimension")
    for one in found.itertuples(index=False):
        expected = synthetic.expected("twonn_dimension", int(one.layer), one.at, {})
        assert one.mean == pytest.approx(expected, abs=5 * synthetic.NOISE)
