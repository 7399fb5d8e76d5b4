"""Which pairs and trajectories there are, and what the store lacks of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

import metrics
from metrics import diagrams
from orchestrator import requests
from orchestrator.evaluators import unmeasured
from orchestrator.overrides import override
from orchestrator.requests import Request
from orchestrator.spec import Sweep
from orchestrator.store import Store
from search_spaces import find
from trainables.config import PublishedConfig, Revision, TrialConfig

NAMES = metrics.observed()
PAIR = metrics.of_kind("pair", NAMES)


def configs(*changes: str) -> tuple[TrialConfig, ...]:
    given = {"seeds": "0,1,2", "budgets": "6steps"} | dict(change.split("=") for change in changes)
    sweep: Sweep = override(find("quickstart")(), [f"{key}={value}" for key, value in given.items()])
    return sweep.trials()


def test_neighbours_and_seeds_are_paired_at_every_prescribed_step() -> None:
    low, middle, high = configs()
    found = list(requests.pairs([high, low, middle], NAMES))
    assert requests.prescribed_steps(low) == [0, 1, 2, 4, 6]
    steps = {one.other: one.step for one in found if one.other and one.other[0] == one.trial_id == low.trial_id}
    assert steps == {(low.trial_id, earlier): step for earlier, step in ((0, 1), (1, 2), (2, 4), (4, 6))}
    across = {(one.trial_id, one.other[0]) for one in found if one.other and one.other[0] != one.trial_id}
    ids = low.trial_id, middle.trial_id, high.trial_id
    assert across == {(ids[1], ids[0]), (ids[2], ids[0]), (ids[2], ids[1])}
    assert all(one.other is not None and one.other[1] == one.step for one in found if one.other[0] != one.trial_id)
    assert len(found) == len(set(found)) == 3 * 4 + 3 * 5
    assert {one.metrics for one in found} == {PAIR}


def test_only_trials_that_differ_in_the_seed_alone_are_paired() -> None:
    trials = configs("budgets=6steps,12steps", "model=neox-280k,gpt2-tiny")
    found = Counter(
        (one.trial_id, one.other[0])
        for one in requests.pairs(trials, NAMES)
        if one.other and one.other[0] != one.trial_id
    )
    by_id = {trial.trial_id: trial for trial in trials}
    assert len(found) == 4 * 3
    for first, second in found:
        assert by_id[first].model == by_id[second].model
        assert by_id[first].budget == by_id[second].budget
        assert by_id[first].seed > by_id[second].seed


@pytest.mark.parametrize("held", ["init_seed=7", "data_seed=7"])
def test_seeds_are_paired_where_one_of_them_is_held(held: str) -> None:
    found = [one for one in requests.pairs(configs(held), NAMES) if one.other and one.other[0] != one.trial_id]
    assert len(found) == 3 * 5


def test_without_a_metric_of_pairs_there_are_none() -> None:
    assert list(requests.pairs(configs(), ("held_out", "weight_trajectory_dimension"))) == []


def test_a_request_is_of_one_kind() -> None:
    config = configs()[0]
    alone, whole = requests.of_checkpoint(config, 2, NAMES), requests.trajectory(config, NAMES)
    assert whole is not None
    assert (alone.step, whole.step) == (2, config.steps)
    assert {*alone.metrics, *whole.metrics, *PAIR} == set(NAMES)
    assert len(alone.metrics) + len(whole.metrics) + len(PAIR) == len(NAMES)
    assert requests.trajectory(config, PAIR) is None


@pytest.fixture
def store(store_copy: Path) -> Store:
    return Store.existing(str(store_copy))


def every_request(store: Store) -> list[Request]:
    trials = [store.read_trial(trial_id) for trial_id in store.trial_ids()]
    alone = [
        requests.of_checkpoint(trial, step, NAMES) for trial in trials for step in requests.prescribed_steps(trial)
    ]
    whole = [one for trial in trials if (one := requests.trajectory(trial, NAMES))]
    return [*alone, *requests.pairs(trials, NAMES), *whole]


def test_a_finished_sweep_has_answered_every_request(store: Store) -> None:
    assert requests.missing(store, every_request(store)) == []


def test_of_a_lost_measurement_just_that_is_missing(store: Store) -> None:
    wanted = every_request(store)
    pair = next(one for one in wanted if one.other and one.other[0] != one.trial_id)
    folder, name = store.trial(pair.trial_id) / "measurements", f"step-{pair.step:08d}.json"
    body = folder.read_json(name)
    (key,) = (k for k in body["measurements"] if k.startswith("linear_cka@") and str(pair.other and pair.other[0]) in k)
    del body["measurements"][key]
    folder.write_json(name, body)
    assert requests.missing(store, wanted) == [Request(pair.trial_id, pair.step, ("linear_cka",), pair.other)]


def test_a_measurement_whose_diagrams_are_gone_is_missing(store: Store) -> None:
    wanted = every_request(store)
    first = wanted[0]
    key = metrics.registry()["persistent_homology"].key
    store.trial(first.trial_id).delete(diagrams.file_name(first.step, key))
    assert requests.missing(store, wanted) == [Request(first.trial_id, first.step, ("persistent_homology",))]


def test_published_seeds_are_paired_at_the_steps_that_both_have(published_trial: PublishedConfig) -> None:
    revisions = tuple(Revision(step, f"step{step}", "c" * 40) for step in (0, 2, 4))
    model = dataclasses.replace(published_trial.model, name="pythia-14m-seed1", source="EleutherAI/pythia-14m-seed1")
    other = dataclasses.replace(published_trial, model=model, seed=1, init_seed=1, data_seed=1, revisions=revisions)
    found = list(requests.pairs([published_trial, other], NAMES))
    ours, theirs = published_trial.trial_id, other.trial_id
    assert [(one.step, one.other) for one in found if one.trial_id == theirs] == [
        (2, (theirs, 0)),
        (4, (theirs, 2)),
    ]
    assert [(one.step, one.other) for one in found if one.trial_id == ours] == [
        (0, (theirs, 0)),
        (1, (ours, 0)),
        (2, (ours, 1)),
        (2, (theirs, 2)),
        (8, (ours, 2)),
    ]
    stranger = dataclasses.replace(other, family="pythia-31m")
    assert all(one.other[0] == one.trial_id for one in requests.pairs([published_trial, stranger], NAMES) if one.other)


def test_a_trajectory_is_measured_anew_once_it_has_further_revisions(
    published_trial: PublishedConfig, tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path / "store"))
    wanted = requests.trajectory(published_trial, NAMES)
    assert wanted is not None
    assert (wanted.step, wanted.of) == (8, 4)
    measured = [unmeasured(name, "ok", "") | {"of": 4} for name in wanted.metrics]
    store.add_measurements(wanted.trial_id, 8, measured)
    assert requests.missing(store, [wanted]) == []
    revisions = (*published_trial.revisions[:3], Revision(3, "step3", "c" * 40), published_trial.revisions[-1])
    longer = requests.trajectory(dataclasses.replace(published_trial, revisions=revisions), NAMES)
    assert longer is not None
    assert requests.missing(store, [longer]) == [longer]
