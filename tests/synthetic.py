"""A store of any size with known values, written in seconds: every metric of the quickstart, and nothing trained.

Each value is ``level + slope x log10(FLOPs)``, with a level and a slope of its metric and layer, and noise of its seed;
the held-out loss falls as ``2 + 40 / FLOPs ** 0.12``.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import search_spaces
from metrics import diagrams
from metrics.base import ACROSS_SEEDS, ACROSS_STEPS, Diagram
from metrics.topology.hidden_norms import MEAN, OF_QUANTILES
from orchestrator import provenance
from orchestrator.overrides import override
from orchestrator.store import MEASUREMENTS, Status, Store
from trainables.checkpoint import step_name
from trainables.config import TrialConfig

NOISE = 0.02  # standard deviation over seeds, of the level
DOMAINS = ("", "/one domain", "/another", "/a third")
MATRICES = ("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
SHAPES = ("count", "total_persistence", "max_persistence", "persistence_entropy", "betti_curve_area")
SCALED = tuple(f"{name}_scaled" for name in ("total_persistence", "max_persistence", "betti_curve_area"))
SHARES = ("0.01", "0.02", "0.05", "0.1", "0.2", "0.3")
OF_MODEL: Mapping[str, tuple[str, ...]] = {
    "held_out@1": tuple(f"{name}{one}" for one in DOMAINS for name in ("held_out_loss", "perplexity", "bits_per_byte")),
    "parameter_norm@1": ("parameter_norm",),
    "neural_persistence@1": ("neural_persistence",),
    "spectra@1": ("power_law_alpha",),
}
OF_BLOCKS: Mapping[str, tuple[str, ...]] = {
    "attention_topology@1": (
        *(
            f"attention_{name}/{threshold}"
            for name in ("edges", "components", "cycles", "euler_characteristic")
            for threshold in ("0.025", "0.05", "0.1", "0.25", "0.5", "0.75")
        ),
        *(f"attention_h{k}_{name}" for k in (0, 1) for name in SHAPES[:3]),
    ),
    "neural_persistence@1": tuple(f"neural_persistence/{matrix}" for matrix in MATRICES),
    "spectra@1": tuple(
        f"{name}/{matrix}" for matrix in MATRICES for name in ("effective_rank", "stable_rank", "power_law_alpha")
    ),
}
OF_LAYERS: Mapping[str, tuple[str, ...]] = {  # with the embeddings
    "geometry@1": (
        *(f"magnitude/{scale}" for scale in (1, 4, 16)),
        *(f"euler_characteristic/{share}" for share in SHARES),
    ),
    "hidden_norm@1": (MEAN, *OF_QUANTILES),
    "intrinsic_dimension@3": (
        *("twonn_dimension", "mle_dimension", "ph_dimension"),
        *(f"gride_dimension/{2**k}" for k in range(1, 7)),
    ),
    "persistent_homology@3": tuple(f"h{k}_{name}" for k in (0, 1) for name in SHAPES + SCALED),
}
PAIRS = ("linear_cka", "representation_topology_divergence")


def write(
    path: Path,
    *settings: str,
    checkpoints: int = 8,
    effects: Mapping[str, float] | None = None,
    pictures: bool = True,
) -> Store:
    """A finished sweep's store of the quickstart with these ``settings``; each trial has so many checkpoints.

    effects: slopes of metrics that have other ones than their own. pictures: whether checkpoints keep diagrams.
    """
    sweep = override(search_spaces.find("quickstart")(), list(settings))
    store = Store.open(str(path))
    store.write_sweep("synthetic", sweep, provenance.collect(), {})
    below: dict[tuple[Any, ...], TrialConfig] = {}
    for config in sweep.trials():
        assert isinstance(config, TrialConfig)
        store.write_trial(config)
        alike = (config.model.name, config.budget, config.optimization, config.seq_len)
        for step, measured in _measurements(config, below.get(alike), checkpoints, effects or {}):
            if pictures:
                bars = _diagrams(config, step)
                key = "persistent_homology@3"
                measured[key]["diagrams"] = diagrams.keep(store.trial(config.trial_id), step, key, bars)
            folder = store.trial(config.trial_id) / MEASUREMENTS
            folder.write_json(f"{step_name(step)}.json", {"measurements": measured}, compact=True)
        store.write_status(config.trial_id, Status("done", config.steps, 12.5, device="CPU (synthetic)"))
        below[alike] = config
    return store


def steps(config: TrialConfig, checkpoints: int) -> list[int]:
    return sorted({round(step) for step in np.linspace(0, config.steps, checkpoints)})


def expected(metric: str, layer: int | None, flops: float, effects: Mapping[str, float]) -> float:
    """The value that a metric has at so many FLOPs, but for its noise."""
    if metric == "held_out_loss":
        return 2 + 40 / max(flops, 1e8) ** 0.12
    own = zlib.crc32(f"{metric} {layer}".encode())
    slope = effects.get(metric, (own % 200 - 100) / 1000)
    return 5 + own % 7 + slope * math.log10(max(flops, 1e8))


def _measurements(
    config: TrialConfig, below: TrialConfig | None, checkpoints: int, effects: Mapping[str, float]
) -> Iterator[tuple[int, dict[str, dict[str, Any]]]]:
    layers = range(config.model.n_layers + 1)
    rng = np.random.default_rng(zlib.crc32(config.trial_id.encode()))
    named = [
        *((key, name, None) for key, names in OF_MODEL.items() for name in names),
        *((key, name, layer) for key, names in OF_BLOCKS.items() for name in names for layer in layers[1:]),
        *((key, name, layer) for key, names in OF_LAYERS.items() for name in names for layer in layers),
    ]
    levels = NOISE * rng.standard_normal(len(named))
    before = None
    for step in steps(config, checkpoints):
        found: dict[str, dict[str, Any]] = {}
        flops = config.flops(step)
        for (key, name, layer), level in zip(named, levels, strict=True):
            one = found.setdefault(key, _measurement(key))
            one["values"].append([name, layer, expected(name, layer, flops, effects) + level, None])
        others = [(ACROSS_STEPS, config, before)] if before is not None else []
        others += [(ACROSS_SEEDS, below, step)] if below is not None else []
        for across, other, other_step in others:
            for name in PAIRS:
                assert other is not None
                one = _measurement(f"{name}@1") | {"other": [other.trial_id, other_step]}
                one["values"] = [[name + across, layer, 0.5 + NOISE * rng.standard_normal(), None] for layer in layers]
                found[f"{name}@1 {other.trial_id}/{step_name(other_step)}"] = one
        before = step
        yield step, found


def _measurement(key: str) -> dict[str, Any]:
    name, _, version = key.partition("@")
    return {"metric": name, "version": int(version), "status": "ok", "reason": None, "seconds": 0.1, "values": []}


def _diagrams(config: TrialConfig, step: int) -> Iterator[Diagram]:
    rng = np.random.default_rng(step)
    for layer in range(config.model.n_layers + 1):
        deaths = rng.random(120) + 0.5 + step / config.steps
        yield Diagram(layer, 0, np.stack([np.zeros(120), deaths], axis=1), 2.0)
        births = rng.random(60) + 0.5
        yield Diagram(layer, 1, np.stack([births, births + 0.2 * rng.random(60)], axis=1), 2.0)
