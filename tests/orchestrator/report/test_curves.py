"""Curves show the values that are there."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go
import pytest

from orchestrator.report import curves
from orchestrator.report.charts import Panel
from orchestrator.report.series import Values
from tests.orchestrator.report.conftest import Made


@pytest.mark.parametrize("draw", [curves.against_compute, curves.by_layer, curves.heat, curves.seeds])
def test_every_choice_is_a_chart_that_plotly_knows(made: Made, draw: Callable[[Values], Panel | None]) -> None:
    panel = draw(made.found.values)
    assert panel is not None
    for chart in panel.charts:
        assert chart.frames
        for traces in chart.frames.values():
            assert len(go.Figure(traces, layout=dict(chart.layout)).data) == len(traces) > 0


@pytest.mark.parametrize("draw", [curves.against_compute, curves.by_layer, curves.heat, curves.seeds])
def test_nothing_measured_is_no_chart(made: Made, draw: Callable[[Values], Panel | None]) -> None:
    assert draw(Values.of(made.frame.iloc[:0], {})) is None


def test_the_loss_against_compute_is_the_mean_over_seeds(made: Made) -> None:
    panel = curves.against_compute(made.found.values)
    assert panel is not None
    drawn = {one for traces in panel.charts[0].frames.values() for trace in traces for one in trace["y"]}
    losses = made.frame[(made.frame["metric"] == "held_out_loss")]
    largest = losses[losses["budget_flops"] == losses["budget_flops"].max()]
    ends = largest[largest["step"] == largest["step"].max()].groupby("variant")["value"].mean()
    assert all(any(abs(one - mean) < 1e-3 for one in drawn if one is not None) for mean in ends)
