"""Texts of the command line become typed fields."""

from __future__ import annotations

import pytest

from orchestrator.overrides import override
from orchestrator.words import SpecError
from search_spaces.quickstart import search_space
from trainables.budget import Budget

BASE = search_space()


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("seeds=4, 5", "seeds", (4, 5)),
        ("metrics=none", "metrics", ()),
        ("budgets=1e9,3steps", "budgets", (Budget(1e9), Budget(3, "steps"))),
        ("learning_rate=2e-4", "learning_rate", 2e-4),
        ("limit=none", "limit", None),
        ("limit=100", "limit", 100),
        ("log_samples=True", "log_samples", True),
        ("log_samples=false", "log_samples", False),
        ("schedule=cosine", "schedule", "cosine"),
        ("evaluation_data=mrpc:~/a b.tsv", "evaluation_data", ()),
    ],
)
def test_each_text_is_read_as_its_fields_type(
    text: str, field: str, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if field == "evaluation_data":
        path = tmp_path_factory.mktemp("data") / "a b.tsv"
        path.write_text("")
        text, value = f"evaluation_data=mrpc:{path}", (f"mrpc:{path}",)
    assert getattr(override(BASE, [text]), field) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("log_samples=yes", "'yes' is neither true nor false"),
        ("limit=few", "'few' is not a whole number"),
        ("limit=0", "must be positive"),
        ("num_fewshot=-1", "must not be negative"),
        ("evaluation_batch_size=-2", "must not be negative"),
        ("evaluator_gpus=-1", "must not be negative"),
        ("metrics=lambada_openai", "metrics=lambada_openai: unknown"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        override(BASE, [text])
    assert said in str(error.value)
