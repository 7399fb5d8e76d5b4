"""Paths of weights of known dimension, from weights, from projections, and from a generator that holds but one."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from metrics.topology.intrinsic_dimension import persistent_homology_dimension
from metrics.topology.trajectory import REPEATS, measure, weight_trajectory_dimension
from metrics.trace import Trace, project

Weights = dict[str, np.ndarray]


def weights_at(places: np.ndarray, *, rows: int = 20, columns: int = 30, seed: int = 0) -> list[Weights]:
    """Weights of a matrix and a bias that move in a plane (or line) as ``places`` (snapshots, dimensions) do."""
    directions = np.random.default_rng(seed).normal(size=(places.shape[1], rows * (columns + 1)))
    directions = np.linalg.qr(directions.T)[0].T
    flat = 1 + places @ directions
    return [{"w": row[: rows * columns].reshape(rows, columns), "b": row[rows * columns :]} for row in flat]


def line(snapshots: int) -> np.ndarray:
    return np.linspace(0, 1, snapshots)[:, None]


@pytest.mark.parametrize("snapshots", [100, 150])
def test_a_straight_path_has_dimension_1(snapshots: int) -> None:
    assert weight_trajectory_dimension(weights_at(line(snapshots))) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_a_path_that_fills_a_plane_has_dimension_2(seed: int) -> None:
    """The estimates of 30 paths of 120 have mean 1.93 and deviation .08."""
    places = np.random.default_rng(seed).random((120, 2))
    assert weight_trajectory_dimension(weights_at(places)) == pytest.approx(2, abs=0.25)


def test_the_dimension_is_that_of_the_places_in_the_plane() -> None:
    """Which the projection keeps within a few per cent."""
    places = np.random.default_rng(0).random((60, 2))
    sizes = np.linspace(30, 60, 9).round().astype(int).tolist()
    expected = persistent_homology_dimension(places, sizes, repeats=REPEATS)
    assert weight_trajectory_dimension(weights_at(places)) == pytest.approx(expected, rel=0.03)


def test_weights_and_their_projections_have_the_same_dimension() -> None:
    snapshots = weights_at(np.random.default_rng(0).random((20, 2)))
    expected = weight_trajectory_dimension(snapshots)
    assert weight_trajectory_dimension([project(one) for one in snapshots]) == expected
    assert weight_trajectory_dimension(one if k % 2 else project(one) for k, one in enumerate(snapshots)) == expected


def test_float32_weights_have_the_same_dimension() -> None:
    snapshots = weights_at(np.random.default_rng(0).random((20, 2)))
    single = [{name: weight.astype(np.float32) for name, weight in one.items()} for one in snapshots]
    assert weight_trajectory_dimension(single) == pytest.approx(weight_trajectory_dimension(snapshots), rel=1e-4)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_of_the_weights_does_not_matter(factor: float) -> None:
    places = np.random.default_rng(0).random((20, 2))
    small = [factor * project(one) for one in weights_at(places)]
    assert weight_trajectory_dimension(small) == pytest.approx(
        weight_trajectory_dimension(weights_at(places)), rel=1e-6
    )


def test_a_generator_never_holds_two_snapshots() -> None:
    held: list[bool] = []

    def loaded() -> Iterator[Weights]:
        previous: weakref.ref[np.ndarray] | None = None
        for place in line(24):
            held.append(previous is not None and previous() is not None)
            (snapshot,) = weights_at(place[None])
            previous = weakref.ref(snapshot["w"].base)
            yield snapshot
            del snapshot

    weight_trajectory_dimension(loaded())
    assert not any(held)


@pytest.mark.parametrize("snapshots", [0, 1, 19])
def test_few_snapshots_have_no_dimension(snapshots: int) -> None:
    with pytest.raises(ValueError, match=f"{snapshots} different snapshots are too few"):
        weight_trajectory_dimension(weights_at(line(snapshots)))


def test_twenty_snapshots_are_enough_for_a_rough_number() -> None:
    assert weight_trajectory_dimension(weights_at(line(20))) == pytest.approx(1.2, abs=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_snapshots_hardly_matters(seed: int) -> None:
    path = weights_at(line(100))
    turned = [path[place] for place in np.random.default_rng(seed).permutation(len(path))]
    assert weight_trajectory_dimension(turned) == pytest.approx(weight_trajectory_dimension(path), abs=0.05)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (project({"w": np.ones(3)}, dimensions=16), "not all of one model"),
        (np.full(4096, np.nan), "NaN"),
        ({"w": np.array([[np.inf]])}, "infinite"),
        ({}, "no weights"),
    ],
    ids=["other dimensions", "NaN projection", "infinite weights", "no weights"],
)
def test_a_snapshot_that_is_none_is_refused(changed: np.ndarray | Weights, why: str) -> None:
    snapshots: list[np.ndarray | Weights] = list(weights_at(line(24)))
    snapshots[3] = changed
    with pytest.raises(ValueError, match=why):
        weight_trajectory_dimension(snapshots)


def test_weights_of_different_models_are_refused() -> None:
    places = np.random.default_rng(0).random((20, 2))
    snapshots = weights_at(places[:10]) + weights_at(places[10:], rows=25)
    with pytest.raises(ValueError, match="not all of one model"):
        weight_trajectory_dimension(snapshots)


def test_a_path_that_does_not_move_has_no_dimension() -> None:
    with pytest.raises(ValueError, match="1 different snapshots"):
        weight_trajectory_dimension(weights_at(np.zeros((24, 1))))


def traces_of(places: np.ndarray) -> list[Trace]:
    return [Trace(np.empty(0), project(one)) for one in weights_at(places)]


def test_a_trial_has_its_dimension() -> None:
    places = np.random.default_rng(0).random((20, 2))
    (value,) = measure(traces_of(places))
    assert value.value == weight_trajectory_dimension(weights_at(places))
    assert (value.metric, value.layer, value.reason) == ("weight_trajectory_dimension", None, None)


@pytest.mark.parametrize(("places", "why"), [(line(4), "too few"), (np.zeros((24, 1)), "1 different")])
def test_a_trial_without_a_dimension_says_why(places: np.ndarray, why: str) -> None:
    (value,) = measure(traces_of(places))
    assert value.value is None
    assert why in str(value.reason)
