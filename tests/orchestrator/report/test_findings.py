from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from orchestrator import results
from orchestrator.analysis import Analysis, analyse
from orchestrator.comparison import Beside
from orchestrator.report import findings
from orchestrator.report.findings import Findings
from orchestrator.store import Status, Store


def test_everything_is_gathered(found: Findings) -> None:
    assert found.title == "Sweep synthetic"
    assert found.summary[0].startswith(
        "36 of 36 trials are done (neox-100k, neox-280k; 3 seeds x 3 budgets x 2 variants)"
    )
    assert "180 checkpoints" in found.summary[0]
    assert found.summary[-1].endswith("in 7.5 minutes of trials on CPU (synthetic).")
    assert len(found.rows) == 12
    assert found.table("effects") is not None
    assert found.table("nothing") is None
    assert found.compared is None
    assert found.failures == ()


def test_failures_name_trials_and_measurements(tmp_path: Path, store: Store, nothing: Analysis) -> None:
    copy = Store.open(str(shutil.copytree(store.root.path, tmp_path / "store")))
    first, second = copy.trial_ids()[:2]
    copy.write_status(first, Status("failed", 3, 1.0, "ValueError: no"))
    copy.write_status(second, Status("stopped", 4, 1.0, "loss 9 above 7.5"))
    failed = {"metric": "held_out", "version": 1, "status": "failed", "reason": "a\nBoom", "seconds": 0.1, "values": []}
    copy.add_measurements(first, 5, [failed])
    found = findings.gather(copy, results.collect(copy), nothing)
    assert f"{first} failed; its last good step is 3: ValueError: no" in found.failures
    assert "held_out: failed on 1 values (Boom)" in found.failures
    assert found.stopped == (f"{second} at step 4: loss 9 above 7.5",)
    assert found.summary[0].startswith("34 of 36 trials")


def test_a_store_that_has_only_begun(tmp_path: Path, store: Store) -> None:
    copy = Store.open(str(shutil.copytree(store.root.path, tmp_path / "store")))
    for trial in copy.trial_ids():
        copy.trial(trial).delete("measurements")
        copy.trial(trial).delete("status.json")
    frame = results.collect(copy)
    found = findings.gather(copy, frame, analyse(frame, {}))
    assert "nothing is measured yet" in found.summary[0]
    assert found.rows == []
    assert found.diagrams == []


@pytest.mark.parametrize("by", ["tokens", "flops"])
def test_beside_another_store(by: str, store: Store, frame: pd.DataFrame, nothing: Analysis) -> None:
    beside = Beside.of(store, store, by)  # type: ignore[arg-type]
    found = findings.gather(store, frame, nothing, beside).compared
    assert found is not None
    assert "held_out_loss" in found.metrics
    assert set(found.own["metric"]) == set(found.metrics)
    assert len(found.table.frame) >= 12 * len(found.metrics)
