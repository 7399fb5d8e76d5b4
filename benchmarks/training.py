"""What the training loop costs beside a bare PyTorch loop on the same model, data in memory, nothing logged or kept.

    python benchmarks/training.py [--model neox-280k] [--seq-len 128] [--batch-size 8] [--steps 30] [--repeats 3]

Runs on the GPU where there is one, without Ray. Each loop is timed over 5 steps and over 5 + STEPS; the difference is
STEPS steps without start and warm-up. Both take copies of one untrained model, since drawing the weights of a large one
takes seconds, and neither keeps checkpoints here; what one costs is timed apart.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from tokenizers.models import BPE

from orchestrator.overrides import override
from search_spaces import find
from trainables import checkpoint, models, packing
from trainables.config import TrialConfig
from trainables.corpus import SPLITS
from trainables.pretrain import pretrain
from trainables.schedules import learning_rate
from trainables.storage import Folder
from trainables.token_spec import TokenSpec
from trainables.token_store import TokenStore
from trainables.tokenizers import END_OF_TEXT

FIRST = 5
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def trial_config(options: argparse.Namespace, steps: int) -> TrialConfig:
    shape = [f"model={options.model}", f"seq_len={options.seq_len}", f"batch_size={options.batch_size}"]
    settings = [*shape, f"threads={options.threads}", "seeds=0", f"budgets={steps}steps"]
    return override(find("quickstart")(), settings).trials()[0]


def random_tokens(config: TrialConfig, folder: Folder) -> TokenStore:
    """A token store of random ids, enough for every step timed here."""
    tokenizer = Tokenizer(BPE())
    tokenizer.add_special_tokens([END_OF_TEXT])
    blocks = config.steps * config.optimization.batch_size
    rng = np.random.default_rng(0)
    documents = []
    for split, count in (("train", blocks), ("validation", 1), ("test", 1)):
        ids = rng.integers(1, config.model.vocab_size, size=count * (config.seq_len + 1), dtype=np.uint32)
        documents.append((split, "random", ids))
    spec = TokenSpec("random", "random", "none", "none", END_OF_TEXT, config.model.vocab_size, config.seq_len)
    return packing.pack(
        [packing.Stream(SPLITS, iter(documents))], spec, folder, blocks=10**9, tokenizer_json=tokenizer.to_str()
    )


@cache
def untrained(name: str) -> Any:
    return models.build(name, init_seed=0, device=DEVICE)


def ours(config: TrialConfig, tokens: TokenStore) -> None:
    model = copy.deepcopy(untrained(config.model.name))
    with (
        tempfile.TemporaryDirectory(prefix="toposweep-benchmark-") as scratch,
        mock.patch("trainables.pretrain.models.start", return_value=model),
        mock.patch("trainables.pretrain.checkpoint.save"),
    ):
        pretrain(config, Folder.open(scratch), tokens)


def seconds_per_checkpoint(config: TrialConfig) -> float:
    """Weights and training state, from the device to the temporary folder."""
    model = copy.deepcopy(untrained(config.model.name))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    with tempfile.TemporaryDirectory(prefix="toposweep-benchmark-") as scratch:
        began = time.perf_counter()
        checkpoint.save(Folder.open(scratch), 1, model, optimizer)
        return time.perf_counter() - began


def bare_loop(config: TrialConfig, tokens: TokenStore) -> None:
    """The same updates with all batches in memory: no log, no checkpoint, no resuming."""
    torch.set_num_threads(config.threads)
    settings = config.optimization
    batches = torch.from_numpy(tokens.batch(data_seed=0, start=0, count=config.steps * settings.batch_size)).to(DEVICE)
    model = copy.deepcopy(untrained(config.model.name))
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(settings.adam_beta1, settings.adam_beta2), fused=True)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, config.steps)
        block = batches[step * settings.batch_size : (step + 1) * settings.batch_size]
        logits = model(input_ids=block[:, :-1]).logits
        F.cross_entropy(logits.flatten(0, 1).float(), block[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds(loop: Callable[[TrialConfig, TokenStore], None], config: TrialConfig, tokens: TokenStore) -> float:
    began = time.perf_counter()
    loop(config, tokens)
    return time.perf_counter() - began


def matmul_rate(size: int = 4096, repeats: int = 20) -> float:
    """Float32 matrix-product FLOPs per second of the GPU, as PyTorch is set up here."""
    left, right = (torch.randn(size, size, device="cuda") for _ in range(2))
    for _ in range(3):
        left @ right
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        left @ right
    torch.cuda.synchronize()
    return 2 * size**3 * repeats / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="neox-280k", choices=list(models.MODELS))
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=30, help="steps timed")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of runs, in turn; the medians count")
    options = parser.parse_args()
    short, long = trial_config(options, FIRST), trial_config(options, FIRST + options.steps)
    loops = {"ours": ours, "bare_loop": bare_loop}
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    with tempfile.TemporaryDirectory(prefix="toposweep-benchmark-") as scratch:
        tokens = random_tokens(long, Folder.open(Path(scratch)))
        for loop in loops.values():
            loop(trial_config(options, 2), tokens)
        for _ in range(options.repeats):
            for name, loop in loops.items():
                pairs[name].append((seconds(loop, short, tokens), seconds(loop, long, tokens)))
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else f"CPU, {os.cpu_count()} cores"
    print(f"{options.model}, {options.batch_size} x {options.seq_len} tokens a step, float32, {device}")
    rates = {}
    for name, timed in pairs.items():
        per_step = statistics.median((whole - part) / options.steps for part, whole in timed)
        rates[name] = short.tokens_per_step / per_step
        flops = rates[name] * short.flops_per_token
        print(f"{name:10} {1000 * per_step:9.2f} ms/step {rates[name]:12,.0f} tokens/s {flops / 1e12:8.3f} TFLOP/s")
    print(f"checkpoint {seconds_per_checkpoint(short):9.3f} s")
    if DEVICE == "cuda":
        rate = matmul_rate()
        share = rates["ours"] * short.flops_per_token / rate
        print(f"float32 matrix products: {rate / 1e12:.1f} TFLOP/s; this loop reaches {share:.1%} of it")
    print(json.dumps({"name": "training", "ratios": {"bare_loop": rates["ours"] / rates["bare_loop"]}}))


if __name__ == "__main__":
    main()
