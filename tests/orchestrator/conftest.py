"""A published model's trial, as plain data."""

from __future__ import annotations

import pytest

from trainables.config import PublishedConfig, Revision
from trainables.models import MODELS


@pytest.fixture(scope="session")
def published_trial() -> PublishedConfig:
    """Of a pythia-14m with revisions at steps 0, 1, 2 and 8; step 4 is missing."""
    revisions = tuple(Revision(step, f"step{step}", None if step == 4 else "c" * 40) for step in (0, 1, 2, 4, 8))
    return PublishedConfig(MODELS["pythia-14m"], "pythia-14m", 1234, 1234, 1234, revisions, "tokens", 64, 2**21)
