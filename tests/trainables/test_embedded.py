"""The embedded corpus: documentation apart from code, and the same shards every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from trainables import embedded
from trainables.shards import Document, read_documents
from trainables.storage import Folder, sha256

SOURCE = '''"""Module."""
import os

def f(x):
    """Function,
    two lines."""
    return """not a docstring"""

class C:
    "Class."
    async def g(self):
        """Method."""
'''


def test_docstrings_are_taken_out_of_the_source() -> None:
    docstrings, code = embedded.separate_docstrings(SOURCE)
    assert sorted(docstrings.split("\n\n")) == ["Class.", "Function,\ntwo lines.", "Method.", "Module."]
    kept = ["import os", "", "def f(x):", '    return """not a docstring"""', ""]
    assert code.splitlines() == [*kept, "class C:", "    async def g(self):"]


def test_source_without_docstrings_stays_as_it_is() -> None:
    source = "x = 1\n\ndef f():\n    return x\n"
    assert embedded.separate_docstrings(source) == ("", source)


@pytest.mark.parametrize("breaker", ["\f", "\v", "\x1c", "\x85", "\u2028"], ids=ascii)
def test_only_the_lines_that_python_counts_are_counted(breaker: str) -> None:
    """The standard library has form feeds between sections; str.splitlines breaks lines there, the parser does not."""
    source = f'# one{breaker}line\ndef f():\n    """Docstring."""\n    return 1\n'
    docstrings, code = embedded.separate_docstrings(source)
    assert docstrings == "Docstring."
    assert code == f"# one{breaker}line\ndef f():\n    return 1\n"


def test_broken_source_raises() -> None:
    with pytest.raises(SyntaxError):
        embedded.separate_docstrings("def")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return _written(tmp_path_factory.mktemp("embedded"))


def _written(folder: Path) -> list[Path]:
    embedded.write_shards(Folder.open(folder))
    return sorted(folder.glob("[0-9]*"))


def test_writing_the_shards_again_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = embedded._modules()[:50]
    monkeypatch.setattr(embedded, "_modules", lambda: some)
    first, second = (_written(tmp_path / name) for name in ("first", "second"))
    assert [path.name for path in first] == [path.name for path in second] == [f"{i:02d}.jsonl.zst" for i in range(4)]
    assert [sha256(path.read_bytes()) for path in first] == [sha256(path.read_bytes()) for path in second]


@pytest.fixture(scope="module")
def documents(shards: list[Path]) -> list[list[Document]]:
    return [list(read_documents(path)) for path in shards]


def test_every_shard_mixes_the_three_domains_evenly(documents: list[list[Document]]) -> None:
    counts = [Counter(document.domain for document in shard) for shard in documents]
    names = {embedded.LANGUAGE_REFERENCE, embedded.SOURCE, embedded.DOCSTRINGS}
    assert all(count.keys() == names for count in counts)
    largest, smallest = (max(map(Counter.total, counts)), min(map(Counter.total, counts)))
    assert largest - smallest <= 1


def test_no_document_is_empty_and_every_split_has_some(documents: list[list[Document]]) -> None:
    everything = [document for shard in documents for document in shard]
    assert all(document.text.strip() for document in everything)
    assert {document.split for document in everything} == {"train", "validation", "test"}


def test_the_language_reference_is_there_in_full(documents: list[list[Document]]) -> None:
    from pydoc_data.topics import topics

    found = {d.text for shard in documents for d in shard if d.domain == embedded.LANGUAGE_REFERENCE}
    assert found == set(topics.values())


def test_the_fingerprint_names_the_python() -> None:
    assert embedded.fingerprint() == embedded.fingerprint()
    assert embedded.fingerprint().startswith("embedded1-cpython-3.")
