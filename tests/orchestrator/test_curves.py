"""Figures of published checkpoints show every trial, and cross out what has a fault. (Trained ones: test_report.)"""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure

from orchestrator import curves
from orchestrator.curves import LAYERED

METRIC = "twonn_dimension"
FAULTS = {4: "identical", 8: "mixed"}


def measured(seeds: int, *, flops: bool = True) -> pd.DataFrame:
    """Of two layers and a loss at steps 0, 1, 2, 4, 8, 16; steps 4 and 8 have a fault."""
    rows = [
        {
            "model": "m",
            "trial": f"t{seed}",
            "seed": seed,
            "budget_flops": 16e9 if flops else None,
            "step": step,
            "flops": step * 1e9 if flops else None,
            "tokens": None,
            "revision": f"step{step}",
            "fault": FAULTS.get(step),
            "metric": metric,
            "layer": layer,
            "value": 100.0 + seed + step,
        }
        for seed in range(seeds)
        for step in (0, 1, 2, 4, 8, 16)
        for metric, layer in (("held_out_loss", None), (METRIC, 0), (METRIC, 1))
    ]
    return pd.DataFrame(rows).astype({"layer": "Int64", "flops": "float64", "budget_flops": "float64"})


@pytest.mark.parametrize("along", ["flops", "step"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_faulty_checkpoints_are_crosses_and_no_part_of_the_line(along: str, seeds: int) -> None:
    axes = Figure().subplots()
    table = measured(seeds)
    curves.draw_trajectories(axes, table[(table["metric"] == "held_out_loss") & (table[along] > 0)], along)
    mean, *others = axes.get_lines()
    scale = 1e9 if along == "flops" else 1
    sound = [1, 2, 16]
    assert list(mean.get_xdata()) == [step * scale for step in sound]
    assert list(mean.get_ydata()) == [100 + step + (seeds - 1) / 2 for step in sound]
    assert len(others) == (seeds if seeds > 1 else 0) + 1
    assert set(others[-1].get_xdata()) == {4 * scale, 8 * scale}
    assert others[-1].get_marker() == "x"


@pytest.mark.parametrize("flops", [True, False])
def test_the_figures_of_a_published_model(flops: bool) -> None:
    table = measured(2, flops=flops)
    found = curves.figures(table, table[table["step"] == 16])
    assert [one.title for one in found] == [
        "Held-out loss through training",
        "Topology through training, by layer",
        "Topology through training, step by layer",
    ]
    for one in found[:2]:
        assert curves.AXES["flops" if flops else "step"] in one.svg
        assert "with a fault" in one.svg
        assert "cross" in one.caption
    assert "#d62728" in found[2].svg  # labels of faulty steps are red


def test_a_single_checkpoint_without_a_step_has_a_heat_map_alone() -> None:
    table = measured(1, flops=False)
    table = table[table["step"] == 0]
    assert [one.title for one in curves.figures(table, table)] == []


def test_of_many_steps_some_are_labelled() -> None:
    many = pd.concat([measured(1).assign(step=lambda t, k=k: t["step"] + 100 * k) for k in range(26)])
    axes = Figure().subplots()
    curves._draw_heat(axes, many, many, METRIC)
    assert len(axes.get_xticks()) <= curves.TICKS
    assert METRIC in LAYERED
