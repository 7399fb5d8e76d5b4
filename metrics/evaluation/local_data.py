"""Local copies of evaluations' data sets, in place of the Hub's: JSON lines, tables of text, Parquet, save_to_disk."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metrics.base import UnavailableError
from trainables.shards import LINES, PARQUET, ShardError, read_records

TABLES = {".tsv": "\t", ".csv": ","}
SUFFIXES = (*LINES, *TABLES, PARQUET)
SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"}
SPLITS["test"] = "test"
HELD_OUT = ("validation", "test")
# what tasks call the columns of a file in its authors' own layout
RENAMED = {"mrpc": {"Quality": "label", "#1 String": "sentence1", "#2 String": "sentence2"}}
TEXT = {"winogrande": ("answer",)}  # columns of digits that the task takes for text
_WHOLE = re.compile(r"-?[0-9]+")


@dataclass(frozen=True)
class LocalData:
    """splits: ``datasets.Dataset`` by split, all that the task names; empty where the copy has none of that name.

    standing: in words, which of the copy's own stands for the one that the task evaluates on, where it has another
    name; missing: the empty ones; columns: of the copy.
    """

    path: Path
    splits: Any
    standing: str
    missing: tuple[str, ...]
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path}{self.standing}"


def load(path: Path, task: str, evaluated: str, others: Sequence[str]) -> LocalData:
    """A copy of a task's data, which evaluates on the split ``evaluated`` and may look at ``others``.

    A copy of one split is taken for the one evaluated on; of several without it, the other one held out. Raises
    UnavailableError, which names the file, for what cannot be read or has no such split.
    """
    from datasets import DatasetDict

    try:
        found = {name: _renamed(dataset, task) for name, dataset in _read(path).items()}
    except (ShardError, OSError, ValueError, csv.Error) as error:  # the first is one, too; Arrow's are ValueErrors
        raise UnavailableError(f"{task}: its local data {path} cannot be read: {error}") from error
    stands = _standing_for(evaluated, found)
    if stands is None:
        has = ", ".join(found) or f"no file (of {', '.join(SUFFIXES)})"
        raise UnavailableError(
            f"{task}: evaluates on the split {evaluated}, but its local data {path} has {has}; name the files by their "
            f"splits, as {evaluated}.jsonl, or give the one file: evaluation_data={task}:FILE"
        )
    dataset = found[stands]
    if not len(dataset):
        raise UnavailableError(f"{task}: its local data {path} has no rows")
    missing = tuple(name for name in others if name not in found and name != evaluated)
    splits = {name: found.get(name, dataset.select([])) for name in others} | {evaluated: dataset}
    standing = f" ({stands} for {evaluated})" if stands != evaluated else ""
    return LocalData(path, DatasetDict(splits), standing, missing, tuple(dataset.column_names))


def _standing_for(evaluated: str, found: dict[str, Any]) -> str | None:
    if evaluated in found:
        return evaluated
    held_out = [name for name in HELD_OUT if name in found]
    return next(iter(held_out if len(found) > 1 else found), None)


def _read(path: Path) -> dict[str, Any]:
    """Every split of a copy by its name; of a single file by the file's."""
    from datasets import Dataset, concatenate_datasets, load_from_disk

    if path.is_file():
        return {path.name: _read_file(path)}
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        saved = load_from_disk(str(path))
        return {path.name: saved} if isinstance(saved, Dataset) else dict(saved)
    files: dict[str, list[Any]] = {}
    for file in sorted(path.iterdir()):
        named = re.match("[a-z]+", file.name)
        if named and named[0] in SPLITS and file.name.endswith(SUFFIXES):
            files.setdefault(SPLITS[named[0]], []).append(_read_file(file))
    return {split: concatenate_datasets(parts) for split, parts in files.items()}


def _read_file(path: Path) -> Any:
    import pyarrow.parquet as pq
    from datasets import Dataset
    from datasets.table import InMemoryTable

    if path.suffix == PARQUET:
        return Dataset(InMemoryTable(pq.read_table(path)))
    if path.suffix in TABLES:
        return Dataset.from_dict(_columns(path))
    if not path.name.endswith(LINES):
        raise ValueError(f"of no known kind; known are {', '.join(SUFFIXES)}, and folders of save_to_disk")
    return Dataset.from_list(read_records(path))


def _columns(path: Path) -> dict[str, list[Any]]:
    """A table of text; columns of whole numbers become numbers. Of .tsv, quotes are part of the text, as GLUE's are."""
    delimiter = TABLES[path.suffix]
    with path.open(encoding="utf-8-sig", newline="") as stream:
        if delimiter == "\t":
            rows = list(csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_NONE))
        else:
            rows = list(csv.reader(stream, delimiter=delimiter, strict=True))
    header, *rows = rows or [[]]
    if uneven := next((number for number, row in enumerate(rows, start=2) if len(row) != len(header)), None):
        raise ValueError(f"line {uneven} has {len(rows[uneven - 2])} columns, the header {len(header)}")
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=False))
    return {
        name: [int(text) for text in texts] if all(map(_WHOLE.fullmatch, texts)) else texts
        for name, texts in columns.items()
    }


def _renamed(dataset: Any, task: str) -> Any:
    from datasets import Value

    names = RENAMED.get(task, {})
    if names.keys() <= set(dataset.column_names):
        dataset = dataset.rename_columns(names)
    for name in TEXT.get(task, ()):
        if name in dataset.column_names:
            dataset = dataset.cast_column(name, Value("string"))
    return dataset
