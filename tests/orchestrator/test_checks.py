"""What contradicts itself in a sweep is refused."""

from __future__ import annotations

import pytest

from orchestrator.overrides import override
from orchestrator.spec import Sweep
from orchestrator.words import SpecError
from trainables.budget import Budget

BASE = Sweep(budgets=(Budget(1e10),))


def test_both_seeds_held_with_several_seeds_is_refused() -> None:
    with pytest.raises(SpecError, match="same trial"):
        override(BASE, ["init_seed=1", "data_seed=1"])


def test_a_wsd_warmup_longer_than_the_budget_is_refused() -> None:
    with pytest.raises(SpecError, match="18 steps before the decay, fewer than warmup=50"):
        override(BASE, ["schedule=wsd", "warmup=50", "budgets=20steps"]).trials()


def test_budgets_of_equal_steps_are_refused_not_counted_as_seeds() -> None:
    with pytest.raises(SpecError, match="both buy 6 steps"):
        override(BASE, ["budgets=6steps,6144tokens"]).trials()
