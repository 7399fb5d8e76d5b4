"""Searches: what is chosen next, who climbs, and that all of it is found again in the store."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import metrics
from orchestrator import search, space
from orchestrator.overrides import override
from orchestrator.search import Candidate, Search, choose, promotable
from orchestrator.spec import Sweep
from orchestrator.store import Status, Store
from orchestrator.words import SpecError
from trainables.budget import Budget

RATE = space.parse(["learning_rate=1e-5..1log"])
SPACE = ["space=learning_rate=1e-4..1e-1log", "metrics=held_out", "seeds=0,1"]
ASHA = [*SPACE, "search=asha", "schedule=wsd", "warmup=2", "budgets=20steps,40steps,80steps", "reduction=2"]


def sweep(*settings: str) -> Sweep:
    return override(Sweep(budgets=(Budget(20, "steps"),)), settings)


def loss_of(rate: float) -> float:
    """A planted optimum at 1e-3."""
    return 2 + (math.log10(rate) + 3) ** 2


def searched(sampler: str, count: int, seed: int) -> list[float]:
    past: list[tuple[str, float | None]] = []
    for _ in range(count):
        words = choose(RATE, past, sampler, seed + len(past))
        past.append((words, loss_of(space.values(RATE, words)["learning_rate"])))
    return [score for _, score in past if score is not None]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_it_learns_where_the_optimum_is(sampler: str) -> None:
    """Of those after the first ten, the median is nearer than random ones get, for each of three seeds."""
    for seed in (0, 1000, 2000):
        learned, random = (np.median(searched(one, 20, seed)[10:]) for one in (sampler, "random"))
        assert learned - 2 < 0.5 * (random - 2)


def test_a_choice_is_a_function_of_what_came_before() -> None:
    past = [("learning_rate=0.1", 4.0), ("learning_rate=0.01", None), ("learning_rate=0.5", math.inf)]
    assert choose(RATE, past, "tpe", 7) == choose(RATE, past, "tpe", 7) != choose(RATE, past, "tpe", 8)


def test_what_fails_is_not_tried_again() -> None:
    """Rates above 1e-2 diverge: after ten, few of the next ten do, as where their losses were merely high."""
    past: list[tuple[str, float | None]] = []
    for number in range(20):
        words = choose(RATE, past, "tpe", number)
        rate = space.values(RATE, words)["learning_rate"]
        past.append((words, math.inf if rate > 1e-2 else loss_of(rate)))
    assert sum(score == math.inf for _, score in past[10:]) <= 2


def reference(scored: list[dict[int, float]], rungs: list[int], reduction: int) -> set[int]:
    """Who may climb, by counting how many are better."""
    for rung in range(len(scored) - 2, -1, -1):
        may = {
            one
            for one, score in scored[rung].items()
            if sum((s, o) < (score, one) for o, s in scored[rung].items()) < len(scored[rung]) // reduction
            and rungs[one] == rung
        }
        if may:
            return may
    return set()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.booleans()), max_size=12), st.integers(2, 4))
def test_the_best_of_a_rung_climb_from_the_highest_down(known: list[tuple[int, int, bool]], reduction: int) -> None:
    rungs = [rung for rung, _, _ in known]
    scored = [
        {n: float(score) for n, (top, score, there) in enumerate(known) if rung < top or (rung == top and there)}
        for rung in range(3)
    ]
    may = reference(scored, rungs, reduction)
    found = promotable(scored, rungs, reduction)
    assert found in may if may else found is None


def test_one_that_failed_never_climbs() -> None:
    assert promotable([{0: math.inf, 1: math.inf}, {}], [0, 0], 2) is None


def end(store: Store, wanted: Search, trials: tuple[object, ...]) -> None:
    """As if they were trained and measured: the loss is the planted one, with a seed's own offset, halved per rung."""
    for config in trials:
        store.write_trial(config)  # type: ignore[arg-type]
        store.write_status(config.trial_id, Status("done", step=config.steps, seconds=1.0))  # type: ignore[attr-defined]
        loss = loss_of(config.optimization.learning_rate) + config.seed  # type: ignore[attr-defined]
        one = {"metric": "held_out", "version": metrics.registry()["held_out"].version, "status": "ok", "reason": None}
        values = [["held_out_loss", None, loss, None]]
        store.add_measurements(config.trial_id, config.steps, [one | {"seconds": 0.0, "values": values}])  # type: ignore[attr-defined]


def test_a_search_is_found_again_and_goes_on(tmp_path: Path) -> None:
    """Interrupted after each step, it makes the same choices as one that never was."""
    wanted = sweep(*SPACE, "search=tpe", "candidates=8")
    variants = []
    for name, anew in (("straight", False), ("killed", True)):
        store = Store.open(str(tmp_path / name))
        running = Search(wanted, store)
        while (trials := running.next()) is not None:
            assert len(trials) == 2
            running = Search(wanted, store) if anew else running
            assert {one.trial_id for one in trials} <= {one.trial_id for one in running.trials()}
            end(store, running, trials)
        assert running.is_finished
        assert len(running.trials()) == 16
        variants.append([one.variant for found in running.candidates.values() for one in found])
        assert min(loss_of(float(one.split("=")[1])) for one in variants[-1]) < 2.5
        assert "best of 8 (of 8 candidates)" in next(running.best())
    assert variants[0] == variants[1]


def test_the_score_is_the_mean_over_seeds_and_waits_for_all(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"))
    running = Search(sweep(*SPACE, "search=random", "candidates=1"), store)
    first, second = running.next() or ()
    ((study, (candidate,)),) = running.candidates.items()
    end(store, running, (first,))
    assert running.score(study, candidate, 0) is None
    end(store, running, (second,))
    assert running.score(study, candidate, 0) == pytest.approx(loss_of(first.optimization.learning_rate) + 0.5)


def test_a_seed_that_failed_or_was_lost_fails_its_candidate(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"))
    running = Search(sweep(*SPACE, "search=random", "candidates=2"), store)
    for how in ("failed", "lost"):
        first, second = running.next() or ()
        end(store, running, (first,))
        if how == "lost":
            running.lost.add(second.trial_id)
        else:
            store.write_status(second.trial_id, Status("failed", step=3, seconds=1.0, reason="it diverged"))
    ((study, found),) = running.candidates.items()
    assert [running.score(study, one, 0) for one in found] == [math.inf, math.inf]


def test_successive_halving_ends_with_the_best_and_spends_as_it_should(tmp_path: Path) -> None:
    """One worker, so synchronous: of 8 candidates 4 climb to the second rung and 2 to the last, the best among them."""
    store = Store.open(str(tmp_path / "s"))
    running = Search(sweep(*ASHA, "candidates=8"), store)
    while (trials := running.next()) is not None:
        end(store, running, trials)
    ((study, found),) = running.candidates.items()
    rungs = [one.rung for one in found]
    assert sorted(rungs, reverse=True)[:2] == [2, 2]
    best = min(found, key=lambda one: loss_of(float(one.variant.split("=")[1])))
    assert best.rung == 2
    assert 4 <= sum(rung >= 1 for rung in rungs) <= 7  # asynchronous: who leads early may climb and be overtaken
    assert [str(budget) for budget in study.budgets] == ["20steps", "40steps", "80steps"]
    assert len(running.trials()) == 2 * sum(rung + 1 for rung in rungs)


def test_scores_that_are_awaited_hold_climbing_up_not_the_end(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"))
    running = Search(sweep(*ASHA, "candidates=2"), store)
    sent = [running.next(), running.next()]
    assert running.next() == ()
    for trials in sent:
        end(store, running, trials or ())
    assert len(running.next() or ()) == 2  # one of two climbs
    assert running.next() == ()


def test_a_record_that_is_gone_is_chosen_anew(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "s"))
    wanted = sweep(*SPACE, "search=random", "candidates=3")
    running = Search(wanted, store)
    while running.next() is not None:
        pass
    ((study, before),) = running.candidates.items()
    (store.root / search.SEARCH / study.name).delete("candidate-00001.json")
    again = Search(wanted, store)
    assert again.candidates[study] == before[:1]
    while again.next() is not None:
        pass
    assert again.candidates[study] == before  # random choices depend on their number alone


def test_there_is_a_study_for_each_model_and_budget() -> None:
    wanted = sweep(*SPACE, "search=tpe", "model=neox-100k,neox-280k", "budgets=20steps,40steps")
    names = [study.name for study in search.studies(wanted)]
    assert names == [f"{m}-{b}" for m, b in itertools.product(("neox-100k", "neox-280k"), ("20steps", "40steps"))]
    assert len(search.studies(sweep(*ASHA))) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["search=pbt"], "Ray Train leave none there"),
        (["search=tpe"], "needs something to choose"),
        (["search=tpe", "space=sedes=1/2"], "no such setting"),
        (["search=tpe", "space=batch_size=4/x"], "not a whole number"),
        (["search=tpe", "space=learning_rate=0..1"], "must be positive"),
        ([*SPACE], "a grid chooses nothing"),
        ([*SPACE, "search=tpe", "variants=batch_size=4"], "variants: not with search=tpe"),
        ([*SPACE, "search=tpe", "metrics=linear_cka"], "goes by held_out"),
        ([*ASHA, "schedule=cosine", "warmup=0.1"], "give schedule=wsd"),
        ([*ASHA, "budgets=20steps"], "two or more"),
        ([*ASHA, "budgets=40steps,20steps"], "ascending"),
        ([*ASHA, "budgets=20steps,1e9"], "of one unit"),
        ([*SPACE, "search=asha", "reduction=1"], "must be >= 2"),
        (["variants=plain,batch_size=8"], "give the same trials"),
        (["variants=batch_size=8:seeds=1"], "no such setting"),
    ],
)
def test_what_cannot_be_searched_is_refused(settings: list[str], said: str) -> None:
    merged = dict(one.split("=", 1) for one in settings)
    with pytest.raises(SpecError, match=said):
        sweep(*(f"{key}={value}" for key, value in merged.items())).bounds()


def test_a_variant_is_one_trial_for_each_seed_with_its_settings() -> None:
    trials = sweep("seeds=0,1", "variants=plain,batch_size=4:learning_rate=0.01,model=neox-100k").trials()
    shown = [(one.model.name, one.seed, one.optimization.batch_size, one.optimization.learning_rate) for one in trials]
    assert shown == [
        (model, seed, batch, rate)
        for model, batch, rate in (("neox-280k", 8, 3e-3), ("neox-280k", 4, 0.01), ("neox-100k", 8, 3e-3))
        for seed in (0, 1)
    ]


def test_candidates_keep_their_number_and_variant() -> None:
    assert search._candidate({"number": 3, "variant": "warmup=1", "rung": 2}) == Candidate(3, "warmup=1", 2)
