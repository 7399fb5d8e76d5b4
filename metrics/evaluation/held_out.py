"""Held-out loss, perplexity and bits per byte, overall and per domain."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from metrics.base import Metric, Value
from metrics.probe import Observation


def bits_per_byte(loss: np.ndarray, target_bytes: np.ndarray) -> float:
    """Bits per byte of text: nats of all targets that stand for text, over ln 2 and their bytes.

    loss: nats per target, any shape; target_bytes: same shape. Special tokens (0 bytes) count on neither side, so that
    models of different tokenizers compare. Raises ValueError where the targets hold no text.
    """
    text = target_bytes > 0
    if not text.any():
        raise ValueError("no target stands for text, so bits per byte has no meaning")
    return float(loss[text].sum() / np.log(2) / target_bytes[text].sum())


def measure(observation: Observation) -> Iterator[Value]:
    probe_set = observation.probe_set
    domains = np.array(probe_set.domains)
    groups = {"": np.ones(len(domains), dtype=bool)}
    groups |= {f"/{domain}": domains == domain for domain in sorted(set(probe_set.domains))}
    for suffix, chosen in groups.items():
        mean = float(observation.loss[chosen].mean())
        yield Value(f"held_out_loss{suffix}", mean)
        yield Value(f"perplexity{suffix}", float(np.exp(mean)))
        try:
            yield Value(
                f"bits_per_byte{suffix}", bits_per_byte(observation.loss[chosen], probe_set.target_bytes[chosen])
            )
        except ValueError as error:
            yield Value(f"bits_per_byte{suffix}", None, reason=str(error))


METRIC = Metric("held_out", 1, "held-out loss (nats/token), perplexity, bits per byte; overall and per domain", measure)
