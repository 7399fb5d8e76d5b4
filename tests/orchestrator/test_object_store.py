"""A whole sweep on an object store whose requests are slow, fail, and are cut off, against the same on a disk."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import sweep
from orchestrator import lease
from orchestrator.alarm import Alarm
from orchestrator.store import RESULTS, Store
from tests.conftest import SMALL
from tests.object_store import ObjectStore, serving
from trainables import embedded
from trainables.checkpoint import WEIGHTS, committed_steps, step_name
from trainables.storage import Folder, sha256

FEWER = ["seeds=0", "budgets=6steps", *SMALL[2:]]  # of the finished sweep's trials one


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """TensorBoard's files of a store that is not local lie under the working directory."""
    with serving() as running, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        yield running


@pytest.fixture(scope="module")
def store(service: ObjectStore, finished: Path) -> Store:
    uri = service.uri("results/store")
    service.disturb(slow_s=0.01, failing=0.03, cut=0.01)
    assert sweep.main(["run", "quickstart", "--store", uri, *FEWER]) == 0
    service.disturb()
    return Store.existing(uri)


def table(data: bytes) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(data)).drop(columns="seconds")


def weights(store: Store, trial_ids: list[str]) -> dict[tuple[str, int], str]:
    steps = ((trial_id, step) for trial_id in trial_ids for step in committed_steps(store.trial(trial_id)))
    return {
        (trial_id, step): sha256((store.trial(trial_id) / "checkpoints" / step_name(step)).read_committed(WEIGHTS))
        for trial_id, step in steps
    }


def test_rows_and_weights_are_those_of_the_same_sweep_on_a_disk(store: Store, finished: Path) -> None:
    ours = store.trial_ids()
    local = Store.existing(str(finished))
    there = table(local.root.read(RESULTS))
    there = there[there["trial"].isin(ours) & there["other_trial"].isin([None, *ours])].reset_index(drop=True)
    pd.testing.assert_frame_equal(table(store.root.read(RESULTS)), there)
    assert weights(store, ours) == weights(local, ours)
    assert [name for name in store.root.names() if name.startswith(".")] == []  # its lease is given back


def test_the_embedded_corpus_lies_beside_it_for_every_node_to_read(store: Store) -> None:
    assert embedded.is_whole(store.tokens(embedded.fingerprint()))


def test_a_second_run_has_nothing_to_do_and_asks_little(
    store: Store, service: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    before = service.counts()
    assert sweep.main(["run", "quickstart", "--store", store.uri, *FEWER]) == 0
    assert "nothing to do" in capsys.readouterr().out
    asked = service.counts() - before
    checkpoints = len(weights(store, store.trial_ids()))
    assert asked["LIST"] <= 30 * len(store.trial_ids())
    assert asked.total() <= 150 + 25 * checkpoints


@pytest.mark.parametrize("command", ["status", "verify", "report"])
def test_what_is_asked_of_a_finished_one_is_answered(store: Store, command: str) -> None:
    assert sweep.main([command, store.uri]) == 0


def test_one_trial_has_its_damage_found_and_mended(store: Store) -> None:
    trial_id = store.trial_ids()[0]
    before = weights(store, [trial_id])
    folder = store.trial(trial_id) / "checkpoints" / step_name(6)
    folder.write(WEIGHTS, b"other")
    assert sweep.main(["verify", store.uri]) == 1
    assert sweep.main(["run", "quickstart", "--store", store.uri, *FEWER]) == 0
    assert weights(store, [trial_id]) == before


def test_of_two_drivers_one_works_on_it(service: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("BEAT_S", 0.2), ("SETTLE_S", 0.3)):
        monkeypatch.setattr(lease, name, seconds)
    folder = Folder.open(service.uri("results/held"))
    service.disturb(slow_s=0.01, failing=0.03, cut=0.01)
    with lease.hold(folder, Alarm()) as held, pytest.raises(lease.HeldError, match=f"process {held.holder.pid}"):
        lease.hold(folder, Alarm()).__enter__()
    service.disturb()
    assert lease.read(folder) is None


def test_a_store_that_is_away_for_a_while_is_waited_for(service: ObjectStore) -> None:
    """pyarrow gives up after 6 s."""
    plain, heard = Folder.open(service.uri("results/away")), list[str]()
    plain.write_json("x", {"a": 1})
    patient = plain.anchored("x", heard.append)
    service.disturb(away=True)
    began = time.monotonic()
    back = threading.Timer(8, service.disturb)
    back.start()
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        plain.read_json("x")
    assert patient.read_json("x") == {"a": 1}
    assert time.monotonic() - began > 7
    assert [line for line in heard if "cannot be reached, trying again for 60 s" in line] == heard
    back.join()
