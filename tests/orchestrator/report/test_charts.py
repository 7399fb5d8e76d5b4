"""Pieces of plotly's charts."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest

from orchestrator.report import charts


def test_numbers_are_rounded_to_five_digits() -> None:
    assert charts.rounded([1.2345678, 123456789.0, float("nan"), 0.0, -2e-9]) == [1.2346, 123460000.0, None, 0, -2e-9]


def test_traces_are_plotlys() -> None:
    traces = [
        charts.line([1, 2], [3, 4], "a", "#3b82c4"),
        charts.thin([1, 2], [3, 4], "a", "seed 0", "#3b82c4"),
        *charts.band([1, 2], np.array([3.0, 4.0]), np.array([0.5, 0.5]), "a", "#3b82c4"),
        charts.crosses([1], [2]),
    ]
    drawn = go.Figure(traces)  # which refuses what plotly does not know
    assert len(drawn.data) == len(traces)
    go.Figure(layout={"xaxis": charts.axis("FLOPs", log=True)})


def test_a_band_reaches_a_standard_deviation_to_both_sides() -> None:
    heights = [
        one
        for trace in charts.band([1, 2], np.array([3.0, 4.0]), np.array([0.5, 0.25]), "a", "#3b82c4")
        for one in trace["y"]
    ]
    assert {2.5, 3.5, 3.75, 4.25} <= set(heights)


@pytest.mark.parametrize(("places", "key"), [((), ""), ((1,), "1"), ((1, 0, 2), "1.0.2")])
def test_keys(places: tuple[int, ...], key: str) -> None:
    assert charts.key(*places) == key
