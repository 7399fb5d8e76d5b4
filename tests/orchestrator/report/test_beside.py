"""A sweep beside another store."""

from __future__ import annotations

import plotly.graph_objects as go

from orchestrator.comparison import Beside
from orchestrator.report import beside, findings
from tests.orchestrator.report.conftest import Made


def test_both_stores_are_drawn(made: Made) -> None:
    compared = findings.gather(
        made.store, made.frame, made.analysis, Beside.of(made.store, made.store, "flops")
    ).compared
    assert compared is not None
    assert compared.rows
    panel = beside.panel(compared)
    assert panel is not None
    for chart in panel.charts:
        for traces in chart.frames.values():
            assert len(go.Figure(traces).data) == len(traces) > 1
