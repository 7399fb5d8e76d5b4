"""What an evaluation gets: a checkpoint's model in memory, its tokenizer, and how it is to be evaluated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class EvaluationSettings:
    """How evaluations run; all but ``log_samples`` may change their numbers.

    data: local copies of data sets, each ``task:path``; limit: only so many items of a task, the first; num_fewshot:
    solved examples before each item, of tasks that do not fix their number; batch_size: sequences at once, 0 for the
    most that fit on a GPU and ``CPU_BATCH_SIZE`` elsewhere; log_samples: keep what was found of each item.
    """

    data: tuple[str, ...] = ()
    limit: int | None = None
    num_fewshot: int | None = None
    batch_size: int = 0
    log_samples: bool = False


CPU_BATCH_SIZE = 16


@dataclass(frozen=True)
class Subject:
    """A checkpoint to be evaluated.

    model: a causal language model in evaluation mode, float32, on the device to use; it is others' too and must be left
    as it was; tokenizer_json, end_of_text: what the model's tokens mean; warm: what evaluations keep from one
    checkpoint to the next of models with the same tokenizer, each under a key of its own.
    """

    model: PreTrainedModel
    tokenizer_json: str
    end_of_text: str
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    warm: dict[str, Any] = field(default_factory=dict)
