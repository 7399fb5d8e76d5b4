"""The analysis' tables as charts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from orchestrator.report import statistics
from tests.orchestrator.report.conftest import Made


@pytest.mark.parametrize("draw", [statistics.effects, statistics.correlations, statistics.prediction])
def test_findings_are_drawn_and_nothing_found_is_not(made: Made, draw: object) -> None:
    panel = draw(made.analysis)  # type: ignore[operator]
    assert panel is not None
    for traces in panel.charts[0].frames.values():
        assert len(go.Figure(traces).data) == len(traces) > 0
    tables = {one.name: getattr(made.analysis, one.name) for one in dataclasses.fields(made.analysis)}
    empty = {name: table.iloc[:0] for name, table in tables.items() if isinstance(table, pd.DataFrame)}
    assert draw(dataclasses.replace(made.analysis, **empty)) is None  # type: ignore[operator]


def test_the_fitted_parabola_goes_through_points_that_are_one() -> None:
    sizes = np.geomspace(1e5, 1e7, 5)
    loss = 3 + 0.2 * (np.log10(sizes) - 6) ** 2
    x, y = statistics.fitted(pd.DataFrame({"n_params": sizes, "loss": loss}))
    np.testing.assert_allclose(y, 3 + 0.2 * (np.log10(x) - 6) ** 2, atol=1e-9)


def test_costs_are_bars(made: Made) -> None:
    panel = statistics.cost(made.found.cost)
    assert panel is not None
    assert statistics.cost(made.found.cost.iloc[:0]) is None
