from search_spaces.isoflop import search_space


def test_sizes_are_crossed_with_budgets_of_equal_compute() -> None:
    trials = search_space().trials()
    assert len(trials) == 4 * 3 * 2
    for trial in trials:
        assert 0.97 <= trial.flops(trial.steps) / trial.budget_flops <= 1
    assert len({trial.model.n_params_non_embedding for trial in trials}) == 4
    assert {trial.model.n_layers for trial in trials} == {3}
