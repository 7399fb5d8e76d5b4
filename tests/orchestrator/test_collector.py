from pathlib import Path

import pytest

from orchestrator.plan import plan
from orchestrator.spec import Sweep
from orchestrator.store import Store
from trainables.checkpoint import committed_steps


def first_planned(path: Path) -> tuple[Store, str, int]:
    store = Store.existing(str(path))
    body = store.read_sweep()
    assert body is not None
    trial = plan(Sweep.from_json(body["sweep"]), store)[-1]
    return store, trial.trial_id, len({request.step for request in trial.unmeasured})


def test_a_finished_trial_expects_none(finished: Path) -> None:
    assert first_planned(finished)[2] == 0


def test_a_new_trial_expects_every_checkpoint(finished: Path, tmp_path: Path) -> None:
    store = Store.existing(str(finished))
    body = store.read_sweep()
    assert body is not None
    fresh = plan(Sweep.from_json(body["sweep"]), Store.open(str(tmp_path / "new")))[-1]
    assert sorted({request.step for request in fresh.unmeasured}) == committed_steps(store.trial(fresh.trial_id))


@pytest.mark.parametrize("lost", [(1,), (0, 2, 12)])
def test_a_trial_to_measure_expects_what_is_missing(store_copy: Path, lost: tuple[int, ...]) -> None:
    _, trial_id, _ = first_planned(store_copy)
    for step in lost:
        (store_copy / "trials" / trial_id / "measurements" / f"step-{step:08d}.json").unlink()
    assert first_planned(store_copy)[2] == len(lost)


def test_an_interrupted_trial_expects_only_steps_to_come(store_copy: Path) -> None:
    _, trial_id, _ = first_planned(store_copy)
    folder = store_copy / "trials" / trial_id
    (folder / "status.json").unlink()
    (folder / "checkpoints" / "step-00000012" / "manifest.json").unlink()
    (folder / "measurements" / "step-00000012.json").unlink()
    assert first_planned(store_copy)[2] == 1
