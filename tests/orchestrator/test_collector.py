import threading
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.collector import Collector
from orchestrator.evaluators import EvaluatorPool
from orchestrator.overrides import override
from orchestrator.plan import others, paired, plan
from orchestrator.progress import Display
from orchestrator.requests import Request
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


def test_trials_of_the_sweep_are_brought_to_its_rule_and_those_beside_them_are_left(store_copy: Path) -> None:
    """All is measured, so the pool needs no actor."""
    store = Store.existing(str(store_copy))
    body = store.read_sweep()
    assert body is not None
    sweep = override(Sweep.from_json(body["sweep"]), ["seeds=1", "budgets=12steps", "keep=last:1"])
    mine = plan(sweep, store)
    beside = [paired(config, (), store) for config in others(store, [mine[0].config]) if config.steps == 12]
    pool = EvaluatorPool(store, start_actor=object, actors=[])
    with Display(Console(quiet=True)) as display:
        collector = Collector(store, sweep, [*mine, *beside], [], pool, display)
        collector.training_ended()
        collector.run(threading.Event())
        collector.close()
    assert collector.released == 5
    left = {config.seed: committed_steps(store.trial(config.trial_id)) for config in (mine[0].config, beside[0].config)}
    assert left == {1: [12], 0: [0, 1, 2, 4, 8, 12]}


def test_weights_that_an_evaluator_may_still_read_stay(store_copy: Path) -> None:
    """A request of a pair waits: its checkpoints stay until it is done."""
    store = Store.existing(str(store_copy))
    body = store.read_sweep()
    assert body is not None
    sweep = override(Sweep.from_json(body["sweep"]), ["keep=last:1"])
    planned = plan(sweep, store)
    trial, pool = planned[-1], EvaluatorPool(store, start_actor=object, actors=[])
    pool.submit(Request(trial.trial_id, 2, ("linear_cka",), (trial.trial_id, 1)))
    with Display(Console(quiet=True)) as display:
        collector = Collector(store, sweep, planned, [], pool, display)
        collector._release(trial.config)
    assert committed_steps(store.trial(trial.trial_id)) == [1, 2, 12]
