"""The language model in memory is lm-eval's own, bit for bit, with less work."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from metrics.evaluation import language_model
from metrics.evaluation.subject import CPU_BATCH_SIZE
from tests.hub_content import END_OF_TEXT
from tests.metrics.evaluation.conftest import TOKENIZER, model, words

JSON = TOKENIZER["tokenizer.json"].decode()


def requests(kind: str, count: int = 40) -> list[Instance]:
    """Of many lengths, some longer than the context; some share a context and differ in one token; some have none."""
    rng = random.Random(3)
    texts = []
    for index in range(count):
        context = words(rng, rng.randint(1, 60)) if index % 7 else ""
        texts += [(context, f" {words(rng, rng.randint(1, 4))}"), (context, " a"), (context, " b"), (context, " ba")]
    if kind == "loglikelihood_rolling":
        texts = [(words(rng, rng.randint(1, 200)),) for _ in range(count)]  # type: ignore[misc]
    return [Instance(kind, {}, text, 0) for text in texts]  # type: ignore[arg-type]


def theirs(seed: int, **settings: Any) -> Any:
    return HFLM(model(seed), tokenizer=language_model.tokenizer(JSON, END_OF_TEXT), **settings)


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling"])
@pytest.mark.parametrize("batch_size", [1, 3, 16, "auto"])
def test_log_likelihoods_are_lm_evals_bit_for_bit(
    kind: str, batch_size: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_model, "LARGEST_BATCH", 32)
    asked = requests(kind, 10 if batch_size == "auto" else 40)  # it tries its batches out
    lm = language_model.in_memory()(model(0), language_model.tokenizer(JSON, END_OF_TEXT))
    for seed in (0, 1):
        with language_model.running(lm, model(seed), batch_size):
            found = getattr(lm, kind)(asked, disable_tqdm=True)
        same = theirs(seed, batch_size=batch_size, max_batch_size=32)
        assert found == getattr(same, kind)(asked, disable_tqdm=True)
    assert lm.batch_sizes == ({0: 32} if batch_size == "auto" and kind == "loglikelihood" else {})


def test_some_requests_are_cut_and_counted() -> None:
    asked = requests("loglikelihood")
    lm = language_model.in_memory()(model(0), language_model.tokenizer(JSON, END_OF_TEXT))
    with language_model.running(lm, model(0), 16):
        lm.loglikelihood(asked, disable_tqdm=True)
        encoded = [lm._encode_pair(*one.args) if one.args[0] else ([0], lm.tok_encode(one.args[1])) for one in asked]
    whole = {tuple(a + b[:-1]) for a, b in encoded if len(a + b) > 97}
    assert lm.truncated == len(whole) > 0


@pytest.mark.parametrize("asked", [("a", ""), ("a", words(random.Random(0), 99))])
def test_what_the_model_cannot_answer_is_refused(asked: tuple[str, str]) -> None:
    lm = language_model.in_memory()(model(0), language_model.tokenizer(JSON, END_OF_TEXT))
    with (
        language_model.running(lm, model(0), 16),
        pytest.raises(ValueError, match="a model that reads 96 answers requests for 1 or more"),
    ):
        lm.loglikelihood([Instance("loglikelihood", {}, asked, 0)], disable_tqdm=True)


def test_generated_text_is_lm_evals() -> None:
    asked = [Instance("generate_until", {}, (words(random.Random(n), 5), {"max_gen_toks": 8}), 0) for n in range(5)]
    lm = language_model.in_memory()(model(0), language_model.tokenizer(JSON, END_OF_TEXT))
    for seed in (1, 0):
        with language_model.running(lm, model(seed), 2):
            found = lm.generate_until(asked, disable_tqdm=True)
        assert found == theirs(seed, batch_size=2).generate_until(asked, disable_tqdm=True)
        assert any(found)


def test_the_tokenizer_is_what_auto_tokenizer_gives(tmp_path: Path) -> None:
    for name, content in TOKENIZER.items():
        (tmp_path / name).write_bytes(content)
    ours, auto = language_model.tokenizer(JSON, END_OF_TEXT), AutoTokenizer.from_pretrained(tmp_path)
    for name in ("bos_token_id", "eos_token_id", "unk_token_id", "vocab_size", "padding_side"):
        assert getattr(ours, name) == getattr(auto, name)
    texts = [words(random.Random(n), 9) for n in range(9)] + ["", "  x\n\ny ", f"a{END_OF_TEXT}b", "é 字"]
    assert [ours.encode(text) for text in texts] == [auto.encode(text) for text in texts]
    assert ours.decode([0]) == auto.decode([0]) == END_OF_TEXT


@pytest.mark.parametrize(
    ("device", "batch_size", "expected"),
    [
        ("cpu", 0, ("float32", CPU_BATCH_SIZE)),
        ("cpu", 5, ("float32", 5)),
        ("cuda", 0, ("bfloat16", "auto")),
        ("cuda", 5, ("bfloat16", 5)),
    ],
)
def test_precision_and_batch_follow_the_device(device: str, batch_size: int, expected: tuple[str, int | str]) -> None:
    assert language_model.precision_and_batch(device, batch_size) == expected


def test_a_copy_in_bfloat16_is_the_model_loaded_so(tmp_path: Path) -> None:
    """Its buffers stay in float32, as from_pretrained leaves them: rotary positions would be wrong."""
    own = model(0)
    before = {name: weight.clone() for name, weight in own.state_dict().items()}
    own.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    copied = language_model.cast(own, "bfloat16")
    for mine, other in zip(copied.named_parameters(), loaded.named_parameters(), strict=True):
        assert mine[0] == other[0]
        assert mine[1].dtype == torch.bfloat16
        assert torch.equal(mine[1], other[1])
    tokens = torch.arange(90)[None]
    with torch.no_grad():
        assert torch.equal(copied(tokens).logits, loaded(tokens).logits)
    assert own.dtype == torch.float32
    assert own.config.dtype != torch.bfloat16
    assert all(torch.equal(before[name], weight) for name, weight in own.state_dict().items())
    assert language_model.cast(own, "float32") is own
