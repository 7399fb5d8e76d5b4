from __future__ import annotations

import pandas as pd

from orchestrator.analysis import Analysis
from orchestrator.comparison import Beside
from orchestrator.report import beside, findings
from orchestrator.store import Store

ROW = {"model": "pythia", "variant": "", "budget_flops": 1.0, "flops": 1e6, "metric": "held_out_loss"}


def test_trials_are_thin_and_the_other_stores_means_thick(store: Store, frame: pd.DataFrame, nothing: Analysis) -> None:
    steps = [(1, 9.0, None), (2, 8.0, None), (4, 1.0, "identical")]
    other = pd.DataFrame(
        [
            {**ROW, "seed": seed, "trial": f"p{seed}", "step": step, "tokens": 1000.0 * step, "fault": fault}
            | {"metric_version": 1, "value": value + seed}
            for seed in (0, 2)
            for step, value, fault in steps
        ]
    )
    compared = findings.gather(store, frame, nothing, Beside("public", other, "tokens", "")).compared
    assert compared is not None
    panel = beside.panel(compared)
    assert panel is not None
    assert list(panel.controls[0].options) == ["loss"]
    traces = panel.charts[0].frames["0"]
    (mean,) = (trace for trace in traces if trace["name"] == "pythia")
    assert (mean["x"], mean["y"]) == ([1000, 2000], [10, 9])
    assert traces[-1]["x"] == [4000, 4000]
    assert len(traces) == 36 + 2


def test_nothing_in_common_is_no_panel(store: Store, frame: pd.DataFrame, nothing: Analysis) -> None:
    other = pd.DataFrame(columns=[*ROW, "seed", "trial", "step", "tokens", "fault", "metric_version", "value"])
    compared = findings.gather(store, frame, nothing, Beside("public", other, "tokens", "")).compared
    assert compared is not None
    assert beside.panel(compared) is None
    assert compared.table.frame.empty
