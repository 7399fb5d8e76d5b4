from search_spaces.resource_limits import search_space


def test_each_shortage_is_one_change_at_equal_compute() -> None:
    trials = search_space().trials()
    assert len({trial.trial_id for trial in trials}) == 8 * 2
    plain = trials[0].settings | {"model": trials[0].model.name}
    for trial in trials[2::2]:
        changed = {n for n, value in (trial.settings | {"model": trial.model.name}).items() if value != plain[n]}
        assert len(changed) == 1
        assert 0.97 <= trial.flops(trial.steps) / trial.budget_flops <= 1
