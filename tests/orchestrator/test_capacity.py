"""What there is, and what an autoscaler may bring."""

from __future__ import annotations

import pytest

from orchestrator.capacity import MOST, awaited, capacity
from orchestrator.words import SpecError


def test_without_an_autoscaler_it_is_what_is_there(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MOST, raising=False)
    most = capacity()
    assert (most["CPU"], most["evaluator"], most.get("GPU")) == (2, 2, None)
    assert awaited() is None


def test_machines_that_may_come_count(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MOST, '{"CPU": 1, "GPU": 8, "evaluator": 4}')
    most = capacity()
    assert (most["CPU"], most["GPU"], most["evaluator"], most["trial_driver"]) == (2, 8, 4, 1)
    assert awaited() == "waiting for machines: no GPU yet, of up to 8"


@pytest.mark.parametrize("text", ["4 GPUs", "[4]", '{"GPU": "many"}', '{"GPU": null}'])
def test_a_variable_that_says_nothing_is_refused(ray_session: None, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(MOST, text)
    with pytest.raises(SpecError, match=f"{MOST}=.*is JSON, such as"):
        capacity()
