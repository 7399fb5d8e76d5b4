"""The embedded corpus: text that ships with every CPython, so that a sweep needs no download. It is not the Pile."""

from __future__ import annotations

import ast
import io
import os
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from trainables.shards import Document, pack_shard
from trainables.storage import CorruptFileError, Folder, canonical_json, sha256

LANGUAGE_REFERENCE = "CPython language reference"
SOURCE = "CPython standard library source"
DOCSTRINGS = "CPython standard library docstrings"
SHARDS = 4
HASHES = ".sha256.json"
CORPUS_VERSION = 1  # raise it when a change here changes the text
_NOT_LIBRARY = {"site-packages", "test", "tests", "idle_test", "lib2to3", "__pycache__", "pydoc_data", "ensurepip"}


def _modules() -> list[Path]:
    found = []
    for folder, subfolders, files in os.walk(sysconfig.get_paths()["stdlib"]):
        subfolders[:] = [name for name in subfolders if name not in _NOT_LIBRARY]
        found += [Path(folder, name) for name in files if name.endswith(".py")]
    return sorted(found)


def fingerprint() -> str:
    """Names this Python's corpus without reading it: version and the files' names and sizes."""
    files = [[path.name, path.stat().st_size] for path in _modules()]
    return f"embedded{CORPUS_VERSION}-cpython-{platform.python_version()}-{sha256(canonical_json(files))[:12]}"


def documents() -> Iterator[Document]:
    """Each topic of the language reference, each module's docstrings, and each module's source without them."""
    from pydoc_data.topics import topics

    for text in topics.values():
        yield Document(text, LANGUAGE_REFERENCE)
    for path in _modules():
        try:
            source = path.read_text(encoding="utf-8")
            docstrings, code = separate_docstrings(source)
        except (UnicodeDecodeError, SyntaxError):  # a few modules are in another encoding or are templates
            continue
        if docstrings:
            yield Document(docstrings, DOCSTRINGS)
        if code.strip():
            yield Document(code, SOURCE)


def separate_docstrings(source: str) -> tuple[str, str]:
    """A module's docstrings joined by blank lines, and its source without those lines. Raises SyntaxError."""
    lines = io.StringIO(source).readlines()  # splitlines() also breaks where Python's parser does not
    found: list[str] = []
    removed: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node)
            if docstring:
                found.append(docstring)
                expression = node.body[0]
                removed.update(range(expression.lineno - 1, expression.end_lineno or expression.lineno))
    return "\n\n".join(found), "".join(line for index, line in enumerate(lines) if index not in removed)


def is_whole(folder: Folder) -> bool:
    """Whether the shards that :func:`write_shards` wrote are all there and unchanged: 2.8 MB to read."""
    try:
        hashes = folder.read_json(HASHES)["shards"]
        return len(hashes) == SHARDS and all(sha256(folder.read(name)) == digest for name, digest in hashes.items())
    except (FileNotFoundError, CorruptFileError):
        return False


def write_shards(folder: Folder) -> None:
    """Write the corpus as Pile-format shards ``00.jsonl.zst`` ... in an order that mixes the domains evenly."""
    ordered = sorted(documents(), key=lambda document: sha256(document.text.encode()))
    hashes = {}
    for index in range(SHARDS):
        name, data = f"{index:02d}.jsonl.zst", pack_shard(ordered[index::SHARDS])
        folder.write(name, data)
        hashes[name] = sha256(data)
    folder.write_json(HASHES, {"shards": hashes})
