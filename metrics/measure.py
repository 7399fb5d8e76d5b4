"""Measure one checkpoint: load once, one forward pass, every metric asked for."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import metrics
from metrics.base import Metric
from metrics.probe import Observation, ProbeSet, observe
from trainables import checkpoint, models
from trainables import tokenizers as tokenizing
from trainables.config import TrialConfig
from trainables.storage import CorruptFileError, Folder
from trainables.token_store import TokenStore

Measurement = dict[
    str, Any
]  # {"metric", "version", "status", "reason", "seconds", "values": [[name, layer, value, reason]]}


def probe_set(store: TokenStore, *, n_sequences: int, n_points: int) -> ProbeSet:
    """The probe set of a token store: the first sequences of its validation split."""
    from tokenizers import Tokenizer

    blocks = store.held_out("validation", n_sequences)
    tokenizer = Tokenizer.from_str(store.read_tokenizer())
    lengths = tokenizing.token_bytes(tokenizer, store.meta["vocab_size"])
    return ProbeSet.of(blocks.tokens, blocks.domains, lengths, n_points=n_points)


@dataclass(frozen=True)
class Measurer:
    """Measures checkpoints of trials that share a token store; keeps the probe set between them."""

    probe_set: ProbeSet

    def measure(self, config: TrialConfig, trial: Folder, step: int, names: Iterable[str]) -> list[Measurement]:
        """One measurement per metric named, also where a metric failed.

        Raises CorruptFileError where the checkpoint cannot be read; it then no longer counts as one, and is planned.
        """
        try:
            weights = checkpoint.load_weights(trial, step)
        except (CorruptFileError, FileNotFoundError) as error:
            checkpoint.set_aside(trial, step)
            raise CorruptFileError(f"{error}; run again, and the trial trains again what is missing") from error
        model = models.build(config.model)
        model.load_state_dict(weights)
        observation = observe(model, self.probe_set)
        return [_measured(metrics.registry()[name], observation) for name in names]


def _measured(metric: Metric, observation: Observation) -> Measurement:
    began = time.perf_counter()
    values: list[list[Any]] = []
    status, reason = "ok", None
    try:
        for value in metric.measure(observation):
            number = None if value.value is None else float(value.value)  # a metric may yield NumPy's or torch's
            why = value.reason
            if number is not None and not np.isfinite(number):
                number, why = None, f"the value is {number}"
            values.append([value.metric, None if value.layer is None else int(value.layer), number, why])
    except Exception:
        status, reason, values = "failed", traceback.format_exc(), []
    seconds = time.perf_counter() - began
    return {
        "metric": metric.name,
        "version": metric.version,
        "status": status,
        "reason": reason,
        "seconds": seconds,
        "values": values,
    }
