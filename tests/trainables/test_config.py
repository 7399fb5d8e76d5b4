"""A trial's identity changes exactly with what changes its numbers."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from trainables import models
from trainables.budget import Budget, Unit
from trainables.config import ModelConfig, Optimization, TrialConfig
from trainables.storage import canonical_json

LABELS = {"seed", "checkpoint_every", "model.source", "early_stop"}


PARTS = {"model": ModelConfig, "budget": Budget, "optimization": Optimization}


def _leaves() -> set[str]:
    """Dotted names of all fields of a trial."""
    inner = {f"{name}.{field.name}" for name, part in PARTS.items() for field in dataclasses.fields(part)}
    return inner | {field.name for field in dataclasses.fields(TrialConfig)} - PARTS.keys()


def _changed(config: TrialConfig, path: str) -> TrialConfig:
    data = json.loads(canonical_json(config.to_json()))
    place: dict[str, Any] = data
    *folders, name = path.split(".")
    for folder in folders:
        place = place[folder]
    other = {"unit": "tokens", "schedule": "wsd", "deterministic": True, "precision": "bfloat16"}
    other |= {"early_stop": ["7@100"]}
    old = place[name]
    if isinstance(old, dict):
        place[name] = old | {"attention_bias": False}
    else:
        place[name] = other.get(name) or (f"{old}x" if old is None or isinstance(old, str) else old + 1)
    return TrialConfig.from_json(data)


@pytest.mark.parametrize("path", sorted(_leaves() - LABELS))
def test_the_id_changes_with(path: str, tiny_config: TrialConfig) -> None:
    assert _changed(tiny_config, path).trial_id != tiny_config.trial_id


@pytest.mark.parametrize("path", sorted(LABELS))
def test_the_id_does_not_change_with(path: str, tiny_config: TrialConfig) -> None:
    changed = _changed(tiny_config, path)
    assert changed != tiny_config
    assert changed.trial_id == tiny_config.trial_id


def test_a_record_that_is_older_than_a_choice_is_of_the_default(tiny_config: TrialConfig) -> None:
    data = tiny_config.to_json()
    del data["deterministic"], data["early_stop"]
    assert TrialConfig.from_json(data) == tiny_config


def test_equal_trials_have_equal_ids(tiny_config: TrialConfig) -> None:
    whole = dataclasses.replace(tiny_config, budget=Budget(24, "steps"))
    assert whole == tiny_config
    assert whole.trial_id == tiny_config.trial_id


@pytest.mark.parametrize(("init_seed", "data_seed", "slug"), [(3, 3, "-s3-"), (3, 4, "-i3d4-")])
def test_the_id_shows_model_budget_and_seeds(
    tiny_config: TrialConfig, init_seed: int, data_seed: int, slug: str
) -> None:
    config = dataclasses.replace(tiny_config, init_seed=init_seed, data_seed=data_seed, budget=Budget(1e11))
    assert config.trial_id.startswith(f"tiny-1e11{slug}")


def test_from_json_undoes_to_json(tiny_config: TrialConfig) -> None:
    read = TrialConfig.from_json(json.loads(canonical_json(tiny_config.to_json())))
    assert read == tiny_config
    assert read.trial_id == tiny_config.trial_id


FLOPS_PER_TOKEN = 3 * (2 * (24 * 16**2 + 4 * 16 * 16) + 2 * 16 * 64)  # of the tiny model, by hand


@pytest.mark.parametrize(("per_step", "unit"), [(1, "steps"), (64, "tokens"), (64 * FLOPS_PER_TOKEN, "flops")])
def test_a_budget_means_the_same_in_every_unit(tiny_config: TrialConfig, per_step: int, unit: Unit) -> None:
    config = dataclasses.replace(tiny_config, budget=Budget(24.0 * per_step, unit))
    assert config.steps == 24
    assert config.blocks == 24 * 4
    assert config.budget_flops == config.flops(24) == 24 * 64 * FLOPS_PER_TOKEN


# non-embedding and total parameters as published with the Pythia models
PYTHIA = {
    "14m": (1_189_888, 14_067_712),
    "31m": (4_739_072, 30_494_720),
    "70m": (18_915_328, 70_426_624),
    "160m": (85_056_000, 162_322_944),
    "410m": (302_311_424, 405_334_016),
    "1b": (805_736_448, 1_011_781_632),
    "1.4b": (1_208_602_624, 1_414_647_808),
    "2.8b": (2_517_652_480, 2_775_208_960),
    "6.9b": (6_444_163_072, 6_857_302_016),
    "12b": (11_327_027_200, 11_846_072_320),
}


@pytest.mark.parametrize(("size", "counts"), PYTHIA.items())
def test_parameters_are_those_published_for_pythia(size: str, counts: tuple[int, int]) -> None:
    config = models.MODELS[f"pythia-{size}"]
    assert (config.n_params_non_embedding, config.n_params_total) == counts


@pytest.mark.parametrize("name", models.MODELS)
def test_parameters_are_those_of_the_real_module(name: str) -> None:
    config = models.MODELS[name]
    weights = dict(models.build(config, device="meta").named_parameters())
    embeddings = {
        name for name in weights if name.split(".")[-2] in ("embed_in", "lm_head", "wte", "wpe", "embed_tokens")
    }
    assert sum(weight.numel() for weight in weights.values()) == config.n_params_total
    assert sum(weights[key].numel() for key in weights.keys() - embeddings) == config.n_params_non_embedding
