"""Pictures of persistence diagrams: barcodes, diagrams and Betti curves, one panel per layer, as PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLOURS = ("tab:blue", "tab:orange", "tab:green")  # of H0, H1, H2
PANEL = 2.1875  # inches: two are 350 pixels, which TensorBoard shows as they are; larger ones it thins out
LONGEST = 100  # bars of a dimension that are drawn; the others are too short to see


def pictures(diagrams: pd.DataFrame, names: Collection[str] | None = None) -> dict[str, bytes]:
    """PNG images by name, of a table as :func:`metrics.diagrams.read` gives it; empty where there is no bar at all.

    names: those wanted of ``barcodes``, ``diagrams`` and ``betti_curves``; all unless given.
    """
    if diagrams.empty:
        return {}
    drawings = {"barcodes": draw_barcodes, "diagrams": draw_diagram, "betti_curves": draw_betti_curves}
    return {name: _panels(diagrams, draw) for name, draw in drawings.items() if names is None or name in names}


def _panels(diagrams: pd.DataFrame, draw: Callable[[Axes, dict[int, np.ndarray]], None]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layers = sorted(diagrams["layer"].unique())
    columns = math.ceil(math.sqrt(len(layers)))
    rows = math.ceil(len(layers) / columns)
    figure = Figure(figsize=(PANEL * columns, PANEL * rows), dpi=80)
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, layer in zip(panels, layers, strict=False):
        of_layer = diagrams[diagrams["layer"] == layer]
        bars = {int(k): part[["birth", "death"]].to_numpy() for k, part in of_layer.groupby("dimension")}
        draw(axes, bars)
        axes.set_title("embeddings" if layer == 0 else f"layer {layer}", fontsize=9)
        axes.tick_params(labelsize=7)
    for axes in panels[len(layers) :]:
        axes.set_axis_off()
    width, height = figure.get_size_inches()  # margins by hand: tight_layout() takes as long as all the rest
    figure.subplots_adjust(0.5 / width, 0.4 / height, 1 - 0.1 / width, 1 - 0.25 / height, wspace=0.28, hspace=0.45)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def draw_barcodes(axes: Axes, bars: dict[int, np.ndarray]) -> None:
    """The longest bars of each dimension, from birth to death, H0 at the bottom."""
    place = 0
    for dimension, found in bars.items():
        longest = found[np.argsort(found[:, 0] - found[:, 1])][:LONGEST]
        drawn = longest[np.lexsort(longest.T)]
        heights = place + np.arange(len(drawn))
        axes.hlines(heights, drawn[:, 0], drawn[:, 1], color=COLOURS[dimension], lw=0.8, label=f"H{dimension}")
        place += len(drawn)
    axes.set_yticks([])
    axes.set_xlabel(f"distance ({LONGEST} longest bars)", fontsize=8)
    axes.legend(fontsize=7, loc="lower right")


def draw_diagram(axes: Axes, bars: dict[int, np.ndarray]) -> None:
    """Birth and death of every bar; the diagonal is where bars have no length."""
    end = max(float(found.max(initial=0.0)) for found in bars.values())
    axes.plot([0, end], [0, end], color="grey", lw=0.7)
    for dimension, found in bars.items():
        axes.plot(found[:, 0], found[:, 1], ".", ms=3, alpha=0.5, color=COLOURS[dimension], label=f"H{dimension}")
    axes.set_xlabel("birth", fontsize=8)
    axes.set_ylabel("death", fontsize=8)
    axes.legend(fontsize=7, loc="lower right")


def draw_betti_curves(axes: Axes, bars: dict[int, np.ndarray]) -> None:
    """Bars alive at each distance, with the component that never dies."""
    from metrics.topology.persistent_homology import betti_curves

    radii = np.linspace(0, max(float(found.max(initial=0.0)) for found in bars.values()), 200)
    for dimension, found in bars.items():
        curve = betti_curves([found], radii)[0] - (dimension > 0)
        axes.plot(radii, curve, lw=1.2, color=COLOURS[dimension], label=f"H{dimension}")
    axes.set_yscale("symlog", linthresh=10)
    axes.set_xlabel("distance", fontsize=8)
    axes.set_ylabel("Betti number", fontsize=8)
    axes.legend(fontsize=7)
