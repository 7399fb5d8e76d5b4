"""Checks: each is noted, one cause is explained once, and none lasts for ever."""

from __future__ import annotations

import threading
import time

import pytest

from preflight.check import Check, Checklist, Problem, explained
from trainables import hub
from trainables.shards import ShardError


def failing(error: Exception) -> str:
    raise error


def test_what_is_found_is_noted_and_told_at_once() -> None:
    told: list[Check] = []
    checklist = Checklist(told.append)
    found = checklist.run("disk", lambda: "3 GB free")
    assert checklist.checks == told == [found] == [Check("disk", True, "3 GB free")]
    assert checklist.passed == 1


def test_a_failure_stops_only_what_needs_it_and_is_explained_once() -> None:
    checklist = Checklist()
    first = checklist.run("network", lambda: failing(Problem("is down", "plug it in")), otherwise="wait")
    second = checklist.run("model", lambda: "never asked", needs=[first])
    third = checklist.run("weights", lambda: "never asked", needs=[second])
    other = checklist.run("disk", lambda: "fine")
    assert first == Check("network", False, "is down", "plug it in; or wait")
    assert second == Check("model", False, "not tried: network failed")
    assert third.found == second.found
    assert other.passed


@pytest.mark.parametrize(
    ("error", "cause", "mend"),
    [
        (Problem("a", "b"), "a", "b"),
        (
            ValueError("tokenizer x: does not fit; choose another; or none"),
            "tokenizer x: does not fit",
            "choose another; or none",
        ),
        (ShardError("no mend is known"), "no mend is known", ""),
        (KeyError("surprise"), "KeyError: 'surprise'", ""),
        (OSError("disk is gone\nand more"), "disk is gone", ""),
    ],
)
def test_causes_and_mends_are_told_apart(error: Exception, cause: str, mend: str) -> None:
    assert explained(error) == (cause, mend)


def test_what_the_hubs_client_raised_is_explained_through_our_own_error() -> None:
    with pytest.raises(hub.HubError) as wrapped, hub.explained("org/model"):
        raise ConnectionError("refused")
    cause, mend = explained(wrapped.value)
    assert "cannot be reached (ConnectionError: refused)" in cause
    assert mend.startswith("check the network")


def test_a_check_that_does_not_end_is_given_up() -> None:
    release = threading.Event()
    began = time.perf_counter()
    found = Checklist().run("slow", lambda: str(release.wait(60)), seconds=0.2)
    release.set()
    assert time.perf_counter() - began < 10
    assert (found.passed, found.found) == (False, "no answer within 0.2 s")
    assert "HF_ENDPOINT to a mirror" in found.mend
