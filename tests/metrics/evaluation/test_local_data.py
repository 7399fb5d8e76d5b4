"""Local copies in each format are the data set that the Hub would give, or it is said what is wrong with them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from datasets import Dataset, DatasetDict

from metrics.base import UnavailableError, Value
from metrics.evaluation import harness, local_data
from metrics.evaluation.subject import Subject
from tests.hub import Hub
from tests.hub_content import json_lines
from tests.metrics.evaluation.conftest import rows

MICROSOFT = {"Quality": "label", "#1 ID": "idx", "#2 ID": "idx", "#1 String": "sentence1", "#2 String": "sentence2"}
Rows = list[dict[str, Any]]


def table(items: Rows, columns: dict[str, str], delimiter: str = "\t") -> bytes:
    lines = [list(columns), *([str(item[name]) for name in columns.values()] for item in items)]
    return "".join(delimiter.join(line) + "\r\n" for line in lines).encode("utf-8-sig")


def plain(items: Rows) -> dict[str, str]:
    return {name: name for name in items[0]}


def write_lines(path: Path, items: Rows) -> Path:
    path.write_bytes(json_lines(items))
    return path


def write_shards(path: Path, items: Rows) -> Path:
    path.mkdir()
    for part, some in enumerate((items[:5], items[5:])):
        pq.write_table(pa.Table.from_pylist(some), path / f"validation-{part:05d}-of-00002.parquet")
    write_lines(path / "train.jsonl", items[::-1])
    (path / "README.md").write_text("none of the data")
    return path


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def saved(path: Path, dataset: Any) -> Path:
    dataset.save_to_disk(str(path))
    return path


FORMATS: dict[str, Callable[[Path, Rows], Path]] = {
    "jsonl": lambda folder, items: write_lines(folder / "a.jsonl", items),
    "gzip": lambda folder, items: write(folder / "a.jsonl.gz", gzip.compress(json_lines(items))),
    "zstandard": lambda folder, items: write(folder / "a.jsonl.zst", zstandard.compress(json_lines(items))),
    "tsv": lambda folder, items: write(folder / "a.tsv", table(items, plain(items))),
    "csv": lambda folder, items: write(folder / "a.csv", table(items, plain(items), ",")),
    "Microsoft's": lambda folder, items: write(folder / "dev.tsv", table(items, MICROSOFT)),
    "Parquet": lambda folder, items: write_shards(folder / "shards", items),
    "save_to_disk": lambda folder, items: saved(folder / "one", Dataset.from_list(items)),
    "save_to_disk of splits": lambda folder, items: saved(
        folder / "more", DatasetDict({"train": Dataset.from_list(items[:1]), "validation": Dataset.from_list(items)})
    ),
}


def values(task: str, subject: Subject) -> dict[str, float | None]:
    return {one.metric: one.value for one in harness.measure(task, subject) if isinstance(one, Value)}


@pytest.mark.parametrize("name", FORMATS)
def test_a_copy_gives_the_values_of_the_hub(
    name: str, served: Hub, subject: Callable[..., Subject], tmp_path: Path
) -> None:
    path = FORMATS[name](tmp_path, rows()["mrpc"]["validation"])
    expected = values("mrpc", subject())
    with served.down():
        assert values("mrpc", subject(data=(f"mrpc:{path}",))) == expected
        assert harness.unavailable("mrpc", (f"mrpc:{path}",)) is None


@pytest.mark.parametrize("task", ["wikitext", "lambada_openai", "hellaswag", "winogrande", "truthfulqa_mc2"])
def test_a_copy_of_every_common_data_set_will_do(
    task: str, served: Hub, subject: Callable[..., Subject], tmp_path: Path
) -> None:
    splits = rows()[task.removesuffix("_mc2")]
    path = write_lines(tmp_path / "a.jsonl", splits.get("test") or splits["validation"])
    assert values(task, subject(data=(f"{task}:{path}",))) == values(task, subject())


def test_digits_in_a_table_are_text_where_the_task_wants_text(
    served: Hub, subject: Callable[..., Subject], tmp_path: Path
) -> None:
    items = rows()["winogrande"]["validation"]
    path = write(tmp_path / "a.tsv", table(items, plain(items)))
    assert values("winogrande", subject(data=(f"winogrande:{path}",))) == values("winogrande", subject())


def test_quotes_are_text_in_tsv_and_syntax_in_csv(tmp_path: Path) -> None:
    content = 'label{0}sentence1{0}sentence2\n1{0}"so he said{0}b\n'
    tsv = write(tmp_path / "a.tsv", content.format("\t").encode())
    assert local_data.load(tsv, "mrpc", "validation", ()).splits["validation"][0]["sentence1"] == '"so he said'
    csv = write(tmp_path / "a.csv", b'label,sentence1,sentence2\n1,"one, and two",b\n')
    assert local_data.load(csv, "mrpc", "validation", ()).splits["validation"][0]["sentence1"] == "one, and two"


def test_solved_examples_come_from_the_copys_own_split(
    served: Hub, subject: Callable[..., Subject], tmp_path: Path
) -> None:
    splits = rows()["mrpc"]
    folder = tmp_path / "mrpc"
    folder.mkdir()
    write_lines(folder / "val.jsonl", splits["validation"])
    alone = subject(data=(f"mrpc:{folder}",), num_fewshot=2)
    with pytest.raises(UnavailableError, match=r"no split train to take num_fewshot=2 .* a file for each split"):
        values("mrpc", alone)
    write_lines(folder / "train.jsonl", splits["train"])
    both = subject(data=(f"mrpc:{folder}",), num_fewshot=2)
    assert values("mrpc", both) == values("mrpc", subject(num_fewshot=2))


@pytest.mark.parametrize(
    ("names", "standing"),
    [
        (["validation", "test", "train"], ""),
        (["test", "train"], " (test for validation)"),
        (["train"], " (train for validation)"),
    ],
)
def test_another_split_may_stand_for_the_one_evaluated_on(names: list[str], standing: str, tmp_path: Path) -> None:
    for name in names:
        write_lines(tmp_path / f"{name}.jsonl", [{"from": name}])
    found = local_data.load(tmp_path, "mrpc", "validation", ("train", "validation"))
    assert str(found) == f"{tmp_path}{standing}"
    assert found.splits["validation"]["from"] == [names[0] if names[0] != "train" else "train"]
    assert found.missing == (() if "train" in names else ("train",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"some text", "of no known kind"),
        ("a.jsonl", b'{"label": 1}\n{', "line 2"),
        ("a.jsonl", b"", "no rows"),
        ("a.jsonl.gz", gzip.compress(b'{"label": 1}\n' * 99)[:-9], "cannot be read"),
        ("a.jsonl.zst", b"no frame", "cannot be read"),
        ("a.tsv", b"a\tb\n1\n", "line 2 has 1 columns, the header 2"),
        ("a.tsv", "\xff\xfe".encode("latin-1"), "cannot be read"),
        ("a.parquet", b"PAR1", "cannot be read"),
        ("a.tsv", b"", "no rows"),
    ],
)
def test_what_cannot_be_read_names_the_file(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(UnavailableError, match=message) as raised:
        local_data.load(path, "mrpc", "validation", ())
    assert str(path) in str(raised.value)


def test_a_folder_without_the_split_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"evaluates on the split validation, but .* has no file"):
        local_data.load(tmp_path, "mrpc", "validation", ())


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("mrpc", {"sentence1": None}, "'sentence1' is undefined"),
        ("mrpc", {"label": None}, "no column label"),  # lm-eval would take the name for the label, and score 0
        ("mrpc", {"label": -1}, "label -1 is none of 2 choices"),  # GLUE's test split has no labels
        ("mrpc", {"label": "1"}, "label '1' is none of 2 choices"),
        ("wikitext", {"page": None}, "page"),
        ("lambada_openai", {"text": None}, "'text' is undefined"),
        ("hellaswag", {"endings": None}, "endings"),
        ("winogrande", {"answer": None}, "answer"),
    ],
)
def test_what_a_copy_lacks_is_named(
    task: str, change: dict[str, Any], message: str, subject: Callable[..., Subject], tmp_path: Path
) -> None:
    splits = rows()[task]
    items = [item | change for item in splits.get("test", []) or splits["validation"]]
    kept = [{name: value for name, value in item.items() if value is not None} for item in items]
    path = write_lines(tmp_path / "a.jsonl", [item or {"other": "x"} for item in kept])
    with pytest.raises(UnavailableError, match=message) as raised:
        values(task, subject(data=(f"{task}:{path}",)))
    assert str(path) in str(raised.value)
    listed = str(raised.value).partition("its columns are ")[2].split(", ")
    assert set(listed) >= json.loads(path.read_text().splitlines()[0]).keys()
    assert harness.unavailable(task, (f"{task}:{path}",)) == str(raised.value)
