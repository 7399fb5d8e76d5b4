"""What Ray Tune is given, and when."""

from __future__ import annotations

import cloudpickle
import pytest
from ray.tune.search import Searcher

from orchestrator import feed
from orchestrator.feed import Feed


def test_first_what_is_left_then_more_then_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "POLL_S", 0.0)
    answers = iter([[], ["c", "d"], None])
    lost: list[str] = []
    given = Feed(["a", "b"], lambda: next(answers), lost.append)
    found = [given.suggest(str(number)) for number in range(6)]
    assert found == [{"trial": "a"}, {"trial": "b"}, None, {"trial": "c"}, {"trial": "d"}, Searcher.FINISHED]
    given.on_trial_complete("1", error=True)
    given.on_trial_complete("0", {"state": "done"})
    assert lost == ["b"]


def test_the_store_is_not_asked_in_each_round_of_tune() -> None:
    asked = []
    given = Feed([], lambda: asked.append(1) or [], print)  # type: ignore[func-returns-value]
    assert [given.suggest("x") for _ in range(100)] == [None] * 100
    assert len(asked) == 1


def test_nothing_of_it_is_pickled() -> None:
    assert b"secret" not in cloudpickle.dumps(Feed(["secret"], lambda: ["secret"], print))
