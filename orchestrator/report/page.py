"""report.html: one file with all that it shows, which asks no server for anything.

plotly's script and the charts' data are in it gzipped, in base64: half the size, and nothing in them can end a script.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.report import barcodes, beside, curves, statistics
from orchestrator.report.charts import Panel
from orchestrator.report.findings import Findings
from orchestrator.report.tables import Table, text
from orchestrator.report.words import CAUTIONS

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it, each perhaps missing."""

    name: str
    title: str
    panel: Panel | None = None
    tables: tuple[Table, ...] = ()


def render(found: Findings, *, live: bool = False) -> bytes:
    """The page. live: it looks whether its server has a newer one, and shows that."""
    import jinja2

    sections = [one for one in _sections(found) if one.panel or one.tables]
    panels = [one.panel.to_json() for one in sections if one.panel]
    tables = {table.name: _table(table) for one in sections for table in one.tables}
    tables |= {table.name: _table(table) for table in found.tables if table.name not in tables}
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((TEMPLATES / "report.html.j2").read_text(encoding="utf-8"))
    page = template.render(
        found=found,
        sections=sections,
        cautions=CAUTIONS,
        spec=json.dumps(found.record, indent=1, ensure_ascii=False),
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "report.js").read_text(encoding="utf-8"),
        plotly=plotly(),
        data=packed(_dumped({"panels": panels, "tables": tables})),
        live=live,
    )
    return page.encode()


def _dumped(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


@functools.cache
def plotly() -> str:
    """plotly.js of the installed package, packed."""
    from plotly.offline import get_plotlyjs

    return packed(get_plotlyjs().encode())


def packed(data: bytes) -> str:
    """Gzipped, in base64; the same for the same data."""
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode("ascii")


def _sections(found: Findings) -> list[Section]:
    def tables(*names: str) -> tuple[Table, ...]:
        return tuple(table for name in names if (table := found.table(name)) is not None)

    analysis, values = found.analysis, found.values
    fits = tables("exponents", "loss_fit", "isoflop")
    compared = beside.panel(found.compared) if found.compared else None
    return [
        Section("loss", "Loss against compute", curves.against_compute(values)),
        Section("layers", "Topology against compute, by layer", curves.by_layer(values)),
        Section("heat", "Topology through training, step by layer", curves.heat(values)),
        Section("diagrams", "Persistence diagrams and barcodes", barcodes.panel(found.diagrams)),
        Section("seeds", "Do seeds agree?", curves.seeds(values), tables("agreement")),
        Section("effects", "What compute changes", statistics.effects(analysis), tables("effects")),
        Section("correlations", "What goes with the loss", statistics.correlations(analysis), tables("correlations")),
        Section("prediction", "What is seen early", statistics.prediction(analysis), tables("prediction")),
        Section("isoflop", "Scaling", statistics.isoflop(analysis), fits),
        Section("cost", "Cost", statistics.cost(found.cost), tables("cost")),
        Section("candidates", "The search's candidates", statistics.candidates(found.candidates), tables("candidates")),
        Section("beside", found.compared.table.title if found.compared else "", compared, tables("beside")),
    ]


def _table(table: Table) -> dict[str, Any]:
    """Columns of numbers as they are, to be sorted, and of text; what is missing is null."""
    columns = [_column(table, name) for name in table.frame.columns]
    return {"title": table.title, "names": list(table.frame.columns), "headings": table.headings, "columns": columns}


def _column(table: Table, name: str) -> list[Any]:
    column = table.frame[name]
    if column.dtype.kind in "iufb" or str(column.dtype) in ("Int64", "Float64"):
        return [
            None if value != value else _number(value)
            for value in column.astype("Float64").to_numpy(float, na_value=float("nan")).tolist()
        ]
    return [None if value is None or value != value else str(value) for value in column]


def _number(value: float) -> float | int | str:
    if value in (float("inf"), float("-inf")):
        return text(value)
    return int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.6g}")
