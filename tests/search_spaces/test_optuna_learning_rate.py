from search_spaces.optuna_learning_rate import search_space


def test_the_optuna_search_is_at_one_budget_and_repeats_seeds() -> None:
    sweep = search_space()
    assert (sweep.search, len(sweep.budgets), len(sweep.seeds)) == ("tpe", 1, 2)
    corners = sweep.bounds()
    assert {trial.optimization.batch_size for trial in corners} == {4, 8, 16}
    assert {trial.optimization.learning_rate for trial in corners} == {1e-4, 3e-2}
    assert {trial.optimization.warmup for trial in corners} == {0.0, 0.1}
