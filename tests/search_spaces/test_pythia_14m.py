from search_spaces.pythia_14m import search_space


def test_budgets_are_in_tokens() -> None:
    for trial in search_space().trials():
        assert trial.budget.unit == "tokens"
        assert trial.steps * trial.tokens_per_step <= trial.budget.amount
