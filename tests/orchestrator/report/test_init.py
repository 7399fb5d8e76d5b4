from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import sweep
from orchestrator import report, results
from orchestrator.analysis import analyse
from orchestrator.store import Store


def test_a_finished_sweep_left_its_report(finished: Path) -> None:
    assert {one.name for one in finished.iterdir()} >= {"report.html", "report.md", "figures", "tables"}
    assert {one.name for one in (finished / "figures").iterdir()} >= {"loss.svg", "loss.png", "layers.svg", "heat.svg"}
    assert {one.name for one in (finished / "tables").iterdir()} >= {"by_budget.csv", "by_budget.parquet", "cost.csv"}
    assert (finished / "report.html").stat().st_size < 5_000_000


def test_the_command_writes_it_anew(store_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("report.html", "report.md", "results.parquet"):
        (store_copy / name).unlink()
    shutil.rmtree(store_copy / "figures")
    assert sweep.main(["report", str(store_copy)]) == 0
    assert "report.html" in capsys.readouterr().out
    assert (store_copy / "figures" / "loss.png").stat().st_size > 5000
    assert "4 of 4 trials are done" in (store_copy / "report.md").read_text()


def test_a_store_without_a_trial_has_a_report_too(store_copy: Path) -> None:
    shutil.rmtree(store_copy / "trials")
    store = Store.existing(str(store_copy))
    frame = results.collect(store)
    results.write(store, frame)
    report.write(store, frame, analyse(frame, results.ends(store)))
    assert "No trial is done yet." in (store_copy / "report.html").read_text()
    assert "nothing is measured yet" in (store_copy / "report.md").read_text()


def test_clouds_without_a_loop_and_metrics_without_a_loss_are_reported_too(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    frame = results.collect(store)
    frame.loc[frame["metric"] == "h1_total_persistence_scaled", "value"] = 0.0
    frame = frame[~frame["metric"].str.startswith("held_out_loss")]
    shutil.rmtree(store_copy / "figures")
    report.write(store, frame, analyse(frame, results.ends(store)))
    names = {one.name for one in (store_copy / "figures").iterdir()}
    assert "heat.svg" in names
    assert "loss.svg" not in names
