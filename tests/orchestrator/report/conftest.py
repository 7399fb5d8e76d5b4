"""A sweep's store whose values are known, and what the report finds in it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import pytest

from orchestrator import results
from orchestrator.analysis import Analysis, analyse
from orchestrator.report import findings
from orchestrator.report.findings import Findings
from orchestrator.store import Store
from tests import synthetic


@dataclass(frozen=True)
class Made:
    store: Store
    frame: pd.DataFrame
    analysis: Analysis
    found: Findings


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Four seeds and four budgets of two learning rates, nine checkpoints each."""
    place = tmp_path_factory.mktemp("made") / "made"
    store = synthetic.write(place, "seeds=0,1,2,3", "variants=plain,learning_rate=0.01", checkpoints=9)
    frame = results.collect(store)
    analysis = analyse(frame, results.ends(store))
    return Made(store, frame, analysis, findings.gather(store, frame, analysis))
