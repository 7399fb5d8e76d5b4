"""This machine: its packages, and whether disk and memory are enough for a sweep."""

from __future__ import annotations

import configparser
import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from orchestrator import disk
from orchestrator.plan import PlannedTrial
from orchestrator.provenance import output, usable_cpus
from orchestrator.spec import Sweep
from orchestrator.store import Store
from preflight.check import Problem
from trainables.config import Trial
from trainables.memory import FETCHED_FORMULA, FORMULA, PROCESS, available, needed
from trainables.models import FROM_SCRATCH
from trainables.tokenizers import BPE

ROOT = Path(__file__).parent.parent


def requirements() -> tuple[list[Requirement], str]:
    """What this package requires, and of Python: as the setup.cfg of a checkout says, which may be newer than what was

    installed from it, or else as it was installed.
    """
    settings = configparser.ConfigParser()
    if settings.read(ROOT / "setup.cfg"):
        listed = settings["options"]["install_requires"].split("\n")
        python = settings["options"]["python_requires"]
    else:
        listed = importlib.metadata.requires("toposweep") or []
        python = importlib.metadata.metadata("toposweep")["Requires-Python"]
    parsed = [Requirement(line) for line in listed if line.strip()]
    return [one for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})], python


def versions() -> dict[str, str | None]:
    """Python's version, and of each required package the installed one; None where it is missing."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for requirement in requirements()[0]:
        try:
            found[requirement.name] = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            found[requirement.name] = None
    return found


def packages() -> str:
    """Python and every required package, in the range that is asked for."""
    needed, python = requirements()
    there = versions()
    wrong, install = [], []
    for requirement in needed:
        version = there[requirement.name]
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name}{requirement.specifier} is needed, {version or 'none'} is installed")
            install.append(f"'{requirement.name}{requirement.specifier}'")
    if wrong:
        raise Problem("; ".join(wrong), f"python -m pip install -c constraints.txt {' '.join(install)}")
    if not SpecifierSet(python).contains(platform.python_version(), prereleases=True):
        raise Problem(f"Python {platform.python_version()}, but {python} is needed", "make a venv with such a Python")
    return ", ".join(f"{name} {version}" for name, version in there.items()).replace("python", "Python", 1)


def disk_room(sweeps: Sequence[Sweep], store: Store) -> str:
    """What the sweeps write to the store: checkpoints, measurements and token stores. Counted from shapes alone."""
    at_end = to_write = 0
    free = None
    for sweep in sweeps:
        planned = [PlannedTrial(config, "train", "", 0, (), ()) for config in trials(sweep)]
        found = disk.estimate(planned, shapes(sweep), store)
        at_end, to_write, free = at_end + found.at_end, to_write + found.to_write, found.free
    to_write = max(0, to_write - store.root.total_bytes())
    said = f"{store.uri} needs {disk.human(at_end)} in the end, up to {disk.human(to_write)} more than is there"
    if free is None:
        return f"{said}; how much room there is cannot be asked there"
    if to_write > free:
        raise Problem(
            f"{said}, and its disk has {disk.human(free)} free",
            "give keep=last:1 or keep=log, which delete weights once they are measured, or --store on a larger disk, "
            "or a larger checkpoint_every, a smaller model, fewer seeds or budgets",
        )
    return f"{said}; {disk.human(free)} free on its disk"


def shapes(sweep: Sweep) -> Sweep:
    """The sweep from scratch and with a tokenizer of its own: of models that this program knows nothing is fetched."""
    return dataclasses.replace(sweep, revision=(FROM_SCRATCH,), tokenizer=BPE)


def trials(sweep: Sweep) -> list[Trial]:
    """As many as the sweep has, by their shapes; which revisions a published model has is asked of the Hub."""
    return [trial for trial in shapes(sweep).bounds() for _ in sweep.revision]


def memory(sweeps: Sequence[Sweep]) -> str:
    """Whether what trains at once fits: on GPUs a worker into each, else the trials that the cores are for into RAM."""
    gpus = [] if any(sweep.checkpoints for sweep in sweeps) else gpu_bytes()  # published ones are fetched in RAM
    need, at_once, largest, formula = 0, 0, "", FORMULA
    for sweep in sweeps:
        found = sorted(((needed(trial), trial.model.name) for trial in trials(sweep)), reverse=True)
        together = min(len(found), max(1, usable_cpus() // (sweep.threads * sweep.workers)))
        each = [worker for worker, _ in found[:together]]
        size = each[0] if gpus else sum(worker + PROCESS for worker in each) * sweep.workers
        if size > need:
            need, at_once, largest = size, together * sweep.workers, found[0][1]
            formula = FETCHED_FORMULA if sweep.checkpoints else FORMULA
    there = min(gpus) if gpus else available()
    what = f"a worker of {largest}" if gpus or at_once == 1 else f"{at_once} workers at once, the largest of {largest}"
    room = f"the smallest of {len(gpus)} GPUs has {disk.human(there)}" if gpus else f"{disk.human(there)} of RAM free"
    said = f"{disk.human(need)} for {what} (each {formula}); {room}"
    if need > there:
        raise Problem(
            said, "a smaller batch_size or seq_len, a smaller Pythia, or on CPUs more threads= for fewer trials at once"
        )
    return said


def gpu_bytes() -> list[int]:
    """The memory of each GPU that this process may use; none where there is none, or nvidia-smi does not answer."""
    listed = output("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits") or ""
    found = [int(line) * 2**20 for line in listed.split() if line.isdigit()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    return found[: len([one for one in visible.split(",") if one.strip() not in ("", "-1")])]
