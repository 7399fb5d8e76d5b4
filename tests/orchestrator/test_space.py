"""What a search may choose, as words: read, refused, and turned into Optuna's distributions and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import space
from orchestrator.space import Dimension, parse
from orchestrator.words import SpecError


def test_ranges_lists_and_logarithms() -> None:
    rate, batch, warmup = parse(["learning_rate=1e-4..1e-2log", "batch_size=4/8/16", "warmup=0..0.1"])
    assert rate == Dimension("learning_rate", (), 1e-4, 1e-2, True)
    assert batch == Dimension("batch_size", ("4", "8", "16"))
    assert warmup == Dimension("warmup", (), 0.0, 0.1, False)
    kinds = [type(one.distribution()).__name__ for one in (rate, batch)]
    assert kinds == ["FloatDistribution", "CategoricalDistribution"]
    assert rate.distribution().log
    assert type(parse(["batch_size=4..16"])[0].distribution()).__name__ == "IntDistribution"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rate", "write a range"),
        ("learning_rate=1e-3", "or a list"),
        ("learning_rate=1e-3/1e-3", "or a list"),
        ("learning_rate=1e-3/", "or a list"),
        ("learning_rate=1e-2..1e-4", "is not below"),
        ("warmup=0..1log", "begins above 0"),
        ("batch_size=1.5..4", "whole number"),
        ("seq_len=32..64", "list them"),
        ("model=neox-100k/neox-280k", "searched by itself"),
    ],
)
def test_what_is_no_space_is_refused(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse([text])


def test_a_setting_is_given_once() -> None:
    with pytest.raises(SpecError, match="warmup is given twice"):
        parse(["warmup=0..1", "warmup=1..2"])


def test_corners_are_all_extremes() -> None:
    assert space.corners(["learning_rate=0.001..0.1", "batch_size=2/4"]) == (
        "learning_rate=0.001:batch_size=2",
        "learning_rate=0.001:batch_size=4",
        "learning_rate=0.1:batch_size=2",
        "learning_rate=0.1:batch_size=4",
    )


@given(st.floats(1e-6, 1.0), st.floats(1e-9, 1.0), st.floats(0, 1))
def test_words_are_short_stay_in_the_range_and_are_read_back(low: float, width: float, place: float) -> None:
    dimension = Dimension("learning_rate", (), low, low + width)
    value = low + place * (dimension.high - low)
    words = space.variant((dimension,), {"learning_rate": value})
    back = space.values((dimension,), words)["learning_rate"]
    assert low <= back <= dimension.high
    assert back == pytest.approx(value, rel=6e-4)
    assert dimension.distribution()._contains(back)
