import pytest

import search_spaces
from orchestrator.spec import SpecError


@pytest.mark.parametrize("name", search_spaces.names())
def test_every_space_expands_and_says_what_it_is(name: str) -> None:
    trials = search_spaces.find(name)().trials()
    assert len({trial.trial_id for trial in trials}) == len(trials) > 1
    assert len(search_spaces.describe(name)) > 20


def test_an_unknown_space_suggests_the_nearest() -> None:
    with pytest.raises(SpecError, match="Did you mean 'quickstart'"):
        search_spaces.find("quickstrat")
