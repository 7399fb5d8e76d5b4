import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from orchestrator import results
from orchestrator.store import Store
from trainables.checkpoint import committed_steps

PAIRS = ("linear_cka", "representation_topology_divergence")
CONTRACT = [
    *(
        "trial",
        "model",
        "n_params",
        "variant",
        "seed",
        "init_seed",
        "data_seed",
        "budget_flops",
        "step",
        "tokens",
        "flops",
    ),
    *("metric", "layer", "value", "status", "reason", "metric_version", "seconds", "other_trial", "other_step"),
    *("revision", "fault"),
]


@pytest.fixture(scope="module")
def frame(finished: Path) -> pd.DataFrame:
    return pq.read_table(finished / "results.parquet").to_pandas()


def test_columns_are_the_contract(frame: pd.DataFrame) -> None:
    assert list(frame.columns[: len(CONTRACT)]) == CONTRACT
    assert all(name.startswith("config/") for name in frame.columns[len(CONTRACT) :])
    assert {"config/learning_rate", "config/batch_size", "config/seq_len"} <= set(frame.columns)


def test_each_value_of_each_checkpoint_is_there_once(frame: pd.DataFrame, finished: Path) -> None:
    key = ["trial", "step", "metric", "layer", "metric_version", "other_trial", "other_step"]
    assert not frame.duplicated(key).any()
    store = Store.existing(str(finished))
    for trial in store.trial_ids():
        assert sorted(frame[frame["trial"] == trial]["step"].unique()) == committed_steps(store.trial(trial))
    alone = frame[frame["other_trial"].isna() & (frame["metric"] != "weight_trajectory_dimension")]
    assert alone.groupby(["trial", "step"]).size().nunique() == 1


def test_a_pair_names_the_other_checkpoint(frame: pd.DataFrame) -> None:
    pairs = frame.dropna(subset="other_trial")
    same = pairs["other_trial"] == pairs["trial"]
    assert set(pairs[same]["metric"]) == {f"{name}/across_steps" for name in PAIRS}
    assert set(pairs[~same]["metric"]) == {f"{name}/across_seeds" for name in PAIRS}
    assert (pairs[same]["other_step"] < pairs[same]["step"]).all()
    assert (pairs[~same]["other_step"] == pairs[~same]["step"]).all()
    seeds = frame.drop_duplicates("trial").set_index("trial")["seed"]
    assert (pairs[~same]["seed"] > pairs[~same]["other_trial"].map(seeds)).all()
    steps = {6: [0, 1, 2, 4, 6], 12: [0, 1, 2, 4, 8, 12]}
    for _, rows in frame.groupby("trial"):
        own = steps[rows["step"].max()]
        found = rows[(rows["metric"] == "linear_cka/across_steps") & (rows["layer"] == 0)].sort_values("step")
        assert list(zip(found["other_step"], found["step"], strict=True)) == list(itertools.pairwise(own))


def test_the_trajectory_stands_at_the_last_step_with_its_reason(frame: pd.DataFrame) -> None:
    rows = frame[frame["metric"] == "weight_trajectory_dimension"]
    assert (rows["step"] == rows.groupby("trial")["step"].transform("max")).all()
    assert len(rows) == frame["trial"].nunique()
    assert set(rows["status"]) == {"skipped"}
    assert rows["reason"].str.contains("different snapshots are too few").all()


def test_tokens_and_flops_follow_the_step(frame: pd.DataFrame, finished: Path) -> None:
    config = Store.existing(str(finished)).read_trial(frame["trial"].iloc[0])
    assert (frame["tokens"] == frame["step"] * 4 * 128).all()
    assert (frame["flops"] == frame["tokens"] * config.flops_per_token).all()


def test_collecting_again_gives_the_same_table(frame: pd.DataFrame, finished: Path, tmp_path: Path) -> None:
    again = results.collect(Store.existing(str(finished)))
    results.write(Store.open(str(tmp_path)), again)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "results.parquet"), frame)


def test_by_budget_is_mean_and_spread_over_seeds(frame: pd.DataFrame, finished: Path) -> None:
    summary = results.by_budget(results.at_budget(Store.existing(str(finished)), frame))
    assert list(summary[("steps", "")]) == [6, 12]
    last = frame[(frame["metric"] == "held_out_loss") & (frame["step"] == 12)]
    assert summary[("held_out_loss", "mean")].iloc[1] == pytest.approx(last["value"].mean())
    assert summary[("held_out_loss", "std")].iloc[1] == pytest.approx(np.std(last["value"], ddof=1))


def test_a_trial_that_is_not_done_stays_out_of_the_summary(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    (store_copy / "trials" / store.trial_ids()[0] / "status.json").unlink()
    final = results.at_budget(store, results.collect(store))
    assert store.trial_ids()[0] not in set(final["trial"])
    assert final["trial"].nunique() == 3


@pytest.mark.parametrize(
    ("mean", "std", "count", "text"),
    [
        (4.1234, 0.034, 3, "4.123 ±0.034"),
        (4.0, float("nan"), 3, "4"),
        (float("nan"), 1.0, 0, "-"),
        (4.1234, 0.034, 2, "4.123 ±0.034 (2 of 3)"),
    ],
)
def test_mean_and_spread(mean: float, std: float, count: int, text: str) -> None:
    row = pd.Series({("trials", ""): 3, ("m", "mean"): mean, ("m", "std"): std, ("m", "count"): float(count)})
    assert results.mean_and_spread(row, "m") == text


def test_a_trial_without_a_value_is_not_counted_in_its_mean(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    trial = store.trial_ids()[0]
    step = store.measured_steps(trial)[-1]
    failed = [
        one | {"status": "failed", "reason": "Boom", "values": []}
        for one in store.read_measurements(trial, step).values()
    ]
    store.add_measurements(trial, step, failed)
    summary = results.by_budget(results.at_budget(store, results.collect(store)))
    row = summary[summary[("steps", "")] == step].iloc[0]
    assert row[("trials", "")] == 2
    headlines = [name for name in results.HEADLINES if (name, "count") in row]
    assert "held_out_loss" in headlines
    assert {row[(name, "count")] for name in headlines} == {1}
    assert results.mean_and_spread(row, "held_out_loss").endswith(" (1 of 2)")


def test_a_failed_metric_is_a_row_with_its_reason(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    trial = store.trial_ids()[0]
    failed = {"metric": "held_out", "version": 1, "status": "failed", "reason": "Boom", "seconds": 0.1, "values": []}
    store.add_measurements(trial, 4, [failed])
    rows = results.collect(store).query("trial == @trial and step == 4 and status == 'failed'")
    assert list(rows["metric"]) == ["held_out"]
    assert list(rows["reason"]) == ["Boom"]
    assert rows["value"].isna().all()


def test_two_versions_of_a_metric_never_share_a_mean(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    trial = store.trial_ids()[0]
    step = store.measured_steps(trial)[-1]
    before = results.at_budget(store, results.collect(store)).query("trial == @trial and metric == 'parameter_norm'")
    old = store.read_measurements(trial, step)["parameter_norm@1"]
    newer = old | {"version": 2, "values": [["parameter_norm", None, 1000.0, None]]}
    store.add_measurements(trial, step, [newer])
    frame = results.collect(store)
    after = results.at_budget(store, frame).query("metric == 'parameter_norm'")
    assert before["value"].iloc[0] != 1000.0
    assert list(after["trial"]) == [trial]  # the other trials have the old version only
    assert list(after["value"]) == [1000.0]
    both = frame.query("trial == @trial and step == @step and metric == 'parameter_norm'")
    assert sorted(both["metric_version"]) == [1, 2]  # the table of all values keeps both
