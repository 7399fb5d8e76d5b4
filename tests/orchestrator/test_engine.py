"""Joining a cluster: without its token, and where nobody answers. tests/lab joins real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import ray

from orchestrator import authentication
from orchestrator.alarm import Alarm
from orchestrator.engine import ray_running
from orchestrator.words import SpecError


def join(address: str) -> None:
    with ray_running(address, evaluators=1, distributed=False, alarm=Alarm()):
        pass


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process had none, which cannot be let in."""

    def refuse(**_: Any) -> None:
        raise ConnectionError("ray.init failed\nFailed to connect to GCS")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)


def test_a_driver_does_not_run_through_ray_client() -> None:
    with pytest.raises(SpecError, match="does not run through Ray Client"):
        join("ray://h:10001")


def test_a_cluster_is_joined_with_a_token(no_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(authentication.TOKEN, raising=False)
    monkeypatch.setenv(authentication.TOKEN_PATH, str(tmp_path / "token"))
    with pytest.raises(SpecError, match=f"there is no token in {tmp_path}/token"):
        join("10.0.0.1:6379")
    (tmp_path / "token").write_text("0" * 64)
    monkeypatch.setenv(authentication.MODE, "disabled")
    with pytest.raises(
        OSError, match=rf"no Ray cluster lets this machine in \(Failed to.* in {tmp_path}/token, the clu"
    ):
        join("10.0.0.1:6379")
    monkeypatch.setenv(authentication.TOKEN, "0" * 64)
    with pytest.raises(OSError, match="in RAY_AUTH_TOKEN, the cluster's"):
        join("10.0.0.1:6379")
