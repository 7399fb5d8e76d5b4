"""The pre-flight check as its users see it: what passes at each depth, and what each fault is said to be."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants

import verify_downloads
from preflight import data
from tests.hub import ALWAYS, TOKEN, Corrupt, Fault, Hub, Reset, Slow, Status, Truncated
from tests.hub_content import jsonl_zst_dataset, parquet_dataset, pile_rows, tiny_model, tokenizer_files
from trainables import hub as client
from trainables import models

ROOT = Path(__file__).parent.parent
MODEL, DATA = "org/tiny-model", "org/tiny-pile"
ASKED = ["--model", MODEL, "--dataset", DATA]
VOCABULARY = 300
TEXTS = [f"the cat number {number} sat on mat {number**2}, and stayed there. " * 4 for number in range(300)]
FIRST, LAST = ["packages", "connection", "cache"], ["disk", "memory"]
PER_MODEL = ["model", "room for", "configuration of", "tokenizer of", "weights of"]
PER_DATA_SET = ["data set", "validation split of", "streaming"]


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited between tries; nothing waits. And what was found before is forgotten."""
    models.find.cache_clear()
    waited: list[float] = []
    clock = SimpleNamespace(**{**vars(time), "sleep": waited.append})
    for module in ("huggingface_hub.utils._http", "huggingface_hub.file_download", "trainables.hub"):
        monkeypatch.setattr(f"{module}.time", clock)
    return waited


@pytest.fixture(scope="module")
def model_files() -> dict[str, bytes]:
    readme = b"---\nlicense: apache-2.0\n---\n# A model\n"
    return tiny_model("gpt_neox", vocabulary=VOCABULARY) | tokenizer_files(VOCABULARY) | {"README.md": readme}


@pytest.fixture
def there(hub: Hub, model_files: dict[str, bytes]) -> Hub:
    """A Hub with a model of two revisions and a data set of three splits."""
    hub.add(MODEL, model_files)
    hub.add(MODEL, model_files | tiny_model("gpt_neox", vocabulary=VOCABULARY, seed=3), revision="step3")
    rows = [pile_rows(TEXTS), pile_rows(TEXTS[:20], "Github"), pile_rows(TEXTS[20:40])]
    hub.add(DATA, jsonl_zst_dataset(*rows, shards=3, carded=True), repo_type="dataset")
    return hub


def checked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and each check by its name."""
    capsys.readouterr()
    code = verify_downloads.main([*arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in found["checks"]}
    assert found["passed"] is all(check["passed"] for check in checks.values()) is (code == 0)
    assert all(check["found"] for check in checks.values())
    explained = [check for check in checks.values() if not check["passed"] and "not tried" not in check["found"]]
    assert all(check["mend"] for check in explained)
    return code, found | {"checks": checks}


@pytest.mark.parametrize(("depth", "of_model", "of_data"), [("--quick", 2, 1), ("", 4, 3), ("--full", 5, 3)])
def test_each_depth_passes_and_looks_further(
    there: Hub, depth: str, of_model: int, of_data: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = checked(capsys, *filter(None, [depth]), "--model", f"{MODEL}@step3", "--dataset", DATA)
    assert code == 0
    of_each = [f"{name} {MODEL}@step3" for name in PER_MODEL[:of_model]]
    of_each += [f"{name} {DATA}" for name in PER_DATA_SET[:of_data]]
    assert list(found["checks"]) == [*FIRST, *of_each, *LAST]
    fetched = {request.path.rpartition("/")[2] for request in there.downloads()}
    assert ("model.safetensors" in fetched) is (depth == "--full")
    if depth == "--quick":
        assert fetched == {"config.json", "README.md"}  # the shape of a model that is not known by its name; a card
    assert (found["cache"], found["endpoint"]) == (constants.HF_HUB_CACHE, there.endpoint)
    assert found["versions"]["python"]
    assert found["versions"]["torch"]


def test_what_is_found_is_said(there: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = checked(capsys, "--full", *ASKED)
    said = {name: check["found"] for name, check in found["checks"].items()}
    for name, parts in {
        "connection": [there.endpoint, " ms", "no token", "no proxy"],
        "cache": [constants.HF_HUB_CACHE, "of HF_HOME", "free on its disk"],
        f"model {MODEL}": ["14,080 parameters", "59.2 kB", "2 revisions", "license apache-2.0"],
        f"room for {MODEL}": ["59.2 kB to be downloaded", constants.HF_HUB_CACHE],
        f"configuration of {MODEL}": ["gpt_neox", "2 layers of 16", "vocabulary 300"],
        f"tokenizer of {MODEL}": ["300 tokens", "<|endoftext|>", "tokenizer.json"],
        f"weights of {MODEL}": ["59.2 kB", constants.HF_HUB_CACHE, "loss of 5.7"],
        f"data set {DATA}": ["train in 3 files", "validation in 1 file", "test in 1 file"],
        f"validation split of {DATA}": ["a split of its own", "Github", "the cat number 0"],
        f"streaming {DATA}": ["200 documents", "tokens/s"],
    }.items():
        for part in parts:
            assert part in said[name], name


def test_the_list_has_marks_mends_and_a_summary(there: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_downloads.main(["--quick", "--model", MODEL, "org/none", "--dataset", DATA]) == 1
    out = capsys.readouterr().out
    assert f"✓ model {MODEL}: " in out
    assert "✗ model org/none: not found" in out
    assert "  → check the spelling, or set HF_TOKEN" in out
    assert "smaller Pythia: --model pythia-14m" in out
    assert "6/10 checks passed" in out  # without its configuration, disk and memory cannot be told
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) > 200  # whole lines, for a pipe


def test_a_model_of_its_own_shape_under_a_known_name_is_refused(
    there: Hub, model_files: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    there.add("EleutherAI/pythia-14m", model_files)
    code, found = checked(capsys, "--full", "--dataset", DATA)
    assert code == 1
    assert "holds 14,080 parameters, but pythia-14m has 14,067,712" in found["checks"]["model pythia-14m"]["found"]
    assert found["checks"]["weights of pythia-14m"]["found"] == "not tried: model pythia-14m failed"
    assert not there.downloads("model.safetensors")


def test_weights_in_a_file_that_the_hub_has_not_counted_are_told_by_their_configuration(
    there: Hub, model_files: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: content for name, content in model_files.items() if name != "model.safetensors"}
    there.add("EleutherAI/pythia-14m", files | {"model.safetensors": b"\x02" + bytes(7) + b"{}"})
    _, found = checked(capsys, "--dataset", DATA)
    assert "says n_layers 2, but pythia-14m has 6" in found["checks"]["configuration of pythia-14m"]["found"]


MODEL_FAULTS: list[tuple[str, str, str, Fault, str, str]] = [
    ("--quick", "model", "/api/models", Status(403), r"refuses access (403)", "HF_TOKEN"),
    ("--quick", "model", "/api/models", Status(429), "slow down (429)", "HF_TOKEN"),
    ("--quick", "model", "/api/models", Status(503), "fails (503)", "HF_ENDPOINT to a mirror"),
    ("--quick", "model", "/api/models", Slow(30), "cannot be reached (ReadTimeout", "HTTPS_PROXY"),
    ("--quick", "model", "/api/models", Truncated(), "cut short", "run again"),
    ("default", "tokenizer of", "/tokenizer.json", Corrupt(), "other bytes than its checksum", "HF_ENDPOINT"),
    ("--full", "weights of", "/cdn/", Truncated(), "cut short", "run again"),
    ("--full", "weights of", "/cdn/", Corrupt(), "other bytes than its checksum", "HTTPS_PROXY"),
    ("--full", "weights of", "/cdn/", Status(500), "fails (500)", "HF_ENDPOINT to a mirror"),
    ("--full", "weights of", "/cdn/", Reset(), "cannot be reached (ReadError", "HTTPS_PROXY"),
]


@pytest.mark.parametrize(("depth", "name", "where", "fault", "cause", "mend"), MODEL_FAULTS, ids=str)
def test_a_fault_of_the_hub_is_explained_once(
    there: Hub,
    depth: str,
    name: str,
    where: str,
    fault: Fault,
    cause: str,
    mend: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 0.3)
    there.remove(DATA, repo_type="dataset")
    there.fail(where, fault, ALWAYS)
    code, found = checked(capsys, *([depth] if depth != "default" else []), "--model", MODEL, "--dataset", "embedded")
    assert code == 1
    failed = {key: check for key, check in found["checks"].items() if not check["passed"]}
    explained = {key: check for key, check in failed.items() if "not tried" not in check["found"]}
    assert list(explained) == [f"{name} {MODEL}"]
    (check,) = explained.values()
    assert cause in check["found"]
    assert mend in check["mend"]


@pytest.mark.parametrize(
    ("kind", "name", "cause", "mend"),
    [
        ("gated", "model", "is gated", "accept its terms"),
        ("missing", "model", "not found at", "check the spelling"),
        ("revision", "model", "no such revision", "lists the branches"),
        ("pickled", "model", "has no safetensors", "refs/pr/N"),
        ("bare", "model", "has no weights", "another revision"),
        ("vocabulary", "tokenizer of", "400 tokens do not fit the vocabulary", "choose a model whose vocab_size"),
        ("no tokenizer", "tokenizer of", "has no tokenizer.json", "save_pretrained"),
    ],
)
def test_a_model_that_cannot_be_used_says_why(
    hub: Hub,
    model_files: dict[str, bytes],
    kind: str,
    name: str,
    cause: str,
    mend: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {
        "pickled": tiny_model("gpt_neox", vocabulary=VOCABULARY, pickled=True),
        "bare": {name: content for name, content in model_files.items() if not name.endswith(".safetensors")},
        "vocabulary": model_files | tokenizer_files(400),
        "no tokenizer": tiny_model("gpt_neox", vocabulary=VOCABULARY),
    }.get(kind, model_files)
    if kind != "missing":
        hub.add(MODEL, files, gated=kind == "gated")
    label = f"{MODEL}@step9" if kind == "revision" else MODEL
    code, found = checked(capsys, "--full", "--model", label, "--dataset", "embedded")
    assert code == 1
    check = found["checks"][f"{name} {label}"]
    assert cause in check["found"]
    assert mend in check["mend"]
    assert found["checks"][f"weights of {label}"]["found"].startswith("not tried: ")
    assert not hub.downloads("pytorch_model.bin")


@pytest.mark.parametrize(
    ("kind", "word", "cause", "mend"),
    [
        ("gated", "org/data", "is gated", "accept its terms"),
        ("missing", "org/data", "not found at", "check the spelling"),
        ("no train split", "org/data", "has no train split, but validation", "--dataset tinystories"),
        ("script", "org/data", "scripts are no longer supported", "refs/convert/parquet"),
        ("configurations", "org/data", "NAME one of: a, b", "--dataset tinystories"),
        ("column", "org/data", "which column is the text? It has story, summary", "text_columns=NAME"),
        ("forbidden", "org/data", "refuses access (403)", "HF_TOKEN"),
    ],
)
def test_a_data_set_that_cannot_be_used_says_why(
    hub: Hub, kind: str, word: str, cause: str, mend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": text} for text in TEXTS]
    card = {"features": [{"name": name, "dtype": "string"} for name in ("story", "summary")]}
    files = {
        "no train split": parquet_dataset({"default": {"validation": rows}}),
        "script": {"data.py": b"import datasets", "README.md": b"# Data\n"},
        "configurations": parquet_dataset({"a": {"train": rows}, "b": {"train": rows}}),
        "column": parquet_dataset({"default": {"train": rows}})
        | {"README.md": f"---\ndataset_info: {json.dumps(card)}\n---\n".encode()},
    }.get(kind, parquet_dataset({"default": {"train": rows}}))
    if kind != "missing":
        hub.add(word, files, repo_type="dataset", gated=kind == "gated")
    if kind == "forbidden":
        hub.fail("/api/datasets", Status(403), ALWAYS)
    code, found = checked(capsys, "--model", "neox-280k", "--dataset", word)
    assert code == 1
    check = found["checks"][f"data set {word}"]
    assert cause in check["found"]
    assert mend in check["mend"]
    assert found["checks"][f"streaming {word}"]["found"] == f"not tried: data set {word} failed"


def test_an_older_id_resolves_and_says_so(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": text} for text in TEXTS]
    hub.add("Salesforce/wikitext", parquet_dataset({"wikitext-2-raw-v1": {"train": rows}}), repo_type="dataset")
    code, found = checked(capsys, "--quick", "--model", "neox-280k", "--dataset", "wikitext")
    assert code == 0
    assert (
        "is a script, which datasets no longer runs; using Salesforce/wikitext:wikitext-2-raw-v1"
        in (found["checks"]["data set wikitext"]["found"])
    )
    assert "validation and test by a hash" in found["checks"]["data set wikitext"]["found"]


@pytest.mark.parametrize("depth", [["--quick"], []])
def test_evaluations_are_looked_at(hub: Hub, depth: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for name, one in data.EVALUATIONS.items():
        if one is not data.TRUTHFULQA:
            row = dict.fromkeys(one.columns if name != "winogrande" else ("sentence",), "some text")
            files = parquet_dataset({one.dataset.config or "default": {one.split: [row]}})
            hub.add(one.dataset.repo, files, repo_type="dataset")
    code, found = checked(capsys, *depth, "--evaluations", "--model", "neox-280k", "--dataset", "embedded")
    assert code == 1
    checks = {name: found["checks"][f"evaluation {name}"] for name in data.EVALUATIONS}
    for name in ("truthfulqa_mc1", "truthfulqa_mc2"):
        assert "not found" in checks.pop(name)["found"]
    winogrande = checks.pop("winogrande")
    assert all(check["passed"] for check in checks.values())
    assert winogrande["passed"] is (depth == ["--quick"])  # its card does not name columns; its rows lack some
    assert depth or "has no column option1, option2, answer" in winogrande["found"]
    assert depth or "text: some text" in checks["lambada_openai"]["found"]


def test_offline_the_cache_must_do(
    there: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checked(capsys, "--full", *ASKED)[0] == 0
    models.find.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    there.requests.clear()
    code, found = checked(capsys, "--full", "--model", MODEL, f"{MODEL}@step3", "--dataset", "embedded")
    assert code == 1
    assert not there.requests
    checks = found["checks"]
    assert "offline mode is on" in checks["connection"]["found"]
    assert "in the cache: main is commit" in checks[f"model {MODEL}"]["found"]
    assert "model.safetensors 59.2 kB" in checks[f"model {MODEL}"]["found"]
    assert checks[f"weights of {MODEL}"]["passed"]
    absent = checks[f"model {MODEL}@step3"]
    assert "is not in the cache" in absent["found"]
    assert "unset HF_HUB_OFFLINE" in absent["mend"]
    _, found = checked(capsys, "--quick", *ASKED)
    assert "streamed from it, not from the cache" in found["checks"][f"data set {DATA}"]["found"]
    assert "sweep.py prepare" in found["checks"][f"data set {DATA}"]["mend"]


def test_folders_of_ones_own_need_no_network(
    there: Hub, model_files: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, files in (("model", model_files), ("data", jsonl_zst_dataset(pile_rows(TEXTS)))):
        for path, content in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_bytes(content)
    with there.down():
        code, found = checked(capsys, "--full", "--model", str(tmp_path / "model"), "--dataset", str(tmp_path / "data"))
    failed = [name for name, check in found["checks"].items() if not check["passed"]]
    assert (code, failed) == (1, ["connection"])
    assert "of RAM" in found["checks"]["memory"]["found"]


def test_a_search_space_is_what_is_checked(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = checked(capsys, "quickstart", "seeds=0,1", "--quick", "--store", str(tmp_path / "store"))
    assert code == 0
    assert (found["models"], found["datasets"]) == (["neox-280k"], ["embedded"])
    assert str(tmp_path / "store") in found["checks"]["disk"]["found"]
    assert not (tmp_path / "store").exists()
    assert [request.path for request in hub.requests] == ["/api/whoami-v2"]


def test_of_a_sweep_from_scratch_only_the_tokenizer_is_fetched(
    there: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"model={MODEL}", f"corpus={DATA}", "seq_len=32", "budgets=20steps"]
    code, found = checked(capsys, "quickstart", *settings, "--full", "--store", str(tmp_path))
    assert code == 0
    assert "from scratch" in found["checks"][f"weights of {MODEL}"]["found"]
    assert not there.downloads("safetensors")
    code, _ = checked(capsys, "quickstart", *settings, "revision=step3", "--full", "--store", str(tmp_path))
    assert code == 0
    assert there.downloads("safetensors")


def test_a_disk_that_is_too_small_is_said_before_it_is_full(
    there: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    code, found = checked(capsys, "--quick", *ASKED)
    assert code == 1
    assert "its disk has 10.0 kB free" in found["checks"]["disk"]["found"]
    assert "keep=last:1" in found["checks"]["disk"]["mend"]
    assert "59.2 kB to be downloaded, 10.0 kB free" in found["checks"][f"room for {MODEL}"]["found"]
    assert "HF_HOME=$SCRATCH" in found["checks"][f"room for {MODEL}"]["mend"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "pythia-14"], "pythia-14: no model of that name"),
        (["--model", "neox-280k@step3"], "has no published weights"),
        (["--dataset", "piles"], "no corpus of that name"),
        (["quickstrat"], "Did you mean 'quickstart'"),
        (["quickstart", "sedes=1"], "Did you mean 'seeds'"),
        (["quickstart", "--store", __file__], "is a file"),
    ],
)
def test_bad_usage_is_2(arguments: list[str], said: str, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_downloads.main(arguments) == 2
    assert said in capsys.readouterr().err
    assert not hub.requests


def test_usage_is_that_of_argparse(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        verify_downloads.main(["--quick", "--full"])
    assert error.value.code == 2
    with pytest.raises(SystemExit) as error:
        verify_downloads.main(["--help"])
    assert error.value.code == 0
    shown = capsys.readouterr().out
    for part in ("--evaluations", "exit codes", "HF_ENDPOINT", "examples"):
        assert part in shown


def test_a_token_of_odd_characters_is_refused_and_not_shown(
    there: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret\x07secret")
    assert verify_downloads.main(["--quick", *ASKED]) == 1
    shown = capsys.readouterr()
    assert "characters that none has" in shown.out
    assert "secret" not in shown.out + shown.err


# --- as a process of its own

PROGRAM = [sys.executable, str(ROOT / "verify_downloads.py")]


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=120, env=environment)


def test_exit_codes_of_the_process(there: Hub) -> None:
    """With a token, which is verified and never shown; that of 2 is in :func:`test_usage_is_that_of_argparse`."""
    passed = process("--quick", *ASKED, HF_TOKEN=TOKEN)
    assert (passed.returncode, passed.stderr) == (0, "")
    assert "8/8 checks passed" in passed.stdout
    assert "token of tester" in passed.stdout
    assert TOKEN not in passed.stdout
    failed = process("--quick", "--model", "org/none", "--dataset", DATA, "--json", HF_TOKEN="hf_invented_secret")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["passed"] is False
    assert "refuses your token (401)" in failed.stdout
    assert "Traceback" not in failed.stderr
    assert "secret" not in failed.stdout + failed.stderr


def test_full_ends_cleanly_and_downloads_go_to_scratch(there: Hub, tmp_path: Path) -> None:
    done = process("--full", *ASKED, HF_HOME="", SCRATCH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12/13" not in done.stdout
    assert "13/13 checks passed" in done.stdout
    assert f"{tmp_path}/huggingface/hub (of SCRATCH)" in done.stdout
    assert list((tmp_path / "huggingface").rglob("tokenizer.json"))


@pytest.mark.parametrize("where", ["refused", "no such name", "never answers", "proxy"])
def test_an_unreachable_network_is_told_in_seconds(where: str, tmp_path: Path) -> None:
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # the kernel accepts, and nobody reads
        closed.bind(("127.0.0.1", 0))
        ports = {"never answers": silent.getsockname()[1], "refused": closed.getsockname()[1]}
        endpoint = f"http://127.0.0.1:{ports.get(where, 1)}"
        settings = {"HF_ENDPOINT": "http://hub.invalid" if where in ("no such name", "proxy") else endpoint}
        if where == "proxy":
            settings["HTTP_PROXY"] = f"http://me:secret@127.0.0.1:{closed.getsockname()[1]}"
        began = time.perf_counter()
        done = process("--full", "--evaluations", **settings, HF_HOME=str(tmp_path))
        seconds = time.perf_counter() - began
    assert done.returncode == 1
    assert seconds < 20
    assert done.stdout.count("✗ connection") == 1
    assert done.stdout.count("not tried: connection failed") == 15
    assert done.stdout.count("→") == 1
    assert "HF_ENDPOINT to a mirror" in done.stdout
    assert "secret" not in done.stdout + done.stderr


def test_offline_mode_asks_and_waits_for_nothing(there: Hub, tmp_path: Path) -> None:
    done = process("--quick", *ASKED, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "✓ connection: offline mode is on" in done.stdout
    assert "is not in the cache" in done.stdout
    assert not there.requests


def test_interrupted_is_130(there: Hub) -> None:
    there.fail("/api/whoami", Slow(30))
    running = subprocess.Popen(
        [*PROGRAM, "--quick"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    while not there.requests:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
