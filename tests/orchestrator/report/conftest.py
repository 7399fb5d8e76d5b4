"""Two stores to report on: a synthetic sweep of two models and variants, and published checkpoints with faults."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from orchestrator import results
from orchestrator.analysis import COLUMNS, Analysis, analyse
from orchestrator.report import findings
from orchestrator.report.findings import Findings
from orchestrator.report.series import Values
from orchestrator.store import Store
from tests import synthetic

SETTINGS = ("model=neox-100k,neox-280k", "variants=plain,batch_size=4", "seeds=0,1,2", "budgets=5e10,1e11,2e11")
FAULTS = {4: "identical", 8: "mixed"}


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Of 2 models x 2 variants x 3 budgets x 3 seeds, 5 checkpoints each. Read only."""
    return synthetic.write(tmp_path_factory.mktemp("synthetic") / "store", *SETTINGS, checkpoints=5)


@pytest.fixture(scope="session")
def frame(store: Store) -> pd.DataFrame:
    return results.collect(store)


@pytest.fixture(scope="session")
def found(store: Store, frame: pd.DataFrame) -> Findings:
    return findings.gather(store, frame, analyse(frame, results.ends(store)))


@pytest.fixture(scope="session")
def values(found: Findings) -> Values:
    return found.values


@pytest.fixture(scope="session")
def published() -> Callable[..., pd.DataFrame]:
    """A table of published checkpoints: a loss and two layers at steps 0 to 16, of which 4 and 8 have a fault."""

    def make(seeds: int, *, flops: bool = True) -> pd.DataFrame:
        rows = [
            {
                "trial": f"t{seed}",
                "model": "m",
                "variant": "",
                "seed": seed,
                "budget_flops": 16e9 if flops else None,
                "step": step,
                "tokens": None,
                "flops": step * 1e9 if flops else None,
                "metric": metric,
                "metric_version": 1,
                "layer": layer,
                "value": 100.0 + seed + step,
                "status": "ok",
                "reason": None,
                "revision": f"step{step}",
                "fault": FAULTS.get(step),
            }
            for seed in range(seeds)
            for step in (0, 1, 2, 4, 8, 16)
            for metric, layer in (("held_out_loss", None), ("twonn_dimension", 0), ("twonn_dimension", 1))
        ]
        floats = dict.fromkeys(("flops", "budget_flops", "tokens"), "float64")
        return pd.DataFrame(rows).astype({"layer": "Int64", **floats})

    return make


@pytest.fixture(scope="session")
def nothing() -> Analysis:
    """An analysis that found nothing."""
    return Analysis(**{name: pd.DataFrame(columns=list(columns)) for name, columns in COLUMNS.items()}, remarks=())
