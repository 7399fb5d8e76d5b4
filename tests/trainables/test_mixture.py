"""Mixtures: the shares asked for, at every moment, and the same blocks however far the stream is read."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables import mixture
from trainables.mixture import Mixer, parse
from trainables.shards import ShardError


def test_weights_become_shares_whatever_their_order() -> None:
    assert parse(("Github:1", "Wikipedia (en):3")) == {"Github": 0.25, "Wikipedia (en)": 0.75}
    assert list(parse(("b:1", "a:1"))) == ["a", "b"]
    assert parse(()) == {}


@pytest.mark.parametrize("part", ["Github", "Github:", ":1", "Github:0", "Github:-1", "Github:inf", "Github:nan", ""])
def test_what_is_no_weight_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match="DOMAIN:WEIGHT"):
        parse((part,))


def test_a_domain_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        parse(("a:1", "a:2"))


def stream(domains: str) -> Iterator[tuple[str, np.ndarray]]:
    """A block for each letter, which says which of its domain it is."""
    seen: Counter[str] = Counter()
    for domain in domains:
        seen[domain] += 1
        yield domain, np.array([ord(domain), seen[domain]])


def taken(shares: dict[str, float], domains: str) -> list[tuple[str, int]]:
    mixer = Mixer(shares)
    found = [pair for domain, block in stream(domains) for pair in mixer.take(domain, [block])]
    return [(domain, int(block[1])) for domain, block in found]


@given(
    weights=st.lists(st.integers(1, 20), min_size=2, max_size=4),
    domains=st.lists(st.sampled_from("abcde"), max_size=300).map("".join),
)
def test_shares_are_kept_within_a_block_of_each_domain(weights: list[int], domains: str) -> None:
    shares = {domain: weight / sum(weights) for domain, weight in zip("abcd", weights, strict=False)}
    found = taken(shares, domains)
    for length in range(1, len(found) + 1):
        counts = Counter(domain for domain, _ in found[:length])
        assert all(counts[domain] < share * length + 1 for domain, share in shares.items())
    for domain in shares:  # each domain's blocks are taken in order, none twice
        assert [number for name, number in found if name == domain] == list(
            range(1, sum(name == domain for name, _ in found) + 1)
        )


@given(domains=st.lists(st.sampled_from("abc"), max_size=100).map("".join), cut=st.integers(0, 100))
def test_reading_on_only_adds_blocks(domains: str, cut: int) -> None:
    shares = {"a": 0.2, "b": 0.8}
    assert taken(shares, domains)[: len(taken(shares, domains[:cut]))] == taken(shares, domains[:cut])


def test_what_has_no_share_is_left_out() -> None:
    assert [name for name, _ in taken({"a": 1.0}, "abcab")] == ["a", "a"]


def test_no_more_than_so_many_blocks_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "WAITING", 3)
    mixer = Mixer({"a": 0.5, "b": 0.5})
    early = list(itertools.chain(*(mixer.take(name, [block]) for name, block in stream("a" * 10))))
    late = list(itertools.chain(*(mixer.take(name, [block]) for name, block in stream("b" * 9))))
    assert [int(block[1]) for name, block in early + late if name == "a"] == [1, 2, 3, 4]


def test_a_domain_that_never_appears_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "PATIENCE", 5)
    with pytest.raises(ShardError, match="no document of GitHub among the first 5; there were a"):
        taken({"GitHub": 0.5, "a": 0.5}, "aabaa")
