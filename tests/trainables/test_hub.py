"""The Hub: what is fetched is checked and pinned, and what goes wrong says its cause and the mend."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from tests.hub import ALWAYS, Corrupt, Fault, Hub, Reset, Slow, Status, Truncated
from tests.hub_content import tiny_model
from trainables import hub as client
from trainables.models import WEIGHTS


def fetch(source: str, patterns: tuple[str, ...], revision: str | None = None) -> Path:
    return client.fetch(source, patterns, revision, whole=lambda folder: any(folder.glob("*.safetensors")))


@pytest.mark.parametrize(("word", "is_one"), [("a/b", True), ("a.b/c-d_e", True), ("gpt2", False), ("a/b/c", False)])
def test_a_repo_id_is_owner_and_name(word: str, is_one: bool) -> None:
    assert client.is_repo_id(word) is is_one


def test_a_folder_is_itself_and_its_fingerprint_follows_its_weights(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"x" * (3 << 20))
    (tmp_path / "notes.txt").write_text("anything")
    assert fetch(str(tmp_path), ("*.safetensors",)) == tmp_path
    before = client.commit(tmp_path, ("*.safetensors",))
    (tmp_path / "notes.txt").write_text("something else")
    assert client.commit(tmp_path, ("*.safetensors",)) == before
    with (tmp_path / "a.safetensors").open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"y")
    assert client.commit(tmp_path, ("*.safetensors",)) != before


@pytest.mark.parametrize(
    ("set_before", "expected"),
    [({}, "{scratch}/huggingface"), ({"HF_HOME": "/elsewhere"}, "/elsewhere"), ({"SCRATCH": "/nowhere"}, None)],
)
def test_downloads_go_to_scratch_unless_told_otherwise(
    set_before: dict[str, str], expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    for name, value in set_before.items():
        monkeypatch.setenv(name, value)
    client.settle()
    assert os.environ.get("HF_HOME") == (expected and expected.format(scratch=tmp_path))


def test_an_error_of_another_kind_is_left_as_it_is() -> None:
    with pytest.raises(KeyError), client.explained("x"):
        raise KeyError("not the Hub's")


# --- against the stand-in

REPO = "EleutherAI/pythia-14m"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return tiny_model("gpt_neox")


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited between tries; nothing waits."""
    waited: list[float] = []
    clock = SimpleNamespace(**{**vars(time), "sleep": waited.append})
    for module in ("huggingface_hub.utils._http", "huggingface_hub.file_download", "trainables.hub"):
        monkeypatch.setattr(f"{module}.time", clock)
    return waited


def test_what_is_asked_for_is_fetched_once(hub: Hub, files: dict[str, bytes]) -> None:
    commit = hub.add(REPO, {**files, "pytorch_model.bin": b"pickled"}, revision="step3")
    hub.add(REPO, {}, revision="main")
    folder = fetch(REPO, WEIGHTS, "step3")
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert not (folder / "pytorch_model.bin").exists()
    assert client.commit(folder, WEIGHTS) == commit
    asked = len(hub.requests)
    assert fetch(REPO, WEIGHTS, "step3") == folder
    assert len(hub.requests) == asked


def test_a_branch_that_moves_on_does_not_change_what_was_fetched(hub: Hub, files: dict[str, bytes]) -> None:
    first = hub.add(REPO, files)
    fetch(REPO, WEIGHTS)
    assert hub.add(REPO, tiny_model("gpt_neox", seed=1)) != first
    assert client.commit(fetch(REPO, WEIGHTS), WEIGHTS) == first


@pytest.mark.parametrize(
    ("fault", "times", "where"),
    [
        (Status(503), 1, "/api/"),
        (Status(429, retry_after=7), 1, "/api/"),
        (Reset(), 1, "/api/"),
        (Status(500), 1, "/cdn/"),
        (Reset(), 1, "/cdn/"),
        (Truncated(), 1, "/cdn/"),
        (Corrupt(), 1, "/cdn/"),
    ],
    ids=str,
)
def test_what_passes_is_tried_again(
    hub: Hub, files: dict[str, bytes], waits: list[float], fault: Fault, times: int, where: str
) -> None:
    hub.add(REPO, files)
    hub.fail(where, fault, times)
    assert (fetch(REPO, WEIGHTS) / "model.safetensors").read_bytes() == files["model.safetensors"]
    if isinstance(fault, Status) and fault.retry_after:
        assert waits == [7]


@pytest.mark.parametrize(
    ("fault", "where", "said"),
    [
        (Status(403), "/api/", r"refuses access \(403\): set HF_TOKEN"),
        (Status(404, error_code="RevisionNotFound"), "/api/", "no such revision"),
        (Status(404, error_code="RepoNotFound"), "/api/", "not found at .*check the spelling"),
        (Status(429), "/api/", r"slow down \(429\)"),
        (Status(503), "/api/", r"fails \(503\).*HF_ENDPOINT"),
        (Slow(1), "/api/", "cannot be reached .*ReadTimeout"),
        (Status(503), "/cdn/", r"fails \(503\)"),
        (Corrupt(), "/cdn/", r"model\.safetensors arrives with other bytes than its checksum says, 2 times"),
        (Truncated(), "/cdn/", "cut short|cannot be reached"),
    ],
    ids=str,
)
def test_what_does_not_pass_is_explained(
    hub: Hub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, fault: Fault, where: str, said: str
) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 0.2)
    hub.add(REPO, files)
    hub.fail(where, fault, ALWAYS)
    with pytest.raises(client.HubError, match=f"{REPO}.*{said}"):
        fetch(REPO, WEIGHTS)
    hub.clear_faults()
    assert fetch(REPO, WEIGHTS)  # nothing of the failure stays in the cache


@pytest.mark.parametrize(
    ("setting", "said"),
    [("gated", "is gated: accept its terms"), ("missing", "not found at"), ("revision", "no such revision")],
)
def test_what_is_not_for_us_says_so(hub: Hub, files: dict[str, bytes], setting: str, said: str) -> None:
    if setting != "missing":
        hub.add(REPO, files, gated=setting == "gated")
    with pytest.raises(client.HubError, match=said):
        fetch(REPO, WEIGHTS, "step7" if setting == "revision" else None)


def test_a_hub_that_is_not_there_is_explained_and_the_cache_goes_on(hub: Hub, files: dict[str, bytes]) -> None:
    hub.add(REPO, files)
    folder = fetch(REPO, WEIGHTS)
    with hub.down():
        assert fetch(REPO, WEIGHTS) == folder
        with pytest.raises(client.HubError, match=r"cannot be reached .*HTTPS_PROXY, or HF_ENDPOINT to a mirror"):
            fetch("EleutherAI/pythia-31m", WEIGHTS)


def test_offline_uses_the_cache_and_says_where_it_looked(
    hub: Hub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPO, files)
    folder = fetch(REPO, WEIGHTS)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(REPO, WEIGHTS) == folder
    with pytest.raises(client.HubError, match=r"not in the cache \(.*offline mode is on: unset HF_HUB_OFFLINE"):
        fetch("EleutherAI/pythia-31m", WEIGHTS)


def test_cause_and_mend_can_be_told_apart(hub: Hub) -> None:
    with pytest.raises(client.HubError) as missing:
        fetch("org/no-model", WEIGHTS)
    reason = client.explanation(missing.value)
    assert reason == (f"not found at {hub.endpoint}", "check the spelling, or set HF_TOKEN if it is private")
    assert str(missing.value) == f"org/no-model: {reason}"


def test_offline_does_not_explain_what_has_nothing_to_do_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert client.explanation(ValueError("a tokenizer that does not fit")) is None


def test_a_certificate_that_is_not_trusted_has_its_own_mend() -> None:
    reason = client.explanation(ConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"))
    assert reason is not None
    assert "SSL_CERT_FILE" in reason.mend
