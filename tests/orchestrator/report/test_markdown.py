"""report.md."""

from __future__ import annotations

from orchestrator.report import markdown
from tests.orchestrator.report.conftest import Made


def test_words_and_tables_are_the_pages(made: Made) -> None:
    text = markdown.render(made.found, [])
    assert text.startswith("# ")
    for heading in made.found.headings:
        assert heading in text
    assert markdown.escaped(made.found.rows[0][-1]) in text


def test_cells_cannot_break_a_table() -> None:
    lines = markdown.table(["a", "b"], [["x|y", "<i>"]])
    assert len({line.replace("\\|", "").count("|") for line in lines if line}) == 1
    assert "<i>" not in "".join(lines)
