"""The columns of the HParams tab, and charts by topic."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util.tensor_util import make_ndarray

from orchestrator.store import Store
from orchestrator.tensorboard import Overview, log_directory
from orchestrator.tensorboard.overview import hyperparameters
from trainables.config import TrialConfig


def read(board: Path) -> tuple[Any, dict[str, list[str]]]:
    """The experiment, and the titles of charts by category."""
    (run,) = board.glob("overview-*")
    accumulator = EventAccumulator(str(run))
    accumulator.Reload()
    content = accumulator.SummaryMetadata("_hparams_/experiment").plugin_data.content
    (layout,) = accumulator.Tensors("custom_scalars__config__")
    categories = layout_pb2.Layout.FromString(make_ndarray(layout.tensor_proto).item()).category
    charts = {one.title: [chart.title for chart in one.chart] for one in categories}
    return plugin_data_pb2.HParamsPluginData.FromString(content).experiment, charts


def values(experiment: Any) -> dict[str, list[Any]]:
    """Those that the tab filters by, of each setting; of a range its ends."""
    found: dict[str, list[Any]] = {}
    for info in experiment.hparam_infos:
        if info.HasField("domain_interval"):
            found[info.name] = [info.domain_interval.min_value, info.domain_interval.max_value]
        else:
            kinds = [(one.WhichOneof("kind"), one) for one in info.domain_discrete.values]
            found[info.name] = [getattr(one, kind) for kind, one in kinds]
    return found


@pytest.fixture
def config(finished: Path) -> TrialConfig:
    store = Store.existing(str(finished))
    found = store.read_trial(store.trial_ids()[0])
    assert isinstance(found, TrialConfig)
    return found


def variants(config: TrialConfig, name: str, choices: list[Any]) -> list[TrialConfig]:
    optimizations = [dataclasses.replace(config.optimization, **{name: choice}) for choice in choices]
    return [dataclasses.replace(config, optimization=one) for one in optimizations]


def measurement(metric: str, *names: str) -> dict[str, Any]:
    return {"metric": metric, "values": [[name, 1, 2.0, None] for name in names]}


def test_a_finished_store_has_its_settings_and_values(finished: Path) -> None:
    experiment, charts = read(log_directory(Store.existing(str(finished))))
    assert {"held_out_loss", "perplexity", "bits_per_byte"} <= set(charts["Evaluation"])
    assert charts["Agreement between seeds"] == [
        f"{name}/across_seeds" for name in ("linear_cka", "representation_topology_divergence")
    ]
    columns = [one.name.tag for one in experiment.metric_infos]
    assert columns[:3] == ["final/held_out_loss", "final/bits_per_byte", "final/h0_total_persistence_scaled"]
    named = [name for category, found in charts.items() if category != "Training" for name in found]
    assert sorted(columns) == sorted(f"final/{name}" for name in named)
    assert values(experiment).keys() == {"model", "seed", "budget_flops"}
    assert values(experiment)["seed"] == [0, 1]


@pytest.mark.parametrize(
    ("name", "choices", "shown"),
    [
        ("learning_rate", [3e-3, 1e-3], [1e-3, 3e-3]),
        ("warmup", [0, 0.05], [0, 0.05]),  # a number of steps, or a share of them
        ("batch_size", list(range(20, 2, -1)), [3, 20]),  # a range
        ("schedule", ["wsd", "cosine"], ["cosine", "wsd"]),
    ],
)
def test_what_differs_is_a_column(
    tmp_path: Path, config: TrialConfig, name: str, choices: list[Any], shown: list[Any]
) -> None:
    overview = Overview.of(Store.open(str(tmp_path)))
    for one in variants(config, name, choices):
        overview.add(one)
    overview.write()
    found = values(read(tmp_path / "tensorboard")[0])
    assert found.keys() == {"model", "seed", "budget_flops", name}
    assert found[name] == shown


def test_it_is_written_anew_when_there_is_something_new_and_else_left_alone(
    tmp_path: Path, config: TrialConfig
) -> None:
    overview = Overview.of(Store.open(str(tmp_path)))

    def written() -> tuple[Any, dict[str, list[str]], str]:
        overview.write()
        (run,) = (tmp_path / "tensorboard").iterdir()
        return *read(run.parent), run.name

    one, other = variants(config, "learning_rate", [1e-3, 2e-3])
    overview.add(one)
    overview.note([measurement("held_out", "held_out_loss")])
    experiment, charts, first = written()
    assert "learning_rate" not in values(experiment)
    assert charts.keys() == {"Training", "Evaluation"}
    overview.add(one)
    overview.note([measurement("held_out", "held_out_loss"), {"metric": "late", "values": [["late", 1, None, "why"]]}])
    assert written()[2] == first == "overview-1"
    overview.add(other)
    assert values(written()[0])["learning_rate"] == [1e-3, 2e-3]
    overview.note([measurement("linear_cka", "linear_cka/across_steps")])
    experiment, charts, _ = written()
    assert charts["Change between checkpoints"] == ["linear_cka/across_steps"]
    assert written()[2] == "overview-3"
    assert [one.name.tag for one in experiment.metric_infos] == ["final/held_out_loss", "final/linear_cka/across_steps"]


def test_that_of_an_earlier_version_goes_and_others_files_stay(tmp_path: Path, config: TrialConfig) -> None:
    board = tmp_path / "tensorboard"
    for name in ("events.out.tfevents.1.host.1.0", "notes.txt", "overview-9/x", "trial/events.out.tfevents.1.host.1.0"):
        (board / name).parent.mkdir(parents=True, exist_ok=True)
        (board / name).write_text("")
    overview = Overview.of(Store.open(str(tmp_path)))
    overview.add(config)
    overview.write()
    assert sorted(path.name for path in board.iterdir()) == ["notes.txt", "overview-10", "trial"]
    assert len(list((board / "trial").iterdir())) == 1


@pytest.mark.parametrize(
    ("metric", "name", "topic"),
    [
        ("lambada_openai", "lambada_openai/acc", "Evaluation"),
        ("finetuning_dimension", "did_d90", "Evaluation"),
        ("spectra", "participation_ratio", "Weights"),
        ("geometry", "euler_characteristic/0.05", "Magnitude and Euler characteristic"),
        ("linear_cka", "linear_cka/across_seeds", "Agreement between seeds"),
        ("attention_topology", "attention_edges/0.5", "Attention"),
    ],
)
def test_a_value_is_in_the_category_of_its_metric(tmp_path: Path, metric: str, name: str, topic: str) -> None:
    overview = Overview.of(Store.open(str(tmp_path)))
    overview.note([measurement(metric, name)])
    overview.write()
    assert read(tmp_path / "tensorboard")[1][topic] == [name]


def test_a_trial_is_known_by_its_model_seed_budget_and_settings(config: TrialConfig) -> None:
    found = hyperparameters(config)
    assert (found["model"], found["seed"], found["learning_rate"]) == (config.model.name, config.seed, 3e-3)
    assert found["budget_flops"] == config.budget_flops
