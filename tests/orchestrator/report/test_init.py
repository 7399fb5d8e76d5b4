"""The files of a report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from orchestrator import report, results
from tests.orchestrator.report.conftest import Made


def test_all_files_are_written_and_the_tables_hold_what_was_found(made: Made) -> None:
    results.write(made.store, made.frame)
    report.write(made.store, made.frame, made.analysis)
    place = Path(made.store.root.path)
    assert (place / "report.html").stat().st_size < 5e6
    assert {path.suffix for path in (place / "figures").iterdir()} == {".png", ".svg"}
    effects = pd.read_parquet(place / "tables" / "effects.parquet")
    assert len(effects) == len(made.analysis.effects)
    assert len(pd.read_csv(place / "tables" / "effects.csv")) == len(effects)
    linked = [part.split(")")[0] for part in (place / "report.md").read_text().split("](")[1:]]
    assert linked
    assert all((place / link).exists() for link in linked if "://" not in link and not link.startswith("#"))
    before = {path.name: path.read_bytes() for path in (place / "figures").glob("*.svg")}
    report.write(made.store, made.frame, made.analysis)
    assert before == {path.name: path.read_bytes() for path in (place / "figures").glob("*.svg")}
