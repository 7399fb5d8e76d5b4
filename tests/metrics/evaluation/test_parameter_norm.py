"""The norm of all parameters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from metrics.evaluation.parameter_norm import measure
from metrics.probe import Observation
from trainables import models
from trainables.config import ModelConfig


def norm(observation: Observation) -> float:
    (value,) = measure(observation)
    assert value.value is not None
    return value.value


def test_three_and_four_make_five(observation: Callable[..., Observation]) -> None:
    assert norm(observation(weights={"a": np.array([[3.0]]), "b": np.array([0.0, -4.0])})) == 5.0


def test_float32_weights_are_summed_in_float64(observation: Callable[..., Observation]) -> None:
    weights = np.full(10**6, 1e-3, dtype=np.float32)
    weights[0] = 1e4
    expected = np.sqrt(np.square(weights.astype(np.longdouble)).sum())
    assert norm(observation(weights={"a": weights})) == pytest.approx(float(expected), rel=1e-12)


def test_the_norm_of_a_model_is_torchs(observation: Callable[..., Observation], tiny_model: ModelConfig) -> None:
    model = models.build(tiny_model, init_seed=0)
    weights = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    expected = torch.nn.utils.parameters_to_vector(model.parameters()).double().norm().item()
    assert norm(observation(weights=weights)) == pytest.approx(expected, rel=1e-12)
