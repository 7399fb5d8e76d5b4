"""The memory that a trial takes, from its shapes, and the settings of one that would fit."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from pathlib import Path

from trainables.config import PublishedConfig, Trial, TrialConfig

# Of a worker's process, measured on the CPU and rounded up: 0.5 GB of Python, torch and Ray; per token and layer
# activations of so many widths; and logits, their softmax and their gradients. gpt2's GELU is of many small operations.
PROCESS = 600_000_000
ACTIVATIONS = {"gpt2": 42}
ACTIVATIONS_OTHERWISE = 18
LOGITS = 4
FORMULA = "16 B x parameters + 4 B x tokens of a step x (18 x layers x width, of gpt2 42, + 4 x vocabulary)"
FETCHED_FORMULA = "12 B x parameters"
FETCHED = 12
SPARE = 0.9  # of what there is: allocators keep some, and other processes too
CGROUPS = ("/sys/fs/cgroup{}/memory.max", "/sys/fs/cgroup/memory{}/memory.limit_in_bytes")
_CAPACITY = re.compile(r"total capacity of ([0-9.]+) (GiB|MiB)")
_UNIT = {"GiB": 2**30, "MiB": 2**20}


def needed(config: Trial) -> int:
    """Bytes of a worker: weights, gradients and AdamW's moments, and activations and logits of its share of a batch; of
    what fetches or measures a published model: its file and its weights in float32, twice while they are converted."""
    model = config.model
    if isinstance(config, PublishedConfig):
        return FETCHED * model.n_params_total
    per_parameter = 16 if config.workers == 1 else 20  # DDP's buckets hold the gradients once more
    widths = ACTIVATIONS.get(model.architecture, ACTIVATIONS_OTHERWISE)
    values = (
        config.tokens_per_step // config.workers * (widths * model.n_layers * model.d_model + LOGITS * model.vocab_size)
    )
    return per_parameter * model.n_params_total + 4 * values


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a GPU or of the machine."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, perhaps from another process
        or "DefaultCPUAllocator: can't allocate memory" in str(error)
    )


def advice(config: Trial, error: BaseException) -> str:
    """What a trial that ran out of memory takes, and what would fit."""
    match = _CAPACITY.search(str(error))
    room = int(float(match[1]) * _UNIT[match[2]]) if match else available()
    where = "the GPU has" if match else "this machine has, free,"
    said = f"it needs about {needed(config) / 1e9:.1f} GB, and {where} {room / 1e9:.1f} GB"
    if not isinstance(config, TrialConfig):
        return f"{said}; use a machine with more memory"
    return f"{said}; {_fitting(config, SPARE * room)}"


def _fitting(config: TrialConfig, room: float) -> str:
    """The largest power-of-two share of the batch that fits, else of the sequence length, too."""
    settings = config.optimization
    size, length = settings.batch_size, config.seq_len
    shares = [(size >> k, length) for k in range(1, size.bit_length()) if (size >> k) % config.workers == 0]
    shares += [(config.workers, length >> k) for k in range(1, length.bit_length())]
    for batch, tokens in shares:
        smaller = dataclasses.replace(
            config, seq_len=tokens, optimization=dataclasses.replace(settings, batch_size=batch)
        )
        if batch and needed(smaller) <= room:
            shorter = f" seq_len={tokens}" if tokens < length else ""
            return f"batch_size={batch}{shorter} would fit, in another --store"
    return "no batch of it fits: use a smaller model, or a machine with more memory"


def available() -> int:
    """Bytes of memory that are free, within the limit of a container or of a batch job."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        own = Path("/proc/self/cgroup").read_text().split()
    except OSError:  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [int(lines["MemAvailable"].split()[0]) * 1024]
    for pattern in CGROUPS:
        for group in ("", *(line.rpartition(":")[2] for line in own)):
            with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
                limits.append(int(Path(pattern.format(group)).read_text()))
    return min(limits)
