"""lm-eval's model of transformers around a model in memory: the same numbers, with less work for each checkpoint."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from metrics.evaluation.subject import CPU_BATCH_SIZE

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

AUTO = "auto"
LARGEST_BATCH = 1024  # from which lm-eval halves until it fits; it stops at 64 unless told otherwise
Request = tuple[Any, list[int], list[int]]  # what the caller knows it by, tokens of the context, of the continuation


def tokenizer(tokenizer_json: str, end_of_text: str) -> Any:
    """What AutoTokenizer gives for Pythia and GPT-2: texts begin and end with the same token."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), end_of_text)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(tokenizer_json), **special)


def precision_and_batch(device: str, batch_size: int) -> tuple[str, int | str]:
    """How models run on a type of device: float32 on CPUs, bfloat16 on GPUs with the most sequences that fit."""
    if device == "cuda":
        return "bfloat16", batch_size or AUTO
    return "float32", batch_size or CPU_BATCH_SIZE


def cast(model: PreTrainedModel, precision: str) -> PreTrainedModel:
    """The model, or a copy with its parameters in this precision. Buffers stay: positions need float32."""
    import torch

    dtype = getattr(torch, precision)
    if all(weight.dtype == dtype for weight in model.parameters()):
        return model
    weights = {id(weight): torch.nn.Parameter(weight.detach().to(dtype)) for weight in model.parameters()}
    copied = copy.deepcopy(model, dict(weights))  # what it names is taken for copied, so nothing is held twice
    copied.config.dtype = dtype
    return copied


@contextmanager
def running(lm: Any, model: PreTrainedModel, batch_size: int | str) -> Iterator[Any]:
    """``lm`` with this model, which it does not hold on to."""
    lm._model, lm._config, lm._device = model, model.config, model.device
    lm.batch_size_per_gpu, lm.batch_sizes, lm.truncated = batch_size, {}, 0
    try:
        yield lm
    finally:
        lm._model = None


@functools.cache
def in_memory() -> Any:
    """The class; lm-eval is imported when it is asked for."""
    from lm_eval.models.huggingface import HFLM

    class InMemory(HFLM):  # type: ignore[misc]
        """HFLM whose model is changed by :func:`running`, and which encodes no text twice.

        truncated: how many requests did not fit into the model's context since then.
        """

        def __init__(self, model: PreTrainedModel, tokenizer: Any) -> None:
            super().__init__(model, tokenizer=tokenizer, backend="causal", max_batch_size=LARGEST_BATCH)
            self.encoded: dict[Any, Any] = {}
            self.ids = list(range(max(tokenizer.get_vocab().values()) + 1))  # shared: an int takes 28 bytes
            self.truncated = 0

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **settings: Any) -> list[int]:
            key = (string, add_special_tokens, *settings.values())
            if key not in self.encoded:
                found = super().tok_encode(string, add_special_tokens, **settings)
                self.encoded[key] = [self.ids[token] for token in found]
            return self.encoded[key]

        def tok_batch_encode(self, strings: list[str], **settings: Any) -> Any:
            key = (*strings, *settings.items())
            if key not in self.encoded:
                self.encoded[key] = super().tok_batch_encode(strings, **settings)
            return self.encoded[key]

        def _loglikelihood_tokens(
            self, requests: Sequence[Request], disable_tqdm: bool = False, override_bs: int | None = None
        ) -> list[tuple[float, bool]]:
            return log_likelihoods(self, requests, override_bs)

    return InMemory


def log_likelihoods(lm: Any, requests: Sequence[Request], override_bs: int | None) -> list[tuple[float, bool]]:
    """Of each continuation, and whether it is the likeliest at every token: as HFLM, from the same batches.

    HFLM takes the softmax over the vocabulary at each position of the padded batch, this at those of the continuations.
    Requests that differ in the last token alone share a row.
    """
    rows: dict[tuple[int, ...], list[int]] = {}
    for index, (_, context, continuation) in enumerate(requests):
        rows.setdefault((*context, *continuation[:-1]), []).append(index)
    shared = [(max(group, key=lambda index: len(requests[index][2])), group) for group in rows.values()]
    shared.sort(key=lambda row: _longest_first(requests[row[0]]))
    automatic = lm.batch_size == AUTO and not override_bs
    if automatic:
        lm.batch_sizes = {}
        size = lm._batch_scheduler(0, [requests[first] for first, _ in shared]) if shared else 1
    else:
        size = override_bs if lm.batch_size == AUTO else lm.batch_size
    answers: list[Any] = [None] * len(requests)
    for start in range(0, len(shared), size):
        batch = shared[start : start + size]
        hits = [(row, index) for row, (_, group) in enumerate(batch) for index in group]
        found = _score(lm, [requests[first] for first, _ in batch], [(row, requests[index][2]) for row, index in hits])
        for (_, index), answer in zip(hits, found, strict=True):
            answers[index] = answer
    return answers


def _longest_first(request: Request) -> tuple[int, tuple[int, ...]]:
    tokens = (*request[1], *request[2])
    return -len(tokens), tokens


def _score(lm: Any, batch: Sequence[Request], hits: Sequence[tuple[int, list[int]]]) -> list[tuple[float, bool]]:
    """``hits``: the continuations to score, each with its row in the batch, whose own is as long or longer."""
    import torch
    from torch.nn import functional as F

    longest = lm.max_length
    for _, context, continuation in batch:
        if not (context and 0 < len(continuation) <= longest):
            raise ValueError(
                f"a request asks for {len(continuation)} tokens after {len(context)}; a model that reads {longest} "
                "answers requests for 1 or more, and at most so many, after at least one"
            )
    lm.truncated += sum(len(context) + len(continuation) > longest + 1 for _, context, continuation in batch)
    tokens = [torch.tensor((context + continuation)[-longest - 1 : -1]) for _, context, continuation in batch]
    inputs = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True).to(lm.device)
    logits: torch.Tensor = lm._model_call(inputs)
    ends = [(len(row), len(continuation)) for row, (*_, continuation) in zip(tokens, batch, strict=True)]
    picked = torch.cat([logits[row, end - count : end] for row, (end, count) in enumerate(ends)])
    scores = F.log_softmax(picked, dim=-1, dtype=lm.softmax_dtype)
    likeliest = scores.argmax(-1)
    starts = [0]
    for _, count in ends:
        starts.append(starts[-1] + count)
    targets = torch.tensor([token for _, continuation in hits for token in continuation], device=lm.device)
    first = [starts[row] + at for row, continuation in hits for at in range(len(continuation))]
    last = [starts[row + 1] - len(continuation) + at for row, continuation in hits for at in range(len(continuation))]
    lengths = [len(continuation) for _, continuation in hits]
    likelihoods = torch.split(scores[torch.tensor(first, device=lm.device), targets], lengths)
    equal = (likeliest[torch.tensor(last, device=lm.device)] == targets).tolist()
    answers, done = [], 0
    for likelihood, length in zip(likelihoods, lengths, strict=True):
        answers.append((float(likelihood.sum()), all(equal[done : done + length])))
        done += length
    return answers
