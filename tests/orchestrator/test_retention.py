"""Which weights go, as sets; and the deletion in a real store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import retention
from orchestrator.evaluators import unmeasured
from orchestrator.keep import Keep
from orchestrator.overrides import override
from orchestrator.plan import plan
from orchestrator.retention import kept, releasable
from orchestrator.spec import Sweep
from orchestrator.store import Status, Store
from trainables.checkpoint import CHECKPOINTS, TRAINING_STATE, committed_steps, read_release, released_steps, step_name
from trainables.config import PublishedConfig, TrialConfig

PYTHIA = [0, *(2**k for k in range(10)), *range(1000, 143_001, 1000)]


@pytest.mark.parametrize(
    ("rule", "stay"),
    [
        ("all", PYTHIA),
        ("weights", PYTHIA),
        ("last:1", [8, 143_000]),
        ("last:3", [8, 141_000, 142_000, 143_000]),
        ("last:999", PYTHIA),
        ("log", [*PYTHIA[:11], 143_000]),
        ("none", []),
    ],
)
def test_of_pythias_checkpoints_those_of_the_rule_stay(rule: str, stay: list[int]) -> None:
    losses = {step: abs(step - 8.0) for step in PYTHIA}
    assert sorted(kept(Keep.parse(rule), PYTHIA, end=143_000, losses=losses)) == stay


def test_log_goes_on_beyond_512() -> None:
    found = kept(Keep.parse("log"), range(5001), end=5000, losses={})
    assert sorted(found) == [0, *(2**k for k in range(13)), 5000]


@given(
    there=st.sets(st.integers(0, 200), min_size=1),
    measured=st.sets(st.integers(0, 200)),
    needed=st.sets(st.integers(0, 200)),
    values=st.lists(st.floats(0, 10), min_size=201, max_size=201),
    rule=st.sampled_from(["all", "weights", "log", "last:1", "last:2", "last:7"]),
)
def test_what_goes_is_measured_not_needed_and_neither_the_last_nor_the_best(
    there: set[int], measured: set[int], needed: set[int], values: list[float], rule: str
) -> None:
    losses = {step: values[step] for step in there & measured}
    keep = Keep.parse(rule)
    gone = set(releasable(keep, there, end=max(there), measured=measured, losses=losses, needed=needed))
    assert gone <= (there & measured) - needed - {max(there)}
    assert rule not in ("all", "weights") or not gone
    if losses and keep.what == "last":
        assert min(losses.values()) in {losses[step] for step in losses.keys() - gone}
    left = there - gone
    again = {step: loss for step, loss in losses.items() if step in left}
    assert releasable(keep, left, end=max(there), measured=measured, losses=again, needed=needed) == []


@given(st.permutations(range(8)), st.lists(st.integers(0, 3), min_size=8, max_size=8), st.integers(1, 3))
def test_the_order_of_measuring_does_not_change_what_stays(order: list[int], values: list[int], count: int) -> None:
    """All are there before the first is measured; in the end the last and the best of all are left."""
    keep, left, losses = Keep("last", count), set(range(8)), {}
    for step in order:
        losses[step] = float(values[step])
        of_left = {one: loss for one, loss in losses.items() if one in left}
        left -= set(releasable(keep, left, end=7, measured=of_left, losses=of_left, needed=()))
    best = min(range(8), key=lambda step: (values[step], step))
    assert left == {*range(8 - count, 8), best}


@pytest.fixture
def store(store_copy: Path) -> Store:
    return Store.existing(str(store_copy))


def sweep_of(store: Store, *changes: str) -> Sweep:
    body = store.read_sweep()
    assert body is not None
    return override(Sweep.from_json(body["sweep"]), changes)


def longest(store: Store, sweep: Sweep) -> TrialConfig:
    """12 steps: checkpoints at 0, 1, 2, 4, 8, 12, of which the last has the lowest loss."""
    return max(sweep.trials(), key=lambda config: config.steps)


def set_measurements(store: Store, trial_id: str, step: int, found: dict[str, dict[str, Any]]) -> None:
    (store.trial(trial_id) / "measurements").write_json(f"{step_name(step)}.json", {"measurements": found})


def test_a_trial_of_an_earlier_run_is_brought_to_the_rule_and_leaves_markers(store: Store) -> None:
    sweep = sweep_of(store, "keep=last:2")
    config = longest(store, sweep)
    folder = store.trial(config.trial_id)
    weights = (folder / "checkpoints" / step_name(4)).read_json("manifest.json")["files"]["model.safetensors"]
    assert retention.settle(store, config, sweep) == [0, 1, 2, 4]
    assert (committed_steps(folder), released_steps(folder)) == ([8, 12], [0, 1, 2, 4])
    assert (folder / "checkpoints" / step_name(4)).names() == ["released.json"]
    marker = read_release(folder, 4)
    assert (marker["step"], marker["weights"], marker["why"]) == (4, weights, "keep=last:2")
    assert "held_out@1" in marker["measured"]
    assert retention.settle(store, config, sweep) == []
    assert retention.settle(store, config, sweep_of(store, "keep=weights")) == []
    assert retention.settle(store, config, sweep_of(store, "keep=last:1")) == [8]


def test_the_lowest_loss_stays(store: Store) -> None:
    sweep = sweep_of(store, "keep=last:1")
    config = longest(store, sweep)
    have = store.read_measurements(config.trial_id, 2)
    for value in have["held_out@1"]["values"]:
        value[2] = 0.5
    set_measurements(store, config.trial_id, 2, have)
    retention.settle(store, config, sweep)
    assert committed_steps(store.trial(config.trial_id)) == [2, 12]


@pytest.mark.parametrize("lack", ["failed", "missing", "diagrams", "trace"])
def test_what_is_not_wholly_measured_stays(store: Store, lack: str) -> None:
    sweep = sweep_of(store, "keep=last:1")
    config = longest(store, sweep)
    have, folder = store.read_measurements(config.trial_id, 2), store.trial(config.trial_id)
    if lack == "failed":
        store.add_measurements(config.trial_id, 2, [have["held_out@1"] | {"status": "failed"}])
    elif lack == "missing":
        set_measurements(store, config.trial_id, 2, {key: have[key] for key in have if key != "held_out@1"})
    elif lack == "diagrams":
        (folder / "diagrams").delete()
    else:
        (folder / "traces" / step_name(2)).delete()
    retention.settle(store, config, sweep)
    left = [0, 1, 2, 4, 8, 12] if lack == "diagrams" else [2, 12]
    assert committed_steps(folder) == left


def test_without_pairs_and_trajectories_no_trace_is_asked_for(store: Store) -> None:
    sweep = sweep_of(store, "keep=last:1", "metrics=held_out")
    config = longest(store, sweep)
    (store.trial(config.trial_id) / "traces").delete()
    retention.settle(store, config, sweep)
    assert committed_steps(store.trial(config.trial_id)) == [12]


def test_a_trial_that_is_not_done_keeps_what_it_goes_on_from(store: Store) -> None:
    sweep = sweep_of(store, "keep=last:1")
    config = longest(store, sweep)
    folder = store.trial(config.trial_id)
    store.write_status(config.trial_id, Status("running", 0, 0.0))
    assert committed_steps(folder, TRAINING_STATE) == [8, 12]
    retention.settle(store, config, sweep)
    assert committed_steps(folder) == [8, 12]


def test_a_trial_whose_last_weights_are_gone_keeps_what_makes_them_again(store: Store) -> None:
    sweep = sweep_of(store, "keep=last:1")
    config = longest(store, sweep)
    folder = store.trial(config.trial_id)
    (folder / "checkpoints" / step_name(12)).delete()
    (folder / TRAINING_STATE / step_name(12)).delete()
    shutil.copytree((folder / TRAINING_STATE / step_name(8)).path, (folder / TRAINING_STATE / step_name(4)).path)
    retention.settle(store, config, sweep)
    assert committed_steps(folder) == [4, 8]
    (planned,) = (trial for trial in plan(sweep, store) if trial.config == config)
    assert (planned.action, planned.from_step) == ("train", 8)


def test_what_is_in_use_stays(store: Store) -> None:
    sweep = sweep_of(store, "keep=last:1")
    config = longest(store, sweep)
    assert retention.release_measured(store, config, sweep, in_use=[1]) == [0, 2, 4, 8]


@pytest.mark.parametrize("left", ["model.safetensors", "config.json", "manifest.json"])
def test_a_deletion_that_was_cut_off_is_ended_whatever_the_rule_is_now(store: Store, left: str) -> None:
    sweep = sweep_of(store, "keep=last:1")
    config = longest(store, sweep)
    folder = store.trial(config.trial_id) / "checkpoints" / step_name(4)
    files = {name: folder.read(name) for name in folder.names()}
    retention.settle(store, config, sweep)
    for name in files if left == "manifest.json" else [left]:  # files go after the manifest
        folder.write(name, files[name])
    assert {trial.action for trial in plan(sweep, store)} == {"done"}
    assert retention.settle(store, config, sweep_of(store, "keep=weights")) == []
    assert folder.names() == ["released.json"]


def test_of_a_damaged_manifest_nothing_is_deleted(store: Store) -> None:
    sweep = sweep_of(store, "keep=last:1")
    config = longest(store, sweep)
    folder = store.trial(config.trial_id) / "checkpoints" / step_name(4)
    folder.write("manifest.json", b"{}")
    assert retention.settle(store, config, sweep) == [0, 1, 2, 8]
    assert folder.names() == ["config.json", "manifest.json", "model.safetensors"]


def test_training_states_but_the_newest_go_unless_all_are_kept(store: Store) -> None:
    sweep = sweep_of(store, "keep=all")
    config = longest(store, sweep)
    folder = store.trial(config.trial_id)
    shutil.copytree((folder / TRAINING_STATE / step_name(8)).path, (folder / TRAINING_STATE / step_name(4)).path)
    assert retention.settle(store, config, sweep) == []
    assert committed_steps(folder, TRAINING_STATE) == [4, 8, 12]
    assert retention.settle(store, config, sweep_of(store, "keep=weights")) == []
    assert committed_steps(folder, TRAINING_STATE) == [8, 12]


def test_a_trial_that_is_not_there_is_left_so(store: Store) -> None:
    sweep = sweep_of(store, "keep=last:1", "seeds=7")
    config = longest(store, sweep)
    assert retention.settle(store, config, sweep) == []
    assert not store.trial(config.trial_id).exists()


@pytest.mark.parametrize(("status", "stays"), [("ok", []), ("skipped", []), ("failed", []), (None, [2])])
def test_published_weights_go_once_they_are_dealt_with(
    published_trial: PublishedConfig, tmp_path: Path, status: str | None, stays: list[int]
) -> None:
    """Also where a measurement failed: they can be fetched again, and the disk stays bounded."""
    store = Store.open(str(tmp_path / "store"))
    trial_id = published_trial.trial_id
    (store.trial(trial_id) / CHECKPOINTS / step_name(2)).commit([("model.safetensors", b"weights")], step=2)
    if status:
        store.add_measurements(trial_id, 2, [unmeasured("held_out", status, "why")])
    sweep = Sweep(model=("gpt2",), checkpoints=("all",), seeds=(), keep="none", metrics=("held_out",))
    retention.release_measured(store, published_trial, sweep)
    assert committed_steps(store.trial(trial_id)) == stays


def test_published_weights_wait_for_their_trace_unless_it_was_given_up(
    published_trial: PublishedConfig, tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path / "store"))
    folder = store.trial(published_trial.trial_id)
    for step in (1, 2):
        (folder / CHECKPOINTS / step_name(step)).commit([("model.safetensors", b"weights")], step=step)
        store.add_measurements(published_trial.trial_id, step, [unmeasured("held_out", "failed", "why")])
    names = ("held_out", "linear_cka")
    sweep = Sweep(model=("gpt2",), checkpoints=("all",), seeds=(), keep="none", metrics=names)
    assert retention.release_measured(store, published_trial, sweep) == []
    assert retention.release_measured(store, published_trial, sweep, given_up=[2]) == [2]
    assert retention.release_measured(store, published_trial, sweep, in_use=[1], given_up=[1]) == []
