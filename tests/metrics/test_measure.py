"""A checkpoint's measurements, a pair's and a path's: one per metric asked for, whatever becomes of the others."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPTNeoXForCausalLM

import metrics
from metrics import diagrams, items, trace
from metrics.base import About, Diagram, Items, Kind, Metric, UnavailableError, Value
from metrics.evaluation.subject import EvaluationSettings, Subject
from metrics.measure import Checkpoint, Measurer, probe_set
from metrics.probe import Observation, observe
from metrics.topology.divergence import linear_cka
from metrics.topology.persistent_homology import barcodes
from metrics.topology.trajectory import SNAPSHOTS_AT_LEAST, weight_trajectory_dimension
from metrics.trace import Trace
from trainables import checkpoint, models, packing
from trainables.budget import Budget
from trainables.config import ModelConfig, Optimization, TrialConfig
from trainables.corpus import SPLITS, Files
from trainables.shards import Document, write_shard
from trainables.storage import CorruptFileError, Folder, sha256
from trainables.token_spec import TokenSpec
from trainables.token_store import TokenStore
from trainables.tokenizers import BPE, END_OF_TEXT, token_bytes, train_bpe

OF_CHECKPOINTS, OF_PAIRS, OF_TRAJECTORIES = (
    metrics.of_kind(kind, metrics.registry()) for kind in ("checkpoint", "pair", "trajectory")
)
STEPS = range(0, 2 * SNAPSHOTS_AT_LEAST, 2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    """A complete store of two domains, tokenised by a real byte-level BPE."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    texts = [" ".join(str(word) for word in rng.integers(0, 500, size=80)) for _ in range(300)]
    documents = [Document(text, "ab"[index % 2]) for index, text in enumerate(texts)]
    write_shard(folder / "a.jsonl.zst", documents)
    tokenizer = train_bpe(Files(str(folder)).shards(), 300)
    tokenized = ((d.split, d.domain, np.array(tokenizer.encode(d.text).ids, dtype=np.uint32)) for d in documents)
    spec = TokenSpec("numbers", "numbers-1", BPE, "none", END_OF_TEXT, vocab_size=300, seq_len=16)
    return packing.pack(
        [packing.Stream(SPLITS, tokenized)], spec, Folder.open(folder), blocks=10**6, tokenizer_json=tokenizer.to_str()
    )


@pytest.fixture(scope="module")
def config(tiny_model: ModelConfig) -> TrialConfig:
    optimization = Optimization(4, 3e-3, "cosine", 0.1, 0.1, 0.1, 0.9, 0.95, 1e-8, 0.1, 1.0)
    return TrialConfig(tiny_model, 1, 2, Budget(5.0, "steps"), 16, optimization, "numbers", 1, 1, 0, 100)


@pytest.fixture(scope="module")
def path(config: TrialConfig, tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    """A trial's checkpoints, each a random step away from the one before."""
    folder = Folder.open(tmp_path_factory.mktemp("trial"))
    model = models.build(config.model, init_seed=1)
    generator = torch.Generator().manual_seed(0)
    for step in STEPS:
        checkpoint.save(folder, step, model, torch.optim.AdamW(model.parameters()))
        with torch.no_grad():
            for weight in model.parameters():
                weight += 1e-2 * torch.randn(weight.shape, generator=generator)
    return [Checkpoint(config, folder, step) for step in STEPS]


@pytest.fixture(scope="module")
def first(path: list[Checkpoint]) -> Checkpoint:
    return path[0]


@pytest.fixture
def copy(path: list[Checkpoint], tmp_path: Path) -> list[Checkpoint]:
    """The same checkpoints, for changing, without what other tests kept beside them."""
    ignored = shutil.ignore_patterns(trace.TRACES, diagrams.DIAGRAMS, checkpoint.TRAINING_STATE)
    folder = Folder.open(shutil.copytree(path[0].trial.path, tmp_path / "trial", ignore=ignored))
    return [dataclasses.replace(one, trial=folder) for one in path]


@pytest.fixture(scope="module")
def measurer(store: TokenStore) -> Measurer:
    return Measurer.of(store, n_sequences=6, n_points=40)


@pytest.fixture
def keeper(measurer: Measurer) -> Measurer:
    return dataclasses.replace(measurer, keep_traces=True)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts metrics made of these functions beside the real ones."""

    def register(kind: Kind = "checkpoint", **functions: Callable[..., Iterator[Any]]) -> None:
        extra = {name: Metric(name, 7, "a metric of this test", function, kind) for name, function in functions.items()}
        known = metrics.registry() | extra
        monkeypatch.setattr(metrics, "registry", lambda: known)

    return register


def measured_by(measurer: Measurer, one: Checkpoint, names: Sequence[str]) -> list[dict[str, Any]]:
    return [found for part in measurer.measure(one, names) for found in part]


def broken(*observed: object) -> Iterator[Value]:
    yield Value("half", 1.0)
    raise ZeroDivisionError("planted")


def not_numbers(observation: Observation) -> Iterator[Value]:
    yield from (Value(name, number, 2) for name, number in (("a", math.nan), ("b", -math.inf), ("c", 1.5)))
    yield Value("d", None, reason="no reason to have one")


def damage(folder: Folder, name: str) -> None:
    data = bytearray(folder.read(name))
    data[-1] ^= 1
    folder.write(name, bytes(data))


def lose_checkpoint(one: Checkpoint) -> None:
    (one.trial / checkpoint.CHECKPOINTS / checkpoint.step_name(one.step)).delete()


def by_name(measurement: dict[str, Any]) -> dict[str, float | None]:
    """Values by ``name`` and, where there is one, layer."""
    return {name if layer is None else f"{name} {layer}": value for name, layer, value, _ in measurement["values"]}


def model_of(one: Checkpoint) -> GPTNeoXForCausalLM:
    model = models.build(one.config.model)
    model.load_state_dict(checkpoint.load_weights(one.trial, one.step))
    return model


def observed(measurer: Measurer, one: Checkpoint) -> Observation:
    """What the metrics see of a checkpoint, without the measurer."""
    return observe(model_of(one), measurer.probe_set)


def test_the_probe_set_is_the_first_validation_sequences(store: TokenStore) -> None:
    from tokenizers import Tokenizer

    probes = probe_set(store, n_sequences=6, n_points=40)
    blocks = store.held_out("validation", 6)
    lengths = token_bytes(Tokenizer.from_str(store.folder.read("tokenizer.json").decode()), 300)
    assert np.array_equal(probes.blocks, blocks.tokens)
    assert probes.domains == blocks.domains
    assert np.array_equal(probes.target_bytes, lengths[blocks.tokens[:, 1:]])
    assert len(probes.points) == 40


def test_every_metric_measures_real_checkpoints(measurer: Measurer, copy: list[Checkpoint]) -> None:
    """A value is a finite number, or says why it is none: 40 points have no 64 neighbours."""
    measurements = measured_by(measurer, copy[0], OF_CHECKPOINTS)
    measurements += measurer.compare(*copy[:2], OF_PAIRS) + measurer.follow(copy, OF_TRAJECTORIES)
    names = (*OF_CHECKPOINTS, *OF_PAIRS, *OF_TRAJECTORIES)
    assert sorted(names) == list(metrics.observed())
    assert [(m["metric"], m["status"], m["reason"]) for m in measurements] == [(name, "ok", None) for name in names]
    assert [m["version"] for m in measurements] == [metrics.registry()[name].version for name in names]
    for measurement in measurements:
        assert json.loads(json.dumps(measurement)) == measurement
        assert measurement["seconds"] > 0
        for name, layer, value, reason in measurement["values"]:
            assert reason if value is None else math.isfinite(value), (name, layer)
        assert any(value is not None for _, _, value, _ in measurement["values"])


def with_items(subject: Subject) -> Iterator[Value | Items | About]:
    """The sum of a weight, and what it was found with."""
    weight = next(iter(subject.model.state_dict().values()))
    subject.warm["seen"] = subject.warm.get("seen", 0) + 1
    yield Value("sum", float(weight.sum()))
    yield Items({"item": [0, 1], "right": [True, False]})
    yield About({"end": subject.end_of_text, "seen": subject.warm["seen"]})


def lacking(subject: Subject) -> Iterator[Value]:
    yield Value("half", 1.0)
    raise UnavailableError("no data here")


def test_evaluations_come_one_by_one_after_the_metrics(
    measurer: Measurer, copy: list[Checkpoint], registered: Callable[..., None]
) -> None:
    registered("evaluation", with_items=with_items, lacking=lacking, broken=broken)
    measurer = dataclasses.replace(measurer, settings=EvaluationSettings(log_samples=True), warm={})
    parts = list(measurer.measure(copy[0], ["lacking", "held_out", "with_items", "broken", "parameter_norm"]))
    assert [[one["metric"] for one in part] for part in parts] == [
        ["held_out", "parameter_norm"],
        ["lacking"],
        ["with_items"],
        ["broken"],
    ]
    (skipped,), (good,), (failed,) = parts[1:]
    assert (skipped["status"], skipped["reason"], skipped["values"]) == ("skipped", "no data here", [])
    assert (good["status"], good["about"]) == ("ok", {"end": END_OF_TEXT, "seen": 1})
    weights = checkpoint.load_weights(copy[0].trial, 0)
    assert by_name(good)["sum"] == pytest.approx(float(weights["gpt_neox.embed_in.weight"].sum()))
    assert items.read(copy[0].trial, 0, "with_items@7")["right"].tolist() == [True, False]
    assert (failed["status"], failed["values"]) == ("failed", [])
    assert "ZeroDivisionError" in failed["reason"]
    again = measured_by(measurer, copy[1], ["with_items"])
    assert again[0]["about"]["seen"] == 2  # what is warm stays from one checkpoint to the next
    quiet = dataclasses.replace(measurer, settings=EvaluationSettings())
    measured_by(quiet, copy[2], ["with_items"])
    with pytest.raises(FileNotFoundError):
        items.read(copy[2].trial, copy[2].step, "with_items@7")


def test_a_measurement_is_of_the_checkpoints_weights(measurer: Measurer, path: list[Checkpoint]) -> None:
    for one in path[:2]:
        (measured,) = measured_by(measurer, one, ["held_out"])
        expected = observed(measurer, one).loss.mean()
        assert by_name(measured)["held_out_loss"] == pytest.approx(expected, rel=1e-12)


def test_measuring_again_gives_the_same_numbers(measurer: Measurer, first: Checkpoint) -> None:
    once, again = (measured_by(measurer, first, OF_CHECKPOINTS) for _ in range(2))
    for one in (*once, *again):
        del one["seconds"]
    assert once == again


def test_a_metric_that_raises_fails_alone(
    measurer: Measurer, first: Checkpoint, registered: Callable[..., None]
) -> None:
    registered(broken=broken)
    before, failed, after = measured_by(measurer, first, ["parameter_norm", "broken", "held_out"])
    assert (before["status"], failed["status"], after["status"]) == ("ok", "failed", "ok")
    assert failed["values"] == []
    assert failed["version"] == 7
    assert "Traceback" in failed["reason"]
    assert "ZeroDivisionError: planted" in failed["reason"]


def test_what_is_not_a_finite_number_is_missing_with_its_reason(
    measurer: Measurer, first: Checkpoint, registered: Callable[..., None]
) -> None:
    registered(not_numbers=not_numbers)
    (measured,) = measured_by(measurer, first, ["not_numbers"])
    assert measured["status"] == "ok"
    assert measured["values"] == [
        ["a", 2, None, "the value is nan"],
        ["b", 2, None, "the value is -inf"],
        ["c", 2, 1.5, None],
        ["d", None, None, "no reason to have one"],
    ]


def test_a_damaged_checkpoint_is_not_measured(measurer: Measurer, copy: list[Checkpoint]) -> None:
    damage(copy[0].trial / checkpoint.CHECKPOINTS / checkpoint.step_name(0), "model.safetensors")
    with pytest.raises(CorruptFileError, match="run again, and the trial trains again what is missing"):
        measured_by(measurer, copy[0], ["held_out"])
    assert checkpoint.committed_steps(copy[0].trial) == list(STEPS)[1:]


def test_a_missing_checkpoint_is_not_measured(measurer: Measurer, first: Checkpoint) -> None:
    with pytest.raises(CorruptFileError, match="run again"):
        measured_by(measurer, dataclasses.replace(first, step=99), ["held_out"])


def other_numbers(observation: Observation) -> Iterator[Value]:
    yield Value("numpy", np.float32(1.5), np.int64(2))
    yield Value("torch", torch.tensor(2.5))


def no_number(observation: Observation) -> Iterator[Value]:
    yield Value("text", "many")


def test_numbers_of_numpy_and_torch_are_numbers_and_text_fails_alone(
    measurer: Measurer, first: Checkpoint, registered: Callable[..., None]
) -> None:
    registered(other_numbers=other_numbers, no_number=no_number)
    good, bad = measured_by(measurer, first, ["other_numbers", "no_number"])
    assert json.loads(json.dumps(good["values"])) == [["numpy", 2, 1.5, None], ["torch", None, 2.5, None]]
    assert (bad["status"], bad["values"]) == ("failed", [])
    assert "many" in bad["reason"]


def test_diagrams_are_kept_and_recorded(measurer: Measurer, copy: list[Checkpoint]) -> None:
    norm, measured = measured_by(measurer, copy[1], ["parameter_norm", "persistent_homology"])
    assert "diagrams" not in norm
    metric = metrics.registry()["persistent_homology"]
    data = copy[1].trial.read(diagrams.file_name(copy[1].step, metric.key))
    assert measured["diagrams"] == {"bytes": len(data), "sha256": sha256(data)}
    table = diagrams.read(copy[1].trial, copy[1].step, measured)
    for layer, cloud in enumerate(observed(measurer, copy[1]).hidden_states):
        for dimension, bars in enumerate(barcodes(cloud)):
            rows = table[(table["layer"] == layer) & (table["dimension"] == dimension)]
            assert rows[["birth", "death"]].to_numpy() == pytest.approx(bars, rel=1e-6)
    counts = [value for name, value in by_name(measured).items() if name.startswith(("h0_count", "h1_count"))]
    assert len(table) == sum(count or 0 for count in counts)


def with_diagram(observation: Observation) -> Iterator[Value | Diagram]:
    yield Diagram(0, 0, np.array([[0.0, 1]]), 1.0)
    yield Value("bars", 1.0)


def broken_after_diagram(observation: Observation) -> Iterator[Value | Diagram]:
    yield from with_diagram(observation)
    raise ZeroDivisionError("planted")


def test_a_metric_that_fails_keeps_no_diagrams(
    measurer: Measurer, copy: list[Checkpoint], registered: Callable[..., None]
) -> None:
    registered(with_diagram=with_diagram, broken_after_diagram=broken_after_diagram)
    good, bad = measured_by(measurer, copy[0], ["with_diagram", "broken_after_diagram"])
    assert good["values"] == [["bars", None, 1.0, None]]
    assert "diagrams" in good
    assert "diagrams" not in bad
    assert (copy[0].trial / diagrams.DIAGRAMS).names() == ["with_diagram@7"]


def test_a_trace_is_kept_only_where_it_is_asked_for(
    measurer: Measurer, keeper: Measurer, copy: list[Checkpoint]
) -> None:
    measured_by(measurer, copy[0], ["parameter_norm"])
    assert trace.kept_steps(copy[0].trial) == []
    measured_by(keeper, copy[1], ["parameter_norm"])
    assert trace.kept_steps(copy[1].trial) == [copy[1].step]
    expected = Trace.of(observed(measurer, copy[1]))
    for name, array in ((trace.HIDDEN_STATES, expected.hidden_states), (trace.WEIGHTS, expected.weights)):
        assert np.array_equal(trace.read(copy[1].trial, copy[1].step, name), array)


def hidden_states(measurer: Measurer, one: Checkpoint) -> np.ndarray:
    return Trace.of(observed(measurer, one)).hidden_states


def expected_cka(measurer: Measurer, first: Checkpoint, second: Checkpoint) -> list[float]:
    pairs = zip(hidden_states(measurer, first), hidden_states(measurer, second), strict=True)
    return [linear_cka(*pair) for pair in pairs]


def test_a_pair_of_steps_is_compared(measurer: Measurer, copy: list[Checkpoint]) -> None:
    (measured,) = measurer.compare(*copy[:2], ["linear_cka"])
    cka = expected_cka(measurer, *copy[:2])
    assert measured["values"] == [["linear_cka/across_steps", layer, value, None] for layer, value in enumerate(cka)]
    assert cka[-1] < 1 - 1e-6


def test_a_pair_of_seeds_is_compared(measurer: Measurer, copy: list[Checkpoint], tmp_path: Path) -> None:
    other = dataclasses.replace(copy[0].config, init_seed=5)
    folder = Folder.open(tmp_path / "other")
    model = models.build(other.model, init_seed=5)
    checkpoint.save(folder, 0, model, torch.optim.AdamW(model.parameters()))
    pair = copy[0], Checkpoint(other, folder, 0)
    (measured,) = measurer.compare(*pair, ["linear_cka"])
    assert by_name(measured) == {
        f"linear_cka/across_seeds {layer}": pytest.approx(value, rel=1e-12)
        for layer, value in enumerate(expected_cka(measurer, *pair))
    }


def measure_pair(measurer: Measurer, path: Sequence[Checkpoint]) -> list[dict[str, Any]]:
    return measurer.compare(*path[:2], OF_PAIRS)


def measure_path(measurer: Measurer, path: Sequence[Checkpoint]) -> list[dict[str, Any]]:
    return measurer.follow(path, OF_TRAJECTORIES)


together = pytest.mark.parametrize(
    ("measure", "name"), [(measure_pair, trace.HIDDEN_STATES), (measure_path, trace.WEIGHTS)], ids=["pair", "path"]
)
Together = Callable[[Measurer, Sequence[Checkpoint]], list[dict[str, Any]]]


@together
def test_traces_that_are_missing_are_made_and_kept(
    measurer: Measurer, copy: list[Checkpoint], measure: Together, name: str
) -> None:
    made = measure(measurer, copy)
    kept = trace.kept_steps(copy[0].trial)
    assert kept == (list(STEPS) if name == trace.WEIGHTS else list(STEPS)[:2])
    for one in copy:
        lose_checkpoint(one)
    assert [m["values"] for m in measure(measurer, copy)] == [m["values"] for m in made]


@together
@pytest.mark.parametrize("harm", ["damaged", "deleted", "without manifest"])
def test_traces_that_are_harmed_are_made_anew(
    measurer: Measurer, copy: list[Checkpoint], measure: Together, name: str, harm: str
) -> None:
    made = measure(measurer, copy)
    folder = trace.folder(copy[1].trial, copy[1].step)
    before = folder.read(name)
    if harm == "damaged":
        damage(folder, name)
    else:
        folder.delete(name if harm == "deleted" else "manifest.json")
    assert [m["values"] for m in measure(measurer, copy)] == [m["values"] for m in made]
    assert folder.read_committed(name) == before


@together
@pytest.mark.parametrize("kept", [False, True], ids=["no trace", "damaged trace"])
def test_a_checkpoint_that_is_gone_with_its_trace_is_not_measured(
    measurer: Measurer, copy: list[Checkpoint], measure: Together, name: str, kept: bool
) -> None:
    if kept:
        measure(measurer, copy)
        damage(trace.folder(copy[1].trial, copy[1].step), name)
    lose_checkpoint(copy[1])
    with pytest.raises(CorruptFileError, match="run again"):
        measure(measurer, copy)
    assert copy[1].step not in checkpoint.committed_steps(copy[1].trial)


def test_weights_that_were_released_are_not_promised_to_be_trained_again(
    measurer: Measurer, copy: list[Checkpoint]
) -> None:
    checkpoint.release(copy[1].trial, copy[1].step)
    with pytest.raises(CorruptFileError, match="its weights were released"):
        measured_by(measurer, copy[1], ["held_out"])
    assert checkpoint.released_steps(copy[1].trial) == [copy[1].step]


def test_a_metric_of_pairs_that_raises_fails_alone(
    measurer: Measurer, copy: list[Checkpoint], registered: Callable[..., None]
) -> None:
    registered("pair", broken=broken)
    failed, good = measurer.compare(*copy[:2], ["broken", "linear_cka"])
    assert (failed["status"], good["status"]) == ("failed", "ok")
    assert failed["values"] == []
    assert "ZeroDivisionError: planted" in failed["reason"]


def test_a_path_has_the_dimension_of_its_weights(measurer: Measurer, copy: list[Checkpoint]) -> None:
    (measured,) = measurer.follow(copy, ["weight_trajectory_dimension"])
    weights = [{name: w.detach().numpy() for name, w in model_of(one).named_parameters()} for one in copy]
    expected = weight_trajectory_dimension(weights)
    assert measured["values"] == [["weight_trajectory_dimension", None, expected, None]]


def test_a_short_path_says_why_it_has_no_dimension(measurer: Measurer, copy: list[Checkpoint]) -> None:
    (measured,) = measurer.follow(copy[:3], ["weight_trajectory_dimension"])
    ((name, layer, value, reason),) = measured["values"]
    assert (measured["status"], name, layer, value) == ("ok", "weight_trajectory_dimension", None, None)
    assert "3 different snapshots are too few" in reason


def both_arrays(*traces: Trace) -> Iterator[Value]:
    path = traces[0] if len(traces) == 1 else traces
    first, last = path[0], path[-1]
    yield Value("moved", float(np.linalg.norm(first.weights - last.weights)))
    yield Value("changed", float(np.linalg.norm(first.hidden_states - last.hidden_states)))


@pytest.mark.parametrize("kind", ["pair", "trajectory"])
def test_pairs_and_trajectories_see_hidden_states_and_weights(
    measurer: Measurer, copy: list[Checkpoint], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    metric = Metric("both_arrays", 1, "", both_arrays, kind)  # type: ignore[arg-type]
    monkeypatch.setattr(metrics, "registry", lambda: {"both_arrays": metric})
    first, last = copy[0], copy[-1]
    seen = measurer.compare(first, last, ["both_arrays"]) if kind == "pair" else measurer.follow(copy, ["both_arrays"])
    moved, changed = (value for _, _, value, _ in seen[0]["values"])
    assert moved > 0
    assert changed > 0
