"""report.md: the same words and tables for a repository, an issue or a notebook, with the figures beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from orchestrator import comparison
from orchestrator.report import paper, tables
from orchestrator.report.findings import Findings
from orchestrator.report.paper import Figure
from orchestrator.report.words import CAUTIONS
from orchestrator.store import FIGURES, MARKDOWN, REPORT, RESULTS, TABLES, Store

ROWS = 12  # of a table; all are in its file
SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$@])")


def write(store: Store, found: Findings) -> None:
    """Write ``report.md``, and ``figures/`` and ``tables/`` that it links to."""
    tables.write(store, list(found.tables))
    store.root.write(MARKDOWN, render(found, paper.write(store, found)).encode())


def render(found: Findings, figures: Sequence[Figure]) -> str:
    """GitHub's Markdown. What comes from the sweep is escaped: it means itself."""
    return "\n".join(_lines(found, figures)).rstrip() + "\n"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _lines(found: Findings, figures: Sequence[Figure]) -> Iterator[str]:
    yield from (f"# {escaped(found.title)}", "")
    for sentence in found.summary:
        yield from (escaped(sentence), "")
    if found.remarks:
        yield from ("What could not be said, and why:", "", *(f"- {escaped(one)}" for one in found.remarks), "")
    yield from ("## By budget", "")
    if found.rows:
        yield "Mean ± standard deviation over seeds, at the end of the budget; the mean over blocks."
        yield from ("", *table(found.headings, found.rows), "")
    else:
        yield from ("No trial is done yet.", "")
    for one in figures:
        yield from (f"## {escaped(one.title)}", "", f"![{escaped(one.title)}]({FIGURES}/{one.name}.svg)", "")
    if found.compared:
        yield from (f"## {escaped(comparison.title(found.compared.beside))}", "")
        yield from ([escaped(found.compared.beside.caution), ""] if found.compared.beside.caution else [])
        yield from (*table(found.compared.table.headings, found.compared.table.as_text()), "")
    for one_table in found.tables:
        if one_table.name in ("by_budget", "beside"):
            continue
        yield from (f"## {escaped(one_table.title)}", "")
        yield from (*table(one_table.headings, one_table.as_text(ROWS)), "")
        if (count := len(one_table.frame)) > ROWS:
            yield from (f"{ROWS} of {count:,} rows; all are in {TABLES}/{one_table.name}.csv.", "")
    yield from ("## Faults, failures and skipped measurements", "")
    yield from ([f"- {escaped(line)}" for line in (*found.failures, *found.stopped)] or ["None."])
    yield from ("", "## Reading these numbers", "", *(f"- {escaped(one)}" for one in CAUTIONS), "")
    yield from ("## Files", "", f"- [{REPORT}]({REPORT}): the same with charts to look around in, and every metric")
    yield f"- [{RESULTS}]({RESULTS}): every value"
    for one_table in found.tables:
        name = f"{TABLES}/{one_table.name}"
        yield f"- {escaped(one_table.title)}: [CSV]({name}.csv), [Parquet]({name}.parquet)"
    spec = json.dumps(found.record, indent=1, ensure_ascii=False)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", spec)), default=0))
    yield from ("", "## Specification and provenance", "", f"{fence}json", spec, fence)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table; the first column is of words, the others to the right."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return [f"| {' | '.join(cell if line is lines[1] else escaped(cell) for cell in line)} |" for line in lines]
