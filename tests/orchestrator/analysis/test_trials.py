"""Which values the analysis is made of."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orchestrator.analysis.trials import LOSS, WHOLE, Steps, final, layer_column
from tests.orchestrator.analysis import planted

ABOUT = planted.grid(2, (1e9, 1e10), learning_rate=0.01)
LOSSES = np.array([4.0, 3.0, 4.1, 3.1])


def test_values_are_a_row_per_trial_and_a_column_per_metric_and_layer() -> None:
    depth = {("depth", layer): np.arange(4.0) + 10 * layer for layer in (0, 1)}
    frame, ends = planted.results(ABOUT, {(LOSS, None): LOSSES, **depth})
    found = final(Steps.of(frame, ends))
    assert list(found.values[("depth", 1)]) == [10, 11, 12, 13]
    assert list(found.values[(LOSS, WHOLE)]) == list(found.about["loss"]) == list(LOSSES)
    assert list(found.about["learning_rate"]) == [0.01] * 4
    assert list(found.topics.columns) == [("depth", 0), ("depth", 1)]


def test_what_is_unsound_or_not_done_is_left_out() -> None:
    values = {(LOSS, None): LOSSES, ("held_out_loss/code", None): LOSSES, ("rtd/across_seeds", None): LOSSES}
    values["hidden_norm/0.5", 1] = LOSSES
    frame, ends = planted.results(ABOUT, {**values, ("depth", 1): np.array([1.0, np.nan, np.inf, 4.0])})
    old = frame[frame["metric"] == "depth"].assign(metric_version=0, value=9.0)
    frame.loc[(frame["trial"] == "trial-3") & (frame["metric"] == "depth"), "fault"] = "identical"
    del ends["trial-1"]
    found = final(Steps.of(pd.concat([frame, old]), ends))
    assert list(found.about.index) == ["trial-0", "trial-2", "trial-3"]
    assert found.values[("depth", 1)].isna().tolist() == [False, True, True]
    assert found.values[("depth", 1)].iloc[0] == 1.0
    assert list(found.topics.columns) == [("depth", 1)]  # neither the loss by domain nor a pair of seeds


def test_early_values_are_of_the_last_checkpoint_by_then() -> None:
    frame, ends = planted.results(ABOUT, {(LOSS, None): LOSSES}, {(LOSS, None): LOSSES + 1})
    steps = Steps.of(frame, ends)
    assert list(steps.early(0.1)[(LOSS, WHOLE)]) == list(LOSSES + 1)
    assert list(steps.early(0.99)[(LOSS, WHOLE)]) == list(LOSSES + 1)
    assert steps.early(0.09).empty


def test_an_unfinished_sweep_has_no_trials() -> None:
    frame, _ = planted.results(ABOUT, {(LOSS, None): LOSSES})
    assert final(Steps.of(frame, {})).about.empty
    assert final(Steps.of(frame.iloc[:0], {})).about.empty


def test_the_layer_of_the_whole_model_is_missing() -> None:
    assert layer_column(pd.DataFrame({"layer": [WHOLE, 0, 2]}))["layer"].tolist() == [pd.NA, 0, 2]
