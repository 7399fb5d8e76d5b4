import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray

from orchestrator.evaluators import EvaluatorPool, Measured, failed_lines, gpu_places, pool_size
from orchestrator.overrides import override
from orchestrator.requests import Request, missing
from orchestrator.spec import Sweep
from orchestrator.store import Store
from orchestrator.words import SpecError
from search_spaces import find
from trainables.checkpoint import committed_steps

NAMES = ("held_out", "parameter_norm")
PUBLISHED = ["checkpoints=all", "seeds=none", "budgets=none"]


@pytest.fixture(scope="module")
def home(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the store, with its tokens."""
    path = tmp_path_factory.mktemp("evaluators")
    shutil.copytree(finished.parent / "tokens", path / "tokens")
    return path


@pytest.fixture
def store(finished: Path, home: Path) -> Iterator[Store]:
    """A copy of the finished sweep, for each test at the same place."""
    yield Store.existing(str(shutil.copytree(finished, home / "store")))
    shutil.rmtree(home / "store")


@pytest.fixture(scope="module")
def pool(finished: Path, home: Path, ray_session: None) -> Iterator[EvaluatorPool]:
    """One for all tests: an actor takes 6 s of a core to start."""
    body = Store.existing(str(finished)).read_sweep()
    assert body is not None
    pool = EvaluatorPool.start(Store.open(str(home / "store")), Sweep.from_json(body["sweep"]))
    yield pool
    pool.stop()


def forget(store: Store, *trials: str) -> None:
    """Delete the trials' measurements: what is answered is not measured again."""
    for trial in trials:
        (store.trial(trial) / "measurements").delete()


def drain(pool: EvaluatorPool, *, timeout_s: float = 120) -> list[Measured]:
    found: list[Measured] = []
    until = time.monotonic() + timeout_s
    while pool.outstanding:
        assert time.monotonic() < until, "the pool did not finish"
        found += pool.poll(1.0)
    return found


def test_measuring_again_gives_the_same_values(pool: EvaluatorPool, store: Store) -> None:
    trial = store.trial_ids()[0]
    before = {step: store.read_measurements(trial, step) for step in store.measured_steps(trial)}
    forget(store, trial)
    for step in before:
        pool.submit(Request(trial, step, NAMES))
    found = drain(pool)
    assert len(found) == len(before)
    assert failed_lines(found) == []
    for step, old in before.items():
        new = store.read_measurements(trial, step)
        assert sorted(one["metric"] for one in new.values()) == sorted(NAMES)
        assert {key: one["values"] for key, one in new.items()} == {key: old[key]["values"] for key in new}


def test_a_killed_actor_loses_no_request(
    pool: EvaluatorPool, store: Store, ray_workers: Callable[[str], list[int]]
) -> None:
    requests = [Request(trial, step, NAMES) for trial in store.trial_ids() for step in (0, 1, 2, 4)]
    forget(store, *store.trial_ids())
    for request in requests:
        pool.submit(request)
    found = [next(pool.poll(60.0))]  # at least one actor is up, and both are at work or starting
    os.kill(ray_workers("ray::Evaluator")[0], signal.SIGKILL)
    found += drain(pool)
    assert sorted(map(str, (measured.request for measured in found))) == sorted(map(str, requests))
    assert failed_lines(found) == []
    assert missing(store, requests) == []


def test_pairs_and_trajectories_are_filed_at_their_checkpoint(pool: EvaluatorPool, store: Store) -> None:
    low, high = store.trial_ids()[:2]
    before = store.read_measurements(high, 12)
    forget(store, high)
    requests = [
        Request(high, 12, ("linear_cka",), (high, 8)),
        Request(high, 12, ("linear_cka", "representation_topology_divergence"), (low, 12)),
        Request(high, 12, ("weight_trajectory_dimension",), of=6),
    ]
    for request in requests:
        pool.submit(request)
    assert failed_lines(drain(pool)) == []
    after = store.read_measurements(high, 12)
    assert set(after) == {
        "weight_trajectory_dimension@1",
        f"linear_cka@1 {high}/step-00000008",
        f"linear_cka@1 {low}/step-00000012",
        f"representation_topology_divergence@1 {low}/step-00000012",
    }
    for key, one in after.items():
        assert {k: v for k, v in one.items() if k != "seconds"} == {
            k: v for k, v in before[key].items() if k != "seconds"
        }


def test_one_request_of_a_checkpoint_is_measured_at_a_time(pool: EvaluatorPool, store: Store) -> None:
    """Its measurements are one file, which two actors would write over each other."""
    trial = store.trial_ids()[0]
    first, second, other = (
        Request(trial, step, (name,)) for step, name in ((1, NAMES[0]), (1, NAMES[1]), (2, NAMES[0]))
    )
    forget(store, trial)
    for request in (first, second, other):
        pool.submit(request)
    assert list(pool.poll(0.0)) == []
    assert list(pool.waiting) == [second]
    found = [one.request for one in drain(pool)]
    assert found.index(first) < found.index(second)
    assert other in found


def test_a_damaged_checkpoint_is_named_and_the_others_are_measured(pool: EvaluatorPool, store: Store) -> None:
    trial = store.trial_ids()[0]
    weights = Path(store.trial(trial).path) / "checkpoints" / "step-00000002" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(bytes(data))
    forget(store, trial)
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


def test_checkpoints_of_requests_that_wait_are_in_use_those_of_pairs_too(store: Store) -> None:
    low, high = store.trial_ids()[:2]
    pool = EvaluatorPool(store, start_actor=object, actors=[])
    assert pool.in_use() == set()
    pool.submit(Request(low, 4, NAMES))
    pool.submit(Request(high, 2, ("linear_cka",), (low, 2)))
    assert pool.in_use() == {(low, 4), (high, 2), (low, 2)}


def test_an_actor_that_its_preempted_node_takes_along_is_no_failed_attempt(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(store.trial_ids()[0], 4, NAMES)
    pool = EvaluatorPool(store, start_actor=object, actors=[])

    def dies(preempted: bool) -> None:
        def get(reference: object) -> None:
            raise ray.exceptions.RayActorError(error_msg="gone", preempted=preempted)

        monkeypatch.setattr(ray, "get", get)

    dies(preempted=True)
    assert [pool._result(request, None) for _ in range(5)] == [(None, False)] * 5
    dies(preempted=False)
    assert [pool._result(request, None)[0] is None for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("settings", "offered", "size"),
    [
        (["metrics=none"], 8, 0),
        ([], 8, 8),
        (["evaluators=2"], 8, 2),
        (["evaluators=9"], 8, 8),
        ([], 0, 4),
        (["evaluators=6"], 0, 6),
    ],
)
def test_a_pool_is_as_large_as_asked_for_and_has_places(settings: list[str], offered: int, size: int) -> None:
    assert pool_size(override(find("quickstart")(), settings), {"CPU": 2, "evaluator": offered}) == size


@pytest.mark.parametrize(
    ("settings", "gpus", "places"),
    [
        (["evaluator_gpus=1"], 4.0, 3),
        (["evaluator_gpus=0.25"], 2.0, 4),
        (["evaluator_gpus=0.1"], 2.0, 10),
        (["evaluator_gpus=1", "workers=2"], 4.0, 2),
        (["evaluator_gpus=1", *PUBLISHED], 4.0, 4),
        (["evaluator_gpus=1"], 1.0, None),  # the trial takes it
        (["evaluator_gpus=0.25"], 1.0, None),
        (["evaluator_gpus=1"], 0.0, None),
        (["evaluator_gpus=1", *PUBLISHED], 0.0, None),
    ],
)
def test_evaluators_find_a_place_beside_training_or_say_so(
    settings: list[str], gpus: float, places: int | None
) -> None:
    sweep = override(find("quickstart")(), settings)
    if places is not None:
        assert gpu_places(sweep, gpus) == places
    else:
        with pytest.raises(SpecError, match=f"the cluster has {gpus:g} GPUs.*give evaluator_gpus=0"):
            gpu_places(sweep, gpus)


def test_a_pool_without_a_gpu_is_refused(ray_session: None, store: Store) -> None:
    with pytest.raises(SpecError, match="the cluster has 0 GPUs"):
        EvaluatorPool.start(store, override(find("quickstart")(), ["evaluator_gpus=1"]))
