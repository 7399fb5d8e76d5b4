import itertools

from search_spaces.asha_budgets import search_space


def test_the_ladder_has_room_for_its_reduction() -> None:
    sweep = search_space()
    assert sweep.candidates == sweep.reduction ** (len(sweep.budgets) - 1)
    tokens = [budget.amount for budget in sweep.budgets]
    assert [later / before for before, later in itertools.pairwise(tokens)] == [3, 3]
