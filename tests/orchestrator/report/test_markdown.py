from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from orchestrator.report import markdown, paper
from orchestrator.report.findings import Findings
from orchestrator.store import Store


@pytest.fixture(scope="module")
def text(found: Findings) -> str:
    return markdown.render(found, list(paper.figures(found)))


def test_it_has_the_words_the_tables_and_the_figures(text: str, found: Findings) -> None:
    assert text.startswith("# Sweep synthetic\n")
    for sentence in found.summary:
        assert markdown.escaped(sentence) in text
    for name in ("loss", "layers", "heat", "diagrams"):
        assert f"(figures/{name}.svg)" in text
    assert "| model | variant | budget |" in text
    assert '"fingerprint"' in text


def test_every_link_is_relative_and_leads_somewhere(text: str, found: Findings, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    paper.write(store, found)
    links = set(re.findall(r"\]\(([^)]+)\)", text))
    made = {f"figures/{one.name}" for one in (tmp_path / "figures").iterdir()}
    made |= {f"tables/{one.name}.{ending}" for one in found.tables for ending in ("csv", "parquet")}
    assert links <= made | {"report.html", "results.parquet"}
    assert len(links) > 10


def test_every_row_of_a_table_has_as_many_cells_as_its_heading(text: str) -> None:
    width = None
    for row in text.splitlines():
        if not row.startswith("| "):
            width = None
            continue
        cells = len(re.findall(r"(?<!\\)\|", row))
        assert width in (None, cells)
        width = cells


def test_what_comes_from_a_sweep_is_no_markup(found: Findings) -> None:
    evil = "<script>alert(1)</script> | `x` [a](javascript:b)\n# heading ```"
    record = {**found.record, "sweep": {"note": "```\n# out of the fence"}}
    text = markdown.render(dataclasses.replace(found, failures=(evil,), title=evil, record=record), [])
    assert "<script>" not in text
    assert not re.search(r"(?<!\\)\]\(javascript:", text)
    assert "\n# heading" not in text
    fence = re.search(r"^(`{3,})json$", text, re.MULTILINE)
    assert fence is not None
    assert len(fence[1]) == 4


def test_a_sweep_that_has_only_begun_says_so(found: Findings) -> None:
    assert "No trial is done yet." in markdown.render(dataclasses.replace(found, rows=[], tables=()), [])
