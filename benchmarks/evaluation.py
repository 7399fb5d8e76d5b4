"""Examples per second of evaluations, warm from checkpoint to checkpoint, beside lm-eval once for each checkpoint.

(a) ours: ``metrics.evaluation.harness`` on models loaded from the checkpoints' files, the first one cold; (b) lm-eval:
``lm_eval.simple_evaluate`` for each checkpoint, in one process and without the parts that would flatter us: no index
of all tasks (6 s a call) and no bootstrapped errors (minutes a call); with ``--as-called`` with both, and with
``--command-line`` also ``python -m lm_eval run``, a process for each checkpoint. One thread, float32, the same batch
size; the data are rows made of the embedded corpus, or local files by ``--data``. The numbers must be equal.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --model pythia-14m --tokenizer 20B_tokenizer.json --data lambada_openai:test.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from metrics.base import Value
from metrics.evaluation import harness, local_data, tasks
from metrics.evaluation.subject import CPU_BATCH_SIZE, EvaluationSettings, Subject
from trainables import embedded, models
from trainables import tokenizers as tokenizing
from trainables.corpus import Files
from trainables.shards import write_shard
from trainables.tokenizers import train_bpe

LETTERS = 10  # of a word at most; of code they may be longer than a small model's context
Numbers = dict[str, float | None]


def made(count: int) -> dict[str, list[dict[str, Any]]]:
    """Rows in the layouts of three data sets, of about their lengths, from the embedded corpus."""
    rng = random.Random(0)
    text = " ".join(document.text for document, _ in zip(embedded.documents(), range(200), strict=False)).split()
    text = [word for word in text if len(word) <= LETTERS]

    def some(fewest: int, most: int) -> str:
        start = rng.randrange(len(text) - most)
        return " ".join(text[start : start + rng.randint(fewest, most)])

    return {
        "lambada_openai": [{"text": some(60, 90)} for _ in range(count)],
        "hellaswag": [
            {
                "activity_label": some(1, 3),
                "ctx_a": some(20, 40),
                "ctx_b": some(1, 5),
                "endings": [some(10, 25) for _ in range(4)],
                "label": str(rng.randrange(4)),
            }
            for _ in range(count // 4)
        ],
        "mrpc": [
            {"sentence1": some(15, 30), "sentence2": some(15, 30), "label": rng.randrange(2)} for _ in range(count // 2)
        ],
    }


def given(words: list[str], count: int) -> dict[str, list[dict[str, Any]]]:
    return {
        task: local_data.load(Path(path), task, "evaluated", ()).splits["evaluated"].to_list()[:count]
        for task, path in harness.sources(words).items()
    }


def write(rows: dict[str, list[dict[str, Any]]], folder: Path) -> dict[str, Path]:
    """Each task's rows as a file."""
    files = {}
    for task, items in rows.items():
        files[task] = folder / f"{task}.jsonl"
        files[task].write_text("".join(json.dumps(item) + "\n" for item in items))
    return files


def write_checkpoints(name: str, count: int, tokenizer: Path, folder: Path) -> list[Path]:
    encoder, end_of_text = tokenizing.load(tokenizer)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings |= dict.fromkeys(("bos_token", "eos_token", "unk_token"), end_of_text)
    places = []
    for seed in range(count):
        place = folder / f"checkpoint{seed}"
        models.build(models.find(name), init_seed=seed).save_pretrained(place)
        encoder.save(str(place / "tokenizer.json"))
        (place / "tokenizer_config.json").write_text(json.dumps(settings))
        places.append(place)
    return places


def ours(files: dict[str, Path], warm: dict[str, Any], place: Path) -> Numbers:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        place, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    ).eval()
    settings = EvaluationSettings(tuple(f"{task}:{file}" for task, file in files.items()))
    end_of_text = json.loads((place / "tokenizer_config.json").read_text())["eos_token"]
    subject = Subject(model, (place / "tokenizer.json").read_text(), end_of_text, settings, warm)
    found = [one for task in files for one in harness.measure(task, subject)]
    return {one.metric: one.value for one in found if isinstance(one, Value)}


def write_definitions(files: dict[str, Path], folder: Path) -> None:
    """lm-eval's own, with their data from files."""
    for task, file in files.items():
        entry = tasks.manager(task).task_index[task]
        splits = {entry.cfg.get(f"{kind}_split") for kind in ("training", "validation", "test")} - {None}
        changed = {"task": task, "include": str(entry.yaml_path), "dataset_path": "json", "dataset_name": None}
        changed["dataset_kwargs"] = {"data_files": dict.fromkeys(sorted(splits), str(file))}
        (folder / f"{task}.yaml").write_text(json.dumps(changed))  # JSON is YAML


def lm_eval_once(files: dict[str, Path], place: Path, index: bool, **settings: Any) -> Numbers:
    """Task by task, as a checkpoint's evaluations are: run together, tasks share batches, and round otherwise."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    folder = str(next(iter(files.values())).parent)
    lm = HFLM(str(place), dtype="float32", device="cpu", batch_size=CPU_BATCH_SIZE)
    manager = TaskManager(include_path=folder, include_defaults=index)
    found: Numbers = {}
    for task in files:
        found |= values(lm_eval.simple_evaluate(lm, tasks=[task], task_manager=manager, **settings))
    return found


def values(found: dict[str, Any]) -> Numbers:
    named = {task: one.items() for task, one in found["results"].items()}
    split = [(task, *key.partition(",")[::2], value) for task, one in named.items() for key, value in one]
    return {f"{task}/{name}": value for task, name, filtered, value in split if filtered and value != "N/A"}


def command_line(files: dict[str, Path], place: Path) -> Numbers:
    found: Numbers = {}
    for task, file in files.items():
        with tempfile.TemporaryDirectory() as output:
            command = f"run --model hf --model_args pretrained={place},dtype=float32 --tasks {task} --device cpu"
            command += f" --batch_size {CPU_BATCH_SIZE} --include_path {file.parent} --output_path {output}"
            subprocess.run([sys.executable, "-m", "lm_eval", *command.split()], check=True, capture_output=True)
            (path,) = Path(output).rglob("results_*.json")
            found |= values(json.loads(path.read_text()))
    return found


def timed(run: Callable[[Path], Numbers], places: list[Path]) -> tuple[list[Numbers], list[float], float]:
    """Numbers and wall seconds of each checkpoint, and CPU seconds of all, those of finished processes included."""
    found, walls = [], []
    before = os.times()
    for place in places:
        began = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            found.append(run(place))
        walls.append(time.perf_counter() - began)
    return found, walls, sum(os.times()[:4]) - sum(before[:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="neox-280k")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json; default: a BPE of the embedded corpus")
    parser.add_argument("--checkpoints", type=int, default=4)
    parser.add_argument("--items", type=int, default=400, help="of a task at most; of the made ones of lambada_openai")
    parser.add_argument("--data", action="append", default=[], metavar="TASK:PATH")
    parser.add_argument("--as-called", action="store_true", help="also lm-eval with its index and bootstrapped errors")
    parser.add_argument("--command-line", action="store_true", help="also a process for each checkpoint")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="toposweep-benchmark-") as scratch:
        os.environ["HF_DATASETS_CACHE"] = f"{scratch}/cache"
        folder = Path(scratch) / "data"
        folder.mkdir()
        rows = given(options.data, options.items) if options.data else made(options.items)
        files = write(rows, folder)
        write_definitions(files, folder)
        tokenizer = options.tokenizer or trained(Path(scratch), models.find(options.model).vocab_size)
        places = write_checkpoints(options.model, options.checkpoints, tokenizer, Path(scratch))
        warm: dict[str, Any] = {}
        runs: dict[str, Callable[[Path], Numbers]] = {
            "ours": lambda place: ours(files, warm, place),
            "lm_eval": lambda place: lm_eval_once(files, place, index=False, bootstrap_iters=0),
        }
        if options.as_called:
            runs["lm_eval as called"] = lambda place: lm_eval_once(files, place, index=True)
        if options.command_line:
            runs["command line"] = lambda place: command_line(files, place)
        ours(files, {}, places[0])  # imports, and pages of the libraries
        report({name: timed(run, places) for name, run in runs.items()}, sum(map(len, rows.values())))


def trained(folder: Path, vocabulary: int) -> Path:
    write_shard(folder / "embedded.jsonl.zst", embedded.documents())
    path = folder / "tokenizer.json"
    train_bpe(Files(str(folder / "embedded.jsonl.zst")).shards(), min(vocabulary, 8192)).save(str(path))
    return path


def report(runs: dict[str, tuple[list[Numbers], list[float], float]], items: int) -> None:
    found = runs["ours"][0]
    for name, (others, walls, cpu) in runs.items():
        for mine, other in zip(found, others, strict=True):
            same = {key: other[key] for key in mine if key in other}
            assert same == {key: mine[key] for key in same}, f"{name}: {same} is not {mine}"
            assert len(same) >= len([key for key in mine if not key.endswith("_stderr")])
        rates = items * len(walls) / sum(walls), items * len(walls) / cpu
        print(f"{name:18} {rates[0]:9.1f} examples/s, {rates[1]:9.1f} a CPU second; first {walls[0]:.1f} s", end="")
        print(f", then {sum(walls[1:]) / max(1, len(walls) - 1):.1f} s" if len(walls) > 1 else "")
    for name in list(runs)[1:]:
        wall, cpu = (sum(runs[name][1]) / sum(runs["ours"][1]), runs[name][2] / runs["ours"][2])
        print(f"ours/{name} {wall:.2f} by wall time, {cpu:.2f} by CPU time")


if __name__ == "__main__":
    main()
