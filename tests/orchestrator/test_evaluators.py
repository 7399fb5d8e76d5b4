import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.evaluators import EvaluatorPool, Measured, Request
from orchestrator.spec import Sweep
from orchestrator.store import Store

NAMES = ("held_out", "parameter_norm")


@pytest.fixture
def store(store_copy: Path) -> Store:
    return Store.existing(str(store_copy))


@pytest.fixture
def pool(store: Store, ray_session: None) -> EvaluatorPool:
    body = store.read_sweep()
    assert body is not None
    pool = EvaluatorPool.start(store, Sweep.from_json(body["sweep"]), 2)
    yield pool
    pool.stop()


def drain(pool: EvaluatorPool, *, timeout_s: float = 120) -> list[Measured]:
    found: list[Measured] = []
    until = time.monotonic() + timeout_s
    while pool.outstanding or not found:
        assert time.monotonic() < until, "the pool did not finish"
        found += pool.poll()
        time.sleep(0.02)
    return found


def test_measuring_again_gives_the_same_values(pool: EvaluatorPool, store: Store) -> None:
    trial = store.trial_ids()[0]
    before = {step: store.read_measurements(trial, step) for step in store.measured_steps(trial)}
    for step in before:
        pool.submit(Request(trial, step, NAMES))
    assert [measured.failed for measured in drain(pool)] == [[]] * len(before)
    for step, old in before.items():
        new = store.read_measurements(trial, step)
        assert {key: one["values"] for key, one in new.items()} == {key: one["values"] for key, one in old.items()}


def test_a_killed_actor_loses_no_request(
    pool: EvaluatorPool, store: Store, ray_workers: Callable[[str], list[int]]
) -> None:
    requests = [Request(trial, step, NAMES) for trial in store.trial_ids() for step in (0, 1, 2, 4)]
    for request in requests:
        pool.submit(request)
    found = list(pool.poll())
    while not found:  # both actors are up and at work from here on
        found += pool.poll()
    os.kill(ray_workers("ray::Evaluator")[0], signal.SIGKILL)
    found += drain(pool)
    assert sorted(map(str, (measured.request for measured in found))) == sorted(map(str, requests))
    assert [measured.failed for measured in found if measured.failed] == []


def test_a_damaged_checkpoint_is_named_and_the_others_are_measured(pool: EvaluatorPool, store: Store) -> None:
    trial = store.trial_ids()[0]
    weights = Path(store.trial(trial).path) / "checkpoints" / "step-00000002" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(bytes(data))
    for step in (1, 2, 4):
        pool.submit(Request(trial, step, NAMES))
    by_step = {measured.request.step: measured for measured in drain(pool)}
    assert "model.safetensors" in by_step[2].failed[0]
    log = by_step[2].failed[0].partition("(log: ")[2].rstrip(")")
    assert "model.safetensors" in Path(log).read_text()
    assert {one["status"] for one in store.read_measurements(trial, 2).values() if one["metric"] in NAMES} == {"failed"}
    assert by_step[1].failed == by_step[4].failed == []
