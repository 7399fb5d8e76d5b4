"""What event files hold, as TensorBoard's protobufs: scalars, histograms, images, and a layout of charts.

TensorBoard makes histograms and layouts of its own by TensorFlow, which is not installed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as of_layouts
from tensorboard.plugins.histogram import metadata as of_histograms
from tensorboard.util.tensor_util import make_tensor_proto


def scalars(values: Mapping[str, float]) -> Summary:
    """Values by tag."""
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


def histogram(tag: str, edges: Sequence[float], counts: Sequence[float]) -> Summary:
    """Buckets between neighbouring ``edges``, one more than there are ``counts``, ascending."""
    buckets = np.column_stack([edges[:-1], edges[1:], counts])
    tensor = make_tensor_proto(buckets, dtype=np.float64)
    metadata = of_histograms.create_summary_metadata(display_name=None, description=None)
    return Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])


def image(tag: str, png: bytes) -> Summary:
    """A PNG with an alpha channel."""
    width, height = struct.unpack(">II", png[16:24])
    shown = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=4)
    return Summary(value=[Summary.Value(tag=tag, image=shown)])


def layout(categories: Mapping[str, Mapping[str, str]]) -> Summary:
    """Charts by their title, each a regular expression of the tags that it shows, by category.

    The first category is open, the others once they are clicked at: a browser asks for each chart and run by itself.
    """
    found = layout_pb2.Layout(
        category=[
            layout_pb2.Category(
                title=title,
                closed=index > 0,
                chart=[
                    layout_pb2.Chart(title=name, multiline=layout_pb2.MultilineChartContent(tag=[tags]))
                    for name, tags in charts.items()
                ],
            )
            for index, (title, charts) in enumerate(categories.items())
        ]
    )
    tensor = make_tensor_proto(np.array(found.SerializeToString(), dtype=object))
    return Summary(
        value=[
            Summary.Value(
                tag=of_layouts.CONFIG_SUMMARY_TAG, tensor=tensor, metadata=of_layouts.create_summary_metadata()
            )
        ]
    )
