"""What stands above the runs: the columns of the HParams tab, and charts by topic in the Custom Scalars tab."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorboard.plugins.hparams import summary_v2

import metrics
from metrics.base import ACROSS_SEEDS, ACROSS_STEPS
from orchestrator.results import HEADLINES
from orchestrator.store import Store
from orchestrator.tensorboard import summaries
from orchestrator.tensorboard.event_files import Run, log_directory
from trainables.config import Trial

CURVES = ("loss", "learning_rate", "tokens_per_s", "grad_norm")
NAME = "overview"  # of the run
FINAL = "final/"  # how the tags of a trial's final values begin
WITH_SEED, LAYER = "/with_seed_", "/layer_"  # and how what follows a value's name does
ALWAYS = ("model", "seed", "budget_flops")
CHECKBOXES = 9  # values of a number that the HParams tab offers one by one; with more it asks for a range
OTHERS, SEEDS, STEPS = "Other metrics", "Agreement between seeds", "Change between checkpoints"
TOPICS = {  # metric -> category, in their order; what is not here and no pair is an evaluation or another metric
    "held_out": "Evaluation",
    "persistent_homology": "Persistent homology",
    "geometry": "Magnitude and Euler characteristic",
    "intrinsic_dimension": "Intrinsic dimension",
    "hidden_norm": "Norms of the hidden states",
    "parameter_norm": "Weights",
    "neural_persistence": "Weights",
    "deep_graph_persistence": "Weights",
    "spectra": "Weights",
    "weight_trajectory_dimension": "Weights",
    "attention_topology": "Attention",
}


def hyperparameters(config: Trial) -> dict[str, Any]:
    """What distinguishes trials, flat, by the names users know."""
    flops = config.budget_flops or 0.0  # of a published model that says too little it is not known
    return {"model": config.model.name, "seed": config.seed, "budget_flops": flops} | config.settings


@dataclass
class Overview:
    """Of all trials of a store and the values that they have; written anew whenever one comes that it does not show."""

    store: Store
    _settings: dict[str, set[Any]] = field(default_factory=dict)
    _values: dict[str, str] = field(default_factory=dict)  # their names, and the metric that each is of
    _is_written: bool = False

    @classmethod
    def of(cls, store: Store) -> Overview:
        """Of each trial the last checkpoint that was measured tells which values there are."""
        overview = cls(store)
        for trial_id in store.trial_ids():
            overview.add(store.read_trial(trial_id))
            for step in store.measured_steps(trial_id)[-1:]:
                overview.note(store.read_measurements(trial_id, step).values())
        return overview

    def add(self, config: Trial) -> None:
        for name, value in hyperparameters(config).items():
            known = self._settings.setdefault(name, set())
            self._is_written &= value in known
            known.add(value)

    def note(self, measurements: Iterable[Mapping[str, Any]]) -> None:
        """What is measured from here on."""
        for one in measurements:
            new = {name: one["metric"] for name, _, value, _ in one["values"] if value is not None}
            self._is_written &= new.keys() <= self._values.keys()
            self._values |= new

    def write(self) -> None:
        """Where it is not written as it is, as a run of another name than the last, which goes.

        Of a run that it knows TensorBoard keeps the columns that it read first.
        """
        if self._is_written:
            return
        directory = log_directory(self.store)
        old = sorted(directory.glob(f"{NAME}-*"))
        last = max((int(number) for path in old if (number := path.name.rpartition("-")[2]).isdigit()), default=0)
        run = Run(directory / f"{NAME}-{last + 1}")
        run.write(self._header(), 0, time.time())
        run.write(summaries.layout(self._charts()), 0, time.time())
        run.close()
        for path in old:
            shutil.rmtree(path)
        for path in directory.glob("events.out.tfevents.*"):  # where earlier versions wrote it
            path.unlink()
        self._is_written = True

    def _header(self) -> Any:
        columns = [
            summary_v2.HParam(name, _domain(values))
            for name, values in self._settings.items()
            if name in ALWAYS or len(values) > 1
        ]
        names = [name for name in HEADLINES if name in self._values]
        names += sorted(self._values.keys() - set(names))
        return summary_v2.hparams_config_pb(
            columns, [summary_v2.Metric(FINAL + name, display_name=name) for name in names]
        )

    def _charts(self) -> dict[str, dict[str, str]]:
        charts: dict[str, dict[str, str]] = {"Training": {curve: f"train/{curve}$" for curve in CURVES}}
        charts |= {topic: {} for topic in [*TOPICS.values(), STEPS, SEEDS, OTHERS]}
        for name in sorted(self._values):
            charts[_topic(name, self._values[name])][name] = rf"{re.escape(name)}({WITH_SEED}-?\d+)?({LAYER}\d+)?$"
        return {topic: found for topic, found in charts.items() if found}


def _topic(name: str, metric: str) -> str:
    if name.endswith(ACROSS_SEEDS):
        return SEEDS
    if name.endswith(ACROSS_STEPS):
        return STEPS
    if metric in TOPICS:
        return TOPICS[metric]
    own = metrics.registry().get(metric)
    return OTHERS if own is not None and own.kind != "evaluation" else TOPICS["held_out"]


def _domain(values: Iterable[Any]) -> summary_v2.Domain:
    """What the tab filters by: check boxes or, for many numbers, a range. Its numbers are floats."""
    found = set(values)
    if all(isinstance(value, bool) for value in found):
        return summary_v2.Discrete(sorted(found))
    if not all(isinstance(value, int | float) for value in found):
        return summary_v2.Discrete(sorted(map(str, found)))
    numbers = sorted(map(float, found))
    many = len(numbers) > CHECKBOXES
    return summary_v2.RealInterval(numbers[0], numbers[-1]) if many else summary_v2.Discrete(numbers)
