"""Protobufs that TensorBoard itself reads back."""

from __future__ import annotations

import numpy as np
import pytest
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.histogram import summary_v2
from tensorboard.util.tensor_util import make_ndarray

from orchestrator.tensorboard import summaries


def test_a_histogram_is_as_tensorboards_own() -> None:
    """Its own takes the data and makes buckets of one width."""
    data = np.random.default_rng(0).normal(size=500)
    (theirs,) = summary_v2.histogram_pb("norms", data, buckets=7).value
    counts, edges = np.histogram(data, bins=7)
    (ours,) = summaries.histogram("norms", list(edges), list(counts)).value
    assert (ours.tag, ours.metadata) == (theirs.tag, theirs.metadata)
    assert make_ndarray(ours.tensor) == pytest.approx(make_ndarray(theirs.tensor))


def test_a_layout_has_its_charts_by_category() -> None:
    (value,) = summaries.layout({"One": {"a": "x$", "b": "y$"}, "Two": {"c": "z$"}}).value
    found = layout_pb2.Layout.FromString(make_ndarray(value.tensor).item())
    charts = [(one.title, one.closed, [(c.title, list(c.multiline.tag)) for c in one.chart]) for one in found.category]
    assert charts == [("One", False, [("a", ["x$"]), ("b", ["y$"])]), ("Two", True, [("c", ["z$"])])]
    assert value.metadata.plugin_data.plugin_name == "custom_scalars"


def test_scalars_are_by_tag() -> None:
    found = summaries.scalars({"a": 1.5, "b/layer_1": -2.0})
    assert [(value.tag, value.simple_value) for value in found.value] == [("a", 1.5), ("b/layer_1", -2.0)]
