"""A Ray that we start lets nobody in without the token, and secrets of the environment or of addresses stay nowhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

import sweep
import verify_downloads
from tests import hub as stand_in
from tests.hub import ALWAYS, TOKEN, Hub, Status
from tests.hub_content import tiny_model, tokenizer_files
from trainables.shards import Document, write_shard

ROOT = Path(__file__).parent.parent
PASSWORD = "the-password-of-an-address"
SECRETS = {
    "HF_TOKEN": TOKEN,
    "AWS_SECRET_ACCESS_KEY": "planted/secret+of-aws",
    "AWS_SESSION_TOKEN": "planted-session-of-aws",
    "WANDB_API_KEY": "planted-key-of-wandb",
}
# Runs commands of sweep.py, one JSON list a line, in a Ray that the program itself starts.
PROGRAM = """
import json, sys
import sweep
from orchestrator.alarm import Alarm
from orchestrator.engine import ray_running
with ray_running(None, evaluators=1, distributed=False, alarm=Alarm()):
    import ray
    node = ray._private.worker._global_node
    print(json.dumps({"address": node.gcs_address, "logs": node.get_session_dir_path()}), flush=True)
    for line in sys.stdin:
        sys.argv = ["sweep.py", *json.loads(line)]
        print(json.dumps({"code": sweep.main(sys.argv[1:])}), flush=True)
"""
CLIENT = """
import sys
from ray._raylet import GcsClient
print(len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)), "nodes")
"""


class Running(NamedTuple):
    """The program: its cluster, Ray's logs of it, and in its folder the user's home, what it prints, and the stores."""

    process: subprocess.Popen[str]
    address: str
    logs: Path
    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def sweep(self, *arguments: str) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        return int(next(self.answers())["code"])

    def answers(self) -> Iterator[dict[str, Any]]:
        """What the program says of itself, between what it prints, which is kept."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith('{"'):
                yield json.loads(line)
            else:
                with (self.folder / "stdout").open("a") as stream:
                    stream.write(line)
        raise AssertionError((self.folder / "stderr").read_text())


@pytest.fixture(scope="module")
def running(hub_of_module: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Our own Ray, started by a user whose home is new, who has switched authentication off, and has many secrets."""
    folder = tmp_path_factory.mktemp("running")
    home = folder / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    stand_in.isolate(environment, hub_of_module.endpoint, home / "hf")
    environment |= {"HOME": str(home), "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT), **SECRETS}
    environment |= {"HTTPS_PROXY": f"http://user:{PASSWORD}@127.0.0.1:9"}
    with (folder / "stderr").open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        )
    try:
        started = Running(process, "", Path(), folder)
        said = next(started.answers())
        yield started._replace(address=said["address"], logs=Path(said["logs"]))
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(30)
        finally:
            for one in [process, *(child for child in children if child.is_running())]:
                one.kill()


def knock(running: Running, home: Path, mode: str) -> subprocess.CompletedProcess[str]:
    """Another process of the same machine asks the cluster for its nodes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = kept | {"HOME": str(home), "RAY_AUTH_MODE": mode}
    command = [sys.executable, "-c", CLIENT, running.address]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_who_has_the_token_is_let_in_and_nobody_else(running: Running, tmp_path: Path) -> None:
    assert knock(running, running.home, "token").stdout == "1 nodes\n"
    for mode, token in (("disabled", ""), ("token", "a" * 64)):
        home = tmp_path / mode
        (home / ".ray").mkdir(parents=True)
        (home / ".ray" / "auth_token").write_text(token)
        refused = knock(running, home, mode)
        assert refused.returncode == 1
        assert "AuthenticationError" in refused.stderr
        assert "InvalidAuthToken" in refused.stderr


def test_the_token_is_the_users_alone_and_ray_knows_no_other(running: Running) -> None:
    files = [path for path in (running.home / ".ray").rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["auth_token"]
    assert files[0].stat().st_mode & 0o777 == 0o600


def test_no_process_of_ours_listens_beyond_this_machine(running: Running) -> None:
    own = psutil.Process(running.process.pid)
    sockets = [socket for one in (own, *own.children(recursive=True)) for socket in one.net_connections("tcp")]
    listening = {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
    assert len([socket for socket in sockets if socket.status == psutil.CONN_LISTEN]) > 3
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


MODEL, SMALL = "lab/gated", ["seq_len=32", "probe_sequences=8", "probe_points=24", "evaluators=1"]


def files_with(secret: str, *folders: Path) -> list[str]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 10
    return [str(path) for path in files if secret.encode() in path.read_bytes()]


def test_runs_that_use_secrets_and_runs_that_fail_keep_none(running: Running, hub_of_module: Hub) -> None:
    """The command holds a password, and the Hub's refusal the token."""
    for seed, revision in enumerate(("step1", "main")):
        files = tiny_model("gpt_neox", seed=seed, vocabulary=512, length=128) | tokenizer_files(300)
        hub_of_module.add(MODEL, files, revision=revision, gated=True)
    refused = hub_of_module.repositories["model", MODEL].branches["step1"]
    corpus, store = running.folder / "corpus", running.folder / "stores" / "trained"
    corpus.mkdir()
    write_shard(corpus / "a.jsonl.zst", [Document(f"the cat number {n} sat there {n**2}", "a") for n in range(300)])
    given = [f"model={MODEL}", f"corpus={corpus}", *SMALL]
    training = [*given, "seeds=0", "budgets=2steps", "batch_size=4", "metrics=held_out"]
    address = ["--address", f"tcp://user:{PASSWORD}@127.0.0.1:9"]  # as this Ray runs already, it is not looked at
    assert running.sweep("run", "quickstart", *training, *address, "--store", str(store)) == 0
    assert any(request.headers.get("authorization") == f"Bearer {TOKEN}" for request in hub_of_module.requests)
    assert "user" not in json.loads((store / "sweep.json").read_text())["provenance"]["command"][-3]
    refusal = Status(403, message=f"the token {TOKEN} may not")
    hub_of_module.fail(f"{refused}/model.safetensors", refusal, ALWAYS)
    failing = [*given, "checkpoints=step1", "metrics=none", "--store", str(store.with_name("published"))]
    assert running.sweep("run", "public_checkpoints", *failing) == 1
    (log,) = store.parent.rglob("error.log")
    assert "refuses access (403)" in log.read_text()
    assert running.sweep("run", "quickstart", "--store", f"s3://key:{PASSWORD}@bucket") == 2
    assert running.sweep("status", str(store.with_name("published"))) == 1
    for name in ("report.html", "results.parquet", "tensorboard"):
        assert (store / name).exists()
    own = (running.home / ".ray" / "auth_token").read_text()
    for secret in (PASSWORD, *SECRETS.values(), own):
        kept = files_with(secret, running.folder, running.logs)
        assert kept == ([str(running.home / ".ray" / "auth_token")] if secret == own else [])


ADDRESSES = [
    ["run", "quickstart", "--address", f"ray://u:{PASSWORD}@h:1"],
    ["plan", "quickstart", "--store", f"s3://key:{PASSWORD}@bucket/x"],
    ["plan", "quickstart", "--store", f"s3://bucket/x?secret_key={PASSWORD}"],
    ["plan", "quickstart", "--store", f"file:///tmp/x?token={PASSWORD}"],
    ["plan", "quickstart", f"corpus=s3://key:{PASSWORD}@bucket/x"],
    ["plan", "quickstart", f"corpus=s3://bucket/x?secret_key={PASSWORD}"],
    ["plan", "quickstart", f"tokenizer=https://u:{PASSWORD}@host/t.json"],
    ["plan", "quickstart", f"model=https://u:{PASSWORD}@host/t"],
    ["plan", "quickstart", f"evaluation_data=mrpc:s3://k:{PASSWORD}@b/x"],
    ["plan", "quickstart", f"evaluation_data=mrpc:/x?token={PASSWORD}"],
    ["plan", "quickstart", f"seeds=s3://k:{PASSWORD}@b/x"],
    ["plan", "quickstart", f"s3://k:{PASSWORD}@b/x"],
    ["plan", f"s3://k:{PASSWORD}@b/x"],
    ["plan", "quickstart", f"--stroe=s3://k:{PASSWORD}@b/x"],
    ["status", f"s3://k:{PASSWORD}@b/x"],
]


@pytest.mark.parametrize("program", [sweep.main, verify_downloads.main], ids=["sweep", "verify_downloads"])
@pytest.mark.parametrize("arguments", ADDRESSES, ids=" ".join)
def test_a_secret_of_the_command_line_is_not_repeated(
    arguments: list[str], program: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    of_verify = arguments[1:] if program is verify_downloads.main else arguments
    try:
        code = program(of_verify)
    except SystemExit as error:
        code = int(error.code or 0)
    said = capsys.readouterr()
    assert code == 2 or (program is verify_downloads.main and code == 1)
    assert PASSWORD not in said.out + said.err
    assert said.err or said.out


@pytest.mark.parametrize("program", ["sweep.py plan quickstart model=a/b", "verify_downloads.py --model a/b --json"])
def test_a_secret_of_the_hubs_address_is_not_repeated(hub_of_module: Hub, program: str, tmp_path: Path) -> None:
    endpoint = hub_of_module.endpoint.replace("http://", f"http://user:{PASSWORD}@")
    environment = dict(os.environ)
    stand_in.isolate(environment, endpoint, tmp_path)
    environment |= SECRETS | {"HTTPS_PROXY": f"http://user:{PASSWORD}@127.0.0.1:9"}
    hub_of_module.fail("/", Status(401, message=f"{TOKEN} is not let in"), ALWAYS)
    try:
        done = subprocess.run(
            [sys.executable, *program.split()], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    finally:
        hub_of_module.clear_faults()
    assert done.returncode in (1, 2)
    assert f"***@{endpoint.rpartition('@')[2]}" in done.stdout + done.stderr
    for secret in (PASSWORD, *SECRETS.values()):
        assert secret not in done.stdout + done.stderr
