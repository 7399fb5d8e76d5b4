"""Tasks of lm-eval, the field's own harness, run on a checkpoint's model in memory.

The definitions are lm-eval's, and the numbers are to the last digit those of ``lm_eval run --tasks TASK`` with the same
batch size. Standard errors are given where they have a closed form; lm-eval bootstraps the others, with 100,000 samples
that take minutes, and those are left out.
"""

from __future__ import annotations

import copy
import difflib
import functools
import json
import numbers
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from metrics.base import About, Items, Metric, UnavailableError, Value
from metrics.evaluation import language_model, tasks
from metrics.evaluation.subject import EvaluationSettings, Subject
from metrics.evaluation.tasks import FOLDERS, Prepared
from trainables import hub
from trainables.storage import local_path

COMMON_TASKS = tuple(FOLDERS)
DATA_VARIABLE = "TOPOSWEEP_EVALUATION_DATA"


@functools.cache
def metric(task: str) -> Metric:
    """A task of lm-eval as a metric; its values are named ``task/acc`` and so on."""
    return Metric(task, 1, f"lm-eval's {task}", functools.partial(measure, task), kind="evaluation", data=(task,))


def require_known(names: Iterable[str]) -> None:
    """Raises ValueError, with the nearest name, for what is no task, group or tag of lm-eval, and for tasks that run
    what the model writes. For names that are not common lm-eval's index is read, once."""
    for name in names:
        if name in COMMON_TASKS:
            continue
        index = tasks.manager(name).task_index
        if name not in index:
            near = difflib.get_close_matches(name, [*COMMON_TASKS, *index], n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{name}: no task, group or tag of lm-eval {version('lm-eval')}.{hint}")
        if task := tasks.unsafe(name, index):
            raise ValueError(tasks.refusal(name, task))


def words_of_environment() -> tuple[str, ...]:
    """What ``TOPOSWEEP_EVALUATION_DATA`` says: words as :func:`sources` takes them, separated by commas."""
    return tuple(word for word in os.environ.get(DATA_VARIABLE, "").split(",") if word)


def sources(data: Iterable[str]) -> dict[str, str]:
    """Local copies of data sets by task, from the words ``task:path``; the last counts of two for one task.

    Raises ValueError for words of another form, names that lm-eval does not know, and paths where nothing is.
    """
    found = {}
    for word in data:
        task, _, path = word.partition(":")
        if not (task and path):
            raise ValueError(f"evaluation_data={word}: write TASK:PATH, for example mrpc:/data/mrpc")
        try:
            require_known([task])
            place = local_path(path)
        except ValueError as error:
            raise ValueError(f"evaluation_data={word}: {error}") from error
        if hub.local(path) is None:
            raise ValueError(f"evaluation_data={word}: nothing is at {place}")
        found[task] = str(place)
    return found


def unavailable(task: str, data: Iterable[str]) -> str | None:
    """Why the data of a task cannot be had here; None where they can, and are in the cache now."""
    try:
        prepared(task, EvaluationSettings(data=tuple(data), limit=1), {})
    except UnavailableError as error:
        return str(error)
    except Exception:  # not of the data; its measurement will fail, and say with what
        return None
    return None


def measure(task: str, subject: Subject) -> Iterator[Value | Items | About]:
    """A task, or those of a group or tag and the group's aggregates.

    Values are named ``task/metric``, and ``task/metric/filter`` of answers that went through a filter with a name.
    Raises UnavailableError where the data cannot be had.
    """
    settings = subject.settings
    ready = prepared(task, settings, subject.warm)
    precision, batch_size = language_model.precision_and_batch(subject.model.device.type, settings.batch_size)
    model = language_model.cast(subject.model, precision)
    with tasks.quiet(), tasks.no_remote_code(), tasks.seeded():
        if "lm_eval" not in subject.warm:
            tokenizer = language_model.tokenizer(subject.tokenizer_json, subject.end_of_text)
            subject.warm["lm_eval"] = language_model.in_memory()(model, tokenizer)
        tasks.restore(ready.randomness)
        with language_model.running(subject.warm["lm_eval"], model, batch_size) as lm:
            scored = _scored(lm, ready, settings.log_samples)
            values = list(_values(ready, scored))
    yield from values
    found = "".join(f" ({size})" for size in sorted(set(lm.batch_sizes.values())))
    yield About(
        {
            **ready.about(),
            "limit": settings.limit,
            "items": sum(one.count for one in scored.values()),
            "batch_size": f"{batch_size}{found}",
            "precision": precision,
            "requests_cut_to_context": lm.truncated,
        }
    )
    if settings.log_samples:
        yield _items(scored)


def prepared(task: str, settings: EvaluationSettings, warm: dict[str, Any]) -> Prepared:
    """A task made ready, once for all checkpoints that share ``warm``. Raises UnavailableError as :func:`measure`."""
    key = f"lm_eval/{task}/{settings.limit}/{settings.num_fewshot}/{','.join(settings.data)}"
    if key not in warm:
        try:
            local = sources(settings.data)
        except ValueError as error:  # the machine that measures may lack what the one that plans has
            raise UnavailableError(str(error)) from error
        warm[key] = tasks.prepare(task, settings, local, warm.setdefault("lm_eval/unreachable", {}))
    found: Prepared = warm[key]
    return found


@dataclass
class _Scored:
    """Of a task: what was found of each item by metric and filter, and the items for those who want to look at them."""

    found: dict[tuple[str, str], list[Any]] = field(default_factory=lambda: defaultdict(list))
    items: list[dict[str, Any]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return max(map(len, self.found.values()), default=0)


def _scored(lm: Any, prepared: Prepared, with_items: bool) -> dict[str, _Scored]:
    """Run all requests, those of a kind together: batches decide on the last digits."""
    requests: dict[str, list[Any]] = defaultdict(list)
    for task in prepared.tasks.values():
        for instance in task.instances:
            instance.resps, instance.filtered_resps = [], {}
            requests[instance.request_type] += [instance] * instance.repeats
    for kind, instances in requests.items():
        for instance, response in zip(instances, getattr(lm, kind)(instances, disable_tqdm=True), strict=True):
            instance.resps.append(response)
    return {name: _score(task, prepared.documents[name], with_items) for name, task in prepared.tasks.items()}


def _score(task: Any, documents: Sequence[Any], with_items: bool) -> _Scored:
    task.apply_filters()
    by_document = defaultdict(list)
    for instance in task.instances:
        by_document[instance.doc_id].append(instance)
    scored = _Scored()
    for name in task.instances[0].filtered_resps:
        for index, kept in enumerate(documents):
            document = copy.copy(kept)  # a task may change its own
            instances = sorted(by_document[index], key=lambda instance: instance.idx)
            found = task.process_results(document, [instance.filtered_resps[name] for instance in instances])
            for metric_name, value in found.items():
                scored.found[metric_name, name].append(value)
            if with_items:
                item = {"item": index, "filter": name, "target": task.doc_to_target(document)}
                scored.items.append({**item, **_responses(instances), **found})
    return scored


def _responses(instances: Sequence[Any]) -> dict[str, list[Any]]:
    """What the model said to an item's requests."""
    given = [response for instance in instances for response in instance.resps]
    if all(isinstance(one, tuple) for one in given):
        return {"log_likelihoods": [one[0] for one in given], "greedy": [one[1] for one in given]}
    if all(isinstance(one, numbers.Real) for one in given):
        return {"log_likelihoods": given}
    return {"responses": given}


def _values(prepared: Prepared, scored: dict[str, _Scored]) -> Iterator[Value]:
    aggregated = {name: _aggregated(prepared.tasks[name], one) for name, one in scored.items()}
    for group in prepared.groups.values():  # a group looks at tasks alone, whatever groups are between
        aggregated[group.name] = group.aggregate(aggregated)
    for name, found in aggregated.items():
        for key, number in found.items():
            metric_name, comma, filter_name = key.partition(",")
            if not comma or number == "N/A":
                continue
            full = f"{name}/{metric_name}" + (f"/{filter_name}" if filter_name != "none" else "")
            if isinstance(number, numbers.Real):
                yield Value(full, float(number))
            else:
                yield Value(full, None, reason=f"lm-eval gives no number, but {number!r}")


def _aggregated(task: Any, scored: _Scored) -> dict[str, Any]:
    """As lm-eval's results have them: ``metric,filter`` and ``metric_stderr,filter``."""
    from lm_eval.api.metrics import acc_all, acc_all_stderr, mean, mean_stderr

    errors = {mean: mean_stderr, acc_all: acc_all_stderr}
    found: dict[str, Any] = {"name": task.task_name, "alias": task.task_name, "sample_len": scored.count}
    for (name, filter_name), values in scored.found.items():
        aggregate = task.aggregation().get(name, mean)
        error = errors.get(aggregate)
        found[f"{name},{filter_name}"] = aggregate(values)
        found[f"{name}_stderr,{filter_name}"] = error(values) if error and len(values) > 1 else "N/A"
    return found


def _items(scored: dict[str, _Scored]) -> Items:
    """A row for each item and filter; what a metric does not say of one is None."""
    rows = [{"task": name, **item} for name, one in scored.items() for item in one.items]
    names = dict.fromkeys(name for row in rows for name in row)
    return Items({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: Sequence[Any]) -> list[Any]:
    """As one plain type: whole numbers, numbers or text, or lists of them; anything else as JSON."""
    plain = [_plain(value) for value in values]
    present = [value for value in plain if value is not None]
    lists = [value for value in present if isinstance(value, list)]
    flat = [one for value in lists for one in value] if lists else present
    if lists and len(lists) < len(present):
        return [None if value is None else json.dumps(value, default=str) for value in plain]
    kinds = {type(one) for one in flat}
    if kinds <= {bool} or kinds <= {int} or kinds <= {str}:
        return plain
    if kinds <= {bool, int, float}:
        return [None if value is None else [float(one) for one in value] if lists else float(value) for value in plain]
    return [None if value is None else json.dumps(value, default=str) for value in plain]


def _plain(value: Any) -> Any:
    """Without NumPy's and torch's types."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_plain(one) for one in value] if isinstance(value, list | tuple | set) else value
