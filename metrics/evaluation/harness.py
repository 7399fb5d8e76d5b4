"""Tasks of lm-eval, the field's own harness, run on a checkpoint's model in memory."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator

from metrics.base import About, Items, Metric, Value
from metrics.evaluation.subject import Subject

COMMON_TASKS = (
    "wikitext",
    "lambada_openai",
    "hellaswag",
    "winogrande",
    "truthfulqa_mc1",
    "truthfulqa_mc2",
    "mrpc",
)
DATA_VARIABLE = "TOPOSWEEP_EVALUATION_DATA"


@functools.cache
def metric(task: str) -> Metric:
    """A task of lm-eval as a metric; its values are named ``task/acc`` and so on."""
    return Metric(task, 1, f"lm-eval's {task}", functools.partial(measure, task), kind="evaluation")


def require_known(tasks: Iterable[str]) -> None:
    """Raises ValueError, with the nearest name, for what is no task, group or tag of lm-eval."""


def words_of_environment() -> tuple[str, ...]:
    """What ``TOPOSWEEP_EVALUATION_DATA`` says: words as :func:`sources` takes them, separated by commas."""
    return tuple(word for word in os.environ.get(DATA_VARIABLE, "").split(",") if word)


def sources(data: Iterable[str]) -> dict[str, str]:
    """Local copies of data sets by task, from the words ``task:path``. Raises ValueError for others."""
    return {}


def measure(task: str, subject: Subject) -> Iterator[Value | Items | About]:
    raise NotImplementedError
