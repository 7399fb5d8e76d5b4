"""A checkpoint's measurements: one per metric asked for, whatever becomes of the others."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import metrics
from metrics.base import Metric, Value
from metrics.measure import Measurer, probe_set
from metrics.probe import Observation, observe
from trainables import checkpoint, ingest, models
from trainables.budget import Budget
from trainables.config import ModelConfig, Optimization, TrialConfig
from trainables.shards import Document, write_shard
from trainables.storage import CorruptFileError, Folder
from trainables.token_store import TokenStore
from trainables.tokenizers import token_bytes, train_bpe


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    """A complete store of two domains, tokenised by a real byte-level BPE."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    texts = [" ".join(str(word) for word in rng.integers(0, 500, size=80)) for _ in range(300)]
    documents = [Document(text, "ab"[index % 2]) for index, text in enumerate(texts)]
    write_shard(folder / "a.jsonl.zst", documents)
    tokenizer = train_bpe([folder / "a.jsonl.zst"], 300)
    tokenized = ((d.split, d.domain, np.array(tokenizer.encode(d.text).ids, dtype=np.uint32)) for d in documents)
    spec = ingest.TokenSpec("numbers", "numbers-1", ingest.BPE, vocab_size=300, seq_len=16)
    return ingest.pack(tokenized, spec, Folder.open(folder), blocks=10**6, tokenizer_json=tokenizer.to_str())


@pytest.fixture(scope="module")
def config(tiny_model: ModelConfig) -> TrialConfig:
    optimization = Optimization(4, 3e-3, "cosine", 0.1, 0.1, 0.1, 0.9, 0.95, 1e-8, 0.1, 1.0)
    return TrialConfig(tiny_model, 1, 2, Budget(5.0, "steps"), 16, optimization, "numbers", 1, 1, 0, 100)


@pytest.fixture(scope="module")
def trial(config: TrialConfig, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A trial with its first checkpoint."""
    folder = Folder.open(tmp_path_factory.mktemp("trial"))
    model = models.build(config.model, init_seed=1)
    checkpoint.save(folder, 0, model, torch.optim.AdamW(model.parameters()))
    return folder


@pytest.fixture(scope="module")
def measurer(store: TokenStore) -> Measurer:
    return Measurer(probe_set(store, n_sequences=6, n_points=40))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts metrics made of these functions beside the real ones."""

    def register(**functions: Callable[[Observation], Iterator[Value]]) -> None:
        extra = {name: Metric(name, 7, "a metric of this test", function) for name, function in functions.items()}
        known = metrics.registry() | extra
        monkeypatch.setattr(metrics, "registry", lambda: known)

    return register


def broken(observation: Observation) -> Iterator[Value]:
    yield Value("half", 1.0)
    raise ZeroDivisionError("planted")


def not_numbers(observation: Observation) -> Iterator[Value]:
    yield from (Value(name, number, 2) for name, number in (("a", math.nan), ("b", -math.inf), ("c", 1.5)))
    yield Value("d", None, reason="no reason to have one")


def test_the_probe_set_is_the_first_validation_sequences(store: TokenStore) -> None:
    from tokenizers import Tokenizer

    probes = probe_set(store, n_sequences=6, n_points=40)
    blocks = store.held_out("validation", 6)
    lengths = token_bytes(Tokenizer.from_str(store.folder.read("tokenizer.json").decode()), 300)
    assert np.array_equal(probes.blocks, blocks.tokens)
    assert probes.domains == blocks.domains
    assert np.array_equal(probes.target_bytes, lengths[blocks.tokens[:, 1:]])
    assert len(probes.points) == 40


def test_every_metric_measures_a_real_checkpoint(measurer: Measurer, config: TrialConfig, trial: Folder) -> None:
    measurements = measurer.measure(config, trial, 0, metrics.registry())
    assert [m["metric"] for m in measurements] == list(metrics.registry())
    assert [m["status"] for m in measurements] == ["ok"] * len(measurements)
    assert [m["version"] for m in measurements] == [metric.version for metric in metrics.registry().values()]
    for name, layer, value, reason in (row for m in measurements for row in m["values"]):
        assert math.isfinite(value), (name, layer)
        assert reason is None


def test_a_measurement_is_of_the_checkpoints_weights(measurer: Measurer, config: TrialConfig, trial: Folder) -> None:
    (measured,) = measurer.measure(config, trial, 0, ["held_out"])
    expected = observe(models.build(config.model, init_seed=1), measurer.probe_set).loss.mean()
    values = {name: value for name, _, value, _ in measured["values"]}
    assert values["held_out_loss"] == pytest.approx(expected, rel=1e-12)


def test_measuring_again_gives_the_same_numbers(measurer: Measurer, config: TrialConfig, trial: Folder) -> None:
    first, second = (measurer.measure(config, trial, 0, metrics.registry()) for _ in range(2))
    assert [m["values"] for m in first] == [m["values"] for m in second]


def test_a_metric_that_raises_fails_alone(
    measurer: Measurer, config: TrialConfig, trial: Folder, registered: Callable[..., None]
) -> None:
    registered(broken=broken)
    before, failed, after = measurer.measure(config, trial, 0, ["parameter_norm", "broken", "held_out"])
    assert (before["status"], failed["status"], after["status"]) == ("ok", "failed", "ok")
    assert failed["values"] == []
    assert failed["version"] == 7
    assert "Traceback" in failed["reason"]
    assert "ZeroDivisionError: planted" in failed["reason"]


def test_what_is_not_a_finite_number_is_missing_with_its_reason(
    measurer: Measurer, config: TrialConfig, trial: Folder, registered: Callable[..., None]
) -> None:
    registered(not_numbers=not_numbers)
    (measured,) = measurer.measure(config, trial, 0, ["not_numbers"])
    assert measured["status"] == "ok"
    assert measured["values"] == [
        ["a", 2, None, "the value is nan"],
        ["b", 2, None, "the value is -inf"],
        ["c", 2, 1.5, None],
        ["d", None, None, "no reason to have one"],
    ]


def test_a_damaged_checkpoint_is_not_measured(
    measurer: Measurer, config: TrialConfig, trial: Folder, tmp_path: Path
) -> None:
    step = checkpoint.step_name(0)
    copy = Folder.open(tmp_path)
    source = trial / "checkpoints" / step
    (copy / "checkpoints" / step).commit([("model.safetensors", source.read("model.safetensors"))])
    weights = bytearray(source.read("model.safetensors"))
    weights[-1] ^= 1
    (copy / "checkpoints" / step).write("model.safetensors", bytes(weights))
    with pytest.raises(CorruptFileError, match="run again, and the trial trains again what is missing"):
        measurer.measure(config, copy, 0, ["held_out"])
    assert checkpoint.committed_steps(copy) == []


def test_a_missing_checkpoint_is_not_measured(measurer: Measurer, config: TrialConfig, trial: Folder) -> None:
    with pytest.raises(CorruptFileError, match="run again"):
        measurer.measure(config, trial, 99, ["held_out"])


def other_numbers(observation: Observation) -> Iterator[Value]:
    yield Value("numpy", np.float32(1.5), np.int64(2))
    yield Value("torch", torch.tensor(2.5))


def no_number(observation: Observation) -> Iterator[Value]:
    yield Value("text", "many")


def test_numbers_of_numpy_and_torch_are_numbers_and_text_fails_alone(
    measurer: Measurer, config: TrialConfig, trial: Folder, registered: Callable[..., None]
) -> None:
    registered(other_numbers=other_numbers, no_number=no_number)
    good, bad = measurer.measure(config, trial, 0, ["other_numbers", "no_number"])
    assert json.loads(json.dumps(good["values"])) == [["numpy", 2, 1.5, None], ["torch", None, 2.5, None]]
    assert (bad["status"], bad["values"]) == ("failed", [])
    assert "many" in bad["reason"]
