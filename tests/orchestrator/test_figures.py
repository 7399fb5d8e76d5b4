"""Pictures show each layer's bars."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import imread

from orchestrator import figures

BARS = {0: np.array([[0.0, 1.0], [0.0, 3.0], [0.0, 2.0]]), 1: np.array([[2.0, 2.5]])}


def table(layers: int, bars: dict[int, np.ndarray] = BARS) -> pd.DataFrame:
    rows = [(layer, k, *bar, 4.0) for layer in range(layers) for k, found in bars.items() for bar in found]
    return pd.DataFrame(rows, columns=["layer", "dimension", "birth", "death", "scale"])


@pytest.mark.parametrize(("layers", "rows", "columns"), [(1, 1, 1), (4, 2, 2), (5, 2, 3), (7, 3, 3), (25, 5, 5)])
def test_there_is_a_panel_for_each_layer(layers: int, rows: int, columns: int) -> None:
    for name, png in figures.pictures(table(layers)).items():
        height, width, _ = imread(io.BytesIO(png), format="png").shape
        assert (height, width) == (175 * rows, 175 * columns), name


def test_without_a_bar_there_is_no_picture() -> None:
    assert figures.pictures(table(0)) == {}


def test_of_many_bars_the_longest_are_drawn() -> None:
    axes = Figure().subplots()
    many = np.column_stack([np.zeros(500), np.arange(1, 501)])
    figures.draw_barcodes(axes, {0: many, **{1: BARS[1]}})
    drawn = [line for part in axes.collections if isinstance(part, LineCollection) for line in part.get_segments()]
    ends = sorted(line[1, 0] for line in drawn)
    assert ends == [2.5, *range(401, 501)]
    assert len({line[0, 1] for line in drawn}) == 101  # no two at one height


def test_a_diagram_has_every_bar_and_the_diagonal() -> None:
    axes = Figure().subplots()
    figures.draw_diagram(axes, BARS)
    diagonal, h0, h1 = (np.column_stack(line.get_data()) for line in axes.lines)
    assert diagonal.tolist() == [[0, 0], [3, 3]]
    assert h0.tolist() == BARS[0].tolist()
    assert h1.tolist() == BARS[1].tolist()


def test_betti_curves_count_the_bars_alive_and_the_component_that_stays() -> None:
    axes = Figure().subplots()
    figures.draw_betti_curves(axes, BARS)
    h0, h1 = (line.get_data() for line in axes.lines)
    for radius, expected in ((0.5, 4), (1.5, 3), (2.5, 2), (3.0, 1)):
        assert h0[1][np.searchsorted(h0[0], radius)] == expected
    assert h1[1][np.searchsorted(h1[0], 2.2)] == 1
    assert h1[1].sum() == ((h1[0] >= 2) & (h1[0] < 2.5)).sum()


def test_only_what_is_asked_for_is_drawn() -> None:
    assert list(figures.pictures(table(1), ("diagrams",))) == ["diagrams"]
