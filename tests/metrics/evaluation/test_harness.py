"""Tasks of lm-eval give lm-eval's numbers, from warm checkpoints too, and say why where they give none."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metrics.base import About, Items, UnavailableError, Value
from metrics.evaluation import harness, tasks
from metrics.evaluation.harness import COMMON_TASKS
from metrics.evaluation.subject import CPU_BATCH_SIZE, Subject
from tests.hub import Hub
from tests.hub_content import parquet_dataset
from tests.metrics.evaluation.conftest import TOKENIZER, model, words

Make = Callable[..., Subject]
# The command line for each task in turn, in one process. Bootstrapped errors would take minutes, and we give none; what
# is installed here, which it also reports, seconds.
COMMAND_LINE = """
import sys
from lm_eval import evaluator
from lm_eval.api import metrics
from lm_eval.tasks._index import TaskIndex
from lm_eval.__main__ import cli_evaluate

metrics.bootstrap_stderr = lambda *_, **__: 0.0
evaluator.add_env_info = lambda results: None
built, build = [], TaskIndex.build
TaskIndex.build = lambda self, *paths, **settings: built[0] if built else built.append(build(*paths)) or built[0]
folder, batch_size, *tasks = sys.argv[1:]
for task in tasks:
    words = f"lm_eval run --model hf --model_args pretrained={folder},dtype=float32 --device cpu --tasks {task}"
    sys.argv = [*words.split(), "--batch_size", batch_size, "--output_path", f"{folder}/{task}"]
    cli_evaluate()
"""


def numbers(task: str, subject: Subject) -> dict[str, float | None]:
    return {one.metric: one.value for one in harness.measure(task, subject) if isinstance(one, Value)}


def about(task: str, subject: Subject) -> dict[str, Any]:
    return dict(next(one.details for one in harness.measure(task, subject) if isinstance(one, About)))


def as_ours(
    results: dict[str, dict[str, Any]], bootstrapped: tuple[str, ...] = ("perplexity", "f1")
) -> dict[str, float]:
    """lm-eval's results under our names, without the standard errors that it bootstraps."""
    found = {}
    for task, values in results.items():
        for key, value in values.items():
            metric, comma, filtered = key.partition(",")
            if comma and value != "N/A" and metric not in [f"{name}_stderr" for name in bootstrapped]:
                found[f"{task}/{metric}" + (f"/{filtered}" if filtered != "none" else "")] = value
    return found


def in_process(patch: pytest.MonkeyPatch, seed: int, task: str, folder: Path, **settings: Any) -> dict[str, float]:
    """By lm-eval's own function, from files."""
    import lm_eval.evaluator

    patch.setattr(lm_eval.evaluator, "add_env_info", lambda results: None)  # seconds
    save(folder, seed)
    arguments = {"pretrained": str(folder), "dtype": "float32"}
    settings = {"batch_size": CPU_BATCH_SIZE, "device": "cpu", "bootstrap_iters": 2, **settings}
    settings["task_manager"] = tasks.manager(task)
    found = lm_eval.simple_evaluate("hf", arguments, [task], **settings)
    return as_ours(found["results"])


def save(folder: Path, seed: int) -> None:
    model(seed).save_pretrained(folder)
    for name, content in TOKENIZER.items():
        (folder / name).write_bytes(content)


def test_numbers_are_those_of_the_command_line(served: Hub, subject: Make, tmp_path: Path) -> None:
    """To the last digit, cold and warm, by another model after it."""
    save(tmp_path, 0)
    command = [sys.executable, "-c", COMMAND_LINE, str(tmp_path), str(CPU_BATCH_SIZE), *COMMON_TASKS]
    run = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    expected = {}
    for path in tmp_path.rglob("results_*.json"):
        expected |= as_ours(json.loads(path.read_text())["results"])
    warm: dict[str, Any] = {}
    found, other, again = ({} for _ in range(3))
    for task in COMMON_TASKS:
        found |= numbers(task, subject(0, warm))
        other |= numbers(task, subject(1, warm))
        again |= numbers(task, subject(0, warm))
    assert found == again == expected
    assert other.keys() == expected.keys()
    assert other != expected


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("hellaswag", {"limit": 5}),
        ("mrpc", {"num_fewshot": 3}),
        ("winogrande", {"batch_size": 3}),
        ("truthfulqa_mc1", {"num_fewshot": 2}),  # which the task fixes to 0
    ],
)
def test_settings_mean_what_lm_eval_means(
    served: Hub,
    subject: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    settings: dict[str, int],
) -> None:
    warm: dict[str, Any] = {}
    numbers(task, subject(5, warm, **settings))
    expected = in_process(monkeypatch, 1, task, tmp_path, **settings)
    assert numbers(task, subject(1, warm, **settings)) == expected


def test_the_second_checkpoint_tokenises_nothing_and_builds_no_request(
    served: Hub, subject: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.api.task import ConfigurableTask
    from transformers import PreTrainedTokenizerFast

    warm: dict[str, Any] = {}
    for task in COMMON_TASKS:
        numbers(task, subject(0, warm))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("done again")

    for owner, name in ((PreTrainedTokenizerFast, "_encode_plus"), (ConfigurableTask, "construct_requests")):
        assert hasattr(owner, name)
        monkeypatch.setattr(owner, name, refuse)
    with served.down():
        for task in COMMON_TASKS:
            assert numbers(task, subject(1, warm))
    with pytest.raises(AssertionError, match="done again"):
        numbers("mrpc", subject(1))


def test_models_of_other_contexts_do_not_share_what_was_cut(served: Hub, subject: Make) -> None:
    warm: dict[str, Any] = {}
    assert about("wikitext", subject(0, warm))["requests_cut_to_context"] == 0  # it is read in windows
    wide, narrow = (about("lambada_openai", subject(0, warm, context=length)) for length in (96, 32))
    assert wide["requests_cut_to_context"] < narrow["requests_cut_to_context"]
    found = [numbers("lambada_openai", subject(0, kept, context=32)) for kept in (warm, {})]
    assert found[0] == found[1]


def test_it_is_said_how_numbers_were_found(served: Hub, subject: Make) -> None:
    import lm_eval

    said = about("mrpc", subject(limit=4, num_fewshot=1))
    assert said.pop("data").startswith("nyu-mll/glue mrpc at ")
    others = (
        about("mrpc", subject(limit=3, num_fewshot=1))["data_sha256"],
        about("mrpc", subject(limit=4))["data_sha256"],
    )
    assert others[0] != said.pop("data_sha256") == others[1]  # of the items, whatever is asked of them
    assert said == {
        "lm_eval": lm_eval.__version__,
        "task_version": "1.0",
        "num_fewshot": "1",
        "limit": 4,
        "items": 4,
        "batch_size": "16",
        "precision": "float32",
        "requests_cut_to_context": said["requests_cut_to_context"],
    }


def test_items_add_up_to_the_values(served: Hub, subject: Make) -> None:
    found = {task: list(harness.measure(task, subject(log_samples=True))) for task in ("lambada_openai", "mrpc")}
    kept = {task: next(one.columns for one in all_ if isinstance(one, Items)) for task, all_ in found.items()}
    values = {one.metric: one.value for all_ in found.values() for one in all_ if isinstance(one, Value)}
    told = kept["lambada_openai"]
    assert told["item"] == list(range(12))
    assert np.exp(-np.mean([one[0] for one in told["log_likelihoods"]])) == pytest.approx(
        values["lambada_openai/perplexity"], rel=1e-12
    )
    assert np.mean(told["acc"]) == values["lambada_openai/acc"]
    assert [[bool(acc)] for acc in told["acc"]] == told["greedy"]
    told = kept["mrpc"]
    likelier = [int(no < yes) for no, yes in told["log_likelihoods"]]
    assert np.mean([a == b for a, b in zip(likelier, told["target"], strict=True)]) == values["mrpc/acc"]
    assert told["f1"] == [list(pair) for pair in zip(told["target"], likelier, strict=True)]


def test_no_items_unless_they_are_asked_for(served: Hub, subject: Make) -> None:
    assert not [one for one in harness.measure("mrpc", subject(limit=2)) if isinstance(one, Items)]


def test_the_callers_generators_and_model_stay_as_they_were(served: Hub, subject: Make) -> None:
    one = subject()
    before = {name: weight.clone() for name, weight in one.model.state_dict().items()}
    drawn = []
    for _ in range(2):
        random.seed(7), np.random.seed(7), torch.manual_seed(7)
        if drawn:
            numbers("mrpc", one)
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]
    assert not one.model.training
    assert all(torch.equal(before[name], weight) for name, weight in one.model.state_dict().items())


def test_a_hub_that_is_down_makes_it_unavailable_and_is_asked_once(served: Hub, subject: Make) -> None:
    warm: dict[str, Any] = {}
    with served.down():
        for task in ("truthfulqa_mc1", "truthfulqa_mc2"):  # of one data set
            with pytest.raises(UnavailableError, match=rf"{task}.*cannot be reached.*evaluation_data={task}:PATH"):
                numbers(task, subject(0, warm))
        assert "verify_downloads.py --evaluations" in str(harness.unavailable("truthfulqa_mc1", ()))
    with pytest.raises(UnavailableError, match="cannot be reached"):
        numbers("truthfulqa_mc1", subject(0, warm))
    assert harness.unavailable("truthfulqa_mc1", ()) is None
    with served.down():  # in the cache now
        assert numbers("truthfulqa_mc1", subject())


def test_a_group_aggregates_as_lm_eval_does(
    hub: Hub, subject: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All requests of a group run together, as they do there."""
    rng = random.Random(1)

    def row() -> dict[str, Any]:
        return {"question": words(rng, 5), "choices": [words(rng, 2) for _ in range(4)], "answer": rng.randrange(4)}

    sizes = {"bio": 5, "chem": 3, "cyber": 7}
    configs = {f"wmdp-{name}": {"test": [row() for _ in range(size)]} for name, size in sizes.items()}
    hub.add("cais/wmdp", parquet_dataset(configs), repo_type="dataset")
    found = numbers("wmdp", subject())
    assert found == in_process(monkeypatch, 0, "wmdp", tmp_path)
    weighted = sum(found[f"wmdp_{name}/acc"] * size for name, size in sizes.items())  # type: ignore[operator]
    assert found["wmdp/acc"] == pytest.approx(weighted / 15)
    with pytest.raises(UnavailableError, match="several tasks"):
        numbers("wmdp", subject(data=(f"wmdp:{tmp_path}",)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lambada", None),  # a tag
        ("mmlu_anatomy", None),
        ("helaswag", "Did you mean 'hellaswag'"),
        ("zzzzzzzzzzz", "no task, group or tag of lm-eval"),
        ("humaneval", "runs code that the model writes"),
        ("mbpp", "runs code that the model writes"),
    ],
)
def test_names_are_known_or_refused(name: str, message: str | None) -> None:
    if message is None:
        harness.require_known([*COMMON_TASKS, name])
        return
    with pytest.raises(ValueError, match=message):
        harness.require_known([*COMMON_TASKS, name])


def test_common_names_are_known_without_lm_eval() -> None:
    code = (
        "import sys; from metrics.evaluation import harness; harness.require_known(harness.COMMON_TASKS);"
        "sys.exit(any(name in sys.modules for name in ('lm_eval', 'torch', 'datasets')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("mrpc", "write TASK:PATH"),
        (":/data", "write TASK:PATH"),
        ("mrpc:", "write TASK:PATH"),
        ("mrcp:/data", "Did you mean 'mrpc'"),
        ("mrpc:/nowhere/at/all", "nothing is at /nowhere/at/all"),
    ],
)
def test_words_for_local_data_are_checked(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        harness.sources([word])


def test_paths_may_hold_colons_and_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a:b.jsonl"
    file.write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert harness.sources(["mrpc:/tmp", f"mrpc:{file}"]) == {"mrpc": str(file)}
    assert harness.sources(["mrpc:~/a:b.jsonl"]) == {"mrpc": str(file)}
    monkeypatch.setenv(harness.DATA_VARIABLE, f"mrpc:{file},wikitext:/tmp")
    assert harness.sources(harness.words_of_environment()) == {"mrpc": str(file), "wikitext": "/tmp"}


def test_local_data_that_is_gone_makes_it_unavailable(subject: Make) -> None:
    with pytest.raises(UnavailableError, match="nothing is at /nowhere"):
        numbers("mrpc", subject(data=("mrpc:/nowhere",)))
