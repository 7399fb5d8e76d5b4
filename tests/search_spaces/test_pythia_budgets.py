"""The mission's sweep covers what it says, and each of its budgets buys its largest model a run worth looking at."""

from search_spaces.pythia_budgets import search_space


def test_sizes_seeds_and_budgets_are_crossed() -> None:
    sweep = search_space()
    assert (len(sweep.model), len(sweep.seeds), len(sweep.budgets)) == (7, 3, 4)
    assert sweep.model[-1] == "pythia-1.4b"
    assert sweep.corpus == "pile"
    shapes = {model.name: model for model in sweep.models()}
    assert all(sweep.seq_len <= model.context for model in shapes.values())
