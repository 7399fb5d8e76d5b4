from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from trainables import memory
from trainables.config import TrialConfig
from trainables.models import MODELS


@pytest.fixture
def config(tiny_config: TrialConfig) -> TrialConfig:
    """16 sequences of 2,048 tokens of a pythia-1.4b: 23 GB for its parameters, and 8.9 GB for each sequence."""
    settings = dataclasses.replace(tiny_config.optimization, batch_size=16)
    return dataclasses.replace(tiny_config, model=MODELS["pythia-1.4b"], seq_len=2048, optimization=settings)


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


def cuda(gib: float) -> OutOfMemoryError:
    said = f"Tried to allocate 1.53 GiB. GPU 0 has a total capacity of {gib} GiB of which 3 MiB is free"
    return OutOfMemoryError(f"CUDA out of memory. {said}")


@pytest.mark.parametrize(
    ("error", "exhausted"),
    [
        (MemoryError(), True),
        (cuda(80), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("something else"), False),
        (ValueError("memory"), False),
    ],
)
def test_what_says_that_memory_ran_out(error: Exception, exhausted: bool) -> None:
    assert memory.is_exhausted(error) == exhausted


@pytest.mark.parametrize(
    ("gib", "advice"),
    [
        (79.1, "batch_size=4 would fit, in another --store"),
        (45.0, "batch_size=2 would fit"),
        (36.0, "batch_size=1 would fit"),
        (31.0, "batch_size=1 seq_len=1024 would fit"),
        (27.0, "batch_size=1 seq_len=512 would fit"),
        (8.0, "no batch of it fits: use a smaller model"),
    ],
)
def test_the_settings_that_would_fit_are_named_and_do(config: TrialConfig, gib: float, advice: str) -> None:
    said = memory.advice(config, cuda(gib))
    assert said.startswith(
        f"it needs about {memory.needed(config) / 1e9:.1f} GB, and the GPU has {gib * 1.073741824:.1f} GB"
    )
    assert advice in said
    if "would fit" in advice:
        words = dict(word.split("=") for word in advice.split(" would")[0].split())
        batch, tokens = int(words["batch_size"]), int(words.get("seq_len", 2048))
        of_batch = dataclasses.replace(config.optimization, batch_size=batch)
        assert memory.needed(dataclasses.replace(config, seq_len=tokens, optimization=of_batch)) <= 0.9 * gib * 2**30
        twice = dataclasses.replace(config.optimization, batch_size=2 * batch)
        assert memory.needed(dataclasses.replace(config, seq_len=tokens, optimization=twice)) > 0.9 * gib * 2**30


def test_workers_share_a_batch_and_get_a_whole_number_each(config: TrialConfig) -> None:
    settings = dataclasses.replace(config.optimization, batch_size=18)
    three = dataclasses.replace(config, workers=3, optimization=settings)
    assert "batch_size=9 would fit" in memory.advice(three, cuda(60))


def test_without_a_gpu_in_the_message_it_is_this_machine(config: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 50 * 10**9)
    assert "this machine has, free, 50.0 GB; batch_size=2 would fit" in memory.advice(config, MemoryError())


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = memory.available()
    assert 0 < free < 2**46
    (tmp_path / "memory.max").write_text("123456\n")
    monkeypatch.setattr(memory, "CGROUPS", (f"{tmp_path}{{}}/memory.max",))
    assert memory.available() == 123456
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() > 123456
