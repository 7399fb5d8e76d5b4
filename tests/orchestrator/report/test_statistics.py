from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis import Analysis
from orchestrator.report import statistics
from orchestrator.report.charts import Panel


def correlations(count: int, **more: object) -> pd.DataFrame:
    rho = np.linspace(-0.9, 0.8, count)
    table = {"model": "m", "metric": [f"metric_{k}" for k in range(count)], "layer": 1, "given": "compute"}
    return pd.DataFrame(
        {**table, "trials": 9, "seeds": 3, "rho": rho, "low": rho - 0.1, "high": rho + 0.3, "p": 0.01, "q": 0.2} | more
    )


def drawn(panel: Panel | None, frame: str = "0.0") -> dict[str, list[object]]:
    assert panel is not None
    return panel.charts[0].frames[frame][0]


def test_the_strongest_correlations_are_drawn_with_their_intervals(nothing: Analysis) -> None:
    table = correlations(40).assign(q=[0.01] * 20 + [0.2] * 20)
    trace = drawn(statistics.correlations(dataclasses.replace(nothing, correlations=table)))
    assert len(trace["x"]) == statistics.STRONGEST
    assert (trace["x"][-1], trace["y"][-1]) == (-0.9, "metric_0, layer 1")
    assert trace["error_x"]["array"][-1] == pytest.approx(0.3)  # type: ignore[call-overload]
    assert trace["error_x"]["arrayminus"][-1] == pytest.approx(0.1)  # type: ignore[call-overload]
    assert trace["marker"]["symbol"][-1] == "circle"  # type: ignore[call-overload]
    assert "circle-open" in trace["marker"]["symbol"]  # type: ignore[call-overload]


def test_what_is_held_fixed_can_be_chosen_and_losses_are_left_out(nothing: Analysis) -> None:
    table = pd.concat(
        [correlations(3, given=""), correlations(3), correlations(1, metric=["held_out_loss/a domain"], rho=[1.0])]
    )
    panel = statistics.correlations(dataclasses.replace(nothing, correlations=table))
    assert panel is not None
    assert list(panel.controls[0].options) == ["given compute", "alone"]
    assert len(drawn(panel)["x"]) == 3


def test_effects_are_in_units_of_the_spread_over_seeds(nothing: Analysis) -> None:
    row = {"model": "m", "variant": "", "metric": "a", "layer": None, "trials": 9, "seeds": 3, "budgets": 3}
    row |= {"per_decade": 4.0, "low": 3.0, "high": 6.0, "p": 0.01, "q": 0.01, "seed_std": 2.0, "share": 0.9}
    trace = drawn(statistics.effects(dataclasses.replace(nothing, effects=pd.DataFrame([row]))))
    assert trace["x"] == [2]
    assert trace["error_x"]["array"] == [1]  # type: ignore[call-overload]
    assert trace["y"] == ["a"]


def test_parabolas_go_through_points_on_a_parabola(nothing: Analysis) -> None:
    sizes = np.array([1e5, 3e5, 1e6, 3e6])
    loss = 3 + 0.4 * (np.log10(sizes) - 5.7) ** 2
    points = pd.DataFrame({"variant": "", "budget_flops": 1e12, "n_params": sizes, "tokens": 1e6, "loss": loss})
    minima = {
        "variant": "",
        "budget_flops": 1e12,
        "sizes": 4,
        "trials": 4,
        "n_params": 10**5.7,
        "low": 4e5,
        "high": 7e5,
    }
    table = pd.DataFrame([minima | {"tokens": 1e6, "loss": 3.0, "curvature": 0.8}])
    x, y = statistics.parabola(table.iloc[0], points["n_params"])
    np.testing.assert_allclose(y, 3 + 0.4 * (np.log10(x) - 5.7) ** 2, rtol=1e-9)
    np.testing.assert_allclose(x[[0, -1]], [sizes.min(), sizes.max()])
    panel = statistics.isoflop(dataclasses.replace(nothing, isoflop_points=points, isoflop=table))
    assert panel is not None
    dots, curve, star = panel.charts[0].frames["0"]
    assert dots["y"] == pytest.approx(list(loss), rel=1e-4)
    assert len(curve["x"]) == 40
    assert star["x"] == pytest.approx([10**5.7], rel=1e-4)
    assert star["error_x"]["array"] == pytest.approx([7e5 - 10**5.7], rel=1e-3)


def test_prediction_is_by_when_it_is_seen(nothing: Analysis) -> None:
    row = {"model": "m", "metric": "a", "layer": 2, "trials": 9, "seeds": 3, "budgets": 3, "baseline": 0.1}
    rows = [
        row | {"at": at, "error": 0.08, "gain": gain, "low": 0.0, "high": 0.4, "p": 0.1, "q": 0.2}
        for at, gain in ((0.1, 0.2), (0.5, 0.3))
    ]
    panel = statistics.prediction(dataclasses.replace(nothing, prediction=pd.DataFrame(rows)))
    assert panel is not None
    assert list(panel.controls[0].options) == ["after 10% of the steps", "after 50% of the steps"]
    assert drawn(panel, "1.0")["x"] == [0.3]


def test_cost_draws_what_was_taken_over_only_where_something_was() -> None:
    row = {"model": "m", "variant": "", "budget_flops": 1e10, "trials": 2, "done": 2, "asked": 2e10, "spent": 2e10}
    table = pd.DataFrame([row | {"saved": 0.0, "seconds": 1.0, "device": "CPU"}])
    panel = statistics.cost(table)
    assert panel is not None
    assert [bar["name"] for bar in panel.charts[0].frames[""]] == ["asked for", "spent"]
    panel = statistics.cost(table.assign(saved=5e9))
    assert panel is not None
    assert panel.charts[0].frames[""][2]["y"] == [5e9]
    assert statistics.cost(table.iloc[:0]) is None


def test_candidates_are_by_rank() -> None:
    table = pd.DataFrame(
        {"model": "m", "budget_flops": 1e10, "variant": ["a=1", "a=2"], "loss": [4.0, 3.0], "std": 0.1}
    )
    panel = statistics.candidates(table)
    assert panel is not None
    (trace,) = panel.charts[0].frames["0"]
    assert (trace["y"], trace["text"]) == ([3, 4], ["a=2", "a=1"])


def test_an_analysis_that_found_nothing_has_no_charts(nothing: Analysis) -> None:
    panels = (statistics.correlations, statistics.effects, statistics.prediction, statistics.isoflop)
    assert [panel(nothing) for panel in panels] == [None] * 4
