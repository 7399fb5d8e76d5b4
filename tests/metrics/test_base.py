"""Values and metrics."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.base import Metric, Value, per_layer


def test_a_key_names_the_version() -> None:
    assert Metric("m", 3, "", lambda observation: []).key == "m@3"


def test_layers_are_numbered_from_the_embeddings() -> None:
    clouds = [np.full((2, 2), layer) for layer in (5, 6)]
    values = list(per_layer(("sum", "max"), clouds, lambda cloud: (cloud.sum(), cloud.max())))
    assert values == [Value("sum", 20.0, 0), Value("max", 5.0, 0), Value("sum", 24.0, 1), Value("max", 6.0, 1)]


def test_a_layer_without_a_value_says_why_and_the_others_have_theirs() -> None:
    def largest(cloud: np.ndarray) -> list[float]:
        return [cloud.max()]  # ValueError for an empty array

    values = list(per_layer(("max",), [np.ones(2), np.ones(0), np.ones(3)], largest))
    assert [value.value for value in values] == [1.0, None, 1.0]
    assert values[1].layer == 1
    assert "zero-size array" in str(values[1].reason)


def test_too_few_values_for_the_names_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="zip"):
        list(per_layer(("a", "b"), [np.ones(2)], lambda cloud: [1.0]))
