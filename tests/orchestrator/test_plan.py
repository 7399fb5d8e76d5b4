import shutil
from pathlib import Path

import pytest

from orchestrator.overrides import override
from orchestrator.plan import PlannedTrial, plan, standing, unknown_metrics
from orchestrator.requests import Request
from orchestrator.retention import settle
from orchestrator.spec import Sweep
from orchestrator.store import Status, Store
from trainables.checkpoint import committed_steps, step_name


def planned(path: Path, *changes: str) -> list[PlannedTrial]:
    store = Store.existing(str(path))
    body = store.read_sweep()
    assert body is not None
    return plan(override(Sweep.from_json(body["sweep"]), changes), store)


def test_a_finished_sweep_leaves_nothing(finished: Path) -> None:
    assert {trial.action for trial in planned(finished)} == {"done"}


def test_new_seeds_and_budgets_are_all_that_runs(finished: Path) -> None:
    actions = {(t.config.seed, str(t.config.budget)): t.action for t in planned(finished, "seeds=1,5")}
    assert actions == {(1, "6steps"): "done", (1, "12steps"): "done", (5, "6steps"): "train", (5, "12steps"): "train"}


def test_a_missing_measurement_is_planned_alone(store_copy: Path) -> None:
    trial = planned(store_copy)[0]
    (store_copy / "trials" / trial.trial_id / "measurements" / "step-00000004.json").unlink()
    first, *others = planned(store_copy)
    assert (first.action, {request.step for request in first.unmeasured}) == ("measure", {4})
    assert {t.action for t in others} == {"done"}
    assert "held_out x 1" in first.reason
    assert "linear_cka x 1" in first.reason  # of the pair with the checkpoint before


def test_a_failed_measurement_is_planned_again(store_copy: Path) -> None:
    trial = planned(store_copy)[0]
    store = Store.existing(str(store_copy))
    entry = store.read_measurements(trial.trial_id, 2)["held_out@1"]
    store.add_measurements(trial.trial_id, 2, [entry | {"status": "failed"}])
    assert planned(store_copy)[0].unmeasured == (Request(trial.trial_id, 2, ("held_out",)),)


@pytest.mark.parametrize("damage", ["status.json", "measurements/step-00000001.json"])
def test_a_damaged_record_is_made_anew(store_copy: Path, damage: str) -> None:
    trial = planned(store_copy)[0]
    path = store_copy / "trials" / trial.trial_id / damage
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert planned(store_copy)[0].action in ("train", "measure")


def test_an_interrupted_trial_goes_on_from_its_last_whole_state(store_copy: Path) -> None:
    trial = planned(store_copy)[-1]
    folder = store_copy / "trials" / trial.trial_id
    (folder / "status.json").unlink()
    shutil.rmtree(folder / "checkpoints" / "step-00000012")
    again = planned(store_copy)[-1]
    assert (again.action, again.from_step) == ("train", 8)
    assert "interrupted" in again.reason


@pytest.mark.parametrize("lost", [1, 4])
def test_a_lost_checkpoint_is_trained_again_only_if_it_is_not_measured(store_copy: Path, lost: int) -> None:
    trial = planned(store_copy)[-1]
    folder = store_copy / "trials" / trial.trial_id
    shutil.rmtree(folder / "checkpoints" / f"step-{lost:08d}")
    assert planned(store_copy)[-1].action == "done"
    (folder / "measurements" / f"step-{lost:08d}.json").unlink()
    again = planned(store_copy)[-1]
    assert (again.action, again.from_step) == ("train", 0)
    assert f"checkpoints gone or damaged at step {lost};" in again.reason
    assert {request.step for request in again.unmeasured} == {lost}


def test_a_new_metric_sees_the_checkpoints_that_are_kept_and_has_none_trained_again(store_copy: Path) -> None:
    trial = planned(store_copy)[-1]
    folder = store_copy / "trials" / trial.trial_id
    store = Store.existing(str(store_copy))
    for step in store.measured_steps(trial.trial_id):
        body = (store.trial(trial.trial_id) / "measurements").read_json(f"step-{step:08d}.json")
        del body["measurements"]["held_out@1"]
        (store.trial(trial.trial_id) / "measurements").write_json(f"step-{step:08d}.json", body)
    shutil.rmtree(folder / "checkpoints" / "step-00000004")
    again = planned(store_copy)[-1]
    assert again.action == "measure"
    assert again.unmeasured == tuple(Request(trial.trial_id, step, ("held_out",)) for step in (0, 1, 2, 8, 12))


def test_what_failed_on_a_checkpoint_that_is_gone_is_trained_again(store_copy: Path) -> None:
    trial = planned(store_copy)[-1]
    store = Store.existing(str(store_copy))
    entry = store.read_measurements(trial.trial_id, 4)["held_out@1"]
    store.add_measurements(trial.trial_id, 4, [entry | {"status": "failed"}])
    shutil.rmtree(store_copy / "trials" / trial.trial_id / "checkpoints" / "step-00000004")
    assert planned(store_copy)[-1].action == "train"


def test_a_pair_with_a_higher_seed_that_is_not_of_the_sweep_is_planned(store_copy: Path) -> None:
    low, high = (trial for trial in planned(store_copy) if trial.config.steps == 6)
    store = Store.existing(str(store_copy))
    body = (store.trial(high.trial_id) / "measurements").read_json("step-00000004.json")
    key = f"linear_cka@1 {low.trial_id}/step-00000004"
    del body["measurements"][key]
    (store.trial(high.trial_id) / "measurements").write_json("step-00000004.json", body)
    mine, other = (trial for trial in planned(store_copy, "seeds=0", "budgets=6steps"))
    assert (mine.trial_id, mine.action) == (low.trial_id, "done")
    assert (other.trial_id, other.action) == (high.trial_id, "measure")
    assert other.unmeasured == (Request(high.trial_id, 4, ("linear_cka",), (low.trial_id, 4)),)


def test_metrics_that_are_no_longer_here_are_named_and_not_looked_for(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    body = store.read_sweep()
    assert body is not None
    body["sweep"]["metrics"].append("max_weight")
    store.root.write_json("sweep.json", body)
    assert unknown_metrics(store) == ["max_weight"]
    assert {trial.action for trial in standing(store)} == {"done"}


def test_a_failed_trial_is_planned_again_with_its_reason(store_copy: Path) -> None:
    trial = planned(store_copy)[0]
    Store.existing(str(store_copy)).write_status(trial.trial_id, Status("failed", 3, 1.0, "ValueError: out of luck"))
    again = planned(store_copy)[0]
    assert again.action == "train"
    assert "out of luck" in again.reason


def test_standing_needs_no_corpus_and_lists_what_was_asked_for(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    shutil.rmtree(store_copy.parent / "tokens")
    assert [trial.trial_id for trial in standing(store)] == store.trial_ids()
    store.add_measurements(
        store.trial_ids()[0], 2, [store.read_measurements(store.trial_ids()[0], 2)["held_out@1"] | {"status": "failed"}]
    )
    assert "held_out (failed) x 1" in standing(store)[0].reason


def settled(store_copy: Path) -> tuple[Store, PlannedTrial]:
    """The trial of 12 steps in a store where just step 12 is left of its weights."""
    store, trial = Store.existing(str(store_copy)), planned(store_copy)[-1]
    body = store.read_sweep()
    assert body is not None
    settle(store, trial.config, override(Sweep.from_json(body["sweep"]), ["keep=last:1"]))
    assert committed_steps(store.trial(trial.trial_id)) == [12]
    return store, trial


def test_a_finished_trial_whose_checkpoints_were_released_is_done(store_copy: Path) -> None:
    store, trial = settled(store_copy)
    assert {one.action for one in planned(store_copy)} == {one.action for one in standing(store)} == {"done"}
    assert planned(store_copy)[-1].checkpoints == (12,)
    (store_copy / "trials" / trial.trial_id / "status.json").unlink()
    again = planned(store_copy)[-1]
    assert (again.action, again.from_step) == ("train", 12)


def test_a_new_metric_is_not_planned_for_released_checkpoints(store_copy: Path) -> None:
    """Also where nothing at all had measured them."""
    store, trial = Store.existing(str(store_copy)), planned(store_copy)[-1]
    folder = store.trial(trial.trial_id)
    for step in store.measured_steps(trial.trial_id):
        (folder / "measurements").delete(f"{step_name(step)}.json")
        (folder / "traces" / step_name(step)).delete()
    body = store.read_sweep()
    assert body is not None
    settle(store, trial.config, override(Sweep.from_json(body["sweep"]), ["keep=last:1", "metrics=none"]))
    again = planned(store_copy, "metrics=held_out,linear_cka", "seeds=1")[-1]
    assert again.action == "measure"
    assert [(one.metrics, one.step) for one in again.unmeasured] == [(("held_out",), 12), (("linear_cka",), 12)]


def test_a_trajectory_of_released_checkpoints_is_planned_from_their_traces(store_copy: Path) -> None:
    store, trial = settled(store_copy)
    body = (store.trial(trial.trial_id) / "measurements").read_json("step-00000012.json")
    del body["measurements"]["weight_trajectory_dimension@1"]
    (store.trial(trial.trial_id) / "measurements").write_json("step-00000012.json", body)
    again = planned(store_copy)[-1]
    assert again.action == "measure"
    assert again.unmeasured == (Request(trial.trial_id, 12, ("weight_trajectory_dimension",), of=6),)


def test_a_released_checkpoint_whose_measurements_are_lost_is_trained_again(store_copy: Path) -> None:
    _, trial = settled(store_copy)
    (store_copy / "trials" / trial.trial_id / "measurements" / "step-00000004.json").unlink()
    again = planned(store_copy)[-1]
    assert (again.action, again.from_step, again.to_make) == ("train", 0, [4])
    assert "gone or damaged at step 4; again from step 0" in again.reason
