"""One Ray for the whole test session, and one small finished sweep that tests read or copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

import sweep

SMALL = ["seeds=0,1", "budgets=6steps,12steps", "batch_size=4", "probe_sequences=16", "probe_points=48"]


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A Ray of this session's own, whatever else runs on the machine; the driver uses it because it is running."""
    ray.init(
        address="local",
        num_cpus=2,
        resources={"evaluator": 2, "trial_driver": 1},
        include_dashboard=True,  # distributed trials need it to free their placement groups
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def finished(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a finished sweep: 2 seeds x 2 budgets. Read only; :func:`store_copy` is for changing."""
    path = tmp_path_factory.mktemp("finished") / "store"
    assert sweep.main(["run", "quickstart", "--store", str(path), *SMALL]) == 0
    return path


@pytest.fixture
def store_copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "store"))
