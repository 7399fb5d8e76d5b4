"""The searches and the sweeps at equal compute are what their names say."""

import itertools

from search_spaces import asha_budgets, isoflop, optuna_learning_rate, resource_limits


def test_the_optuna_search_is_at_one_budget_and_repeats_seeds() -> None:
    sweep = optuna_learning_rate.search_space()
    assert (sweep.search, len(sweep.budgets), len(sweep.seeds)) == ("tpe", 1, 2)
    corners = sweep.bounds()
    assert {trial.optimization.batch_size for trial in corners} == {4, 8, 16}
    assert {trial.optimization.learning_rate for trial in corners} == {1e-4, 3e-2}
    assert {trial.optimization.warmup for trial in corners} == {0.0, 0.1}


def test_the_ladder_has_room_for_its_reduction() -> None:
    sweep = asha_budgets.search_space()
    assert sweep.candidates == sweep.reduction ** (len(sweep.budgets) - 1)
    tokens = [budget.amount for budget in sweep.budgets]
    assert [later / before for before, later in itertools.pairwise(tokens)] == [3, 3]


def test_sizes_are_crossed_with_budgets_of_equal_compute() -> None:
    trials = isoflop.search_space().trials()
    assert len(trials) == 4 * 3 * 2
    for trial in trials:
        assert 0.97 <= trial.flops(trial.steps) / trial.budget_flops <= 1
    assert len({trial.model.n_params_non_embedding for trial in trials}) == 4
    assert {trial.model.n_layers for trial in trials} == {3}


def test_each_shortage_is_one_change_at_equal_compute() -> None:
    trials = resource_limits.search_space().trials()
    assert len({trial.trial_id for trial in trials}) == 8 * 2
    plain = trials[0].settings | {"model": trials[0].model.name}
    for trial in trials[2::2]:
        changed = {n for n, value in (trial.settings | {"model": trial.model.name}).items() if value != plain[n]}
        assert len(changed) == 1
        assert 0.97 <= trial.flops(trial.steps) / trial.budget_flops <= 1
