"""Plotly charts as plain data: panels of charts, whose controls choose which of their frames is shown.

A frame is a list of plotly traces; the page's script shows one by ``Plotly.react`` and knows nothing of what they say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Trace = dict[str, Any]
DIGITS = 5  # of a number in a chart
PALETTE = ("#3b82c4", "#e07b39", "#3f9b5f", "#b0529d", "#c9a227", "#5b6bbf", "#c14b4b", "#4aa3a2", "#8a6d4b", "#7f7f7f")
# Lightness from end to end, legible on white and on black: for layers and budgets, which have an order.
SCALE = ("#7a3fa0", "#5f5bb5", "#4478b8", "#3591a9", "#35a58c", "#56b567", "#8fbf45", "#c9b52f", "#e39b35", "#e07a48")
BAND = 0.18  # opacity
MANY = 24  # choices of a control, and lines of a chart


@dataclass(frozen=True)
class Control:
    """A list, or a slider, to choose by.

    by: the options depend on what this control before it has chosen. last: the last one is chosen at first.
    """

    label: str
    options: Sequence[str] | Mapping[str, Sequence[str]]
    slider: bool = False
    by: int | None = None
    last: bool = False


@dataclass(frozen=True)
class Chart:
    """frames: by the chosen options' places, joined by dots; layout: of all, into which a frame's own goes."""

    frames: Mapping[str, Sequence[Trace]]
    layout: Mapping[str, Any]
    layouts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """Charts side by side that share their controls."""

    name: str
    caption: str
    charts: Sequence[Chart]
    controls: Sequence[Control] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "controls": [vars(one) for one in self.controls],
            "charts": [vars(one) for one in self.charts],
        }


def key(*places: int) -> str:
    return ".".join(map(str, places))


def rounded(numbers: Any) -> list[float | None]:
    """To ``DIGITS`` digits; what is missing or infinite is None."""
    return [_short(number) for number in np.asarray(numbers, dtype=float).tolist()]


def _short(number: float) -> float | None:
    found = float(f"{number:.{DIGITS}g}")
    if not math.isfinite(found):
        return None
    return int(found) if abs(found) < 1e6 and found.is_integer() else found


def colour(place: int, count: int | None = None) -> str:
    """One of a palette; of an ordered scale where it is said how many there are."""
    if count is None:
        return PALETTE[place % len(PALETTE)]
    return SCALE[round(place * (len(SCALE) - 1) / max(1, count - 1))]


def faded(hexadecimal: str, opacity: float) -> str:
    red, green, blue = (int(hexadecimal[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def line(x: Iterable[Any], y: Iterable[Any], name: str, shade: str, **more: Any) -> Trace:
    """A thick line with its points."""
    marks = {"mode": "lines+markers", "line": {"color": shade, "width": 2}, "marker": {"size": 5}}
    return {"type": "scatter", "x": rounded(x), "y": rounded(y), "name": name, "legendgroup": name, **marks, **more}


def thin(x: Iterable[Any], y: Iterable[Any], group: str, hover: str, shade: str) -> Trace:
    """One seed's line, which has no place in the legend."""
    return {
        "type": "scatter",
        "x": rounded(x),
        "y": rounded(y),
        "name": hover,
        "legendgroup": group,
        "showlegend": False,
        "mode": "lines",
        "line": {"color": faded(shade, 0.45), "width": 1},
    }


def band(x: Sequence[Any], mean: np.ndarray, std: np.ndarray, group: str, shade: str) -> list[Trace]:
    """Mean ± standard deviation as an area; nothing where no group has a spread."""
    known = np.isfinite(std)
    if not known.any():
        return []
    at = np.asarray(x, dtype=float)[known]
    around = np.concatenate([(mean + std)[known], (mean - std)[known][::-1]])
    return [
        {
            "type": "scatter",
            "x": rounded(np.concatenate([at, at[::-1]])),
            "y": rounded(around),
            "legendgroup": group,
            "showlegend": False,
            "hoverinfo": "skip",
            "mode": "lines",
            "line": {"width": 0},
            "fill": "toself",
            "fillcolor": faded(shade, BAND),
        }
    ]


def crosses(x: Iterable[Any], y: Iterable[Any]) -> Trace:
    """Checkpoints with a fault."""
    marker = {"symbol": "x", "color": "#c62828", "size": 9}
    return {
        "type": "scatter",
        "x": rounded(x),
        "y": rounded(y),
        "name": "with a fault",
        "mode": "markers",
        "marker": marker,
    }


def axis(title: str, *, log: bool = False, **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"title": {"text": title}, **more}
    return plain | ({"type": "log", "exponentformat": "power"} if log else {})
