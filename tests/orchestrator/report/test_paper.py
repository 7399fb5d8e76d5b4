from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from orchestrator import comparison, results
from orchestrator.analysis import Analysis
from orchestrator.comparison import Beside
from orchestrator.report import findings, paper
from orchestrator.report.findings import Findings
from orchestrator.report.series import Values, of_metric
from orchestrator.store import Store


def drawn(found: Findings, name: str) -> list[Figure]:
    """The axes of a figure."""
    (one,) = (one for one in paper.figures(found) if one.name == name)
    axes = list(Figure().subplots(1, one.columns, squeeze=False)[0])
    one.draw(axes)
    return axes


def test_the_same_findings_give_the_same_bytes(found: Findings, tmp_path: Path) -> None:
    few = dataclasses.replace(found, diagrams=[])
    for name in ("a", "b"):
        paper.write(Store.open(str(tmp_path / name)), few)
    first, second = (sorted((tmp_path / name / "figures").iterdir()) for name in ("a", "b"))
    assert [one.name for one in first] == [one.name for one in second]
    assert [one.suffix for one in first].count(".svg") == len(first) / 2 >= 3
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name
        if one.suffix == ".svg":
            assert "<dc:date>" not in one.read_text()
            assert not re.search(r'(?:href|src)="(?!#|data:)', one.read_text())


def test_the_loss_is_drawn_as_it_was_measured(found: Findings) -> None:
    (axis,) = drawn(found, "loss")
    lines = {line.get_label(): line for line in axis.get_lines()}  # type: ignore[attr-defined]
    table = of_metric(found.values.means, "held_out_loss")
    for place, cell in enumerate(found.values.cells):
        of_cell = table[(table["place"] == place) & (table["at"] > 0)]
        assert list(lines[cell.label].get_ydata()) == pytest.approx(list(of_cell["mean"]))


def test_layers_have_a_line_each_over_the_budgets(found: Findings) -> None:
    axes = drawn(found, "layers")
    assert len(axes) == 3
    labels = [line.get_label() for line in axes[0].get_lines()]  # type: ignore[attr-defined]
    assert labels == ["embeddings", "layer 1", "layer 2", "layer 3"]
    assert [len(line.get_xdata()) for line in axes[0].get_lines()] == [3] * 4  # type: ignore[attr-defined]


@pytest.mark.parametrize("along", ["flops", "step"])
def test_figures_of_published_checkpoints_cross_out_faults(
    found: Findings, published: Callable[..., pd.DataFrame], along: str
) -> None:
    values = Values.of(published(2, flops=along == "flops"), {})
    scale = 1e9 if along == "flops" else 1
    public = dataclasses.replace(found, values=values, diagrams=[])
    for name in ("loss", "layers"):
        axis, *_ = drawn(public, name)
        lines = {line.get_label(): line for line in axis.get_lines()}  # type: ignore[attr-defined]
        assert set(lines["with a fault"].get_xdata()) == {4 * scale, 8 * scale}
        first = lines["m" if name == "loss" else "embeddings"]
        assert list(first.get_xdata()) == [scale, 2 * scale, 16 * scale]


def test_a_single_checkpoint_without_a_step_has_a_heat_map_alone(
    found: Findings, nothing: Analysis, published: Callable[..., pd.DataFrame]
) -> None:
    table = published(1, flops=False)
    values = Values.of(table[table["step"] == 0], {})
    alone = dataclasses.replace(found, values=values, diagrams=[], analysis=nothing)
    assert [one.name for one in paper.figures(alone)] == ["heat"]


def test_parabolas_and_a_comparison_are_drawn(store: Store, frame: pd.DataFrame, nothing: Analysis) -> None:
    points = pd.DataFrame(
        {"variant": "", "budget_flops": 1e12, "n_params": [1e5, 3e5, 1e6], "tokens": 1e6, "loss": [4.0, 3.5, 3.8]}
    )
    analysis = dataclasses.replace(nothing, isoflop_points=points)
    beside = Beside(comparison.title.__name__, results.trajectories(frame), "flops", "")
    found = findings.gather(store, frame, analysis, beside)
    (axis,) = drawn(found, "isoflop")
    assert list(axis.get_lines()[0].get_ydata()) == [4.0, 3.5, 3.8]  # type: ignore[attr-defined]
    assert len(drawn(found, "beside")) == 3
