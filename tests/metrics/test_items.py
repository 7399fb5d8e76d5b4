"""What evaluations found of items is kept as it was, and damage is told."""

from __future__ import annotations

import pytest

from metrics import items
from metrics.base import Items
from trainables.storage import CorruptFileError, Folder

FOUND = Items({"item": [0, 1], "acc": [1.0, None], "log_likelihoods": [[-1.5], [-2.0, -0.25]], "target": ["a", "b"]})


@pytest.fixture
def trial(tmp_path: object) -> Folder:
    folder = Folder.open(str(tmp_path))
    items.keep(folder, 64, "mrpc@1", FOUND)
    return folder


def test_rows_come_back_in_their_order(trial: Folder) -> None:
    table = items.read(trial, 64, "mrpc@1")
    assert list(table) == list(FOUND.columns)
    assert table["item"].tolist() == [0, 1]
    assert table["acc"][0] == 1.0
    assert table["acc"].isna().tolist() == [False, True]
    assert [list(one) for one in table["log_likelihoods"]] == FOUND.columns["log_likelihoods"]


def test_each_checkpoint_and_evaluation_has_its_own_file(trial: Folder) -> None:
    items.keep(trial, 128, "mrpc@1", Items({"item": [7]}))
    assert items.read(trial, 128, "mrpc@1")["item"].tolist() == [7]
    assert items.read(trial, 64, "mrpc@1")["item"].tolist() == [0, 1]
    for step, key in ((64, "mrpc@2"), (32, "mrpc@1")):
        with pytest.raises(FileNotFoundError):
            items.read(trial, step, key)


@pytest.mark.parametrize("left", [0, 40, 200])
def test_a_file_that_was_cut_short_is_corrupt(trial: Folder, left: int) -> None:
    name = items.file_name(64, "mrpc@1")
    trial.write(name, trial.read(name)[:left])
    with pytest.raises(CorruptFileError, match=r"mrpc@1"):
        items.read(trial, 64, "mrpc@1")
