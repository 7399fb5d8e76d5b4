"""The projection of weights against a slow one and what it must keep; traces read back as they were kept."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import trace
from metrics.probe import Observation, ProbeSet, observe
from metrics.trace import (
    HIDDEN_STATES,
    PROJECTED_DIMENSIONS,
    WEIGHTS,
    Trace,
    folder,
    kept_steps,
    project,
    read,
)
from trainables import models
from trainables.config import ModelConfig
from trainables.storage import CorruptFileError, Folder

seeds = st.integers(0, 2**32 - 1)
DEVIATION = np.sqrt(2 / PROJECTED_DIMENSIONS) / 2  # of a projected length, relative
SIGMAS = 4


def weights_of(seed: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "layers.0.weight": scale * rng.normal(size=(60, 80)),
        "layers.0.bias": scale * rng.normal(size=60),
        "final.weight": scale * rng.normal(size=(3, 4, 5)),
    }


def slow_projection(weights: dict[str, np.ndarray], dimensions: int, seed: int, chunk: int) -> np.ndarray:
    """Entry by entry: a coordinate and a sign for each."""
    sketch = np.zeros(dimensions)
    for name, weight in weights.items():
        entries = weight.astype(np.float64).ravel()
        for first in range(0, len(entries), chunk):
            part = entries[first : first + chunk]
            rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode()), first]))
            cells = rng.integers(0, 2 * dimensions, len(part), dtype=np.uint16)
            np.add.at(sketch, cells // 2, np.where(cells % 2, -part, part))
    return sketch


@given(seed=seeds, projection=st.integers(0, 100), dimensions=st.sampled_from([1, 7, 64, PROJECTED_DIMENSIONS]))
def test_each_entry_goes_to_its_coordinate_with_its_sign(seed: int, projection: int, dimensions: int) -> None:
    weights = weights_of(seed)
    expected = slow_projection(weights, dimensions, projection, trace.CHUNK)
    np.testing.assert_allclose(project(weights, dimensions, projection), expected, rtol=1e-9, atol=1e-12)


def test_a_parameter_larger_than_a_chunk_is_projected_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "CHUNK", 700)
    weights = weights_of(0)
    np.testing.assert_allclose(project(weights, 64), slow_projection(weights, 64, 0, 700), rtol=1e-9, atol=1e-12)


@settings(max_examples=30)
@given(seed=seeds, first=st.floats(-1e3, 1e3), second=st.floats(-1e3, 1e3))
def test_the_projection_is_linear(seed: int, first: float, second: float) -> None:
    a, b = weights_of(seed), weights_of(seed + 1)
    combined = project({name: first * a[name] + second * b[name] for name in a})
    np.testing.assert_allclose(combined, first * project(a) + second * project(b), rtol=1e-9, atol=1e-8)


def test_the_projection_is_the_same_each_time_and_float64() -> None:
    again, once = project(weights_of(0)), project(weights_of(0))
    assert np.array_equal(again, once)
    assert once.dtype == np.float64
    assert once.shape == (PROJECTED_DIMENSIONS,)


def test_the_order_of_the_parameters_does_not_matter() -> None:
    weights = weights_of(0)
    turned = dict(reversed(weights.items()))
    np.testing.assert_allclose(project(turned), project(weights), rtol=1e-12, atol=1e-12)


def test_the_projection_is_the_sum_over_parameters() -> None:
    weights = weights_of(0)
    total = sum(project({name: weight}) for name, weight in weights.items())
    np.testing.assert_allclose(project(weights), total, rtol=1e-12, atol=1e-12)


def test_the_shape_of_a_parameter_and_its_layout_in_memory_do_not_matter() -> None:
    weight = np.random.default_rng(0).normal(size=(30, 40))
    expected = project({"w": weight})
    for same in (weight.ravel(), weight[None], np.asfortranarray(weight), np.repeat(weight, 2, axis=1)[:, ::2]):
        assert np.array_equal(project({"w": same}), expected)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


def test_another_seed_or_name_is_another_projection() -> None:
    """Of 4800 entries on 4096 coordinates: two independent projections have a cosine of about 1 / 64."""
    weight = np.random.default_rng(0).normal(size=(60, 80))
    projections = [
        project({"w": weight}),
        project({"w": weight}, seed=1),
        project({"v": weight}),
        project({"w": weight[::-1]}),
    ]
    for k, one in enumerate(projections):
        for other in projections[:k]:
            assert abs(cosine(one, other)) < SIGMAS / np.sqrt(PROJECTED_DIMENSIONS)


def test_chunks_of_a_parameter_are_projected_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same entries twice over do not double the projection."""
    monkeypatch.setattr(trace, "CHUNK", 1000)
    half = np.random.default_rng(0).normal(size=1000)
    first, both = project({"w": half}), project({"w": np.concatenate([half, half])})
    assert abs(cosine(first, both - first)) < SIGMAS / np.sqrt(PROJECTED_DIMENSIONS)


@given(seed=seeds)
def test_lengths_and_distances_are_kept_within_a_few_per_cent(seed: int) -> None:
    """Four times the deviation said, 4.4 %."""
    a, b = weights_of(seed), weights_of(seed + 1)
    flat_a, flat_b = (np.concatenate([w.ravel() for w in weights.values()]) for weights in (a, b))
    assert np.linalg.norm(project(a)) == pytest.approx(np.linalg.norm(flat_a), rel=SIGMAS * DEVIATION)
    distance = np.linalg.norm(project(a) - project(b))
    assert distance == pytest.approx(np.linalg.norm(flat_a - flat_b), rel=SIGMAS * DEVIATION)


def test_the_deviation_of_lengths_is_the_one_said() -> None:
    weights = {"w": np.random.default_rng(0).normal(size=(100, 100))}
    length = np.linalg.norm(weights["w"])
    ratios = [np.linalg.norm(project(weights, seed=seed)) / length for seed in range(300)]
    assert np.mean(ratios) == pytest.approx(1, abs=SIGMAS * DEVIATION / np.sqrt(300))
    assert np.std(ratios) == pytest.approx(DEVIATION, rel=SIGMAS / np.sqrt(2 * 300))


@pytest.mark.parametrize("where", [(slice(None), 3), (3, slice(None)), (3, 5)], ids=["column", "row", "entry"])
def test_energy_in_one_place_is_kept(where: tuple[slice | int, ...]) -> None:
    """As of a matrix in which one column grew, or a single entry, whose length is kept exactly."""
    weight = np.zeros((400, 500))
    weight[where] = 2.0
    length = np.linalg.norm(weight)
    for seed in range(5):
        projected = np.linalg.norm(project({"w": weight}, seed=seed))
        assert projected == pytest.approx(length, rel=SIGMAS * DEVIATION if length > 2 else 1e-12)


def test_energy_in_one_parameter_is_kept() -> None:
    weights = weights_of(0)
    weights["layers.0.bias"] *= 1e6
    length = np.linalg.norm(weights["layers.0.bias"])
    assert np.linalg.norm(project(weights)) == pytest.approx(length, rel=SIGMAS * DEVIATION)


def test_float32_is_projected_in_float64() -> None:
    weights = {name: weight.astype(np.float32) for name, weight in weights_of(0).items()}
    exact = {name: weight.astype(np.float64) for name, weight in weights.items()}
    assert np.array_equal(project(weights), project(exact))


def test_a_number_and_an_empty_parameter_are_parameters() -> None:
    weights: dict[str, np.ndarray] = {"scale": np.array(3.0), "none": np.zeros((0, 4))}
    assert np.linalg.norm(project(weights)) == 3.0


def test_the_weights_are_not_changed() -> None:
    weights, before = weights_of(0), weights_of(0)
    project(weights)
    assert all(np.array_equal(weights[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ({}, "no weights"),
        ({"a": np.ones(3), "b": np.array([[1, np.nan]])}, "NaN"),
        ({"a": np.array([np.inf])}, "infinite"),
        ({"a": np.array([-np.inf, 1.0]), "b": np.ones(3)}, "infinite"),
    ],
    ids=["none", "NaN", "infinite", "minus infinite"],
)
def test_what_cannot_be_projected_is_refused(weights: dict[str, np.ndarray], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        project(weights)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_infinities_that_meet_are_refused() -> None:
    with pytest.raises(ValueError, match="infinite"):
        project({"a": np.array([np.inf, -np.inf] * 20)}, dimensions=1)


@pytest.fixture
def kept(tmp_path: Path) -> Folder:
    """A trial with the trace of one step."""
    trial = Folder.open(tmp_path)
    Trace(np.arange(24, dtype=np.float32).reshape(2, 4, 3), np.linspace(0, 1, 5)).keep(trial, 8)
    return trial


def test_a_trace_is_read_as_it_was_kept(kept: Folder) -> None:
    hidden_states, weights = read(kept, 8, HIDDEN_STATES), read(kept, 8, WEIGHTS)
    assert np.array_equal(hidden_states, np.arange(24).reshape(2, 4, 3))
    assert np.array_equal(weights, np.linspace(0, 1, 5))
    assert (hidden_states.dtype, weights.dtype) == (np.float32, np.float64)


def test_arrays_of_any_layout_in_memory_are_kept(tmp_path: Path) -> None:
    trial = Folder.open(tmp_path)
    hidden_states = np.arange(24, dtype=np.float32).reshape(3, 4, 2).transpose(2, 1, 0)
    Trace(hidden_states, np.arange(10.0)[::2]).keep(trial, 0)
    assert np.array_equal(read(trial, 0, HIDDEN_STATES), hidden_states)
    assert np.array_equal(read(trial, 0, WEIGHTS), np.arange(10.0)[::2])


def test_the_trace_of_an_observation_is_exactly_what_the_model_computed(
    tiny_model: ModelConfig, tmp_path: Path
) -> None:
    model = models.build(tiny_model, init_seed=0)
    blocks = np.random.default_rng(0).integers(0, 300, size=(3, 13)).astype(np.uint16)
    observation = observe(model, ProbeSet.of(blocks, ("a",) * 3, np.arange(300), n_points=20))
    trial = Folder.open(tmp_path)
    Trace.of(observation).keep(trial, 0)
    hidden_states = read(trial, 0, HIDDEN_STATES)
    assert hidden_states.dtype == np.float32
    assert np.array_equal(hidden_states.astype(np.float64), observation.hidden_states)
    weights = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    assert np.array_equal(read(trial, 0, WEIGHTS), project(weights))


def test_kept_steps_ascend_and_leave_out_what_was_cut_off(kept: Folder) -> None:
    for step in (128, 0):
        Trace(np.zeros((1, 1, 1), np.float32), np.zeros(3)).keep(kept, step)
    folder(kept, 64).write(HIDDEN_STATES, b"cut off before its manifest")
    assert kept_steps(kept) == [0, 8, 128]
    assert kept_steps(kept / "another") == []


def test_a_trace_kept_again_replaces_the_first(kept: Folder) -> None:
    Trace(np.zeros((1, 1, 1), np.float32), np.zeros(3)).keep(kept, 8)
    assert read(kept, 8, HIDDEN_STATES).shape == (1, 1, 1)
    assert kept_steps(kept) == [8]


@pytest.mark.parametrize("name", [HIDDEN_STATES, WEIGHTS])
@pytest.mark.parametrize("damage", ["a bit", "cut short", "the manifest"])
def test_a_damaged_trace_is_noticed(kept: Folder, name: str, damage: str) -> None:
    target = "manifest.json" if damage == "the manifest" else name
    data = bytearray(folder(kept, 8).read(target))
    if damage == "cut short":
        del data[-3:]
    else:
        data[len(data) // 2] ^= 1
    folder(kept, 8).write(target, bytes(data))
    with pytest.raises(CorruptFileError, match=target):
        read(kept, 8, name)


def test_a_trace_that_was_not_kept_is_not_found(kept: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        read(kept, 9, WEIGHTS)
    folder(kept, 8).delete(WEIGHTS)
    with pytest.raises(FileNotFoundError):
        read(kept, 8, WEIGHTS)


def test_weights_that_hold_nan_have_a_trace_that_says_so(tmp_path: Path) -> None:
    trial, weights = Folder.open(tmp_path), {"w": np.array([1.0, np.nan, 2.0])}
    seen = Observation(None, np.zeros((2, 2)), np.zeros((1, 2, 2)), np.zeros((1, 1, 1, 1, 1)), weights)  # type: ignore[arg-type]
    Trace.of(seen).keep(trial, 0)
    assert np.isnan(read(trial, 0, WEIGHTS)).any()
