from __future__ import annotations

import pytest

from trainables.stopping import Rule, broken


def test_a_rule_is_a_loss_and_a_step() -> None:
    assert Rule.parse("7.5@1000") == Rule(7.5, 1000)


@pytest.mark.parametrize("text", ["", "7", "@", "7@", "@3", "x@3", "7@-3", "7@3.5", "nan@3", "inf@3", "0@3", "-1@3"])
def test_what_is_no_rule_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"write LOSS@STEP, for example 7\.5@1000"):
        Rule.parse(text)


@pytest.mark.parametrize(
    ("step", "recent", "rule"),
    [
        (99, (90.0, 10), None),  # too early
        (100, (90.0, 10), "8@100"),
        (100, (80.0, 10), None),  # not above
        (400, (80.0, 10), "5@300"),
        (400, (0.0, 0), None),  # nothing was trained since
    ],
)
def test_the_first_rule_that_a_mean_loss_breaks_is_named(
    step: int, recent: tuple[float, float], rule: str | None
) -> None:
    found = broken(("8@100", "5@300"), step, recent)
    assert (found is None) == (rule is None)
    assert rule is None or (found is not None and found.startswith(f"early_stop={rule}: the mean loss of the 10 steps"))
