"""Diagrams and barcodes."""

from __future__ import annotations

import plotly.graph_objects as go

from orchestrator.report import barcodes
from tests.orchestrator.report.conftest import Made


def test_bars_are_those_of_the_store_in_units_of_the_scale(made: Made) -> None:
    one = made.found.diagrams[-1]
    assert not one.table.empty
    assert (one.table["death"] >= one.table["birth"]).all()
    trials = made.store.trial_ids()
    kept = [
        made.store.read_diagrams(trial, one.step) for trial in trials if one.step in made.store.measured_steps(trial)
    ]
    scaled = [(table["death"] / table["scale"]).max() for table in kept]
    assert any(abs(one.table["death"].max() - found) < 1e-6 for found in scaled)


def test_a_step_slider_has_a_chart_for_each_choice(made: Made) -> None:
    panel = barcodes.panel(made.found.diagrams)
    assert panel is not None
    assert any(control.slider for control in panel.controls)
    for chart in panel.charts:
        for traces in chart.frames.values():
            assert len(go.Figure(traces).data) == len(traces)
    assert barcodes.panel([]) is None
