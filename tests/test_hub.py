"""The stand-in of the Hub, by what the genuine clients make of it; and what each of them does about each fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import httpx2
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
import ray
import torch
from datasets import get_dataset_config_names, get_dataset_split_names, load_dataset, load_dataset_builder
from huggingface_hub import HfApi, HfFileSystem, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests import hub_content
from tests.hub import ALWAYS, STRANGER, TOKEN, Corrupt, Hub, Reset, Slow, Status, Truncated, isolate

MODEL, DATASET, WEIGHTS = "EleutherAI/pythia-14m", "Salesforce/wikitext", "model.safetensors"
PARQUET = "wikitext-2-raw-v1/train-00000-of-00001.parquet"
ROWS = [{"text": f"row {index}"} for index in range(50)]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that huggingface_hub would have waited between its tries; it does not wait."""
    waited: list[float] = []
    clock = SimpleNamespace(**{**vars(time), "sleep": waited.append})
    for module in ("utils._http", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{module}.time", clock)
    return waited


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT of a fraction of a second, which the environment cannot ask."""
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)


@pytest.fixture(scope="module")
def model_files() -> dict[str, bytes]:
    return {**hub_content.tiny_model("gpt_neox"), **hub_content.tokenizer_files()}


@pytest.fixture
def model(hub: Hub, model_files: dict[str, bytes]) -> str:
    return hub.add(MODEL, model_files)


@pytest.fixture
def dataset_files() -> dict[str, bytes]:
    two = {"train": ROWS, "validation": ROWS[:5], "test": ROWS[5:8]}
    return hub_content.parquet_dataset({"wikitext-2-raw-v1": two, "wikitext-103-raw-v1": {"train": ROWS[:7]}})


@pytest.fixture
def dataset(hub: Hub, dataset_files: dict[str, bytes]) -> str:
    return hub.add(DATASET, dataset_files, repo_type="dataset")


def stream(**settings: Any) -> list[str]:
    return [
        row["text"] for row in load_dataset(DATASET, "wikitext-2-raw-v1", split="train", streaming=True, **settings)
    ]


def weights_as_cached() -> bytes:
    return Path(hf_hub_download(MODEL, WEIGHTS)).read_bytes()


def test_the_clients_know_no_other_hub(hub: Hub) -> None:
    assert constants.ENDPOINT == datasets.config.HF_ENDPOINT == HfFileSystem().endpoint == hub.endpoint
    assert constants.HF_HUB_CACHE.startswith(constants.HF_HOME)
    assert constants.HF_HOME in str(datasets.config.HF_DATASETS_CACHE)
    assert not constants.is_offline_mode()
    assert not datasets.config.HF_UPDATE_DOWNLOAD_COUNTS


def test_tells_about_a_model(hub: Hub, model: str, model_files: dict[str, bytes]) -> None:
    info = HfApi().model_info(MODEL, files_metadata=True, securityStatus=True)
    assert (info.sha, info.id, info.gated, info.config["model_type"]) == (model, MODEL, False, "gpt_neox")
    assert {one.rfilename: one.size for one in info.siblings} == {name: len(it) for name, it in model_files.items()}
    assert [one.rfilename for one in info.siblings if one.lfs] == [WEIGHTS]
    assert HfApi().model_info(MODEL, expand=["sha"]).siblings is None


def test_tells_about_a_dataset(hub: Hub, dataset: str, dataset_files: dict[str, bytes]) -> None:
    info = HfApi().dataset_info(DATASET)
    assert (info.sha, sorted(one.rfilename for one in info.siblings)) == (dataset, sorted(dataset_files))
    assert [one["config_name"] for one in info.card_data["configs"]] == ["wikitext-2-raw-v1", "wikitext-103-raw-v1"]


def test_lists_files_as_a_tree(hub: Hub, dataset: str, dataset_files: dict[str, bytes]) -> None:
    listed = HfApi().list_repo_tree(DATASET, repo_type="dataset", recursive=True, expand=True)
    files = {entry.path: entry for entry in listed if hasattr(entry, "blob_id")}
    assert set(files) == set(dataset_files)
    assert files[PARQUET].lfs.sha256 != files["README.md"].blob_id
    assert {entry.last_commit.oid for entry in files.values()} == {dataset}
    top = HfApi().list_repo_tree(DATASET, repo_type="dataset")
    assert sorted(entry.path for entry in top) == ["README.md", "wikitext-103-raw-v1", "wikitext-2-raw-v1"]
    info = HfApi().get_paths_info(DATASET, [PARQUET, "wikitext-103-raw-v1", "none"], repo_type="dataset")
    assert [entry.path for entry in info] == [PARQUET, "wikitext-103-raw-v1"]
    with pytest.raises(RemoteEntryNotFoundError):
        list(HfApi().list_repo_tree(DATASET, "none", repo_type="dataset"))


def test_keeps_branches_tags_and_commits(hub: Hub) -> None:
    first = hub.add(MODEL, {"config.json": b"{}"})
    hub.tag(MODEL, "v1")
    second = hub.add(MODEL, {"config.json": b"[]"})
    step = hub.add(MODEL, {"config.json": b"3"}, revision="step1000")
    refs = HfApi().list_repo_refs(MODEL)
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": second, "step1000": step}
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1": first}
    read = {
        name: Path(hf_hub_download(MODEL, "config.json", revision=name)).read_bytes()
        for name in ("main", "v1", "step1000", first)
    }
    assert read == {"main": b"[]", "v1": b"{}", "step1000": b"3", first: b"{}"}


def test_downloads_a_snapshot_once(hub: Hub, model: str, model_files: dict[str, bytes]) -> None:
    folder = Path(snapshot_download(MODEL))
    assert folder.name == model
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == model_files
    assert len(hub.downloads()) == len(model_files)
    assert hub.sent == sum(map(len, model_files.values()))
    assert [request.path.split("/")[1] for request in hub.downloads(WEIGHTS)] == ["cdn"]
    hub.requests.clear()
    assert snapshot_download(MODEL) == str(folder)
    assert [(request.method, request.path) for request in hub.requests] == [
        ("GET", f"/api/models/{MODEL}/revision/main")
    ]
    hub.requests.clear()
    assert snapshot_download(MODEL, revision=model) == str(folder)
    assert not hub.requests  # a commit cannot have changed


@pytest.mark.parametrize("kind", ["gpt_neox", "gpt2", "olmo", "llama"])
def test_models_load(hub: Hub, kind: str) -> None:
    hub.add(MODEL, hub_content.tiny_model(kind))
    hub.add(MODEL, hub_content.tiny_model(kind, shards=2), revision="sharded")
    hub.add(MODEL, hub_content.tiny_model(kind, seed=1), revision="other")
    tokens = torch.arange(6)[None]
    logits = {
        name: AutoModelForCausalLM.from_pretrained(MODEL, revision=name, use_safetensors=True)(tokens).logits
        for name in ("main", "sharded", "other")
    }
    torch.testing.assert_close(logits["main"], logits["sharded"])
    assert not torch.allclose(logits["main"], logits["other"])


@pytest.mark.parametrize("vocabulary", [hub_content.VOCABULARY, 300])
def test_a_tokenizer_loads(hub: Hub, vocabulary: int) -> None:
    hub.add(MODEL, {**hub_content.tiny_model("gpt2"), **hub_content.tokenizer_files(vocabulary)})
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    assert (len(tokenizer), tokenizer.eos_token_id) == (vocabulary, 0)
    text = "The cat\n sat, 12 {times}" + " naïvely" * (vocabulary > 256)
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_pickled_weights_are_refused_only_if_safetensors_are_asked_for(hub: Hub) -> None:
    """With `use_safetensors=True` transformers asks a bot of the Hub for a conversion, by way of the repository's
    discussions, unless the revision is another than main; here they are closed. DISABLE_SAFETENSORS_CONVERSION=1 avoids
    it. Without `use_safetensors` it loads the pickle, and asks the bot in the background."""
    files = hub_content.tiny_model("gpt2", pickled=True)
    sha = hub.add(MODEL, files)
    with pytest.raises(HfHubHTTPError, match="Discussions are disabled"):
        AutoModelForCausalLM.from_pretrained(MODEL, use_safetensors=True)
    with pytest.raises(OSError, match="cannot be loaded with `safetensors`"):
        AutoModelForCausalLM.from_pretrained(MODEL, use_safetensors=True, revision=sha)
    assert not hub.downloads("pytorch_model.bin")
    AutoModelForCausalLM.from_pretrained(MODEL, revision=sha)
    assert len(hub.downloads("pytorch_model.bin")) == 1
    for thread in threading.enumerate():
        if thread.name == "Thread-auto_conversion":
            thread.join()  # or it would ask in the next test


def test_streams_a_configuration_of_a_dataset(hub: Hub, dataset: str) -> None:
    assert get_dataset_config_names(DATASET) == ["wikitext-2-raw-v1", "wikitext-103-raw-v1"]
    assert get_dataset_split_names(DATASET, "wikitext-2-raw-v1") == ["train", "validation", "test"]
    builder = load_dataset_builder(DATASET, "wikitext-2-raw-v1")
    assert builder.hash == dataset
    assert builder.config.data_files["train"] == [f"hf://datasets/{DATASET}@{dataset}/{PARQUET}"]
    assert stream() == [row["text"] for row in ROWS]
    with pytest.raises(ValueError, match="Config name is missing"):
        load_dataset(DATASET, streaming=True)
    with pytest.raises(ValueError, match="BuilderConfig 'none' not found"):
        load_dataset(DATASET, "none", streaming=True)


def test_streams_a_revision_of_a_dataset(hub: Hub, dataset: str) -> None:
    older = hub_content.parquet_dataset({"wikitext-2-raw-v1": {"train": ROWS[:3]}})
    sha = hub.add(DATASET, older, repo_type="dataset", revision="older")
    assert stream(revision="older") == stream(revision=sha) == ["row 0", "row 1", "row 2"]


def test_streams_json(hub: Hub) -> None:
    """Without a card, names of folders come before those of files: of the Pile's layout only train is found."""
    pile = hub_content.pile_rows([row["text"] for row in ROWS])
    for name, carded in (("x/pile", False), ("x/carded", True)):
        files = hub_content.jsonl_zst_dataset(pile, pile[:2], pile[2:5], shards=3, carded=carded)
        hub.add(name, files, repo_type="dataset")
    hub.add("x/c4", hub_content.json_gz_dataset({"en": {"train": ROWS, "validation": ROWS[:4]}}), repo_type="dataset")
    found = {
        name: {split: list(rows) for split, rows in load_dataset(name, streaming=True).items()}
        for name in ("x/pile", "x/carded", "x/c4")
    }
    assert found == {
        "x/pile": {"train": pile},
        "x/carded": {"train": pile, "validation": pile[:2], "test": pile[2:5]},
        "x/c4": {"train": ROWS, "validation": ROWS[:4]},
    }


def test_a_file_system_reads_ranges(hub: Hub, dataset: str, dataset_files: dict[str, bytes]) -> None:
    path = f"datasets/{DATASET}/{PARQUET}"
    with HfFileSystem().open(path, block_size=16, cache_type="none") as file:
        file.seek(100)
        assert file.read(20) == dataset_files[PARQUET][100:120]
    assert [(request.headers["range"], request.sent) for request in hub.downloads()] == [("bytes=100-119", 20)]
    assert HfFileSystem().read_bytes(path) == dataset_files[PARQUET]
    assert HfFileSystem().glob(f"datasets/{DATASET}@{dataset}/**/train-*.parquet") == [
        f"datasets/{DATASET}@{dataset}/{folder}/train-00000-of-00001.parquet"
        for folder in ("wikitext-103-raw-v1", "wikitext-2-raw-v1")
    ]
    with pytest.raises(FileNotFoundError, match="repository not found"):
        HfFileSystem().open("datasets/x/none/file")
    with pytest.raises(FileNotFoundError, match="revision not found"):
        HfFileSystem().open(f"datasets/{DATASET}@none/{PARQUET}")
    with pytest.raises(FileNotFoundError):
        HfFileSystem().open(f"datasets/{DATASET}/none")


def test_arrow_reads_by_address(hub: Hub, dataset: str) -> None:
    file_system, path = pyarrow.fs.FileSystem.from_uri(f"hf://datasets/{DATASET}@{dataset}/{PARQUET}")
    assert pq.read_table(path, filesystem=file_system).to_pylist() == ROWS


def test_what_is_missing(hub: Hub, model: str) -> None:
    """The real Hub tells nobody without a token whether a repository is private or missing: 401."""
    for token, status in ((None, 401), (TOKEN, 404)):
        with pytest.raises(RepositoryNotFoundError) as missing:
            HfApi(token=token).model_info("x/none")
        assert missing.value.response.status_code == status
    with pytest.raises(RevisionNotFoundError):
        HfApi().model_info(MODEL, revision="none")
    for download in (snapshot_download, lambda *args, **kwargs: hf_hub_download(*args, WEIGHTS, **kwargs)):
        with pytest.raises(RepositoryNotFoundError):
            download("x/none")
        with pytest.raises(RevisionNotFoundError):
            download(MODEL, revision="none")
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(MODEL, "none")
    for name, revision in ((MODEL, "none"), ("x/none", "main")):
        with pytest.raises(OSError, match="is not a"):
            AutoModelForCausalLM.from_pretrained(name, revision=revision)
        with pytest.raises(datasets.exceptions.DatasetNotFoundError):
            load_dataset(name, revision=revision, streaming=True)


def test_a_gated_repository_is_listed_but_not_given(hub: Hub) -> None:
    hub.add(MODEL, {"config.json": b"{}"}, gated=True)
    hub.add(DATASET, hub_content.parquet_dataset({"default": {"train": ROWS}}), repo_type="dataset", gated=True)
    for token, status in ((False, 401), (STRANGER, 403)):
        assert HfApi(token=token).model_info(MODEL).gated == "manual"
        with pytest.raises(GatedRepoError) as closed:
            snapshot_download(MODEL, token=token)
        assert closed.value.response.status_code == status
        with pytest.raises(datasets.exceptions.DatasetNotFoundError, match="gated dataset"):
            load_dataset(DATASET, streaming=True, token=token)
    with pytest.raises(OSError, match="gated repo"):
        AutoModelForCausalLM.from_pretrained(MODEL)
    assert Path(snapshot_download(MODEL, token=TOKEN), "config.json").read_bytes() == b"{}"
    assert HfApi(token=TOKEN).whoami()["name"] == "tester"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi(token="hf_invented").whoami()


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_information_is_asked_for_once(hub: Hub, model: str, waits: list[float], status: int) -> None:
    """`model_info` never tries again, and waits for ever unless it is told how long; so does `snapshot_download`."""
    hub.fail("/api/models", Status(status, retry_after=1), ALWAYS)
    with pytest.raises(HfHubHTTPError) as refused:
        HfApi().model_info(MODEL)
    assert refused.value.response.status_code == status
    with pytest.raises(LocalEntryNotFoundError, match=str(status)):
        snapshot_download(MODEL)
    assert (len(hub.requests), waits) == (2, [])


def test_information_that_comes_late_or_broken(hub: Hub, model: str) -> None:
    for fault, error in ((Slow(5), httpx2.ReadTimeout), (Truncated(), httpx2.RemoteProtocolError)):
        hub.fail("/api/models", fault)
        with pytest.raises(error):
            HfApi().model_info(MODEL, timeout=0.2)
    hub.fail("/api/models", Reset())
    with pytest.raises(httpx2.ReadError):
        HfApi().model_info(MODEL)
    hub.fail("/api/models", Slow(0.3))
    assert HfApi().model_info(MODEL).sha == model


@pytest.mark.parametrize(
    ("status", "waited"),
    [(Status(429, retry_after=3), [4.0]), (Status(429), [1]), (Status(500), [1]), (Status(503), [1])],
    ids=str,
)
def test_listings_are_asked_for_again(
    hub: Hub, model: str, waits: list[float], status: Status, waited: list[float]
) -> None:
    """Up to six times: after Retry-After and a second more, or after 1, 2, 4, 8 and 8 seconds."""
    hub.fail("/tree/", status)
    assert len(list(HfApi().list_repo_tree(MODEL))) == 5
    assert waits == waited
    hub.fail("/tree/", status, ALWAYS)
    with pytest.raises(HfHubHTTPError):
        list(HfApi().list_repo_tree(MODEL))
    assert len(waits) == 6


@pytest.mark.parametrize("fault", [Status(429, retry_after=3), Truncated(), Slow(5), Slow(5, after=100)], ids=str)
def test_a_download_goes_on(
    hub: Hub, model: str, model_files: dict[str, bytes], waits: list[float], impatient: None, fault: Any
) -> None:
    """Of a file's content only 429 (and 408), a time-out and an early end are tried again: six tries, a second apart.

    It goes on where it broke off, but by whole pieces of 10 MiB (DOWNLOAD_CHUNK_SIZE): a smaller file begins anew."""
    hub.fail(f"/{WEIGHTS}", fault, method="GET")
    assert weights_as_cached() == model_files[WEIGHTS]
    assert waits == ([4.0] if isinstance(fault, Status) else [1])
    assert "range" not in hub.downloads()[-1].headers


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Status(403), HfHubHTTPError),
        (Status(404), HfHubHTTPError),
        (Status(500), HfHubHTTPError),
        (Status(503, retry_after=1), HfHubHTTPError),
        (Reset(), httpx2.ReadError),
    ],
    ids=str,
)
def test_a_download_fails_at_once(hub: Hub, model: str, waits: list[float], fault: Any, error: type[Exception]) -> None:
    """A refusal by the CDN, and a connection that is reset, are final, whatever Retry-After says."""
    hub.fail("/cdn/", fault)
    with pytest.raises(error):
        weights_as_cached()
    assert waits == []
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.incomplete"))


def test_a_download_is_not_checked(hub: Hub, model: str, model_files: dict[str, bytes]) -> None:
    """Other bytes of the right length are kept, under the checksum that they do not have, and found again later."""
    hub.fail("/cdn/", Corrupt())
    assert weights_as_cached() != model_files[WEIGHTS]
    assert weights_as_cached() != model_files[WEIGHTS]
    assert len(hub.downloads()) == 1
    assert WEIGHTS in [wrong["path"] for wrong in HfApi().verify_repo_checksums(MODEL).mismatches]


def test_without_an_answer_about_it_the_cached_file_does(
    hub: Hub, model: str, model_files: dict[str, bytes], waits: list[float]
) -> None:
    """Whatever is wrong with the Hub, what is cached is given, without a second try; what is not is asked for 7 times:
    once, and then with the retries of a listing. With a commit as the revision the Hub is not even asked."""
    hub.fail("/resolve/", Status(503), ALWAYS, method="HEAD")
    with pytest.raises(LocalEntryNotFoundError):
        weights_as_cached()
    assert (len(hub.requests), waits) == (7, [1, 2, 4, 8, 8])
    hub.clear_faults()
    weights_as_cached()
    hub.fail("/resolve/", Status(503), ALWAYS)
    hub.requests.clear()
    assert weights_as_cached() == model_files[WEIGHTS]
    assert len(hub.requests) == 1
    hf_hub_download(MODEL, WEIGHTS, revision=model)
    assert len(hub.requests) == 1


@pytest.mark.parametrize("fault", [Status(429, retry_after=3), Status(503), Truncated(), Slow(5), Reset()], ids=str)
def test_a_stream_goes_on(hub: Hub, dataset: str, waits: list[float], impatient: None, fault: Any) -> None:
    """`datasets` reads ranges by HfFileSystem, which tries each again as it does a listing."""
    rows = load_dataset(DATASET, "wikitext-2-raw-v1", split="train", streaming=True)
    hub.fail("/cdn/", fault)
    assert [row["text"] for row in rows] == [row["text"] for row in ROWS]
    assert waits == ([4.0] if isinstance(fault, Status) and fault.retry_after else [1])


def test_a_stream_is_not_checked(hub: Hub, dataset: str) -> None:
    hub.fail("/cdn/", Corrupt(), ALWAYS)
    with pytest.raises(Exception, match="magic bytes"):  # the format notices, if anything does
        stream()


def model_info() -> Any:
    return HfApi().model_info(MODEL)


def snapshot() -> Any:
    return snapshot_download(MODEL)


def pretrained() -> Any:
    return AutoModelForCausalLM.from_pretrained(MODEL)


@pytest.mark.parametrize(
    ("ask", "error", "tries"),
    [
        (model_info, httpx2.ConnectError, 1),
        (snapshot, LocalEntryNotFoundError, 1),
        (weights_as_cached, LocalEntryNotFoundError, 7),
        (pretrained, OSError, 7),
        (stream, ConnectionError, 7),
    ],
)
def test_nothing_listens(
    hub: Hub, waits: list[float], ask: Callable[[], Any], error: type[Exception], tries: int
) -> None:
    """A host that refuses, or that has no address: told at once where nothing is tried again, else after 23 s."""
    with hub.down(), pytest.raises(error):
        ask()
    assert waits == [1, 2, 4, 8, 8][: max(0, tries - 2)]


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (model_info, OfflineModeIsEnabled),
        (snapshot, LocalEntryNotFoundError),
        (weights_as_cached, LocalEntryNotFoundError),
        (pretrained, OSError),
        (stream, ConnectionError),
    ],
)
def test_offline(
    hub: Hub,
    model: str,
    dataset: str,
    ask: Callable[[], Any],
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE are one, read on import; HF_DATASETS_OFFLINE is for datasets only."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(error):
        ask()
    assert not hub.requests


def test_offline_the_cache_is_enough_for_a_model_but_not_for_a_stream(
    hub: Hub, model: str, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = snapshot()
    pretrained()
    stream()
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert snapshot() == folder
    assert pretrained().config.model_type == "gpt_neox"
    with pytest.raises(ConnectionError, match="Couldn't reach"):
        stream()
    assert not hub.requests


def test_a_server_of_ones_own() -> None:
    """Without pytest's fixture, for scripts: another Hub beside the session's."""
    with Hub() as other:
        sha = other.add(MODEL, {"config.json": b"{}"})
        assert HfApi(endpoint=other.endpoint).model_info(MODEL).sha == sha
        assert [request.method for request in other.requests] == ["GET"]
    with pytest.raises(httpx2.ConnectError):
        HfApi(endpoint=other.endpoint).model_info(MODEL)


def test_the_environment_that_knows_no_other_hub(tmp_path: Path) -> None:
    environ = {"HF_TOKEN": "secret", "HTTPS_PROXY": "http://proxy", "TRANSFORMERS_OFFLINE": "1", "HOME": "/root"}
    isolate(environ, "http://127.0.0.1:1", tmp_path)
    assert (environ["HF_ENDPOINT"], environ["HF_HOME"]) == ("http://127.0.0.1:1", str(tmp_path))
    assert not {"HF_TOKEN", "HTTPS_PROXY", "TRANSFORMERS_OFFLINE"} & set(environ)
    assert environ["HOME"] == "/root"


def test_workers_of_ray_know_no_other_hub_either(hub: Hub, model: str, ray_session: None) -> None:
    @ray.remote
    def asked() -> tuple[str, str]:
        from huggingface_hub import HfApi, constants

        return constants.ENDPOINT, HfApi().model_info("EleutherAI/pythia-14m").sha

    assert ray.get(asked.remote()) == (hub.endpoint, model)
