from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from orchestrator.overrides import override
from orchestrator.spec import Sweep
from orchestrator.store import Status, Store
from orchestrator.words import SpecError
from trainables.budget import Budget
from trainables.storage import CorruptFileError

SPEC = Sweep(budgets=(Budget(1e11),))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one trial, so that there is something to mix with."""
    store = Store.open(str(tmp_path / "store"))
    store.write_sweep("quickstart", SPEC, {"device": "test"}, {})
    store.write_trial(SPEC.trials()[0])
    return store


def test_a_new_folder_has_no_sweep(tmp_path: Path) -> None:
    assert Store.open(str(tmp_path / "new")).read_sweep() is None


def test_a_folder_of_other_things_is_not_a_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(SpecError, match=r"not a store: it holds 'thesis\.tex'"):
        Store.open(str(tmp_path)).read_sweep()


def test_existing_refuses_what_is_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no sweep\.json"):
        Store.existing(str(tmp_path))


def test_an_unknown_uri_scheme_is_a_usage_error() -> None:
    with pytest.raises(SpecError, match="nonsense://x"):
        Store.open("nonsense://x")


def test_a_hand_edited_sweep_json_is_noticed(store: Store) -> None:
    path = Path(store.root.path) / "sweep.json"
    path.write_text(path.read_text().replace('"batch_size": 8', '"batch_size": 9'))
    with pytest.raises(SpecError, match="sha256"):
        store.read_sweep()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("learning_rate=0.5", "learning_rate was None, is now 0.5"),
        ("batch_size=4", "batch_size was 8, is now 4"),
        ("probe_points=100", "probe_points was 512, is now 100"),
    ],
)
def test_mixing_is_refused_naming_field_and_both_values(store: Store, change: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        store.refuse_mixing(override(SPEC, [change]))


@pytest.mark.parametrize("change", ["seeds=7", "budgets=2e10", "model=gpt2-tiny", "metrics=held_out", "retries=9"])
def test_axes_and_free_fields_may_change(store: Store, change: str) -> None:
    store.refuse_mixing(override(SPEC, [change]))


def test_a_changed_corpus_is_refused(store: Store, tmp_path: Path) -> None:
    corpus = tmp_path / "shards"
    corpus.mkdir()
    shard = corpus / "0.jsonl"
    shard.write_text('{"text": "one"}\n')
    spec = override(SPEC, [f"corpus={corpus}"])
    other = Store.open(str(tmp_path / "other"))
    other.write_sweep("quickstart", spec, {}, {})
    other.write_trial(spec.trials()[0])
    shard.write_text('{"text": "one and more"}\n')
    with pytest.raises(SpecError, match="the corpus's content was shards-"):
        other.refuse_mixing(spec)


def test_a_store_without_trials_can_still_change(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    store.write_sweep("quickstart", SPEC, {}, {})
    store.refuse_mixing(override(SPEC, ["learning_rate=0.5"]))


def test_axes_grow_and_never_shrink(store: Store) -> None:
    store.write_sweep("quickstart", override(SPEC, ["seeds=9"]), {}, {})
    body = store.read_sweep()
    assert body is not None
    assert body["sweep"]["seeds"] == [0, 1, 2, 9]


def test_status_round_trip_and_a_damaged_one_counts_as_none(store: Store) -> None:
    status = Status("failed", 3, 1.5, "why", "CPU")
    store.write_status("t", status)
    assert store.read_status("t") == status
    (Path(store.trial("t").path) / "status.json").write_text("{}")
    assert store.read_status("t") is None


def test_measurements_merge_by_metric_and_version(store: Store) -> None:
    def one(name: str, version: int, value: float) -> dict[str, object]:
        about = {"metric": name, "version": version, "status": "ok", "reason": None, "seconds": 1.0}
        return about | {"values": [[name, None, value, None]]}

    store.add_measurements("t", 8, [one("a", 1, 1.0), one("b", 1, 2.0)])
    store.add_measurements("t", 8, [one("a", 1, 1.0), one("a", 2, 3.0)])
    assert sorted(store.read_measurements("t", 8)) == ["a@1", "a@2", "b@1"]
    assert store.measured_steps("t") == [8]


def test_another_tokenizer_at_the_same_path_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(path))
    spec = override(SPEC, [f"tokenizer={path}"])
    store = Store.open(str(tmp_path / "store"))
    store.write_sweep("quickstart", spec, {}, {})
    store.write_trial(spec.trials()[0])
    store.refuse_mixing(override(spec, ["seeds=8"]))
    tokenizer.add_tokens(["another"])
    tokenizer.save(str(path))
    with pytest.raises(SpecError, match="tokens of neox-280k was"):
        store.refuse_mixing(override(spec, ["seeds=8"]))


def test_stray_files_are_no_trials_and_no_measurements(store: Store) -> None:
    trial = store.trial_ids()[0]
    store.add_measurements(trial, 8, [])
    for folder in (store.root / "trials", store.trial(trial) / "measurements", store.trial(trial) / "log"):
        folder.write(".DS_Store", b"")
    assert store.trial_ids() == [trial]
    assert store.measured_steps(trial) == [8]


@pytest.mark.parametrize("damage", ["cut", "lost"])
def test_a_trials_record_is_written_anew_where_it_is_damaged_or_gone(store: Store, damage: str) -> None:
    trial = store.trial_ids()[0]
    config = store.read_trial(trial)
    store.trial(trial).write("checkpoints/step-00000000/model.safetensors", b"")
    record = Path(store.trial(trial).path) / "trial.json"
    record.write_bytes(record.read_bytes()[:50]) if damage == "cut" else record.unlink()
    assert store.trial_ids() == [trial]
    with pytest.raises(CorruptFileError, match=r"trial\.json.*: run its sweep again"):
        store.read_trial(trial)
    with pytest.raises(SpecError, match="batch_size was 8, is now 4"):
        store.refuse_mixing(override(SPEC, ["batch_size=4"]))
    store.refuse_mixing(SPEC)
    store.write_trial(config)
    assert store.read_trial(trial) == config


def test_a_file_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("")
    with pytest.raises(SpecError, match="is a file; give a folder"):
        Store.open(str(path))


def test_a_store_of_another_format_is_refused(store: Store) -> None:
    body = store.root.read_json("sweep.json")
    store.root.write_json("sweep.json", body | {"format": 1})
    with pytest.raises(SpecError, match="a store of format 1, of another version"):
        store.read_sweep()


def test_the_commits_of_data_sets_are_remembered(store: Store) -> None:
    store.write_sweep("quickstart", SPEC, {"device": "test"}, {"a": "1"})
    store.write_sweep("quickstart", SPEC, {"device": "test"}, {"b": None})
    body = store.read_sweep()
    assert body is not None
    assert body["commits"] == {"a": "1", "b": None}


@pytest.mark.parametrize(
    ("uri", "tokens"),
    [("/data/results/quickstart", "/data/results/tokens/x"), ("mock:///bucket/store", "bucket/tokens/x")],
)
def test_token_stores_lie_beside_the_store(uri: str, tokens: str) -> None:
    assert Store.open(uri).tokens("x").path == tokens


def test_a_store_without_a_folder_around_it_keeps_its_tokens() -> None:
    assert Store.open("mock:///bucket").tokens("x").path == "bucket/tokens/x"


def test_reasons_and_logs_are_kept_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_a_user")
    store, said = Store.open(str(tmp_path / "store")), "refused hf_secret_of_a_user at https://u:word@host/"
    store.write_status("t", Status("failed", 3, 1.0, said))
    store.write_error("t", said)
    failed = {"metric": "held_out", "version": 1, "status": "failed", "reason": said, "seconds": 0.0, "values": []}
    store.add_measurements("t", 3, [failed])
    hidden = "refused *** at https://***@host/"
    status = store.read_status("t")
    assert status is not None
    assert status.reason == hidden
    assert (tmp_path / "store" / "trials" / "t" / "error.log").read_text() == hidden
    assert store.read_measurements("t", 3)["held_out@1"]["reason"] == hidden
