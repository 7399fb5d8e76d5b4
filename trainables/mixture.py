"""Domain mixtures: which blocks of a stream are taken, so that each domain has its share of the training tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from trainables.shards import ShardError

WAITING = 1024  # blocks of a domain that are held for their turn; 4 MB at 2049 uint16 tokens. More are passed over
PATIENCE = 100_000  # documents after which a domain that has not appeared is taken for misspelt


def parse(parts: Sequence[str]) -> dict[str, float]:
    """``("Github:1", "Wikipedia (en):3")`` as shares of the tokens that add up to 1. Raises ValueError."""
    weights: dict[str, float] = {}
    for part in parts:
        domain, colon, number = part.rpartition(":")
        try:
            weight = float(number)
        except ValueError:
            weight = -1.0
        if not colon or not domain.strip() or not 0 < weight < float("inf"):
            raise ValueError(f"{part!r} is not DOMAIN:WEIGHT with a positive weight, for example Github:1")
        if domain.strip() in weights:
            raise ValueError(f"{domain.strip()!r} is given twice")
        weights[domain.strip()] = weight
    total = sum(weights.values())
    shares = {domain: weight / total for domain, weight in sorted(weights.items())}
    if nothing := [domain for domain, share in shares.items() if not share]:
        raise ValueError(f"the share of {nothing[0]} is too small for a number; give weights nearer each other")
    return shares


@dataclass
class Mixer:
    """Takes blocks of a stream so that at every moment the domains' shares are as near to ``shares`` as whole blocks
    allow. What is taken up to a block is a function of the stream up to there, so a longer ingestion only adds blocks.

    Domains without a share are left out; of those of which the stream has more than their share, the surplus is.
    """

    shares: dict[str, float]
    _waiting: dict[str, deque[np.ndarray]] = field(default_factory=dict)
    _taken: dict[str, int] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _documents: int = 0

    def take(self, domain: str, blocks: Iterable[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """The blocks whose turn it is, now that ``domain`` has these. Call it once a document, also without a block.

        Raises ShardError for a domain that never appears.
        """
        self._documents += 1
        if domain in self.shares:
            queue = self._waiting.setdefault(domain, deque())
            queue.extend(blocks)
            while len(queue) > WAITING:
                queue.pop()
        while self._waiting.get(turn := self._next()):
            self._taken[turn] = self._taken.get(turn, 0) + 1
            yield turn, self._waiting[turn].popleft()
        self._seen.add(domain)
        if self._documents == PATIENCE:
            self.check()

    def check(self) -> None:
        """Raises ShardError where a domain has not appeared so far."""
        if absent := self.shares.keys() - self._waiting.keys():
            raise ShardError(
                f"mixture: no document of {', '.join(sorted(absent))} among the first {self._documents:,}; "
                f"there were {', '.join(sorted(self._seen))}"
            )

    def _next(self) -> str:
        """The domain that is furthest behind its share."""
        total = sum(self._taken.values()) + 1
        return max(self.shares, key=lambda domain: self.shares[domain] * total - self._taken.get(domain, 0))
