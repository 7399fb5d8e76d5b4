from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestrator.report import barcodes
from orchestrator.report.findings import Findings
from orchestrator.report.series import Values
from orchestrator.store import Store


def test_the_largest_budget_of_each_model_and_variant_is_kept_first(found: Findings) -> None:
    labels = list(dict.fromkeys(one.label for one in found.diagrams))
    largest = [f"{found.values.cells[found.values.cells_of(kind)[0]].label}, seed 0" for kind in found.values.kinds]
    assert labels[:4] == largest
    assert len(labels) == barcodes.TRIALS


def test_a_frame_holds_the_bars_of_its_checkpoint_in_units_of_the_scale(found: Findings, store: Store) -> None:
    panel = barcodes.panel(found.diagrams)
    assert panel is not None
    step = panel.controls[2]
    assert isinstance(step.options, dict)
    assert len(step.options["0"]) == 5
    cell = found.values.cells[0]
    (name,) = (
        one
        for one in store.trial_ids()
        if (config := store.read_trial(one)).model.name == cell.model
        and config.seed == 0
        and config.budget_flops == cell.budget
        and config.settings["batch_size"] == 4
    )
    kept = store.read_diagrams(name, store.measured_steps(name)[2])
    kept = kept[(kept["layer"] == 1) & (kept["dimension"] == 1)]
    diagram, barcode = (chart.frames["0.1.2"] for chart in panel.charts)
    points = sorted(zip(diagram[2]["x"], diagram[2]["y"], strict=True))
    expected = sorted(zip(kept["birth"] / 2, kept["death"] / 2, strict=True))
    np.testing.assert_allclose(points, expected, rtol=1e-4)
    assert diagram[2]["name"] == "H1"
    ends = np.array(barcode[1]["x"], dtype=float).reshape(-1, 3)
    assert np.isnan(ends[:, 2]).all()
    np.testing.assert_allclose(sorted(map(tuple, ends[:, :2])), expected, rtol=1e-4)
    assert min(y for y in barcode[1]["y"] if y is not None) == len(barcode[0]["y"]) / 3  # above H0's


def test_only_the_longest_bars_are_drawn(found: Findings) -> None:
    table = pd.DataFrame({"layer": 0, "dimension": 0, "birth": 0.0, "death": np.arange(1.0, 301), "scale": 1.0})

    class Fake:
        def read_diagrams(self, trial: str, step: int) -> pd.DataFrame:
            return table

    (one,) = barcodes._of_trial(Fake(), "a", "t", [3])  # type: ignore[arg-type]
    assert sorted(one.table["death"]) == list(np.arange(181.0, 301))


def test_diagrams_that_are_gone_are_left_out(frame: pd.DataFrame, store: Store, values: Values) -> None:
    nowhere = Values.of(frame.assign(trial=frame["trial"] + "-gone"), {})
    assert barcodes.kept(store, nowhere) == []
    assert barcodes.panel([]) is None


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_axes_stay_where_they_are_as_the_step_changes(found: Findings, share: float) -> None:
    panel = barcodes.panel(found.diagrams)
    assert panel is not None
    ranges = {str(panel.charts[1].layouts[f"0.2.{step}"]["xaxis"]["range"]) for step in range(5)}
    assert len(ranges) == 1
