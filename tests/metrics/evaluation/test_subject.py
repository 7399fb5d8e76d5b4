"""What the settings of evaluations mean where nothing is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metrics.base import About, Items
from metrics.evaluation import harness
from metrics.evaluation.subject import CPU_BATCH_SIZE, EvaluationSettings, Subject
from tests.hub import Hub
from tests.metrics.evaluation.conftest import ITEMS


def test_defaults_evaluate_every_item_of_the_hub_and_keep_none(served: Hub, subject: Callable[..., Subject]) -> None:
    found = list(harness.measure("winogrande", subject()))
    said: dict[str, Any] = dict(next(one.details for one in found if isinstance(one, About)))
    assert (said["items"], said["limit"], said["num_fewshot"]) == (ITEMS, None, "0")
    assert said["batch_size"] == str(CPU_BATCH_SIZE)
    assert said["data"].startswith("allenai/winogrande winogrande_xl at ")
    assert not [one for one in found if isinstance(one, Items)]


def test_each_subject_keeps_its_own_warmth_unless_it_is_given_one() -> None:
    first, second = (Subject(None, "", "") for _ in range(2))  # type: ignore[arg-type]
    assert first.settings == second.settings == EvaluationSettings()
    assert first.warm is not second.warm
