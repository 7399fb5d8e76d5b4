"""Evaluations through a whole run: without data they are skipped, which is said at once, and made once it is there."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import sweep
from metrics import items
from orchestrator.store import Store
from tests.hub import Hub

TASK = "lambada_openai"
SMALL = ["seeds=0", "budgets=6steps", "batch_size=4", "probe_sequences=16", "probe_points=48"]
EVALUATED = [f"evaluations={TASK}", "limit=3", "evaluators=1", "log_samples=true"]


def run(store: Path, *settings: str) -> int:
    mine = {word.partition("=")[0] for word in settings}
    words = [word for word in EVALUATED if word.partition("=")[0] not in mine]
    return sweep.main(["run", "quickstart", "--store", str(store), *SMALL, *words, *settings])


def rows(store: Path) -> pd.DataFrame:
    frame = pd.read_parquet(store / "results.parquet")
    return frame[frame["metric"].str.startswith(TASK)]


@pytest.fixture(scope="module")
def lambada(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "lambada.jsonl"
    texts = ["the statement binds the name", "a class has a method", "an object is a value", "the last word"]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def test_skipped_with_the_reason_and_made_once_the_data_are_there(
    store_copy: Path, lambada: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    with hub.down():
        assert run(store_copy) == 0
    said = capsys.readouterr().out
    assert f"{TASK} is skipped: {TASK}: the data set EleutherAI/lambada_openai default: " in said
    skipped = rows(store_copy)
    assert set(skipped["step"]) == {0, 1, 2, 4, 6}
    assert set(skipped["status"]) == {"skipped"}
    assert skipped["value"].isna().all()
    assert all("cannot be reached" in reason and "evaluation_data=" in reason for reason in skipped["reason"])
    with hub.down():
        assert run(store_copy) == 0
    assert "nothing to do" in capsys.readouterr().out

    assert run(store_copy, f"evaluation_data={TASK}:{lambada}") == 0
    measured = rows(store_copy)
    assert set(measured["status"]) == {"ok"}
    assert set(measured["metric"]) == {f"{TASK}/acc", f"{TASK}/acc_stderr", f"{TASK}/perplexity"}
    store = Store.existing(str(store_copy))
    trial_id = next(one for one in store.trial_ids() if "6steps-s0" in one)
    about = store.read_measurements(trial_id, 6)[f"{TASK}@1"]["about"]
    assert (about["items"], about["limit"], about["data"]) == (3, 3, f"{lambada} (lambada.jsonl for test)")
    kept = items.read(store.trial(trial_id), 6, f"{TASK}@1")
    accuracy = measured[(measured["metric"] == f"{TASK}/acc") & (measured["step"] == 6)]["value"].item()
    assert len(kept) == 3
    assert kept["acc"].mean() == accuracy
    capsys.readouterr()
    assert run(store_copy) == 0  # without the word: what is measured stays
    assert "nothing to do" in capsys.readouterr().out
    assert run(store_copy, "limit=4") == 2
    assert "limit was 3, is now 4" in capsys.readouterr().err
    assert sweep.main(["run", "quickstart", "--store", str(store_copy), *SMALL]) == 0  # it asks for no evaluation
    assert Store.existing(str(store_copy)).read_sweep()["sweep"]["limit"] == 3  # type: ignore[index]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["evaluations=lambda_openai"], "Did you mean 'lambada_openai'?"),
        (["evaluations=humaneval"], "runs code that the model writes"),
        (["evaluation_data=lambada_openai"], "write TASK:PATH"),
        (["evaluation_data=lambada_openai:/nowhere.jsonl"], "nothing is at /nowhere.jsonl"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(
    tmp_path: Path, settings: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main(["plan", "quickstart", "--store", str(tmp_path / "store"), *settings]) == 2
    assert said in capsys.readouterr().err
