"""What a sweep found, for people: report.html, report.md, figures for papers, and tables."""

from __future__ import annotations

import pandas as pd

from orchestrator.analysis import Analysis
from orchestrator.comparison import Beside
from orchestrator.report import findings, markdown, page
from orchestrator.store import REPORT, Store


def write(store: Store, frame: pd.DataFrame, analysis: Analysis, beside: Beside | None = None) -> None:
    """Write ``report.html``, ``report.md``, ``figures/`` and ``tables/`` from the rows of
    :func:`orchestrator.results.collect` and what the analysis makes of them, ``beside`` another store."""
    found = findings.gather(store, frame, analysis, beside)
    markdown.write(store, found)
    store.root.write(REPORT, page.render(found))
