"""What a sweep takes on disk: against closed forms, and against a finished store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import disk
from orchestrator.disk import Estimate, estimate, held, human
from orchestrator.overrides import override
from orchestrator.plan import plan
from orchestrator.requests import prescribed_steps
from orchestrator.spec import Sweep
from orchestrator.store import Store
from search_spaces import find
from trainables.checkpoint import committed_steps, release
from trainables.config import PublishedConfig


def sweep_of(store: Path, *changes: str) -> Sweep:
    body = Store.existing(str(store)).read_sweep()
    assert body is not None
    return override(Sweep.from_json(body["sweep"]), changes)


def estimated(path: Path, *changes: str) -> Estimate:
    sweep, store = sweep_of(path, *changes), Store.existing(str(path))
    return estimate(plan(sweep, store), sweep, store)


def large(*changes: str) -> Sweep:
    """pythia-1b for 3,000 steps: beside its weights nothing matters."""
    settings = {"model": "pythia-1b", "seeds": "0", "budgets": "3000steps", "metrics": "held_out", "tokenizer": "bpe"}
    settings |= dict(change.split("=") for change in changes)
    return override(find("quickstart")(), [f"{key}={value}" for key, value in settings.items()])


@pytest.mark.parametrize(
    ("keep", "weights", "states", "weights_at_most", "states_at_most"),
    [
        ("weights", 14, 2, 14, 3),  # 0, 1, 2, ... 512, 1000, 2000, 3000
        ("all", 14, 14, 14, 14),
        ("log", 12, 2, 14, 3),
        ("last:1", 2, 2, 5, 3),  # with the best; two to go on from, one being measured, one being written
        ("last:4", 5, 2, 7, 3),
        ("last:20", 14, 2, 14, 3),
    ],
)
def test_weights_and_training_states_are_counted_by_the_rule(
    keep: str, weights: int, states: int, weights_at_most: int, states_at_most: int
) -> None:
    sweep = large(f"keep={keep}")
    (config,) = sweep.trials()
    one = 4 * config.model.n_params_total
    found = held(config, sweep)
    assert found.at_end == pytest.approx((weights + 2 * states) * one, rel=1e-3)
    assert found.at_most == pytest.approx((weights_at_most + 2 * states_at_most) * one, rel=1e-3)


def test_without_a_held_out_loss_there_is_no_best() -> None:
    (config,) = large().trials()
    one = 4 * config.model.n_params_total
    found = held(config, large("keep=last:1", "metrics=none"))
    assert found.at_end == pytest.approx((1 + 2 * 2) * one, rel=1e-3)


def test_pairs_and_trajectories_need_a_trace_of_every_checkpoint() -> None:
    (config,) = large().trials()
    with_pairs = held(config, large("metrics=held_out,linear_cka")).at_end
    assert with_pairs - held(config, large()).at_end == 14 * ((16 + 1) * 256 * 2048 * 4 + 4096 * 8 + 1000)


@given(st.integers(1, 5000), st.sampled_from(["all", "weights", "log", "last:1", "last:5"]))
def test_a_trial_never_holds_more_than_with_everything_kept(steps: int, keep: str) -> None:
    sweep = large(f"keep={keep}", f"budgets={steps}steps")
    (config,) = sweep.trials()
    found = held(config, sweep)
    assert 0 < found.at_end <= found.at_most <= held(config, large("keep=all")).at_most


def test_the_estimate_bounds_a_finished_store_closely(finished: Path) -> None:
    sweep, store = sweep_of(finished), Store.existing(str(finished))
    for config in sweep.trials():
        real = sum(path.stat().st_size for path in (finished / "trials" / config.trial_id).rglob("*") if path.is_file())
        real += sum(path.stat().st_size for path in (finished / "tensorboard" / config.trial_id).iterdir())
        assert real <= held(config, sweep).at_end <= 1.1 * real
        folder = finished / "trials" / config.trial_id
        weights = [path.stat().st_size for path in folder.glob("checkpoints/*/*")]
        states = [path.stat().st_size for path in folder.glob("training_state/*/*")]
        n_weights, headers = len(prescribed_steps(config)), config.model.n_layers + 1
        bound = n_weights * (4 * config.model.n_params_total + disk.WEIGHTS_HEADER * headers)
        assert sum(weights) <= bound <= 1.02 * sum(weights)
        bound = 2 * (8 * config.model.n_params_total + disk.STATE_HEADER * headers)
        assert sum(states) <= bound <= 1.02 * sum(states)
    whole = estimate(plan(sweep, store), sweep, store)
    assert whole.there == sum(
        path.stat().st_size
        for name in ("store/trials", "store/tensorboard/neox-*", "tokens")
        for path in finished.parent.glob(f"{name}/**/*")
        if path.is_file()
    )
    assert whole.there <= whole.at_end
    assert whole.to_write == 0


def test_released_weights_are_not_there(store_copy: Path) -> None:
    sweep, store = sweep_of(store_copy, "keep=last:1"), Store.existing(str(store_copy))
    before = estimated(store_copy).there
    (config, *_) = sweep.trials()
    release(store.trial(config.trial_id), committed_steps(store.trial(config.trial_id))[0])
    weights = 4 * config.model.n_params_total
    assert before - estimated(store_copy).there == pytest.approx(weights, rel=0.02)


def test_what_is_left_to_write_is_of_trials_that_are_not_done(store_copy: Path) -> None:
    whole = estimated(store_copy)
    assert whole.to_write == 0
    sweep = sweep_of(store_copy)
    trial = sweep.trials()[0]
    shutil.rmtree(store_copy / "trials" / trial.trial_id)
    shutil.rmtree(store_copy / "tensorboard" / trial.trial_id)
    lacking = estimated(store_copy)
    assert lacking.to_write == held(trial, sweep).at_most
    assert lacking.trials == whole.trials
    assert lacking.at_end == whole.at_end
    more = estimated(store_copy, "seeds=0,1,2")
    assert more.to_write > lacking.to_write
    assert len(more.trials) == 6


def test_of_many_trials_only_those_that_run_at_once_are_at_their_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "usable_cpus", lambda: 3)
    sweep, store = large("seeds=0,1,2,3,4", "keep=last:1"), Store.open(str(tmp_path))
    found = estimate(plan(sweep, store), sweep, store)
    (one,) = {*found.trials}
    assert found.to_write - found.at_end == 3 * (one.at_most - one.at_end)


@pytest.mark.parametrize(("model", "bytes_each"), [("neox-280k", 2), ("pythia-70m", 2)])
def test_tokens_are_bounded_as_if_they_were_not_compressed(tmp_path: Path, model: str, bytes_each: int) -> None:
    sweep = override(
        find("quickstart")(), [f"model={model}", "tokenizer=bpe", "seeds=0,1", "budgets=20000steps", "metrics=none"]
    )
    store = Store.open(str(tmp_path))
    found = estimate(plan(sweep, store), sweep, store)
    tokens = found.at_end - sum(trial.at_end for trial in found.trials) - disk.EMBEDDED_CORPUS
    needed = 20000 * 8 * 129 * bytes_each
    assert needed <= tokens <= 1.02 * needed


def test_room_is_known_of_a_local_disk_alone(tmp_path: Path) -> None:
    sweep = large()
    local = estimate([], sweep, Store.open(str(tmp_path / "not" / "yet")))
    assert local.free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    assert "free on the store's disk" in local.line
    remote = estimate([], sweep, Store.open("mock:///store"))
    assert (remote.free, remote.warning) == (None, "")
    assert "free" not in remote.line


@pytest.mark.parametrize(("free", "warned"), [(99, True), (100, False), (None, False)])
def test_a_disk_that_is_too_small_is_warned_of_with_the_mend(free: int | None, warned: bool) -> None:
    found = Estimate((), at_end=300, there=200, to_write=100, free=free)
    assert bool(found.warning) == warned
    assert not warned or {"keep=last:1", "keep=log,"} <= set(found.warning.split())


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (15_200_000, "15.2 MB"), (1.2e9, "1.2 GB"), (3.4e16, "34000.0 TB")],
)
def test_sizes_are_for_people(count: float, text: str) -> None:
    assert human(int(count)) == text


@pytest.mark.parametrize(("keep", "at_end", "at_most"), [("none", 0, 3), ("last:1", 1, 4), ("weights", 4, 4)])
def test_of_published_checkpoints_few_are_there_at_once(
    published_trial: PublishedConfig, keep: str, at_end: int, at_most: int
) -> None:
    sweep = Sweep(model=("pythia-14m",), checkpoints=("all",), seeds=(), keep=keep, metrics=("held_out",))
    one = 4 * published_trial.model.n_params_total
    found = held(published_trial, sweep)
    assert (found.at_end // one, found.at_most // one) == (at_end, at_most)
