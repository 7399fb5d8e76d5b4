"""Where numbers came from: package versions, git revision, command, host and device."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainables.redaction import redact

PACKAGES = (
    "ray",
    "torch",
    "transformers",
    "datasets",
    "tokenizers",
    "safetensors",
    "pyarrow",
    "numpy",
    "scipy",
    "ripser",
)
PATIENCE_S = 20.0
GIT = "TOPOSWEEP_GIT"  # what it is of the clone that a job was sent from: the job's own folder has none


def collect() -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [redact(word) for word in sys.argv],
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git": git(),
        "host": platform.node(),
        "platform": platform.platform(),
        "cpus": usable_cpus(),
        "device": _gpus() or _cpu_model(),
    }


def usable_cpus() -> int:
    """Cores that this process may use, which can be fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def output(*command: str) -> str | None:
    """What a command prints; None where it is missing, fails or hangs."""
    if shutil.which(command[0]) is None:
        return None
    try:
        result = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except (subprocess.TimeoutExpired, OSError):  # nvidia-smi hangs where a driver has crashed; a sweep need not
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def git() -> dict[str, Any] | None:
    if sent := os.environ.get(GIT):
        return dict(json.loads(sent))
    revision = output("git", "rev-parse", "HEAD")
    if revision is None:
        return None
    return {"revision": revision, "dirty": bool(output("git", "status", "--porcelain"))}


def _gpus() -> str | None:
    return output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
