import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.evaluators import EvaluatorPool, Measured, Request, failed_lines
from orchestrator.spec import Sweep
from orchestrator.store import Store
from trainables.checkpoint import committed_steps

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
    found = drain(pool)
    assert len(found) == len(before)
    assert failed_lines(found) == []
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
    assert failed_lines(found) == []


def test_a_damaged_checkpoint_is_named_and_the_others_are_measured(pool: EvaluatorPool, store: Store) -> None:
    trial = store.trial_ids()[0]
    weights = Path(store.trial(trial).path) / "checkpoints" / "step-00000002" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(bytes(data))
    for step in (1, 2, 4):
        pool.submit(Request(trial, step, NAMES))
    (line,) = failed_lines(drain(pool))
    assert line.startswith(f"{trial} step 2: {', '.join(NAMES)}: CorruptFileError: ")
    assert "model.safetensors" in line
    log = line.partition("(log: ")[2].rstrip(")")
    assert "model.safetensors" in Path(log).read_text()
    assert {one["status"] for one in store.read_measurements(trial, 2).values() if one["metric"] in NAMES} == {"failed"}
    assert {one["status"] for one in store.read_measurements(trial, 4).values()} == {"ok"}
    assert 2 not in committed_steps(store.trial(trial))


def test_one_cause_is_one_line_for_each_trial() -> None:
    def outcome(trial: str, step: int, *reasons: str | None) -> Measured:
        named = zip(("a", "b"), reasons, strict=True)
        found = [{"metric": m, "status": "failed" if why else "ok", "reason": why} for m, why in named]
        return Measured(Request(trial, step, ("a", "b")), tuple(found), f"log-{step}")

    outcomes = [
        outcome("s0", 4, "Traceback\nKeyError: x", "KeyError: x"),
        outcome("s0", 1, "KeyError: x", None),
        outcome("s1", 1, None, "KeyError: x"),
        outcome("s1", 2, None, "ValueError: y"),
        outcome("s1", 4, None, None),
    ]
    assert failed_lines(outcomes) == [
        "s0 2 checkpoints from step 1 on: a, b: KeyError: x (log: log-1)",
        "s1 step 1: b: KeyError: x (log: log-1)",
        "s1 step 2: b: ValueError: y (log: log-2)",
    ]
