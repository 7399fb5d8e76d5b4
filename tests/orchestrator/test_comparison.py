"""A sweep beside another store: the nearest checkpoint, along tokens or FLOPs, and never one that is faulty or far."""

from __future__ import annotations

import io
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import sweep
from orchestrator import comparison
from orchestrator.comparison import Beside

COLUMNS = [
    "model",
    "budget_flops",
    "seed",
    "trial",
    "step",
    "tokens",
    "flops",
    "fault",
    "metric",
    "metric_version",
    "value",
]


def rows(*values: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(values, columns=COLUMNS).assign(variant="")


PUBLIC = rows(
    ("pythia", 1.0, 1, "p1", 1, 100.0, 1e6, None, "held_out_loss", 1, 9.0),
    ("pythia", 1.0, 2, "p2", 1, 100.0, 1e6, None, "held_out_loss", 1, 11.0),
    ("pythia", 1.0, 1, "p1", 2, 200.0, 2e6, None, "held_out_loss", 1, 8.0),
    ("pythia", 1.0, 1, "p1", 4, 400.0, 4e6, "identical", "held_out_loss", 1, 1.0),
    ("pythia", 1.0, 1, "p1", 8, 800.0, 8e6, None, "held_out_loss", 1, 6.0),
    ("pythia", 1.0, 1, "p1", 8, 800.0, 8e6, None, "parameter_norm", 1, 50.0),
)


def final(tokens: float, flops: float, *losses: float) -> pd.DataFrame:
    return rows(
        *(("ours", flops, i, f"t{i}", 5, tokens, flops, None, "held_out_loss", 1, x) for i, x in enumerate(losses))
    )


@pytest.mark.parametrize(
    ("by", "tokens", "flops", "step", "value"),
    [
        ("tokens", 120.0, 8e6, 1, 10.0),  # the mean over its seeds
        ("flops", 120.0, 8e6, 8, 6.0),
        ("tokens", 300.0, 0.0, 2, 8.0),  # 400 is as near, and faulty
        ("tokens", 399.0, 0.0, 2, 8.0),
        ("tokens", 401.0, 0.0, 8, 6.0),
        ("tokens", 100.0 / 2.001, 0.0, 1, math.nan),
        ("tokens", 1601.0, 0.0, 8, math.nan),
    ],
)
def test_the_nearest_sound_checkpoint_is_taken(by: str, tokens: float, flops: float, step: int, value: float) -> None:
    beside = Beside("public", PUBLIC, by, "")  # type: ignore[arg-type]
    (row,) = comparison.compare(final(tokens, flops or 1.0, 4.0, 5.0), beside).to_dict("records")
    assert (row["model"], row["metric"], row["other"], row["other_step"]) == ("ours", "held_out_loss", "pythia", step)
    assert row["mean"] == 4.5
    assert row["std"] == pytest.approx(math.sqrt(0.5))
    assert row["other_value"] == value or (math.isnan(value) and math.isnan(row["other_value"]))


def test_people_see_the_difference_or_that_none_is_near() -> None:
    def shown(tokens: float) -> str:
        console = Console(file=io.StringIO(), width=160)
        beside = Beside("public", PUBLIC, "tokens", "")
        console.print(comparison.rich_table(comparison.compare(final(tokens, 1.0, 4.0, 5.0), beside), beside))
        return console.file.getvalue()  # type: ignore[attr-defined]

    assert "Beside public, by tokens" in shown(800.0)
    assert "-1.5" in shown(800.0)
    assert "none near" in shown(5000.0)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (final(800.0, 1.0, 4.0), PUBLIC[PUBLIC["metric"] == "parameter_norm"]),
        (final(800.0, 1.0, 4.0), PUBLIC.assign(metric_version=2)),  # numbers of another definition
        (final(800.0, 1.0, 4.0).assign(tokens=pd.NA), PUBLIC),  # of a published model that says too little
        (final(0.0, 1.0, 4.0), PUBLIC),
        (final(800.0, 1.0, 4.0), PUBLIC.assign(tokens=pd.NA)),
        (final(800.0, 1.0, 4.0), PUBLIC.assign(fault="mixed")),
        (final(800.0, 1.0, 4.0), PUBLIC.iloc[:0]),
    ],
)
def test_nothing_to_compare_is_said(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    beside = Beside("public", theirs, "tokens", "")
    compared = comparison.compare(ours, beside)
    assert compared.empty
    assert "nothing to compare" in str(comparison.rich_table(compared, beside).caption)


def test_the_report_of_a_store_beside_another(store_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Path(shutil.copytree(store_copy, store_copy.parent / "other"))
    assert sweep.main(["report", str(store_copy), "--beside", str(other), "--by", "flops"]) == 0
    said = capsys.readouterr().out
    assert "Beside other, by FLOPs" in said
    assert said.count("+0") >= 4  # the same results, and so no difference
    page = (store_copy / "report.html").read_text()
    assert "Beside other, by FLOPs" in page
    assert page.count("data-panel=") > 3


def test_probe_sets_that_differ_are_said(store_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Path(shutil.copytree(store_copy, store_copy.parent / "other"))
    text = (other / "sweep.json").read_text()
    from orchestrator.store import Store

    store = Store.existing(str(other))
    body = store.read_sweep()
    assert body is not None
    body["sweep"] |= {"seq_len": 64, "evaluations": ["mrpc"], "limit": 10}
    store.root.write_json("sweep.json", {name: value for name, value in body.items() if name != "sha256"})
    assert text != (other / "sweep.json").read_text()
    assert sweep.main(["report", str(store_copy), "--beside", str(other)]) == 0
    assert "probe sets differ in seq_len (128 and 64)" in capsys.readouterr().out
    assert "probe sets differ" in (store_copy / "report.html").read_text()


def test_another_store_that_is_none_is_said(store_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["report", str(store_copy), "--beside", str(store_copy.parent / "nowhere")]) == 2
    assert "not a store" in capsys.readouterr().err


def test_variants_are_compared_each_by_itself() -> None:
    table = pd.concat([final(100.0, 1e6, 4.0), final(100.0, 1e6, 8.0).assign(variant="batch_size=4")])
    compared = comparison.compare(table, Beside("public", PUBLIC, "tokens", ""))
    assert list(zip(compared["model"], compared["mean"], strict=True)) == [("ours", 4.0), ("ours batch_size=4", 8.0)]
