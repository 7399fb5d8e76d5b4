"""A genuine TensorBoard process shows through its HTTP API what the store holds.

What is expected comes from the table of results, which is made without any event file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from metrics.topology.hidden_norms import QUANTILES
from orchestrator import results
from orchestrator.figures import pictures
from orchestrator.store import Store
from orchestrator.tensorboard import Overview, TrialBoard, log_directory
from orchestrator.tensorboard.board import pictured
from orchestrator.tensorboard.event_files import Run
from trainables.config import TrialConfig
from trainables.step_log import read_segment, segment_starts

CURVES = ("loss", "learning_rate", "tokens_per_s", "grad_norm")
STATUSES = [f"STATUS_{status}" for status in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
Points = list[tuple[int, float]]


@pytest.fixture(scope="module")
def store(finished: Path) -> Store:
    return Store.existing(str(finished))


@pytest.fixture(scope="module")
def frame(store: Store) -> pd.DataFrame:
    """The rows that have a value."""
    return results.collect(store).dropna(subset="value")


def measured(store: Store, frame: pd.DataFrame) -> dict[str, dict[str, Points]]:
    """By trial and tag."""
    found: dict[str, dict[str, Points]] = {}
    for row in frame.sort_values("step").itertuples():
        across_seeds = isinstance(row.other_trial, str) and row.other_trial != row.trial
        tag = row.metric + (f"/with_seed_{store.read_trial(row.other_trial).seed}" if across_seeds else "")
        tag += "" if pd.isna(row.layer) else f"/layer_{row.layer}"
        found.setdefault(row.trial, {}).setdefault(tag, []).append((row.step, row.value))
    return found


def final(store: Store, frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """By trial and metric: of the last checkpoint the model's value, or else the mean over blocks."""
    found: dict[str, dict[str, float]] = {}
    last = frame[frame["step"] == frame["trial"].map(lambda trial: store.read_trial(trial).steps)]
    for (trial, metric), rows in last.groupby(["trial", "metric"]):
        of_model = rows["value"][rows["layer"].isna()]
        of_blocks = rows["value"][(rows["layer"] > 0).fillna(False)]
        found.setdefault(trial, {})[metric] = float((of_model if len(of_model) else of_blocks).mean())
    return found


@pytest.fixture(scope="module")
def expected(store: Store, frame: pd.DataFrame) -> dict[str, dict[str, Points]]:
    """Every scalar of every trial but those of training."""
    found = measured(store, frame)
    for trial, values in final(store, frame).items():
        end = store.read_trial(trial).steps
        found[trial] |= {f"final/{metric}": [(end, value)] for metric, value in values.items()}
    return found


@pytest.fixture(scope="module")
def board(server: Any, expected: dict[str, dict[str, Points]]) -> Any:
    """The server, once it has read all."""
    train = {f"train/{curve}" for curve in CURVES}
    server.wait_for("scalars", {trial: {*values, *train} for trial, values in expected.items()})
    return server


def test_every_value_is_a_point_of_its_curve_and_no_step_comes_twice(
    board: Any, expected: dict[str, dict[str, Points]], store: Store
) -> None:
    trial = store.trial_ids()[-1]
    assert len(expected[trial]) > 300
    for tag, points in expected[trial].items():
        shown = [(step, value) for _, step, value in board.get("plugin/scalars/scalars", run=trial, tag=tag)]
        assert [step for step, _ in shown] == [step for step, _ in points], tag
        assert [value for _, value in shown] == pytest.approx([value for _, value in points], rel=1e-6), tag


def test_training_has_a_point_for_every_step(board: Any, store: Store) -> None:
    for trial in store.trial_ids():
        folder = store.trial(trial)
        logged = [value for start in segment_starts(folder) for value in read_segment(folder, start)["loss"]]
        shown = board.get("plugin/scalars/scalars", run=trial, tag="train/loss")
        assert [step for _, step, _ in shown] == list(range(1, store.read_trial(trial).steps + 1))
        assert [value for *_, value in shown] == pytest.approx(logged, rel=1e-6)


def test_histograms_have_the_quantiles_of_the_norms_as_edges(board: Any, store: Store, frame: pd.DataFrame) -> None:
    tags = {f"hidden_norm/layer_{layer}" for layer in range(4)}
    board.wait_for("histograms", dict.fromkeys(store.trial_ids(), tags))
    shares = [100 * (upper - lower) for lower, upper in itertools.pairwise(QUANTILES)]
    rows = frame[frame["metric"].str.fullmatch(r"hidden_norm/[\d.]+")]
    for trial in store.trial_ids():
        for layer in range(4):
            shown = board.get("plugin/histograms/histograms", run=trial, tag=f"hidden_norm/layer_{layer}")
            assert [step for _, step, _ in shown] == store.measured_steps(trial)
            for _, step, buckets in shown:
                own = rows[(rows["trial"] == trial) & (rows["layer"] == layer) & (rows["step"] == step)]
                quantiles = sorted(own["value"])
                assert [left for left, *_ in buckets] == pytest.approx(quantiles[:-1])
                assert [right for _, right, _ in buckets] == pytest.approx(quantiles[1:])
                assert [count for *_, count in buckets] == pytest.approx(shares)


def test_images_are_the_diagrams_of_the_store_by_step(board: Any, store: Store) -> None:
    names = ("barcodes", "diagrams", "betti_curves")
    trial = store.trial_ids()[-1]
    end = store.read_trial(trial).steps
    for name in names:
        shown = board.get("plugin/images/images", run=trial, tag=f"persistent_homology/{name}", sample="0")
        steps = sorted(pictured(store.measured_steps(trial))) if name == "diagrams" else [end]
        assert [one["step"] for one in shown] == steps
        for one in (shown[0], shown[-1]):
            drawn = pictures(store.read_diagrams(trial, one["step"]))[name]
            assert board.content(f"plugin/images/individualImage?{one['query']}") == drawn


def test_each_value_is_in_one_chart_of_the_layout(
    board: Any, expected: dict[str, dict[str, Points]], store: Store
) -> None:
    layout = board.get("plugin/custom_scalars/layout")["category"]
    assert [one["title"] for one in layout] == [
        "Training",
        "Evaluation",
        "Persistent homology",
        "Magnitude and Euler characteristic",
        "Intrinsic dimension",
        "Norms of the hidden states",
        "Weights",
        "Attention",
        "Change between checkpoints",
        "Agreement between seeds",
    ]
    assert [bool(one.get("closed")) for one in layout] == [False] + 9 * [True]
    charts = {(one["title"], chart["title"]): chart["multiline"]["tag"][0] for one in layout for chart in one["chart"]}
    tags = {tag for values in expected.values() for tag in values if not tag.startswith("final/")}
    tags |= {f"train/{curve}" for curve in CURVES}
    for tag in tags:
        assert sum(bool(re.match(pattern, tag)) for pattern in charts.values()) == 1, tag
    assert all(any(re.match(pattern, tag) for tag in tags) for pattern in charts.values())
    pattern = charts["Agreement between seeds", "linear_cka/across_seeds"]
    last = store.trial_ids()[-1]
    shown = board.get("plugin/custom_scalars/scalars", run=last, tag=pattern)["tag_to_events"]
    assert set(shown) == {f"linear_cka/across_seeds/with_seed_0/layer_{layer}" for layer in range(4)}
    assert [value for *_, value in shown["linear_cka/across_seeds/with_seed_0/layer_1"]] == pytest.approx(
        [value for _, value in expected[last]["linear_cka/across_seeds/with_seed_0/layer_1"]], rel=1e-6
    )


def test_hparams_have_every_final_metric_of_every_trial(board: Any, store: Store, frame: pd.DataFrame) -> None:
    values = final(store, frame)
    experiment = board.post("plugin/hparams/experiment", {})
    columns = [one["name"]["tag"] for one in experiment["metricInfos"]]
    assert columns[:2] == ["final/held_out_loss", "final/bits_per_byte"]  # the tab shows the first five
    assert sorted(columns) == sorted({f"final/{metric}" for found in values.values() for metric in found})
    assert {one["name"] for one in experiment["hparamInfos"]} == {"model", "seed", "budget_flops"}
    asked = {"startIndex": 0, "sliceSize": 100, "allowedStatuses": STATUSES, "colParams": []}
    groups = board.post("plugin/hparams/session_groups", asked)["sessionGroups"]
    assert sorted(group["name"] for group in groups) == store.trial_ids()
    for group in groups:
        trial, config = group["name"], store.read_trial(group["name"])
        assert (group["hparams"]["model"], group["hparams"]["seed"]) == (config.model.name, config.seed)
        assert group["hparams"]["budget_flops"] == config.budget_flops
        shown = {one["name"]["tag"].removeprefix("final/"): one["value"] for one in group["metricValues"]}
        assert shown.keys() == values[trial].keys()
        assert [shown[name] for name in shown] == pytest.approx([values[trial][name] for name in shown], rel=1e-6)
        assert {one["trainingStep"] for one in group["metricValues"]} == {config.steps}


def test_what_is_measured_late_stands_at_its_step_and_hides_no_later_one(
    store_copy: Path, serving: Callable[[Path], contextlib.AbstractContextManager[Any]]
) -> None:
    """TensorBoard forgets a tag's steps from the one on that it reads; the evaluators finish in any order."""
    store = Store.existing(str(store_copy))
    trial = store.trial_ids()[-1]
    steps = store.measured_steps(trial)
    shutil.rmtree(log_directory(store))
    config = store.read_trial(trial)
    board = TrialBoard(store, config, Run(log_directory(store) / trial))
    for step in (steps[2], steps[0], steps[-1], steps[3], steps[1]):
        board.add_measurements(step, store.read_measurements(trial, step).values())
    board.close()
    by_step = {step: store.read_measurements(trial, step)["parameter_norm@1"]["values"][0][2] for step in steps}
    seen = [steps[0], steps[1], steps[2], steps[3], steps[-1]]
    with serving(log_directory(store)) as server:
        server.wait(lambda: "final/parameter_norm" in server.tags("scalars").get(trial, ()))  # what is written last
        shown = server.get("plugin/scalars/scalars", run=trial, tag="parameter_norm")
        assert [(step, value) for _, step, value in shown] == [(s, pytest.approx(by_step[s], rel=1e-6)) for s in seen]
        shown = server.get("plugin/histograms/histograms", run=trial, tag="hidden_norm/layer_1")
        assert [step for _, step, _ in shown] == seen


def test_a_trial_that_a_search_adds_is_in_the_columns_of_a_tensorboard_that_runs(
    store_copy: Path, serving: Callable[[Path], contextlib.AbstractContextManager[Any]]
) -> None:
    store = Store.existing(str(store_copy))
    overview = Overview.of(store)
    overview.write()
    config = store.read_trial(store.trial_ids()[0])
    assert isinstance(config, TrialConfig)
    rates = [0.001 * (1 + index) for index in range(12)]

    def columns() -> dict[str, Any]:
        found = server.post("plugin/hparams/experiment", {}).get("hparamInfos", [])
        return {one["name"]: one.get("domainInterval") or one["domainDiscrete"] for one in found}

    with serving(log_directory(store)) as server:
        server.wait(lambda: "seed" in columns())
        assert columns()["seed"] == [0, 1]
        for rate in rates:
            optimization = dataclasses.replace(config.optimization, learning_rate=rate)
            overview.add(dataclasses.replace(config, optimization=optimization, init_seed=7))
        overview.write()
        server.wait(lambda: "learning_rate" in columns())
        assert columns()["learning_rate"] == {"minValue": 0.001, "maxValue": 0.012}
        assert config.model.name in columns()["model"]
