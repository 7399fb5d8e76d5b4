"""Values and metrics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from metrics.base import Metric, Value, per_layer


def test_a_key_names_the_version() -> None:
    assert Metric("m", 3, "", lambda observation: []).key == "m@3"


def test_layers_are_numbered_from_the_embeddings() -> None:
    clouds = [np.full((2, 2), layer) for layer in (5, 6)]
    values = list(per_layer(("sum", "max"), clouds, lambda _, cloud: (cloud.sum(), cloud.max())))
    assert values == [Value("sum", 20.0, 0), Value("max", 5.0, 0), Value("sum", 24.0, 1), Value("max", 6.0, 1)]


def test_the_function_is_told_which_layer_it_measures() -> None:
    values = list(per_layer(("layer",), "abc", lambda layer, what: [layer + 10 * "abc".index(what)]))
    assert [value.value for value in values] == [0.0, 11.0, 22.0]


def test_a_layers_values_may_be_those_of_numpy_and_come_one_by_one() -> None:
    (first, second) = per_layer(("a", "b"), [np.ones(2)], lambda _, cloud: iter(cloud.astype(np.float32)))
    assert (type(first.value), type(second.value)) == (float, float)


def test_values_that_fail_half_way_are_all_missing() -> None:
    def broken(_: int, cloud: np.ndarray) -> Iterator[float]:
        yield 1.0
        raise ValueError("planted")

    values = list(per_layer(("a", "b"), [np.ones(2)], broken))
    assert values == [Value("a", None, 0, "planted"), Value("b", None, 0, "planted")]


def test_what_is_no_missing_value_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(per_layer(("a",), [0], lambda _, number: [1 / number]))


def test_a_metric_is_of_a_checkpoint_unless_it_says_otherwise() -> None:
    assert Metric("m", 1, "", lambda observation: []).kind == "checkpoint"


def test_a_layer_without_a_value_says_why_and_the_others_have_theirs() -> None:
    def largest(_: int, cloud: np.ndarray) -> list[float]:
        return [cloud.max()]  # ValueError for an empty array

    values = list(per_layer(("max",), [np.ones(2), np.ones(0), np.ones(3)], largest))
    assert [value.value for value in values] == [1.0, None, 1.0]
    assert values[1].layer == 1
    assert "zero-size array" in str(values[1].reason)


def test_too_few_values_for_the_names_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="zip"):
        list(per_layer(("a", "b"), [np.ones(2)], lambda _, cloud: [1.0]))


def test_a_kind_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="kind='pairs' is none of checkpoint, evaluation, pair, trajectory"):
        Metric("m", 1, "", lambda first, second: [], "pairs")  # type: ignore[arg-type]
