"""Observations made by hand, and checkpoints of a model small enough to measure in no time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import settings

from metrics.probe import Observation, ProbeSet
from trainables import models
from trainables.config import ModelConfig

settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.load_profile("reproducible")


@pytest.fixture(scope="session")
def tiny_model() -> ModelConfig:
    return models.gpt_neox("tiny", 2, 16, 2, vocab_size=300, context=16, learning_rate=3e-3)


@pytest.fixture(scope="session")
def observation() -> Callable[..., Observation]:
    """An observation of two sequences of two targets, of domains a and b, with what is given in place of zeros."""

    def make(**given: object) -> Observation:
        target_bytes = given.pop("target_bytes", np.ones((2, 2), dtype=np.int64))
        probe_set = ProbeSet(np.zeros((2, 3), dtype=np.uint16), ("a", "b"), target_bytes, np.arange(4))  # type: ignore[arg-type]
        default = {
            "loss": np.zeros((2, 2)),
            "hidden_states": np.zeros((3, 4, 2)),
            "attention": np.broadcast_to(np.eye(2, dtype=np.float32), (2, 2, 1, 2, 2)),
            "weights": {},
        }
        return Observation(probe_set, **default | given)  # type: ignore[arg-type]

    return make
