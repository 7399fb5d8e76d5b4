"""Nothing is unpickled, no cluster is open, no secret is kept: on every load path, by real processes and real runs."""

from __future__ import annotations

import ast
import contextlib
import functools
import os
import pickle
import re
import shutil
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import metrics
import sweep
import verify_downloads
from metrics import items, trace
from metrics.base import UnavailableError
from metrics.evaluation import local_data
from metrics.evaluation.intrinsic_dimension import Mrpc
from metrics.evaluation.subject import EvaluationSettings, Subject
from metrics.measure import Checkpoint, Measurer
from orchestrator import load_results, search, trials
from orchestrator.overrides import override
from orchestrator.search import Search
from orchestrator.store import Store
from search_spaces import find
from tests import hub as stand_in
from tests.hub import Hub
from tests.hub_content import tiny_model
from tests.world import MODEL, SETTINGS, SHAPE, TEXTS, World, build
from trainables import checkpoint, corpus, models, published, tensor_identity, tokenizers
from trainables.pretrain import pretrain
from trainables.storage import MANIFEST, sha256
from trainables.token_store import META, TOKENIZER, TokenStore

ROOT = Path(__file__).parent.parent
PACKAGES = ("metrics", "orchestrator", "preflight", "search_spaces", "trainables")
OBSERVED, MARKER = metrics.observed(), "marker"
# --- Every load path --------------------------------------------------------------------------------------------------

_watches: list[list[str]] = []
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """CPython tells of each class or function that an unpickler looks up, and of each file that is opened; dumping, as
    of the fingerprints of ``datasets``, makes neither event."""
    if _watches and (event == "pickle.find_class" or (event == "open" and str(arguments[0]).endswith(_PICKLED))):
        frame: FrameType | None = sys._getframe()
        while frame is not None and "/ray/" not in frame.f_code.co_filename:
            frame = frame.f_back
        if frame is None:  # Ray's threads unpickle what its own processes send
            _watches[-1].append(f"{event} {arguments}")


sys.addaudithook(_audit)  # for good: Python has no way to take one back


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    _watches.append([])
    try:
        yield _watches[-1]
    finally:
        _watches.pop()


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.marker,)


def bombs(marker: Path) -> tuple[bytes, bytes]:
    """As ``pickle`` writes it, and as torch does."""
    archive = BytesIO()
    torch.save(Bomb(marker), archive)
    return pickle.dumps(Bomb(marker)), archive.getvalue()


def test_the_hook_sees_what_is_unpickled_and_opened_and_the_bombs_go_off(tmp_path: Path) -> None:
    for index, content in enumerate(bombs(tmp_path / "marker")):
        (tmp_path / "model.bin").write_bytes(content)
        with watched() as seen:
            data = (tmp_path / "model.bin").read_bytes()
            pickle.loads(data) if index == 0 else torch.load(BytesIO(data), weights_only=False)  # noqa: S301
        assert [one.partition(" ")[0] for one in seen][:2] == ["open", "pickle.find_class"]
        (tmp_path / "marker").rmdir()
    with watched() as seen:
        pickle.dumps(Bomb(tmp_path))
    assert seen == []


FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
LOADS = re.compile(r"_?(read|load|open|resume|fetch)")


def load_paths(source: str, name: str) -> set[str]:
    """The functions and methods of a module that read something, by their names."""
    found: set[str] = set()

    def visit(node: ast.AST, within: str) -> None:
        for child in ast.iter_child_nodes(node):
            own = f"{within}.{child.name}" if isinstance(child, ast.ClassDef | FUNCTION) else within
            if isinstance(child, FUNCTION) and LOADS.match(child.name):
                found.add(own)
            visit(child, f"{own}.<locals>" if isinstance(child, FUNCTION) else own)

    visit(ast.parse(source), name)
    return found


@contextlib.contextmanager
def recorded_calls() -> Iterator[set[str]]:
    """The functions of ours that are called meanwhile, in any thread."""
    called: set[str] = set()

    @functools.cache
    def module_of(path: str) -> str | None:
        return path.removeprefix(f"{ROOT}/") if path.startswith(tuple(f"{ROOT}/{name}/" for name in PACKAGES)) else None

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and (module := module_of(frame.f_code.co_filename)):
            called.add(f"{module}.{frame.f_code.co_qualname}")

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def world(hub_of_module: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    published._listed.cache_clear()
    models.find.cache_clear()
    folder = tmp_path_factory.mktemp("world")
    made = build(folder, hub_of_module, pickled=bombs(folder / MARKER)[1])
    measured(made)
    yield made
    published._listed.cache_clear()
    models.find.cache_clear()
    assert not (folder / MARKER).exists()


def measured(world: World) -> None:
    settings = EvaluationSettings(data=(f"mrpc:{world.folder / 'mrpc'}",), limit=2, log_samples=True)
    measurer = Measurer.of(world.tokens, n_sequences=8, n_points=24, keep_traces=True, settings=settings)
    one, two = (Checkpoint(world.config, world.trial, step) for step in (2, 4))
    for parts in (*measurer.measure(one, ["held_out"]), *measurer.measure(two, (*OBSERVED, "mrpc"))):
        assert {part["status"] for part in parts} == {"ok"}
        world.store.add_measurements(world.trial.name, 4, parts)
    measurer.compare(one, two, metrics.of_kind("pair", OBSERVED))
    measurer.follow([one, two], metrics.of_kind("trajectory", OBSERVED))


def resumed(world: World) -> None:
    checkpoint.set_aside(world.trial, world.config.steps)
    pretrain(world.config, world.trial, world.tokens)


def told(world: World) -> None:
    place = ["--store", world.store.uri]
    assert sweep.main(["verify", world.store.uri]) == 0
    assert sweep.main(["status", world.store.uri]) == 0
    assert sweep.main(["plan", "quickstart", *SETTINGS, f"corpus={world.folder / 'corpus'}", *place]) == 0
    assert sweep.main(["report", world.store.uri, "--beside", world.store.uri]) == 0
    world.store.read_diagrams(world.trial.name, 4)
    assert len(items.read(world.trial, 4, "mrpc@1")) == 2
    Mrpc.of(Subject(models.build(world.config.model), world.tokens.read_tokenizer(), world.tokens.meta["end_of_text"]))


def fetched(world: World) -> None:
    models.start(models.find(MODEL, "step2"), init_seed=0, device="cpu")
    config = published.find(models.find(MODEL), ["step1", "step2"], tokens="any", seq_len=32)
    world.store.write_trial(config)
    folder = world.store.trial(config.trial_id)
    trials._fetch(config, world.store, {"keep": "all", "fetch": {config.trial_id: [1, 2]}})
    tensor_identity.faults(folder, config)
    checkpoint.release(folder, 1)
    checkpoint.read_release(folder, 1)
    folder.delete()


def streamed(world: World) -> None:
    for source in (corpus.find(str(world.folder / "corpus")), corpus.find("lab/pile"), corpus.find("lab/table")):
        assert sum(1 for shard in source.shards() for _ in corpus.labelled(shard)) >= len(TEXTS)
    path = tokenizers.find(MODEL, world.config.model)
    assert path is not None
    tokenizers.load(path)
    for name in ("mrpc", "saved"):
        local_data.load(world.folder / name, "mrpc", "validation", ["train"])


def looked_at(world: World) -> None:
    asked = ["--full", "--model", f"{MODEL}@step1", "--dataset", "lab/pile", "lab/table", "--store", world.store.uri]
    assert verify_downloads.main(asked) == 0


def searched(world: World) -> None:
    load_results(world.store.uri)
    settings = [*SETTINGS, f"corpus={world.folder / 'corpus'}", "search=random", "space=learning_rate=1e-4..1e-2log"]
    wanted, store = override(find("quickstart")(), settings), Store.open(str(world.folder / "searched"))
    Search(wanted, store).next()
    assert search.trials(wanted, store)


WALK = (measured, resumed, told, fetched, streamed, looked_at, searched)


def test_every_load_path_of_ours_is_walked_and_nothing_is_unpickled(world: World) -> None:
    """A function that reads, and is not called here, fails this test: add it to one of the walks."""
    expected = {
        path
        for package in PACKAGES
        for module in (ROOT / package).rglob("*.py")
        for path in load_paths(module.read_text(), str(module.relative_to(ROOT)))
    }
    assert len(expected) > 35
    with recorded_calls() as called:
        for walk in WALK:
            with watched() as seen:
                walk(world)
            assert seen == [], walk.__name__
    assert sorted(expected - called) == []


def test_a_new_load_path_is_found_wherever_it_is() -> None:
    source = "class A:\n def read_it(self):\n  def load(): pass\ndef find(): pass\nasync def fetch_all(): pass"
    assert load_paths(source, "m.py") == {"m.py.A.read_it", "m.py.A.read_it.<locals>.load", "m.py.fetch_all"}


WEIGHTS, OF_WEIGHTS = "checkpoints/step-00000004/model.safetensors", f"checkpoints/step-00000004/{MANIFEST}"
STATE = "training_state/step-00000004/state.safetensors"
TRACE = "traces/step-00000004/hidden_states.safetensors"
PART, DIAGRAM = "validation-000000.parquet", "diagrams/persistent_homology@3/step-00000004.parquet"
ITEMS = "items/mrpc@1/step-00000004.parquet"


def planted(world: World, name: str, content: bytes) -> Path:
    """A file of the world's folder with this content instead of its own."""
    path = world.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def planted_diagram(world: World, content: bytes) -> None:
    (one,) = (one for one in world.store.read_measurements(world.trial.name, 4).values() if "diagrams" in one)
    world.store.add_measurements(
        world.trial.name, 4, [{**one, "diagrams": {"bytes": len(content), "sha256": sha256(content)}}]
    )
    world.trial.write(DIAGRAM, content)


def documents(world: World, content: bytes, name: str) -> None:
    list(corpus.labelled(corpus.find(str(planted(world, name, content))).shards()[0]))


def evaluated(world: World, content: bytes, name: str) -> None:
    path = planted(world, name, content)
    local_data.load(path if path.parent.name == "bad" else path.parent, "mrpc", "validation", ["train"])


def published_model(world: World, files: dict[str, bytes]) -> None:
    models.find.cache_clear()
    world.hub.add("lab/bad", tiny_model("gpt_neox", **SHAPE, pickled=True) | files)
    models.start(models.find("lab/bad", "main"), init_seed=0, device="cpu")


def archive(content: bytes) -> bytes:
    """WebDataset's: of a member named so, ``datasets`` unpickles what it holds."""
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in ("0.pth", "1.pth"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    return stream.getvalue()


def hub_dataset(world: World, content: bytes, name: str) -> None:
    world.hub.add("lab/bad", {name: content}, repo_type="dataset")
    for shard in corpus.find("lab/bad").shards():
        list(shard.documents())


OF_HUB = ("x.pkl", "x.parquet", "x.bin")
OF_EVALUATIONS = ("bad/x.pkl", "bad/x.parquet", "bad/x.jsonl", "mrpc/test.parquet")
ATTACKS: list[tuple[str, Callable[[World, bytes], Any]]] = [
    (WEIGHTS, lambda w, evil: checkpoint.load_weights(w.plant(WEIGHTS, evil), 4)),
    (STATE, lambda w, evil: checkpoint._load(w.plant(STATE, evil) / "training_state/step-00000004", checkpoint.STATE)),
    (TRACE, lambda w, evil: trace.read(w.plant(TRACE, evil), 4, trace.HIDDEN_STATES)),
    (
        f"4/{MANIFEST}",
        lambda w, evil: checkpoint.load_weights(w.plant(f"checkpoints/step-00000004/{MANIFEST}", evil), 4),
    ),
    ("trial.json", lambda w, evil: w.store.read_trial(w.plant("trial.json", evil).name)),
    ("sweep.json", lambda w, evil: (w.store.root.write("sweep.json", evil), w.store.read_sweep())),
    (DIAGRAM, lambda w, evil: (planted_diagram(w, evil), w.store.read_diagrams(w.trial.name, 4))),
    (ITEMS, lambda w, evil: items.read(w.plant(ITEMS, evil), 4, "mrpc@1")),
    (PART, lambda w, evil: w.plant_tokens(PART, evil).read_part("validation", 0)),
    (TOKENIZER, lambda w, evil: w.plant_tokens(TOKENIZER, evil).read_tokenizer()),
    (META, lambda w, evil: (w.tokens.folder.write(META, evil), TokenStore.open(w.tokens.folder))),
    ("own/tokenizer.json", lambda w, evil: tokenizers.load(planted(w, "own/tokenizer.json", evil))),
    *[(name, functools.partial(documents, name=name)) for name in ("x.parquet", "x.jsonl.zst", "x.jsonl", "x.arrow")],
    *[(name, functools.partial(evaluated, name=name)) for name in OF_EVALUATIONS],
    ("local data .*/saved", functools.partial(evaluated, name="saved/data-00000-of-00001.arrow")),
    ("lab/bad at main has no safetensors", lambda w, evil: published_model(w, {"pytorch_model.bin": evil})),
    ("lab/bad at main: the weights", lambda w, evil: published_model(w, {"model.safetensors": evil})),
    ("config.json", lambda w, evil: published_model(w, {"config.json": evil})),
    *[("data set lab/bad", functools.partial(hub_dataset, name=name)) for name in OF_HUB],
    ("data set lab/bad: .*webdataset", lambda w, evil: hub_dataset(w, archive(evil), "train-0.tar")),
]


@pytest.mark.parametrize("of_torch", [False, True], ids=["pickle", "torch"])
@pytest.mark.parametrize(("said", "attack"), ATTACKS, ids=[f"{i} {said}" for i, (said, _) in enumerate(ATTACKS)])
def test_a_pickle_under_any_name_is_refused_by_name_and_never_read(
    world: World, said: str, attack: Callable[[World, bytes], Any], of_torch: bool, tmp_path: Path
) -> None:
    before = Path(shutil.copytree(world.folder, tmp_path / "before"))
    stand_in.forget(Path(os.environ["HF_HOME"]))
    evil = bombs(world.folder / MARKER)[of_torch]
    try:
        with watched() as seen, pytest.raises((ValueError, OSError, UnavailableError), match=said):
            attack(world, evil)
        assert [one for one in seen if "find_class" in one] == []
        assert not (world.folder / MARKER).exists()
    finally:
        shutil.rmtree(world.folder)
        shutil.copytree(before, world.folder)


def test_a_pickle_beside_safetensors_is_not_even_downloaded(world: World) -> None:
    published_model(world, {**tiny_model("gpt_neox", **SHAPE), "pytorch_model.bin": bombs(world.folder / MARKER)[0]})
    assert world.hub.downloads("lab/bad/resolve") or world.hub.downloads("model.safetensors")
    assert not world.hub.downloads("pytorch_model.bin")
