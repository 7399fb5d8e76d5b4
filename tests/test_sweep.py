"""The command line as others script against it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import search_spaces
import sweep
from orchestrator.alarm import Alarm
from orchestrator.lease import hold
from orchestrator.overrides import override
from orchestrator.plan import plan
from orchestrator.store import Status, Store
from trainables.storage import Folder

ROOT = Path(__file__).parent.parent


def test_plan_prints_every_trial_and_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    assert sweep.main(["plan", "quickstart", "--store", str(store)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("not in the store yet") == 12
    assert not store.exists()


def test_plan_json_is_a_list_of_trials(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["seeds=0,7", "budgets=6steps", "batch_size=4", "probe_sequences=16", "probe_points=48"]
    assert sweep.main(["plan", "quickstart", *settings, "--store", str(finished), "--json"]) == 0
    done, new = json.loads(capsys.readouterr().out)
    assert (done["action"], new["action"]) == ("done", "train")
    assert new["flops"] == 6 * 4 * 128 * 1_572_864
    assert new["tokens"] == 6 * 4 * 128


def test_plan_says_what_the_sweep_takes_on_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "quickstart", "seeds=0", "--store", str(tmp_path / "s")]
    assert sweep.main(command) == 0
    shown = capsys.readouterr()
    assert " disk " in shown.out
    assert "15.4 MB" in shown.out
    assert " in the end, 0 B there already, up to " in shown.out
    assert "free on the store's disk" in shown.out
    assert shown.err == ""
    assert sweep.main([*command, "--json"]) == 0
    first, *_ = json.loads(capsys.readouterr().out)
    assert 15.3e6 < first["disk_bytes"] < 15.5e6
    assert first["disk_bytes_at_most"] > first["disk_bytes"]


def test_plan_warns_where_the_disk_is_too_small_and_names_the_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """100 TB a trial."""
    settings = ["model=pythia-12b", "tokenizer=bpe", "seeds=0", "budgets=2000steps", "checkpoint_every=1", "--json"]
    assert sweep.main(["plan", "quickstart", "--store", str(tmp_path / "s"), *settings]) == 0
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)) == 1
    for part in ("sweep.py: warning: the store's disk has", "keep=last:1", "keep=log", "--store", "checkpoint_every"):
        assert part in shown.err


def test_settings_may_stand_on_both_sides_of_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "quickstart", "seeds=4", "--store", str(tmp_path / "s"), "budgets=3steps", "--json"]
    assert sweep.main(arguments) == 0
    (trial,) = json.loads(capsys.readouterr().out)
    assert (trial["seed"], trial["steps"]) == (4, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "quickstrat"], "Did you mean 'quickstart'"),
        (["plan", "quickstart", "sedes=1"], "Did you mean 'seeds'"),
        (["run", "quickstart", "seeds=one"], "seeds=one: 'one' is not a whole number"),
        (["run", "quickstart", "model=pythia"], "Did you mean 'pythia-"),
        (["status", "/nowhere"], "not a store"),
        (["report", "/nowhere"], "not a store"),
        (["plan", "quickstart", "--store", __file__], "is a file"),
        (["plan", "quickstart", "--store", ""], "not a store"),
    ],
)
def test_bad_usage_exits_2_and_says_why(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--nope"], ["run"], ["run", "quickstart", "--stroe", "x"], ["dance"]])
def test_argparse_errors_exit_2_too(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        sweep.main(arguments)
    assert error.value.code == 2


def test_a_missing_space_is_all_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sweep.main(["run"])
    assert "required: SPACE\n" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["run"], ["plan"], ["status"], ["report"], ["spaces"]])
def test_help_is_everywhere(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        sweep.main([*command, "--help"])
    assert error.value.code == 0
    shown = capsys.readouterr().out
    assert "130" in shown
    assert ("seeds=int,..." in shown) == (command in (["run"], ["plan"]))


def test_spaces_lists_each_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["spaces"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("asha_budgets", "isoflop", "optuna_learning_rate", "public_checkpoints", "pythia_budgets", "quickstart"),
        "resource_limits",
    ]


def test_mixing_is_refused_with_both_values(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["run", "quickstart", "--store", str(finished), "learning_rate=0.1", "batch_size=4"]) == 2
    assert "learning_rate was None, is now 0.1" in capsys.readouterr().err


def test_status_counts(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["status", str(finished)]) == 0
    assert "4 trials: 4 done, 0 left, of which 0 failed" in capsys.readouterr().out


def test_status_tells_a_run_that_is_at_work_from_one_that_died(
    store_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, alarm = Store.existing(str(store_copy)), Alarm()
    store.write_status(store.trial_ids()[0], Status("running", 0, 0.0))
    assert sweep.main(["status", str(store_copy)]) == 0
    assert " running " not in capsys.readouterr().out
    with alarm.heard(), hold(store.root, alarm):
        assert sweep.main(["status", str(store_copy)]) == 0
        shown = capsys.readouterr().out
        assert f"process {os.getpid()} on " in shown
        assert " running " in shown


def test_report_makes_the_derived_files_anew(store_copy: Path) -> None:
    before = pd.read_parquet(store_copy / "results.parquet")
    (store_copy / "results.parquet").unlink()
    (store_copy / "report.html").unlink()
    assert sweep.main(["report", str(store_copy)]) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(store_copy / "results.parquet"), before)
    assert (store_copy / "report.html").stat().st_size > 10_000


def test_a_run_ends_with_table_paths_and_the_tensorboard_command(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main(["report", str(finished)]) == 0
    shown = capsys.readouterr().out
    for part in ("bits/byte", "±", f"{finished}/results.parquet", f"{finished}/report.html"):
        assert part in shown
    assert f"tensorboard --logdir {finished}/tensorboard" in shown


def test_planning_imports_neither_torch_nor_ray(tmp_path: Path) -> None:
    script = (
        "import sys, sweep; sweep.main(['plan', 'quickstart', '--store', sys.argv[1]]);"
        "sys.exit(bool({'torch', 'ray', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "s")]
    assert subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == 0


@pytest.fixture
def interrupted(shared_tokens: Path, processes: Callable[[], list[Any]]) -> Callable[..., Store]:
    """Interrupts a real process with a Ray of its own as soon as its store shows what is waited for; nothing of it is
    left behind, and the store says how to go on."""

    def interrupt(signum: signal.Signals, settings: list[str], shows: Callable[[Folder], bool]) -> Store:
        path = shared_tokens / "store"
        command = [sys.executable, "sweep.py", "run", "quickstart", "--store", str(path), *settings]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        store, until = Store.open(str(path)), time.monotonic() + 120
        try:
            while not any(shows(store.trial(trial)) for trial in store.trial_ids()):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < until
                time.sleep(0.02)
            os.kill(process.pid, signum)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()  # where it did not end
        assert process.returncode == 130, errors
        assert f"Go on with: python sweep.py run quickstart --store {path}" in errors
        until = time.monotonic() + 15
        while left := [one.command for one in processes() if one.session == process.pid]:
            assert time.monotonic() < until, left
            time.sleep(0.1)
        assert list(path.rglob("*.tmp*")) == []
        return store

    return interrupt


def test_a_terminated_run_exits_130_leaves_no_process_and_goes_on(interrupted: Callable[..., Store]) -> None:
    settings = ["seeds=0", "budgets=500steps", "metrics=none", "batch_size=2"]
    store = interrupted(
        signal.SIGTERM, settings, lambda trial: (trial / "checkpoints" / "step-00000016").is_committed()
    )
    (planned,) = plan(override(search_spaces.find("quickstart")(), settings), store)
    assert planned.action == "train"
    assert planned.from_step >= 16


@pytest.mark.parametrize("command", ["status", "report"])
def test_brackets_in_a_reason_are_text(store_copy: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.existing(str(store_copy))
    store.write_status(store.trial_ids()[0], Status("failed", 3, 1.0, "RuntimeError: [/gloo/pair.cc:547] closed"))
    assert sweep.main([command, str(store_copy)]) == (1 if command == "status" else 0)
    assert command == "report" or "[/gloo/pair.cc:547]" in capsys.readouterr().out.replace("\n", "")


def test_a_damaged_record_is_named_without_a_traceback(store_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trial = Store.existing(str(store_copy)).trial_ids()[0]
    (store_copy / "trials" / trial / "trial.json").write_text("{}")
    assert sweep.main(["report", str(store_copy)]) == 2
    assert "trial.json" in capsys.readouterr().err
