"""Figures for papers."""

from __future__ import annotations

from pathlib import Path

from orchestrator.report import paper
from tests.orchestrator.report.conftest import Made


def test_each_figure_is_a_png_and_an_svg(made: Made) -> None:
    written = paper.write(made.store, made.found)
    folder = Path(made.store.root.path) / "figures"
    assert len(written) >= 5
    assert len(list(folder.iterdir())) == 2 * len(written)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in folder.glob("*.png"))
    assert all("<svg" in path.read_text() for path in folder.glob("*.svg"))
