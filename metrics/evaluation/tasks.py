"""Tasks as lm-eval defines them, made ready for any number of checkpoints: their data, documents and requests."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from metrics.base import UnavailableError
from metrics.evaluation import local_data
from metrics.evaluation.local_data import LocalData
from metrics.evaluation.subject import EvaluationSettings
from trainables import hub
from trainables.storage import sha256

# where lm-eval keeps them: to index all its 14,683 files takes 6 s
FOLDERS = {
    "wikitext": "wikitext",
    "lambada_openai": "lambada",
    "hellaswag": "hellaswag",
    "winogrande": "winogrande",
    "truthfulqa_mc1": "truthfulqa",
    "truthfulqa_mc2": "truthfulqa",
    "mrpc": "glue/mrpc",
}
SEEDS = (0, 1234, 1234, 1234)  # of random, NumPy, torch and few-shot examples: the command line's defaults


@dataclass(frozen=True)
class Prepared:
    """What does not depend on the checkpoint. tasks, groups: lm-eval's; documents: evaluated, by task; origins: of the
    data, by task, in words; randomness: the generators' states when a model is to run."""

    tasks: Mapping[str, Any]
    groups: Mapping[str, Any]
    documents: Mapping[str, list[Any]]
    origins: Mapping[str, str]
    randomness: tuple[Any, ...]

    def about(self) -> dict[str, str | int | float | None]:
        def told(values: Iterator[Any]) -> str:
            return ", ".join(dict.fromkeys(map(str, values)))

        return {
            "lm_eval": version("lm-eval"),
            "task_version": told(task.VERSION for task in self.tasks.values()),
            "num_fewshot": told(task.get_config("num_fewshot") for task in self.tasks.values()),
            "data": told(self.origins.get(name, "the task's own") for name in self.tasks),
            "data_sha256": _digest(self.documents),
        }


def _digest(documents: Mapping[str, list[Any]]) -> str:
    """Of the documents evaluated, whatever they were read from."""
    return sha256(json.dumps(dict(documents), sort_keys=True, default=str).encode())


def prepare(name: str, settings: EvaluationSettings, local: Mapping[str, str], unreachable: dict[str, str]) -> Prepared:
    """A task, or all tasks of a group or tag.

    local: copies of data sets, by task; unreachable: why data sets of the Hub cannot be had, which is kept up. Raises
    UnavailableError where data cannot be had, ValueError for tasks that are not to be run.
    """
    with quiet(), no_remote_code() as refused, seeded():
        tasks, groups, origins = _loaded(name, local, unreachable)
        if refused:
            raise ValueError(f"{name}: {refused[0]}")
        documents = {}
        for task_name, task in tasks.items():
            if getattr(task, "UNSAFE_CODE", False):
                raise ValueError(refusal(name, task_name))
            if getattr(task, "MULTIMODAL", False):
                raise ValueError(f"{name}: {task_name} shows pictures or plays sounds, and the model reads text")
            _set_fewshot(task, settings.num_fewshot)
            origin = origins.get(task_name)
            with _complete(task_name, origin):
                if isinstance(origin, LocalData):
                    _check_local(task_name, task, origin)
                task.build_all_requests(limit=settings.limit)
            documents[task_name] = [document for _, document in task.doc_iterator(limit=settings.limit)]
        return Prepared(tasks, groups, documents, {name: str(origin) for name, origin in origins.items()}, randomness())


def _loaded(name: str, local: Mapping[str, str], unreachable: dict[str, str]) -> tuple[Any, Any, Any]:
    known = manager(name)
    if name in local and known.task_index[name].kind.name in ("GROUP", "TAG"):
        raise UnavailableError(f"{name}: names several tasks; give each its own data, as evaluation_data=TASK:PATH")
    origins: dict[str, LocalData | str] = {}
    with _data(local, unreachable, origins):
        try:
            loaded = known.load(name)
        except Exception:
            last = next(reversed(origins), name)
            with _complete(last, origins.get(last)):
                raise
    return loaded["tasks"], loaded.get("groups", {}), origins


def _set_fewshot(task: Any, asked: int | None) -> None:
    """As lm-eval's command line: 0 in a definition is fixed."""
    own = task.get_config("num_fewshot")
    if own is None or (asked is not None and own != 0):
        task.set_config(key="num_fewshot", value=asked or 0)
    task.set_fewshot_seed(seed=SEEDS[3])


@functools.cache
def _all_tasks() -> Any:
    from lm_eval.tasks import TaskManager

    with quiet():
        return TaskManager()


@functools.cache
def _folder(path: str) -> Any:
    import lm_eval.tasks

    folder = Path(lm_eval.tasks.__file__).parent / path
    return lm_eval.tasks.TaskManager(include_defaults=False, include_path=str(folder))


def manager(task: str) -> Any:
    """A TaskManager that knows the task, if lm-eval does; of common ones it knows little else, and is made at once."""
    return _folder(FOLDERS[task]) if task in FOLDERS else _all_tasks()


def unsafe(name: str, index: Mapping[str, Any]) -> str | None:
    """The first of a name's tasks that lm-eval marks as unsafe."""
    if name not in index:
        return None
    entry = index[name]
    config = entry.cfg or {}
    if config.get("unsafe_code"):
        return name
    members = config["task"] if isinstance(config.get("task"), list) else []
    named = [member if isinstance(member, str) else member.get("task", member.get("group")) for member in members]
    tagged = sorted(entry.tags) if entry.kind.name == "TAG" else []
    found = (unsafe(member, index) for member in (*named, *tagged) if isinstance(member, str) and member != name)
    return next(filter(None, found), None)


def refusal(name: str, task: str) -> str:
    return f"{name}: {task} runs code that the model writes, on this machine, and is not run"


@contextlib.contextmanager
def _data(local: Mapping[str, str], unreachable: dict[str, str], origins: dict[str, LocalData | str]) -> Iterator[None]:
    """Tasks that are loaded meanwhile take their data from ``local``, or else from the Hub.

    For that the method by which lm-eval's tasks load data is exchanged: a group passes one override to all its tasks.
    """
    from lm_eval.api.task import ConfigurableTask

    original = ConfigurableTask.download

    def download(task: Any, *settings: Any, **more: Any) -> None:
        name = task.config.task
        if name in local:
            copied = local_data.load(Path(local[name]), name, _evaluated(task.config), _splits(task.config))
            task.dataset, origins[name] = copied.splits, copied
        elif task.config.custom_dataset is not None:
            original(task, *settings, **more)
        else:
            origins[name] = _fetched(task, lambda: original(task, *settings, **more), unreachable)

    ConfigurableTask.download = download
    try:
        yield
    finally:
        ConfigurableTask.download = original


def _evaluated(config: Any) -> str:
    return str(config.test_split or config.validation_split)


def _fewshot(config: Any) -> str | None:
    """The split of the solved examples."""
    own = config.fewshot_config
    if own.split is None and own.samples is not None:
        return None
    return str(own.split or config.training_split or config.validation_split or config.test_split)


def _splits(config: Any) -> list[str]:
    named = (config.training_split, config.validation_split, config.test_split, config.fewshot_config.split)
    return [split for split in named if split]


def _fetched(task: Any, load: Callable[[], None], unreachable: dict[str, str]) -> str:
    """Load a data set of the Hub, of which the cache is enough; its name, and its commit if the Hub tells it."""
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES
    from huggingface_hub import constants

    repo, name = task.DATASET_PATH, task.config.task
    label = f"{repo} {task.DATASET_NAME or ''}".rstrip()
    if label not in unreachable:
        commit, silent = "", None
        if not (constants.HF_HUB_OFFLINE or repo in _PACKAGED_DATASETS_MODULES or Path(repo).exists()):
            try:
                commit = hub.commit_of(repo, repo_type="dataset")  # datasets would wait for ever for a silent Hub
            except Exception as error:
                silent = error
        try:
            with _offline() if silent else contextlib.nullcontext():
                load()
            return f"{label} at {commit}" if commit else label
        except Exception as error:
            cause = silent or error
            unreachable[label] = str(hub.explanation(cause) or f"cannot be loaded ({type(cause).__name__}: {cause})")
    raise UnavailableError(
        f"{name}: the data set {label}: {unreachable[label]}; or give a local copy, evaluation_data={name}:PATH. "
        "`python verify_downloads.py --evaluations` looks for all data sets"
    )


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """What the cache has is loaded without asking the Hub."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _complete(name: str, origin: LocalData | str | None) -> Iterator[None]:
    """What a task misses in a local copy makes it unavailable rather than failed: the file is the user's to mend."""
    from jinja2 import UndefinedError

    try:
        yield
    except (KeyError, UndefinedError, TypeError, ValueError) as error:
        if not isinstance(origin, LocalData):
            raise
        raise _lacking(name, origin, f"{type(error).__name__}: {error}") from error


def _lacking(name: str, origin: LocalData, what: str) -> UnavailableError:
    return UnavailableError(
        f"{name}: its local data {origin.path} is not what the task reads ({what}); its columns are "
        f"{', '.join(origin.columns)}"
    )


def _check_local(name: str, task: Any, origin: LocalData) -> None:
    """lm-eval takes the name of a column that is not there for the text itself, and counts a wrong label as a miss."""
    config = task.config
    if config.num_fewshot and _fewshot(config) in origin.missing:
        raise UnavailableError(
            f"{name}: its local data {origin.path} has no split {_fewshot(config)} to take num_fewshot="
            f"{config.num_fewshot} solved examples from; give a folder with a file for each split"
        )
    for field in (config.doc_to_text, config.doc_to_target, config.doc_to_choice):
        if isinstance(field, str) and field.isidentifier() and field not in task.features:
            raise _lacking(name, origin, f"no column {field}")
    if task.OUTPUT_TYPE == "multiple_choice":
        for document in task.eval_docs:
            gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
            choices = task.doc_to_choice(document)
            labels = gold if isinstance(gold, list) else [gold]
            if not all(label in choices if isinstance(label, str) else 0 <= label < len(choices) for label in labels):
                raise _lacking(name, origin, f"the label {gold!r} is none of {len(choices)} choices")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """lm-eval's progress, and what it logs and prints."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets", "evaluate")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def no_remote_code() -> Iterator[list[str]]:
    """Metrics of the Hub are scripts, which lm-eval would fetch and run; gives why those asked for are refused."""
    import evaluate

    refused: list[str] = []
    original = evaluate.load

    def refuse(path: str, *_: Any, **__: Any) -> None:
        refused.append(f"its metric {path} is a script that would be fetched from the Hub, and no such code is run")
        raise ValueError(refused[-1])

    evaluate.load = refuse
    try:
        yield refused
    finally:
        evaluate.load = original


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    """As the command line seeds; the caller's own generators are left as they were."""
    import numpy as np
    import torch

    before = randomness()
    random.seed(SEEDS[0])
    np.random.seed(SEEDS[1])
    torch.manual_seed(SEEDS[2])
    try:
        yield
    finally:
        restore(before)


def randomness() -> tuple[Any, ...]:
    import numpy as np
    import torch

    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def restore(state: tuple[Any, ...]) -> None:
    import numpy as np
    import torch

    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])
    if state[3] is not None:
        torch.cuda.set_rng_state_all(state[3])
