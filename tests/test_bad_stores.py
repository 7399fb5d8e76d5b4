"""Bad input, stores: files that are damaged, gone or another's are named, and what is left of the results is right."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import results
from orchestrator.store import Store
from tests.bad import Ended, assert_refused, command
from tests.conftest import SMALL
from trainables.checkpoint import load_weights, read_release, release
from trainables.storage import CorruptFileError, Folder
from trainables.token_store import TokenStore

STEP = "step-00000004"
# the files of a store by a word; T is its first trial, which is done and measured
FILES = {
    "sweep": "store/sweep.json",
    "trial": "store/trials/T/trial.json",
    "status": "store/trials/T/status.json",
    "measured": f"store/trials/T/measurements/{STEP}.json",
    "manifest": f"store/trials/T/checkpoints/{STEP}/manifest.json",
    "weights": f"store/trials/T/checkpoints/{STEP}/model.safetensors",
    "trace": f"store/trials/T/traces/{STEP}/manifest.json",
    "log": "store/trials/T/log/00000000.json",
    "diagrams": f"store/trials/T/diagrams/persistent_homology@3/{STEP}.parquet",
    "results": "store/results.parquet",
    "report": "store/report.html",
    "tokens": "tokens/*/tokens.json",
}
Change = Callable[[Path], object]


def write(data: bytes) -> Change:
    return lambda path: path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x11
    path.write_bytes(bytes(data))


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def signed(change: Callable[[dict[str, Any]], object]) -> Change:
    """A change of a record that keeps its sha256 right, as another program's would."""

    def damage(path: Path) -> None:
        folder = Folder.open(path.parent)
        body = folder.read_json(path.name)
        change(body)
        folder.write_json(path.name, body)

    return damage


def put(*keys: str, value: Any) -> Change:
    def change(body: dict[str, Any]) -> None:
        for key in keys[:-1]:
            body = body[key]
        body[keys[-1]] = value

    return signed(change)


def drop(key: str) -> Change:
    return signed(lambda body: body.pop(key))


def each_measurement(**values: Any) -> Change:
    return signed(lambda body: [one.update(values) for one in body["measurements"].values()])


def rename_measurement(body: dict[str, Any]) -> None:
    body["measurements"] = {f"{key}9": one for key, one in body["measurements"].items()}


BYTES: dict[str, Change] = {
    "empty": write(b""),
    "cut": cut,
    "flipped": flip,
    "a list": write(b"[]"),
    "without hash": write(b"{}"),
    "not utf-8": write(b"\xff\xfe\x00"),
    "nested without end": write(b"[" * 10**5),
    "another file's": write(b'{"a": 1, "sha256": "0"}'),
    "a folder": replace_by_folder,
    "NaN": write(b'{"a": NaN, "sha256": "0"}'),
}
TYPES: dict[str, dict[str, Change]] = {
    "sweep": {
        "no sweep": drop("sweep"),
        "format is text": put("format", value="2"),
        "seeds are text": put("sweep", "seeds", value="012"),
        "no metrics": put("sweep", value={"seeds": [0]}),
        "commits": put("commits", value=[]),
        "provenance": put("provenance", value=3),
        "corpus": put("corpus_fingerprint", value=None),
    },
    "trial": {
        "no model": drop("model"),
        "model is text": put("model", value="neox-280k"),
        "model lacks": put("model", value={"name": "x"}),
        "budget": put("budget", value={"amount": -1, "unit": "steps"}),
        "unit": put("budget", value={"amount": 1, "unit": "days"}),
        "seed is text": put("seed", value="0"),
        "seed is huge": put("seed", value=10**30),
        "further": put("more", value=1),
        "another's": put("data_seed", value=17),
    },
    "status": {
        "state": put("state", value="finished"),
        "step": put("step", value="12"),
        "reason": put("reason", value=["a"]),
        "lacks": drop("seconds"),
        "further": put("more", value=1),
    },
    "measured": {
        "no measurements": drop("measurements"),
        "a list": put("measurements", value=[]),
        "version": each_measurement(version="3"),
        "huge version": each_measurement(version=10**30),
        "status": each_measurement(status="fine"),
        "values": each_measurement(values={"a": 1}),
        "short values": each_measurement(values=[["a", 1]]),
        "text value": each_measurement(values=[["a", None, "1.0", None]]),
        "huge value": each_measurement(values=[["a", None, 10**400, None]]),
        "nested value": each_measurement(values=[["a", None, [[[[1]]]], None]]),
        "other": each_measurement(other=["x"]),
        "diagrams": each_measurement(diagrams=3),
        "wrong keys": signed(rename_measurement),
    },
}


@dataclass(frozen=True)
class Damage:
    """lost: what of the results; with ``all`` nothing can be said of the store."""

    file: str
    name: str
    change: Change
    lost: str

    def __str__(self) -> str:
        return f"{self.file} {self.name}"


LOST = {"sweep": "all", "trial": "all", "status": "status", "measured": "measured"}
DAMAGES = [
    *(Damage(file, name, change, LOST[file]) for file in LOST for name, change in BYTES.items()),
    *(Damage(file, name, change, LOST[file]) for file, changes in TYPES.items() for name, change in changes.items()),
    *(
        Damage(file, name, BYTES[name], "nothing")
        for file in ("manifest", "trace", "log", "diagrams", "results", "report")
        for name in ("empty", "cut", "flipped")
    ),
    Damage("weights", "flipped", flip, "nothing"),
    Damage("log", "another's", put("step", value="x"), "nothing"),
    Damage("log", "short", put("loss", value=[]), "nothing"),
]


@pytest.fixture(scope="module")
def place(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished sweep and its tokens; each test puts back what it changes."""
    place = tmp_path_factory.mktemp("bad") / "place"
    shutil.copytree(finished, place / "store")
    shutil.copytree(finished.parent / "tokens", place / "tokens")
    return place


@pytest.fixture(scope="module")
def undamaged(place: Path) -> pd.DataFrame:
    return results.collect(Store.existing(str(place / "store")))


def first_trial(place: Path) -> str:
    return sorted(one.name for one in (place / "store" / "trials").iterdir())[0]


def find(place: Path, file: str) -> Path:
    (found,) = place.glob(FILES[file].replace("/T/", f"/{first_trial(place)}/"))
    return found


@contextlib.contextmanager
def put_back(path: Path) -> Iterator[None]:
    data = path.read_bytes()
    try:
        yield
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def look(place: Path, what: str, capsys: pytest.CaptureFixture[str]) -> Ended:
    store = str(place / "store")
    words = ("plan", "quickstart", *SMALL, "--store", store) if what == "plan" else (what, store)
    return command(capsys, *words)


def assert_right(place: Path, undamaged: pd.DataFrame, lost: str) -> None:
    """The rows that are left are what they were; of a trial without a status, none counts as its end."""
    store = Store.existing(str(place / "store"))
    found = results.collect(store)
    trial = first_trial(place)
    gone = (undamaged["trial"] == trial) & (undamaged["step"] == 4) & (lost == "measured")
    pd.testing.assert_frame_equal(found, undamaged[~gone].reset_index(drop=True))
    assert (trial in set(results.at_budget(store, found)["trial"])) == (lost != "status")


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_damage_is_named_and_the_results_that_are_left_are_right(
    damage: Damage, place: Path, undamaged: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    path = find(place, damage.file)
    with put_back(path):
        damage.change(path)
        shown = look(place, "status", capsys)
        if damage.lost == "nothing":
            assert (shown.code, shown.err) == (0, "")
            assert_right(place, undamaged, damage.lost)
            return
        planned = look(place, "plan", capsys)
        if damage.file == "sweep":
            assert_refused(shown, str(path), "use another --store")
            assert_refused(planned, str(path), "use another --store")
        elif damage.file == "trial":
            assert_refused(shown, str(path), "run its sweep again")
            assert (planned.code, planned.err) == (0, "")
        else:
            assert (shown.code, planned.code) == (0, 0)
            for ended in (shown, planned):
                assert f"{path}: " in ended.said
                assert "left out, and made anew when its sweep is run again" in ended.said
            assert "4 done" not in shown.out
            assert_right(place, undamaged, damage.lost)


@pytest.mark.parametrize("name", ["sweep cut", "trial another's", "status cut", "measured wrong keys", "log short"])
def test_a_report_of_a_damaged_store_says_what_it_lacks(
    name: str, place: Path, undamaged: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    (damage,) = [one for one in DAMAGES if str(one) == name]
    path = find(place, damage.file)
    with put_back(path), put_back(place / "store" / "results.parquet"):
        damage.change(path)
        ended = look(place, "report", capsys)
        if damage.lost == "all":
            assert_refused(ended, str(path))
            return
        assert ended.code == 0
        page = (place / "store" / "report.html").read_text()
        assert (f"{path}: " in ended.said) == (str(path) in page) == (damage.lost != "nothing")
        written = pd.read_parquet(place / "store" / "results.parquet")
        gone = (undamaged["trial"] == first_trial(place)) & (undamaged["step"] == 4) & (damage.lost == "measured")
        assert written["value"].equals(undamaged[~gone]["value"].reset_index(drop=True))


def replace_trials_by_file(store: Path) -> None:
    shutil.rmtree(store / "trials")
    (store / "trials").write_text("x")


def link_to_nothing(store: Path) -> None:
    (store / "sweep.json").unlink()
    (store / "sweep.json").symlink_to("gone")


def without_record(store: Path) -> None:
    sorted(store.glob("trials/*/trial.json"))[0].unlink()


# what is done to a store, the command, its exit code, and what is said
FOREIGN: dict[str, tuple[Change, str, int, str]] = {
    "lost sweep": (lambda store: (store / "sweep.json").unlink(), "status", 2, "no sweep.json in it"),
    "lost sweep, planned": (lambda store: (store / "sweep.json").unlink(), "plan", 2, "give an empty or new folder"),
    "link to nothing": (link_to_nothing, "report", 2, "no sweep.json in it"),
    "lost record": (without_record, "status", 2, "the record of a trial: run its sweep again"),
    "older format": (lambda store: put("format", value=1)(store / "sweep.json"), "status", 2, "use another --store"),
    "newer format": (lambda store: put("format", value=99)(store / "sweep.json"), "plan", 2, "which reads format 2"),
    "no format": (lambda store: drop("format")(store / "sweep.json"), "report", 2, "use another --store"),
    "file for trials": (replace_trials_by_file, "status", 1, "trials"),
    "file for trials, planned": (replace_trials_by_file, "plan", 1, "trials"),
    "file for TensorBoard": (
        lambda store: (shutil.rmtree(store / "tensorboard"), (store / "tensorboard").write_text("x")),
        "report",
        1,
        "tensorboard",
    ),
    "folder for results": (lambda store: replace_by_folder(store / "results.parquet"), "report", 1, "results.parquet"),
    "folder for the report": (lambda store: replace_by_folder(store / "report.html"), "report", 1, "report.html"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_store_that_is_not_as_it_was_made_is_named(
    name: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records alone: what is told of a store is told without its weights."""
    change, what, code, said = FOREIGN[name]
    without = shutil.ignore_patterns("*.safetensors", "training_state", "traces", "diagrams")
    shutil.copytree(place / "store", tmp_path / "store", ignore=without)
    change(tmp_path / "store")
    ended = look(tmp_path, what, capsys)
    assert ended.code == code
    assert "sweep.py: " in ended.said
    assert str(tmp_path / "store") in ended.said
    assert said in ended.said


TOKENS: dict[str, Change] = {
    **{name: BYTES[name] for name in ("empty", "cut", "flipped", "a list", "a folder")},
    "no split": drop("test"),
    "blocks": put("train", "blocks", value="9"),
    "hashes": put("train", "sha256", value={"0": "x"}),
    "complete": put("complete", value="yes"),
}


@pytest.mark.parametrize("name", TOKENS)
def test_a_damaged_token_store_stops_a_preparation(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = find(place, "tokens")
    with put_back(path):
        TOKENS[name](path)
        ended = command(capsys, "prepare", "quickstart", *SMALL, "--store", str(place / "store"))
        assert_refused(ended, str(path), "delete this file and run again, it is made anew")


@pytest.mark.parametrize("name", ["train-000000.parquet", "validation-000000.parquet", "tokenizer.json"])
@pytest.mark.parametrize("change", ["empty", "cut", "flipped", "a folder"])
def test_a_damaged_part_of_a_token_store_is_never_read(name: str, change: str, place: Path) -> None:
    path = find(place, "tokens").with_name(name)
    with put_back(path):
        BYTES[change](path)
        tokens = TokenStore.open(Folder.open(path.parent))
        with pytest.raises(CorruptFileError, match=rf"{name}: .*(delete this file and run again|move it away)"):
            tokens.read_tokenizer() if name == "tokenizer.json" else tokens.read_part(name.partition("-")[0], 0)


MANIFESTS: dict[str, Change] = {
    **{name: BYTES[name] for name in ("empty", "cut", "flipped", "a folder", "nested without end")},
    "no files": drop("files"),
    "files are a list": put("files", value=["model.safetensors"]),
    "bytes are text": put("files", "model.safetensors", value={"bytes": "1", "sha256": "x"}),
    "entry is text": put("files", "model.safetensors", value="x"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_checkpoint_with_a_damaged_manifest_is_never_read_nor_released(name: str, place: Path) -> None:
    path = find(place, "manifest")
    trial = Folder.open(path.parent.parent.parent)
    with put_back(path):
        MANIFESTS[name](path)
        with pytest.raises(CorruptFileError, match=r"manifest\.json: "):
            load_weights(trial, 4)
        with pytest.raises(CorruptFileError, match=r"manifest\.json: "):
            release(trial, 4)
        assert not path.with_name("released.json").exists()
        assert path.with_name("model.safetensors").exists()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff"], ids=ascii)
def test_a_damaged_marker_of_a_release_is_a_corrupt_file(body: bytes, tmp_path: Path) -> None:
    trial = Folder.open(tmp_path)
    trial.write("checkpoints/step-00000004/released.json", body)
    with pytest.raises(CorruptFileError, match=r"released\.json: not a record of ours"):
        read_release(trial, 4)


@pytest.mark.parametrize("body", [{"step": "4"}, {"measured": []}, {"step": 4, "measured": "held_out@1"}], ids=str)
def test_a_marker_of_a_release_of_another_form_is_a_corrupt_file(body: dict[str, Any], tmp_path: Path) -> None:
    trial = Folder.open(tmp_path)
    (trial / "checkpoints/step-00000004").write_json("released.json", body)
    with pytest.raises(CorruptFileError, match=r"released\.json: not a record of ours"):
        read_release(trial, 4)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=st.sampled_from(sorted(LOST)), where=st.integers(0, 10**6), mask=st.integers(0, 255), cut_off=st.booleans())
def test_any_changed_byte_is_named_or_changes_nothing(
    file: str,
    where: int,
    mask: int,
    cut_off: bool,
    place: Path,
    undamaged: pd.DataFrame,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = find(place, file)
    with put_back(path):
        data = bytearray(path.read_bytes())
        where %= len(data)
        data[where] ^= mask
        path.write_bytes(bytes(data[:where] if cut_off else data))
        ended = look(place, "status", capsys)
        if ended.code == 2:
            assert str(path) in ended.said
        else:
            assert ended.code == 0
            named = f"{path}: " in ended.said
            assert_right(place, undamaged, LOST[file] if named else "nothing")


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from(sorted(LOST)), steps=st.lists(st.integers(0, 30), min_size=1, max_size=5), value=json_values
)
def test_any_value_anywhere_in_a_record_never_is_a_traceback(
    file: str, steps: list[int], value: Any, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its sha256 is right: what is of the right form is taken for what was written."""
    path = find(place, file)

    def change(body: Any) -> None:
        for depth, step in enumerate(steps, start=1):
            keys = sorted(body) if isinstance(body, dict) else range(len(body))
            key = keys[step % len(keys)]
            if depth == len(steps) or not isinstance(body[key], dict | list) or not body[key]:
                body[key] = value
                return
            body = body[key]

    with put_back(path):
        signed(change)(path)
        for what in ("status", "plan"):
            ended = look(place, what, capsys)
            assert ended.code in (0, 1, 2)
            assert ended.code != 2 or str(place / "store") in ended.said
        store = Store.existing(str(place / "store"))
        with contextlib.suppress(CorruptFileError):
            results.at_budget(store, results.collect(store))


def test_another_trials_record_is_not_taken_for_its_own(
    place: Path, undamaged: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else its measurements would count twice; the sweep still plans, and writes it anew."""
    own, other = sorted((place / "store").glob("trials/*/trial.json"))[:2]
    with put_back(own):
        shutil.copy(other, own)
        for what in ("status", "report"):
            assert_refused(
                look(place, what, capsys), str(own), f"is the record of {other.parent.name}", "run its sweep"
            )
        assert look(place, "plan", capsys).code == 0
    assert_right(place, undamaged, "nothing")
