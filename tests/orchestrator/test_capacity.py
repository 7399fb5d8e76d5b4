"""What there is, and what an autoscaler may bring."""

from __future__ import annotations

import pytest
import ray

from orchestrator.capacity import awaited, capacity


def autoscaler(monkeypatch: pytest.MonkeyPatch, may_bring: dict[str, int] | None) -> None:
    state = ray._private.state.state
    monkeypatch.setattr(state, "get_max_resources_from_cluster_config", lambda: may_bring)


def test_without_an_autoscaler_it_is_what_is_there(ray_session: None) -> None:
    most = capacity()
    assert (most["CPU"], most["evaluator"], most.get("GPU")) == (2, 2, None)
    assert awaited() is None


def test_machines_that_may_come_count(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    autoscaler(monkeypatch, {"CPU": 1, "GPU": 8, "evaluator": 4})
    most = capacity()
    assert (most["CPU"], most["GPU"], most["evaluator"], most["trial_driver"]) == (2, 8, 4, 1)
    assert awaited() == "waiting for machines: no GPU yet, of up to 8"
