"""Values ready to be drawn."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.report import series
from tests.orchestrator.report.conftest import Made


def test_cells_are_variants_at_budgets_and_hold_every_value(made: Made) -> None:
    values = made.found.values
    assert len(values.cells) == 8
    assert len(values.rows) == made.frame["value"].notna().sum()
    assert len(values.kinds) == 2
    assert sorted(place for kind in values.kinds for place in values.cells_of(kind)) == list(range(8))
    assert set(values.at_end()["step"]) == set(values.ends.values())


@pytest.mark.parametrize(("count", "most"), [(5, 9), (100, 9), (1, 1), (0, 3)])
def test_thinned_keeps_both_ends(count: int, most: int) -> None:
    found = series.thinned(np.arange(count), most)
    assert len(found) == min(count, most)
    assert found == sorted(set(found))
    if count and most > 1:
        assert (found[0], found[-1]) == (0, count - 1)
