from search_spaces.quickstart import search_space


def test_is_three_seeds_by_four_flop_budgets() -> None:
    trials = search_space().trials()
    assert len(trials) == 12
    assert {trial.seed for trial in trials} == {0, 1, 2}
    assert [trial.budget.unit for trial in trials] == ["flops"] * 12


def test_no_budget_is_overspent_by_a_step() -> None:
    for trial in search_space().trials():
        assert trial.flops(trial.steps) <= trial.budget_flops < trial.flops(trial.steps + 1)
