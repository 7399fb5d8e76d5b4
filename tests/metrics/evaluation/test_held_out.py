"""Held-out loss, perplexity and bits per byte, worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.evaluation.held_out import bits_per_byte, measure
from metrics.probe import Observation

LOSS = np.array([[1.0, 2.0], [3.0, 6.0]])
BYTES = np.array([[1, 0], [4, 2]])


def test_the_numbers_are_those_worked_out_by_hand(observation: Callable[..., Observation]) -> None:
    values = {value.metric: value.value for value in measure(observation(loss=LOSS, target_bytes=BYTES))}
    assert values == pytest.approx(
        {
            "held_out_loss": 3.0,
            "perplexity": math.exp(3.0),
            "bits_per_byte": 10 / 7 / math.log(2),
            "held_out_loss/a": 1.5,
            "perplexity/a": math.exp(1.5),
            "bits_per_byte/a": 1 / math.log(2),
            "held_out_loss/b": 4.5,
            "perplexity/b": math.exp(4.5),
            "bits_per_byte/b": 9 / 6 / math.log(2),
        },
        rel=1e-12,
    )


def test_guessing_bytes_uniformly_costs_eight_bits_a_byte() -> None:
    assert bits_per_byte(np.full((3, 5), math.log(256)), np.ones((3, 5), dtype=int)) == pytest.approx(8.0, rel=1e-12)


@given(loss=st.floats(0, 1e3))
def test_special_tokens_count_on_neither_side(loss: float) -> None:
    assert bits_per_byte(np.array([1.0, loss]), np.array([2, 0])) == bits_per_byte(np.array([1.0]), np.array([2]))


def test_targets_without_text_have_no_bits_per_byte() -> None:
    with pytest.raises(ValueError, match="no target stands for text"):
        bits_per_byte(np.ones(3), np.zeros(3, dtype=int))


def test_a_domain_without_text_says_so_and_has_its_loss(observation: Callable[..., Observation]) -> None:
    values = {v.metric: v for v in measure(observation(loss=LOSS, target_bytes=np.array([[0, 0], [4, 2]])))}
    assert values["held_out_loss/a"].value == 1.5
    assert values["bits_per_byte/a"].value is None
    assert "no target stands for text" in str(values["bits_per_byte/a"].reason)
    assert values["bits_per_byte"].value == pytest.approx(1.5 / math.log(2))
