"""Diagrams are read as they were kept, and damage to them is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metrics.base import Diagram
from metrics.diagrams import DIAGRAMS, file_name, keep, read
from trainables.storage import CorruptFileError, Folder, sha256

KEY = "persistent_homology@3"
NONE = np.empty((0, 2))
FOUND = [
    Diagram(0, 0, np.array([[0, 1], [0, 1 / 3]]), 2.5),
    Diagram(0, 1, np.array([[0.1, 0.7]]), 2.5),
    Diagram(1, 0, NONE, 1.0),
    Diagram(1, 1, NONE, 1.0),
    Diagram(12, 1, np.array([[1e-300, 1e300], [0.3, 0.4], [0.2, 0.9]]), 1e-5),
    Diagram(3, 0, np.array([[0, 5.0]]), 7.0),
]
ROWS = [
    (0, 0, 0.0, 1.0, 2.5),
    (0, 0, 0.0, 1 / 3, 2.5),
    (0, 1, 0.1, 0.7, 2.5),
    (12, 1, 1e-300, 1e300, 1e-5),
    (12, 1, 0.3, 0.4, 1e-5),
    (12, 1, 0.2, 0.9, 1e-5),
    (3, 0, 0.0, 5.0, 7.0),
]
DTYPES = {"layer": "int16", "dimension": "int16", "birth": "float64", "death": "float64", "scale": "float64"}


@pytest.fixture
def trial(tmp_path: Path) -> Folder:
    return Folder.open(tmp_path)


def measurement_of(trial: Folder, diagrams: list[Diagram], step: int = 8) -> dict[str, Any]:
    name, version = KEY.split("@")
    return {"metric": name, "version": int(version), "diagrams": keep(trial, step, KEY, diagrams)}


def test_bars_are_read_as_they_were_kept_in_their_order(trial: Folder) -> None:
    """Layers and dimensions without a bar have no row."""
    table = read(trial, 8, measurement_of(trial, FOUND))
    assert list(table.itertuples(index=False, name=None)) == ROWS
    assert table.dtypes.astype(str).to_dict() == DTYPES


@pytest.mark.parametrize("diagrams", [FOUND[2:3], FOUND[2:4]], ids=["one", "two"])
def test_diagrams_without_a_bar_are_an_empty_table_of_the_same_columns(trial: Folder, diagrams: list[Diagram]) -> None:
    table = read(trial, 8, measurement_of(trial, diagrams))
    assert len(table) == 0
    assert table.dtypes.astype(str).to_dict() == DTYPES


def test_diagrams_may_come_one_by_one(trial: Folder) -> None:
    assert keep(trial, 8, KEY, iter(FOUND)) == keep(trial, 8, KEY, FOUND)


def test_bars_of_float32_and_a_whole_scale_are_kept_as_float64(trial: Folder) -> None:
    bars = np.array([[0, 0.1]], dtype=np.float32)
    table = read(trial, 8, measurement_of(trial, [Diagram(0, 0, bars, 2)]))
    assert table.dtypes.astype(str).to_dict() == DTYPES


def test_what_is_kept_is_recorded_and_lies_where_it_says(trial: Folder) -> None:
    recorded = keep(trial, 8, KEY, FOUND)
    data = trial.read(f"{DIAGRAMS}/{KEY}/step-00000008.parquet")
    assert recorded == {"bytes": len(data), "sha256": sha256(data)}
    assert file_name(8, KEY) == f"{DIAGRAMS}/{KEY}/step-00000008.parquet"


def test_the_same_bars_make_the_same_file(trial: Folder) -> None:
    assert keep(trial, 8, KEY, FOUND)["sha256"] == keep(trial, 16, KEY, FOUND)["sha256"]


def test_steps_are_kept_apart(trial: Folder) -> None:
    first, second = measurement_of(trial, FOUND[:1], 0), measurement_of(trial, FOUND[1:2], 8)
    assert len(read(trial, 0, first)) == 2
    assert len(read(trial, 8, second)) == 1


@pytest.mark.parametrize("damage", ["a bit", "cut short", "empty"])
def test_damaged_diagrams_are_noticed_and_deleted(trial: Folder, damage: str) -> None:
    measurement = measurement_of(trial, FOUND)
    name = file_name(8, KEY)
    data = bytearray(trial.read(name))
    data[len(data) // 2] ^= 1
    trial.write(name, {"a bit": bytes(data), "cut short": bytes(data[:-9]), "empty": b""}[damage])
    with pytest.raises(CorruptFileError, match="run again"):
        read(trial, 8, measurement)
    assert not trial.exists(name)
    with pytest.raises(FileNotFoundError):
        read(trial, 8, measurement)


def test_a_measurement_that_kept_no_diagrams_has_none(trial: Folder) -> None:
    with pytest.raises(FileNotFoundError, match="kept no diagrams"):
        read(trial, 8, {"metric": "twonn", "version": 1})


def test_diagrams_of_another_version_are_not_read(trial: Folder) -> None:
    measurement = measurement_of(trial, FOUND) | {"version": 2}
    with pytest.raises(FileNotFoundError):
        read(trial, 8, measurement)
