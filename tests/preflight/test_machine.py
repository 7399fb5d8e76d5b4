"""Packages in range, and disk and memory against closed forms."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from orchestrator.overrides import override
from orchestrator.spec import Sweep
from orchestrator.store import Store
from preflight import machine
from preflight.check import Problem
from search_spaces import find
from tests.hub import Hub
from trainables.models import MODELS


def sweep_of(*settings: str) -> Sweep:
    return override(find("quickstart")(), settings)


def test_every_required_package_is_listed_with_its_version() -> None:
    said = machine.packages()
    for name in ("Python", "datasets", "huggingface_hub", "ray", "torch", "transformers"):
        assert f"{name} " in said
    assert f"torch {importlib.metadata.version('torch')}" in said


def test_a_package_out_of_range_is_said_with_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "rich":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"ray": "2.9.0"}.get(name) or real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(Problem) as wrong:
        machine.packages()
    assert wrong.value.cause == "ray<2.70,>=2.60 is needed, 2.9.0 is installed; rich>=13 is needed, none is installed"
    assert wrong.value.mend == "python -m pip install -c constraints.txt 'ray<2.70,>=2.60' 'rich>=13'"
    assert machine.versions()["rich"] is None


def test_another_python_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.9.1")
    with pytest.raises(Problem, match=r"Python 3\.9\.1, but >=3\.11,<3\.14 is needed"):
        machine.packages()


def test_without_a_checkout_the_installed_requirements_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda name: ["rich>=13", "gudhi; extra == 'test'", "old; python_version<'3'"]
    )
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: {"Requires-Python": ">=3.11"})
    assert [str(one) for one in machine.requirements()[0]] == ["rich>=13"]


def test_shapes_need_no_hub_and_no_tokenizer(hub: Hub) -> None:
    sweep = sweep_of("model=pythia-70m", "revision=scratch,step1000", "seeds=0,1", "budgets=10steps", "corpus=pile")
    assert len(machine.trials(sweep)) == 4
    assert not hub.requests


def test_disk_counts_every_checkpoint_and_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(str(tmp_path / "store"))
    sweep = sweep_of("model=pythia-70m", "seeds=0,1", "budgets=8steps", "metrics=none", "corpus=pile")
    one = MODELS["pythia-70m"].n_params_total
    said = machine.disk_room([sweep], store)
    assert f"needs {2 * one * (5 * 4 + 2 * 8) / 1e9:.1f} GB in the end" in said  # 0, 1, 2, 4, 8; two training states
    (tmp_path / "store").mkdir()
    with (tmp_path / "store" / "file").open("wb") as stream:
        stream.truncate(100_000_000_000)  # more than it takes, and no block of it is written
    assert "up to 0 B more than is there" in machine.disk_room([sweep], store)


def test_memory_is_by_the_formula_times_trials_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpu_bytes", list)
    monkeypatch.setattr(machine, "usable_cpus", lambda: 4)
    sweep = sweep_of("model=pythia-70m", "seeds=0,1,2", "budgets=8steps", "seq_len=256", "batch_size=8", "threads=2")
    config = MODELS["pythia-70m"]
    one = 16 * config.n_params_total + 4 * 8 * 256 * (18 * 6 * 512 + 4 * 50304)
    assert machine.needed(machine.trials(sweep)[0]) == one
    needed = 2 * (one + machine.PROCESS)
    monkeypatch.setattr(machine, "available", lambda: needed)
    assert "for 2 workers at once, the largest of pythia-70m" in machine.memory([sweep])
    monkeypatch.setattr(machine, "available", lambda: needed - 1)
    with pytest.raises(Problem, match="of RAM free") as full:
        machine.memory([sweep])
    assert "batch_size" in full.value.mend
    monkeypatch.setattr(machine, "gpu_bytes", lambda: [80 * 2**30, one])
    assert f"for a worker of pythia-70m (each {machine.FORMULA}); the smallest of 2 GPUs has" in machine.memory([sweep])
    monkeypatch.setattr(machine, "gpu_bytes", lambda: [80 * 2**30, one - 1])
    with pytest.raises(Problem, match="GPUs"):
        machine.memory([sweep])


def test_gpus_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "output", lambda *command: "81559\n81559")
    assert machine.gpu_bytes() == [81559 * 2**20] * 2
    for visible, count in (("", 0), ("1", 1), ("-1", 0), ("0,1", 2)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert len(machine.gpu_bytes()) == count
    monkeypatch.setattr(machine, "output", lambda *command: None)
    assert machine.gpu_bytes() == []
