"""The real thing: Tune, Train, the pool, in one shared Ray."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sweep
from metrics.topology.trajectory import weight_trajectory_dimension
from orchestrator.plan import standing
from orchestrator.store import Store
from orchestrator.words import SpecError
from trainables.checkpoint import TRAINING_STATE, committed_steps, load_weights, released_steps

# One evaluator, not one per core: each is a process that takes 6 s of a core to start.
TINY = {"batch_size": "4", "probe_sequences": "16", "probe_points": "48", "metrics": "held_out", "evaluators": "1"}
FINISHED = [
    *("seeds=0,1", "budgets=6steps,12steps", "batch_size=4", "probe_sequences=16", "probe_points=48"),
    "evaluators=1",
]


def run(store: Path, *settings: str) -> int:
    given = TINY | dict(setting.split("=", 1) for setting in settings)
    return sweep.main(["run", "quickstart", "--store", str(store), *(f"{key}={value}" for key, value in given.items())])


@pytest.fixture
def prepared(shared_tokens: Path) -> Path:
    """A new store beside the finished sweep's token store."""
    return shared_tokens / "store"


def test_running_a_finished_sweep_again_does_nothing(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "trials").rglob("*")}
    monkeypatch.setattr("orchestrator.driver.ray_running", lambda *_, **__: pytest.fail("Ray was wanted for nothing"))
    assert sweep.main(["run", "quickstart", "--store", str(finished), *FINISHED]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (finished / "trials").rglob("*")} == before


def test_lost_measurements_are_made_again_and_equal_pairs_from_what_is_kept_of_checkpoints_that_are_gone(
    store_copy: Path,
) -> None:
    """Of one trial all of a checkpoint; of another the pairs of two checkpoints that are gone."""
    before = pd.read_parquet(store_copy / "results.parquet").drop(columns="seconds")
    store = Store.existing(str(store_copy))
    one, _, other, _ = store.trial_ids()
    (store_copy / "trials" / one / "measurements" / "step-00000004.json").unlink()
    for step in (2, 4):
        name = f"step-{step:08d}"
        body = (store.trial(other) / "measurements").read_json(f"{name}.json")
        body["measurements"] = {key: one for key, one in body["measurements"].items() if "linear_cka" not in key}
        (store.trial(other) / "measurements").write_json(f"{name}.json", body)
        shutil.rmtree(store_copy / "trials" / other / "checkpoints" / name)
    assert sweep.main(["run", "quickstart", "--store", str(store_copy), *FINISHED]) == 0
    after = pd.read_parquet(store_copy / "results.parquet").drop(columns="seconds")
    pd.testing.assert_frame_equal(after, before)


def test_the_record_of_a_finished_trial_is_written_anew_without_ray(
    store_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.driver.ray_running", lambda *_, **__: pytest.fail("Ray was wanted for nothing"))
    before = pd.read_parquet(store_copy / "results.parquet")
    record = store_copy / "trials" / Store.existing(str(store_copy)).trial_ids()[0] / "trial.json"
    text = record.read_bytes()
    record.unlink()
    assert sweep.main(["run", "quickstart", "--store", str(store_copy), *FINISHED]) == 0
    assert record.read_bytes() == text
    pd.testing.assert_frame_equal(pd.read_parquet(store_copy / "results.parquet"), before)


def test_a_metric_added_to_a_finished_sweep_is_measured_alone_and_seeds_are_paired_with_those_there(
    prepared: Path,
) -> None:
    """Pairs read what is kept of a checkpoint; here nothing was, since no metric of pairs was asked for at first.

    Then come a higher seed beside one of the sweep, and a lower one beside seeds that are not of the sweep.
    """
    store = Store.open(str(prepared))

    def measured() -> dict[tuple[str, int], dict[str, Any]]:
        return {(t, s): store.read_measurements(t, s) for t in store.trial_ids() for s in store.measured_steps(t)}

    def paired_with(other: str, found: dict[tuple[str, int], dict[str, Any]], trial: str) -> int:
        return sum(f" {other}/" in key for (one, _), of_step in found.items() if one == trial for key in of_step)

    assert run(prepared, "seeds=1", "budgets=6steps") == 0
    before = measured()
    assert not list(prepared.glob("trials/*/traces"))
    settings = ["budgets=6steps", "metrics=held_out,linear_cka"]
    assert run(prepared, "seeds=1", *settings) == 0
    alone = measured()
    assert {at: found["held_out@1"] for at, found in alone.items()} == {
        at: found["held_out@1"] for at, found in before.items()
    }
    assert sum(key.startswith("linear_cka@") for found in alone.values() for key in found) == 4
    assert run(prepared, "seeds=1,2", *settings) == 0
    second, third = store.trial_ids()
    two = measured()
    assert (paired_with(second, two, third), paired_with(third, two, third)) == (5, 4)
    assert {at: two[at] for at in alone} == alone
    assert run(prepared, "seeds=0", *settings) == 0
    first, *_ = store.trial_ids()
    three = measured()
    assert [paired_with(first, three, trial) for trial in (first, second, third)] == [4, 5, 5]
    for at, found in two.items():
        assert {key: three[at][key] for key in found} == found
    assert {trial.action for trial in standing(store)} == {"done"}


def test_of_a_checkpoint_of_which_nothing_is_left_the_trajectory_says_so(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    trial = store.trial_ids()[0]
    last = store.read_trial(trial).steps
    body = (store.trial(trial) / "measurements").read_json(f"step-{last:08d}.json")
    del body["measurements"]["weight_trajectory_dimension@1"]
    (store.trial(trial) / "measurements").write_json(f"step-{last:08d}.json", body)
    for kind in ("checkpoints", "traces"):
        shutil.rmtree(store_copy / "trials" / trial / kind / "step-00000004")
    assert sweep.main(["run", "quickstart", "--store", str(store_copy), *FINISHED]) == 0
    one = store.read_measurements(trial, last)["weight_trajectory_dimension@1"]
    assert (one["status"], one["reason"]) == ("skipped", "of the checkpoints at steps 4 nothing is left")
    assert {planned.action for planned in standing(store)} == {"done"}


def test_a_trial_with_many_checkpoints_keeps_every_state_if_asked_to_and_has_the_dimension_of_its_trajectory(
    prepared: Path,
) -> None:
    settings = ["seeds=0", "budgets=20steps", "checkpoint_every=1", "metrics=weight_trajectory_dimension", "keep=all"]
    assert run(prepared, *settings) == 0
    store = Store.existing(str(prepared))
    (trial,) = store.trial_ids()
    assert committed_steps(store.trial(trial), TRAINING_STATE) == committed_steps(store.trial(trial)) == [*range(21)]
    assert store.measured_steps(trial) == [20]
    ((_, one),) = store.read_measurements(trial, 20).items()
    states = (load_weights(store.trial(trial), step) for step in range(21))
    expected = weight_trajectory_dimension({name: w.numpy() for name, w in state.items()} for state in states)
    assert one["values"] == [["weight_trajectory_dimension", None, expected, None]]


def test_a_sweep_that_keeps_the_last_weights_gives_the_same_results_and_is_done(
    finished: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "quickstart", "--store", str(prepared), *FINISHED, "keep=last:1"]
    assert sweep.main(command) == 0
    assert "deleted the weights of 18 measured checkpoints" in capsys.readouterr().out
    store = Store.existing(str(prepared))
    assert [committed_steps(store.trial(trial)) for trial in store.trial_ids()] == [[12], [12], [6], [6]]
    expected = pd.read_parquet(finished / "results.parquet").drop(columns="seconds")
    pd.testing.assert_frame_equal(pd.read_parquet(prepared / "results.parquet").drop(columns="seconds"), expected)
    assert {trial.action for trial in standing(store)} == {"done"}
    assert sweep.main(command) == 0
    said = capsys.readouterr().out
    assert "nothing to do" in said
    assert "deleted" not in said


def test_a_finished_sweep_is_brought_to_another_rule_without_ray_and_a_lost_measurement_is_made_again(
    store_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The weights that the measurement was made of are gone; they are trained again, measured, and go again."""
    before = pd.read_parquet(store_copy / "results.parquet").drop(columns="seconds")
    command = ["run", "quickstart", "--store", str(store_copy), *FINISHED]
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.driver.ray_running", lambda *_, **__: pytest.fail("Ray was wanted for nothing"))
        assert sweep.main([*command, "keep=log"]) == 0
        assert "deleted" not in capsys.readouterr().out  # 0, 1, 2, 4, 8 and the end are all there are
        assert sweep.main([*command, "keep=last:2"]) == 0
        assert "keep=last:2: deleted the weights of 14 measured checkpoints" in capsys.readouterr().out
    store = Store.existing(str(store_copy))
    trial = store.trial_ids()[0]
    (store_copy / "trials" / trial / "measurements" / "step-00000001.json").unlink()
    assert sweep.main([*command, "keep=last:2"]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(store_copy / "results.parquet").drop(columns="seconds"), before)
    assert committed_steps(store.trial(trial)) == [8, 12]
    assert released_steps(store.trial(trial)) == [0, 1, 2, 4]


def test_a_run_for_which_the_disk_is_too_small_says_so_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """100 TB a trial; what refuses to start Ray keeps it from beginning."""

    def refuse(*_: object, **__: object) -> None:
        raise SpecError("no Ray today")

    monkeypatch.setattr("orchestrator.driver.ray_running", refuse)
    settings = ["model=pythia-12b", "tokenizer=bpe", "seeds=0", "budgets=2000steps", "checkpoint_every=1"]
    command = ["run", "quickstart", "--store", str(tmp_path / "store"), *settings]
    assert sweep.main(command) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: the store's disk has" in said
    assert "Give keep=last:1 or keep=log" in said


def test_a_diverging_trial_fails_alone_with_its_log(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(prepared, "seeds=0", "budgets=3steps", "learning_rate=1e38", "metrics=none") == 1
    errors = capsys.readouterr().err
    store = Store.existing(str(prepared))
    (trial,) = store.trial_ids()
    assert f"{trial} failed; its last good step is " in errors
    assert "lower learning_rate" in errors
    log = errors.partition("(log: ")[2].partition(")")[0]
    assert "TrainingDivergedError" in Path(log).read_text()
    last = committed_steps(store.trial(trial))[-1]
    assert all(weight.isfinite().all() for weight in load_weights(store.trial(trial), last).values())


def test_input_that_cannot_be_read_is_named_with_file_and_line(
    tmp_path: Path, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = [f'{{"text": "a good line, number {number}"}}' for number in range(50)]
    lines[20] = '{"txet": "a bad one"}'
    (corpus / "0.jsonl").write_text("\n".join(lines))
    assert run(tmp_path / "store", f"corpus={corpus}", "seeds=0", "budgets=2steps") == 2
    assert f'{corpus / "0.jsonl"}, line 21: no "text" string' in capsys.readouterr().err


def test_a_rule_of_the_sweep_ends_a_trial_early_and_what_there_is_of_it_is_its_result(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = ("seeds=0", "budgets=20steps", "early_stop=100@1,0.1@8", "metrics=held_out,weight_trajectory_dimension")
    assert run(prepared, *rules) == 0
    store = Store.existing(str(prepared))
    (trial,) = store.trial_ids()
    assert (
        f"stopped  {trial} at step 8: early_stop=0.1@8: the mean loss of the 4 steps up to 8" in capsys.readouterr().out
    )
    status = store.read_status(trial)
    assert status is not None
    assert (status.state, status.step) == ("stopped", 8)
    assert committed_steps(store.trial(trial)) == store.measured_steps(trial) == [0, 1, 2, 4, 8]
    assert [planned.action for planned in standing(store)] == ["done"]
    assert run(prepared, *rules) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run(prepared, *rules[:2], rules[3]) == 2  # what is not stopped by then would mix with what is
    assert "early_stop was ['100@1', '0.1@8'], is now []" in capsys.readouterr().err


def candidates(store: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((store / "search").rglob("candidate-*.json"))]


def test_a_search_by_asha_climbs_from_its_own_checkpoints_and_a_longer_one_goes_on(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["search=asha", "schedule=wsd", "warmup=1", "reduction=2", "budgets=6steps,12steps", "seeds=0"]
    settings += ["space=learning_rate=1e-4..1e-1log", "candidates=2"]
    assert run(prepared, *settings) == 0
    first = candidates(prepared)
    assert sorted(one["rung"] for one in first) == [0, 1]
    (record,) = prepared.glob("trials/*/prefix.json")
    known = json.loads(record.read_text())
    assert (known["step"], "-12steps-" in str(record), "-6steps-" in known["trial"]) == (5, True, True)
    assert "best of 1 (of 2 candidates)" in capsys.readouterr().out
    assert run(prepared, *settings) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run(prepared, *settings[:-1], "candidates=3") == 0
    assert [one["variant"] for one in candidates(prepared)[:2]] == [one["variant"] for one in first]
    assert len(candidates(prepared)) == 3
    table = pd.read_parquet(prepared / "results.parquet")
    assert table.groupby("variant")["trial"].nunique().tolist().count(1) >= 1
    assert table["variant"].nunique() == 3
