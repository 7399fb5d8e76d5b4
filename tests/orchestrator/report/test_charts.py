from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report import charts


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), max_size=8))
def test_rounded_keeps_five_digits_and_says_nothing_of_what_is_no_number(numbers: list[float]) -> None:
    for number, found in zip(numbers, charts.rounded(numbers), strict=True):
        if not math.isfinite(number):
            assert found is None
        elif 1e-300 < abs(number) < 1e300:
            assert found == pytest.approx(number, rel=1e-4)
            assert float(f"{found:.5g}") == found


@pytest.mark.parametrize(
    ("number", "text"), [(3.14159265, "3.1416"), (123456.789, "123460"), (0.1 + 0.2, "0.3"), (7.0, "7"), (0.0, "0")]
)
def test_rounded_numbers_are_short_in_json(number: float, text: str) -> None:
    assert str(charts.rounded([number])[0]) == text


def test_a_band_goes_along_the_top_and_back_along_the_bottom_where_there_is_a_spread() -> None:
    (trace,) = charts.band([1.0, 2.0, 3.0], np.array([5.0, 6.0, 7.0]), np.array([0.5, np.nan, 1.0]), "a", "#102030")
    assert trace["x"] == [1, 3, 3, 1]
    assert trace["y"] == [5.5, 8, 6, 4.5]
    assert charts.band([1.0], np.array([5.0]), np.array([np.nan]), "a", "#102030") == []


def test_colours_of_a_scale_go_from_end_to_end() -> None:
    assert charts.colour(0, 4) == charts.SCALE[0]
    assert charts.colour(3, 4) == charts.SCALE[-1]
    assert charts.colour(0, 1) == charts.SCALE[0]
    assert charts.colour(len(charts.PALETTE)) == charts.PALETTE[0]
    assert charts.faded("#102030", 0.5) == "rgba(16,32,48,0.5)"
