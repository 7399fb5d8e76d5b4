"""Tasks are lm-eval's own, their data come from the Hub or a cache of it, and no code does."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import evaluate
import numpy as np
import pytest
import torch
from huggingface_hub import constants
from lm_eval.api.task import ConfigurableTask

from metrics.base import UnavailableError, Value
from metrics.evaluation import harness, tasks
from metrics.evaluation.subject import EvaluationSettings, Subject
from metrics.evaluation.tasks import FOLDERS, prepare
from tests.hub import ALWAYS, Hub, Reset, Slow, Status
from tests.hub_content import parquet_dataset
from tests.metrics.evaluation.conftest import ITEMS, REPOSITORIES, rows
from trainables import hub as our_hub

DEFAULT = EvaluationSettings()


@pytest.mark.parametrize("task", FOLDERS)
def test_a_common_task_is_the_one_that_lm_eval_finds_by_its_name(task: str) -> None:
    alone, among_all = tasks.manager(task).task_index, tasks._all_tasks().task_index
    assert alone[task].yaml_path == among_all[task].yaml_path
    assert len(alone) < 10 < len(among_all)


def test_a_task_is_prepared_once_with_its_documents_and_requests(served: Hub) -> None:
    found = prepare("hellaswag", DEFAULT, {}, {})
    assert list(found.tasks) == ["hellaswag"]
    assert not found.groups
    assert [document["endings"] for document in found.documents["hellaswag"]] == [
        row["endings"] for row in rows()["hellaswag"]["validation"]
    ]
    assert len(found.tasks["hellaswag"].instances) == 4 * ITEMS
    sha = served.repositories["dataset", REPOSITORIES["hellaswag"][0]].commit("main")
    assert found.origins == {"hellaswag": f"Rowan/hellaswag at {sha}"}


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Status(503), r"fails \(503\)"),
        (Status(403), r"refuses access \(403\)"),
        (Reset(), "cannot be reached"),
        (Slow(600.0), "cannot be reached"),  # it accepts, and never answers
    ],
)
def test_a_hub_that_fails_makes_the_data_unavailable(
    fault: Any, cause: str, served: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(our_hub, "PATIENCE_S", 0.3)
    monkeypatch.setattr(our_hub, "WAITS_S", (0.01,))
    served.fail("", fault, ALWAYS)
    known: dict[str, str] = {}
    with pytest.raises(
        UnavailableError, match=rf"lambada_openai: the data set EleutherAI/lambada_openai default: .*{cause}"
    ):
        prepare("lambada_openai", DEFAULT, {}, known)
    served.clear_faults()
    assert len(known) == 1
    with pytest.raises(UnavailableError, match=cause):  # kept up, so that no checkpoint waits again
        prepare("lambada_openai", DEFAULT, {}, known)
    assert prepare("lambada_openai", DEFAULT, {}, {})


def test_a_data_set_that_is_not_there_is_unavailable(hub: Hub) -> None:
    with pytest.raises(UnavailableError, match="not found at"):
        prepare("mrpc", DEFAULT, {}, {})


def test_a_gated_data_set_is_unavailable_and_says_how_to_get_in(hub: Hub) -> None:
    hub.add("nyu-mll/glue", parquet_dataset({"mrpc": rows()["mrpc"]}), repo_type="dataset", gated=True)
    with pytest.raises(UnavailableError, match="is gated: accept its terms"):
        prepare("mrpc", DEFAULT, {}, {})


def test_what_the_cache_has_is_enough(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    online = prepare("mrpc", DEFAULT, {}, {})
    with served.down():
        assert prepare("mrpc", DEFAULT, {}, {}).documents == online.documents
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    asked = len(served.requests)
    found = prepare("mrpc", DEFAULT, {}, {})
    assert found.documents == online.documents
    assert found.origins == {"mrpc": "nyu-mll/glue mrpc"}  # nobody told the commit
    with pytest.raises(UnavailableError, match="offline mode is on"):
        prepare("winogrande", DEFAULT, {}, {})
    assert len(served.requests) == asked


def test_solved_examples_are_those_of_the_command_lines_seed(served: Hub) -> None:
    """As many as asked for, unless the task fixes their number."""
    settings = EvaluationSettings(num_fewshot=3)
    found, again = (prepare("mrpc", settings, {}, {}).tasks["mrpc"].instances for _ in range(2))
    assert [one.args for one in found] == [one.args for one in again]
    assert found[0].args[0].count("Question:") == 4
    assert found[0].args[0] != found[2].args[0]
    fixed = prepare("truthfulqa_mc1", settings, {}, {})
    assert fixed.about()["num_fewshot"] == "0"


def test_metrics_that_are_scripts_of_the_hub_are_refused(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval fetches a metric that it does not have, and runs it."""
    asked = len(served.requests)
    with pytest.raises(ValueError, match="metric bleurt is a script that would be fetched"), tasks.no_remote_code():
        evaluate.load("bleurt")
    assert len(served.requests) == asked
    original = tasks.manager("mrpc").load

    def with_a_foreign_metric(name: str) -> Any:
        from lm_eval.api.registry import get_metric

        assert get_metric("bertscore", hf_evaluate_metric=True) is None  # it keeps the refusal to itself
        return original(name)

    monkeypatch.setattr(tasks.manager("mrpc"), "load", with_a_foreign_metric)
    with pytest.raises(ValueError, match="mrpc: its metric bertscore is a script"):
        prepare("mrpc", DEFAULT, {}, {})


def test_tasks_that_run_what_models_write_are_refused_when_loaded_too(
    served: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConfigurableTask, "UNSAFE_CODE", True, raising=False)
    with pytest.raises(ValueError, match="runs code that the model writes"):
        prepare("mrpc", DEFAULT, {}, {})


def test_what_is_exchanged_meanwhile_is_put_back(hub: Hub) -> None:
    before = ConfigurableTask.download, evaluate.load, datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    with hub.down(), pytest.raises(UnavailableError):
        prepare("mrpc", DEFAULT, {}, {})
    assert before == (
        ConfigurableTask.download,
        evaluate.load,
        datasets.config.HF_HUB_OFFLINE,
        constants.HF_HUB_OFFLINE,
    )


def test_seeds_are_the_command_lines_and_the_callers_come_back() -> None:
    def drawn() -> tuple[float, ...]:
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    before = tasks.randomness()
    with tasks.seeded():
        inside = drawn()
    outside = drawn()
    tasks.restore(before)
    assert drawn() == outside
    random.seed(0), np.random.seed(1234), torch.manual_seed(1234)
    assert drawn() == inside
    tasks.restore(before)


def test_nothing_is_printed(served: Hub, subject: Callable[..., Subject], capfd: Any) -> None:
    assert [one for one in harness.measure("hellaswag", subject()) if isinstance(one, Value)]
    assert capfd.readouterr() == ("", "")


def test_a_task_that_fails_on_the_hubs_data_fails_with_its_own_error(hub: Hub, tmp_path: Path) -> None:
    hub.add("EleutherAI/lambada_openai", parquet_dataset({"default": {"test": [{"other": "x"}]}}), repo_type="dataset")
    with pytest.raises(Exception, match="'text' is undefined") as raised:
        prepare("lambada_openai", DEFAULT, {}, {})
    assert not isinstance(raised.value, UnavailableError)
    assert harness.unavailable("lambada_openai", ()) is None  # the data can be had
