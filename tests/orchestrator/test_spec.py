import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.overrides import override
from orchestrator.spec import Sweep, fields_by_role
from orchestrator.words import SpecError
from trainables.budget import Budget

BASE = Sweep(budgets=(Budget(1e10),))


def test_trials_are_models_by_budgets_by_seeds() -> None:
    trials = override(BASE, ["seeds=3,5", "budgets=1e10,20steps"]).trials()
    assert [(t.seed, str(t.budget)) for t in trials] == [(3, "1e10"), (5, "1e10"), (3, "20steps"), (5, "20steps")]
    assert len({t.trial_id for t in trials}) == 4


def test_seeds_can_be_held_apart() -> None:
    trials = override(BASE, ["seeds=1,2", "data_seed=7"]).trials()
    assert [(t.init_seed, t.data_seed) for t in trials] == [(1, 7), (2, 7)]


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("seeds=0,1,2", "seeds", (0, 1, 2)),
        ("budgets=1e11,3e6tokens", "budgets", (Budget(1e11), Budget(3e6, "tokens"))),
        ("learning_rate=1e-3", "learning_rate", 1e-3),
        ("learning_rate=none", "learning_rate", None),
        ("schedule=wsd", "schedule", "wsd"),
        ("metrics=none", "metrics", ()),
        ("corpus=embedded", "corpus", "embedded"),
    ],
)
def test_override_reads_the_fields_type(text: str, field: str, value: object) -> None:
    extra = ["warmup=2"] if text == "schedule=wsd" else []
    assert getattr(override(BASE, [text, *extra]), field) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sedes=1", "Did you mean 'seeds'"),
        ("seeds=a", "not a whole number"),
        ("seeds=", "at least one value"),
        ("seeds=1,1", "given twice"),
        ("budgets=lots", "not a budget"),
        ("budgets=-5", "not a budget"),
        ("budgets=0", "positive"),
        ("model=pythia-14", "Did you mean 'pythia-14m'"),
        ("metrics=linear", "Did you mean 'linear_cka'"),
        ("schedule=cos", "Allowed: cosine, wsd"),
        ("keep=last", "keep=last: unknown. Allowed: all, weights, log, none, and last:K"),
        ("keep=last:0", "whole number K >= 1"),
        ("keep=last:-1", "whole number K >= 1"),
        ("keep=last:2.5", "whole number K >= 1"),
        ("keep=everything", "Allowed: all"),
        ("learning_rate=nan", "finite"),
        ("learning_rate=-1", "positive"),
        ("learning_rate=fast", "not a number"),
        ("warmup=3", "fraction"),
        ("seq_len=129", "context of 128"),
        ("workers=3", "multiple of workers=3"),
        ("probe_points=2", "at least 3"),
        ("corpus=/nowhere", "/nowhere"),
        ("tokenizer=/nowhere.json", "/nowhere.json"),
        ("budgets=1", "buys no optimizer step"),
        ("budgets=1e30", "more than 100,000 checkpoints"),
        ("seeds=0,9223372036854775808", "2**63"),
        ("seeds=-1", "between 0 and"),
        ("init_seed=-1", "between 0 and"),
        ("adam_eps=-1", "must be positive"),
        ("adam_beta1=1", "less than 1"),
        ("seeds", "write key=value"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        override(BASE, [text]).trials()
    assert text.partition("=")[0] in str(error.value)
    assert said in str(error.value)


@given(
    seeds=st.lists(st.integers(0, 2**31), min_size=1, max_size=4, unique=True),
    budgets=st.lists(st.floats(1e9, 1e21), min_size=1, max_size=3, unique=True),
)
def test_json_round_trip(seeds: list[int], budgets: list[float]) -> None:
    spec = dataclasses.replace(BASE, seeds=tuple(seeds), budgets=tuple(map(Budget, budgets)))
    assert Sweep.from_json(spec.to_json()) == spec


def test_every_field_has_a_role_and_a_help_text() -> None:
    names = {item.name for item in dataclasses.fields(Sweep)}
    assert names == {name for role in ("axis", "fixed", "free") for name in fields_by_role(role)}
    assert all(item.metadata["help"] for item in dataclasses.fields(Sweep))
