"""The common tasks' data sets with made-up rows, served by the Hub's stand-in, and a model to evaluate."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from metrics.evaluation.subject import EvaluationSettings, Subject
from tests import hub_content
from tests.hub import Hub
from tests.hub_content import END_OF_TEXT, parquet_dataset

ITEMS = 12
CONTEXT = 96
VOCABULARY = 301  # odd: no row of logits is aligned as another


def words(rng: random.Random, count: int) -> str:
    syllables = [a + b for a in "bdklmnrst" for b in "aeiou"]
    return " ".join("".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(count))


def rows() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Of each common data set by split, in the columns of the genuine ones."""
    rng = random.Random(0)

    def some(make: Callable[[], dict[str, Any]], count: int = ITEMS) -> list[dict[str, Any]]:
        return [make() for _ in range(count)]

    def ending() -> dict[str, Any]:
        context, more = words(rng, 6), words(rng, 2)
        return {
            "ind": rng.randrange(99),
            "activity_label": words(rng, 2),
            "ctx_a": context,
            "ctx_b": more,
            "ctx": f"{context} {more}",
            "endings": [words(rng, rng.randint(1, 5)) for _ in range(4)],
            "label": str(rng.randrange(4)),
        }

    def blank() -> dict[str, Any]:
        sentence = f"{words(rng, 4)} _ {words(rng, 3)}."
        return {"sentence": sentence, "option1": words(rng, 1), "option2": words(rng, 1), "answer": rng.choice("12")}

    def truths(count: int, right: int) -> dict[str, Any]:
        return {"choices": [words(rng, 4) for _ in range(count)], "labels": [1] * right + [0] * (count - right)}

    def pair() -> dict[str, Any]:
        sentences = {"sentence1": words(rng, 9), "sentence2": words(rng, 8)}
        return {**sentences, "label": rng.randrange(2), "idx": rng.randrange(999)}

    long = words(rng, 300)  # several windows of the model's context
    return {
        "wikitext": {split: [{"page": f" = {words(rng, 2)} = \n {long} "}] for split in ("train", "validation")}
        | {"test": [{"page": f" = A = \n {text} @-@ 3"} for text in (long, words(rng, 40), words(rng, 5))]},
        "lambada_openai": {"test": some(lambda: {"text": words(rng, rng.randint(5, 30))})},
        "hellaswag": {split: some(ending) for split in ("train", "validation")},
        "winogrande": {split: some(blank) for split in ("train", "validation")},
        "truthfulqa": {
            "validation": some(
                lambda: {"question": words(rng, 6), "mc1_targets": truths(4, 1), "mc2_targets": truths(5, 2)}
            )
        },
        "mrpc": {split: some(pair) for split in ("train", "validation", "test")},
    }


REPOSITORIES = {
    "wikitext": ("EleutherAI/wikitext_document_level", "wikitext-2-raw-v1"),
    "lambada_openai": ("EleutherAI/lambada_openai", "default"),
    "hellaswag": ("Rowan/hellaswag", "default"),
    "winogrande": ("allenai/winogrande", "winogrande_xl"),
    "truthfulqa": ("truthfulqa/truthful_qa", "multiple_choice"),
    "mrpc": ("nyu-mll/glue", "mrpc"),
}


@pytest.fixture
def served(hub: Hub) -> Hub:
    for name, splits in rows().items():
        repository, config = REPOSITORIES[name]
        hub.add(repository, parquet_dataset({config: splits}), repo_type="dataset")
    return hub


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As evaluators have it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model(seed: int = 0, context: int = CONTEXT) -> GPTNeoXForCausalLM:
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        initializer_range=0.3,  # far from the uniform, so that numbers differ
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPTNeoXForCausalLM(config).eval()


TOKENIZER = hub_content.tokenizer_files(VOCABULARY)


@pytest.fixture
def subject() -> Callable[..., Subject]:
    """A subject with a model of this seed, and settings as given."""

    def make(seed: int = 0, warm: dict[str, Any] | None = None, context: int = CONTEXT, **settings: Any) -> Subject:
        kept = {} if warm is None else warm
        text = TOKENIZER["tokenizer.json"].decode()
        return Subject(model(seed, context), text, END_OF_TEXT, EvaluationSettings(**settings), kept)

    return make
