"""Attention graphs counted by scipy and by hand, their barcodes against scipy's tree and gudhi."""

from __future__ import annotations

from collections.abc import Callable

import gudhi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from metrics.probe import Observation
from metrics.topology.attention import BARS, FEATURES, THRESHOLDS, barcodes, graph_features, measure
from metrics.topology.persistent_homology import summarize

seeds = st.integers(0, 2**32 - 1)
tokens = st.integers(1, 16)
sharpness = st.sampled_from([0.1, 1.0, 5.0])  # from nearly uniform attention to nearly one token each
LEVELS = np.array([0.0, *THRESHOLDS, 1.0])


def attention_of(seed: int, shape: tuple[int, ...], sharp: float = 1.0, *, causal: bool = True) -> np.ndarray:
    """Softmax of normal scores: (..., T, T)."""
    scores = sharp * np.random.default_rng(seed).normal(size=shape)
    if causal:
        scores = np.where(np.tri(shape[-1], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def by_scipy(attention: np.ndarray, level: float) -> tuple[int, int, int, int]:
    """The features of one head at one threshold."""
    graph = np.maximum(attention, attention.T) >= level
    np.fill_diagonal(graph, False)
    edges = int(graph.sum()) // 2
    components = int(connected_components(graph, directed=False)[0])
    return edges, components, edges - len(graph) + components, len(graph) - edges


def features_of(attention: np.ndarray, levels: np.ndarray) -> list[tuple[int, ...]]:
    """In the order of :func:`by_scipy`, for each threshold of one head."""
    features = graph_features(attention, levels)
    return list(zip(*(features[name].tolist() for name in FEATURES), strict=True))


@given(seed=seeds, n=tokens, sharp=sharpness, causal=st.booleans())
def test_graphs_are_counted_as_scipy_counts_them(seed: int, n: int, sharp: float, causal: bool) -> None:
    attention = attention_of(seed, (n, n), sharp, causal=causal)
    assert features_of(attention, LEVELS) == [by_scipy(attention, level) for level in LEVELS]


@given(seed=seeds, n=tokens)
def test_weights_equal_to_a_threshold_are_edges(seed: int, n: int) -> None:
    """Eighths, of which many equal each other and the thresholds."""
    attention = np.random.default_rng(seed).integers(0, 9, size=(n, n)) / 8
    levels = np.arange(9) / 8
    assert features_of(attention, levels) == [by_scipy(attention, level) for level in levels]


@given(seed=seeds, n=tokens, sharp=sharpness)
def test_cycles_are_never_negative_and_fall_as_the_threshold_rises(seed: int, n: int, sharp: float) -> None:
    features = graph_features(attention_of(seed, (n, n), sharp), np.sort(LEVELS))
    assert (features["cycles"] >= 0).all()
    assert (np.diff(features["cycles"]) <= 0).all()


@pytest.mark.parametrize("axes", [(1,), (3,), (2, 3), (2, 1, 3)], ids=str)
def test_leading_axes_are_kept(axes: tuple[int, ...]) -> None:
    attention = attention_of(0, (*axes, 7, 7))
    features = graph_features(attention, LEVELS)
    assert tuple(features) == FEATURES
    for name in FEATURES:
        assert features[name].shape == (*axes, len(LEVELS))
        assert features[name].dtype == np.int64
    for place in np.ndindex(axes):
        alone = graph_features(attention[place], LEVELS)
        assert all(np.array_equal(features[name][place], alone[name]) for name in FEATURES)


def test_the_order_of_the_thresholds_is_kept() -> None:
    attention = attention_of(0, (9, 9))
    assert features_of(attention, LEVELS[::-1]) == features_of(attention, LEVELS)[::-1]


@given(seed=seeds, n=tokens)
def test_the_order_of_the_tokens_does_not_matter(seed: int, n: int) -> None:
    attention, order = attention_of(seed, (n, n)), np.random.default_rng(seed).permutation(n)
    assert features_of(attention[np.ix_(order, order)], LEVELS) == features_of(attention, LEVELS)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_attention_to_oneself_is_no_edge(n: int) -> None:
    levels = np.array([0.01, 0.5, 1.0])
    assert features_of(np.eye(n), levels) == [(0, n, 0, n)] * 3


def test_uniform_attention_joins_all_or_none() -> None:
    attention = np.full((5, 5), 0.2)
    assert features_of(attention, np.array([0.1, 0.2, 0.3])) == [(10, 1, 6, -5), (10, 1, 6, -5), (0, 5, 0, 5)]


def test_one_direction_is_enough() -> None:
    """0 - 1 - 2 - 0 is a cycle, each edge by one of its two directions; 3 is alone."""
    attention = np.zeros((4, 4))
    attention[1, 0] = attention[1, 2] = attention[2, 0] = 0.5
    assert features_of(attention, np.array([0.5, 0.51])) == [(3, 2, 1, 1), (0, 4, 0, 4)]


def test_float32_weights_reach_the_thresholds_they_equal() -> None:
    for level in THRESHOLDS:
        attention = np.array([[1, 0], [level, 1 - level]], dtype=np.float32)
        assert features_of(attention, np.array([level]))[0] == (1, 1, 0, 1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_softmax_of_low_precision_is_accepted(dtype: type) -> None:
    attention = attention_of(0, (8, 8)).astype(dtype)
    assert features_of(attention, LEVELS) == [by_scipy(attention.astype(np.float64), level) for level in LEVELS]


def test_weights_a_little_above_1_count_as_1() -> None:
    above, exact = (np.array([[1.0, 0.0], [weight, 0.0]]) for weight in (1 + 9e-5, 1.0))
    assert features_of(above, LEVELS) == features_of(exact, LEVELS)
    assert [len(bars) for bars in barcodes(above)] == [0, 0]


@pytest.mark.parametrize(
    ("attention", "why"),
    [
        (np.zeros((0, 0)), "at least one token"),
        (np.zeros((3, 0, 0)), "at least one token"),
        (np.ones(4), "shape"),
        (np.array(1.0), "shape"),
        (np.full((2, 3), 0.1), "shape"),
        (np.array([[1, 0], [-0.1, 1]]), r"\[0, 1\]"),
        (np.array([[1, 0], [1.01, 0]]), r"\[0, 1\]"),
        (np.array([[1, 0], [np.nan, 1]]), r"\[0, 1\]"),
        (np.array([[1, 0], [np.inf, 1]]), r"\[0, 1\]"),
        (np.array([[np.nan]]), r"\[0, 1\]"),
    ],
    ids=["empty", "empty heads", "1-d", "0-d", "not square", "negative", "above 1", "NaN", "infinite", "own NaN"],
)
def test_what_is_no_attention_is_refused(attention: np.ndarray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        graph_features(attention, LEVELS)
    with pytest.raises(ValueError, match=r"shape|token|\[0, 1\]"):
        barcodes(attention)


def test_the_input_is_not_changed() -> None:
    attention = attention_of(0, (2, 6, 6))
    before = attention.copy()
    graph_features(attention, LEVELS)
    barcodes(attention[0])
    assert np.array_equal(attention, before)


@pytest.mark.parametrize("heads", [1, 3])
def test_a_barcode_is_of_one_head(heads: int) -> None:
    with pytest.raises(ValueError, match="one head"):
        barcodes(attention_of(0, (heads, 5, 5)))


def distances_of(attention: np.ndarray) -> np.ndarray:
    distances = 1 - np.maximum(attention, attention.T)
    np.fill_diagonal(distances, 0)
    return distances


@given(seed=seeds, n=tokens, sharp=sharpness, causal=st.booleans())
def test_components_merge_at_the_maximum_spanning_tree(seed: int, n: int, sharp: float, causal: bool) -> None:
    attention = attention_of(seed, (n, n), sharp, causal=causal)
    h0 = barcodes(attention)[0]
    tree = minimum_spanning_tree(2 - np.maximum(attention, attention.T)).data  # scipy takes a zero for no edge
    assert not h0[:, 0].any()
    expected = np.sort(tree - 1)
    np.testing.assert_allclose(np.sort(h0[:, 1]), expected[expected > 1e-12], atol=1e-12)


def in_order(bars: np.ndarray) -> np.ndarray:
    return bars[np.lexsort(bars.T)]


@given(seed=seeds, n=tokens, sharp=sharpness, causal=st.booleans())
def test_bars_are_gudhis(seed: int, n: int, sharp: float, causal: bool) -> None:
    attention = attention_of(seed, (n, n), sharp, causal=causal)
    tree = gudhi.RipsComplex(distance_matrix=distances_of(attention)).create_simplex_tree(max_dimension=2)
    tree.compute_persistence(min_persistence=-1)
    for dimension, bars in enumerate(barcodes(attention)):
        expected = tree.persistence_intervals_in_dimension(dimension).reshape(-1, 2)
        expected = expected[np.isfinite(expected).all(axis=1)]
        long, long_expected = (part[part[:, 1] - part[:, 0] > 1e-5] for part in (bars, expected))
        np.testing.assert_allclose(in_order(long), in_order(long_expected), atol=1e-6)


@pytest.mark.parametrize("n", [4, 5, 8])
def test_a_planted_cycle_is_one_bar(n: int) -> None:
    """Each token attends to the last by .75, the first to no one: the last token closes the ring by .5."""
    attention = np.full((n, n), 0.125)
    attention[np.arange(1, n), np.arange(n - 1)] = 0.75
    attention[n - 1, 0] = 0.5
    h0, h1 = barcodes(attention)
    assert h0.tolist() == [[0, 0.25]] * (n - 1)
    assert h1.tolist() == [[0.5, 0.875]]


def test_three_tokens_close_no_cycle() -> None:
    h0, h1 = barcodes(np.array([[1, 0, 0], [0.5, 0.5, 0], [0.5, 0.25, 0.25]]))
    assert h0.tolist() == [[0, 0.5]] * 2
    assert len(h1) == 0


def test_one_token_has_no_bar() -> None:
    assert [bars.shape for bars in barcodes(np.ones((1, 1)))] == [(0, 2), (0, 2)]


def test_identity_attention_has_bars_of_length_1() -> None:
    h0, h1 = barcodes(np.eye(4))
    assert h0.tolist() == [[0, 1]] * 3
    assert len(h1) == 0


ATTENTION = attention_of(0, (2, 3, 2, 9, 9), 2.0).astype(np.float32)  # layers, sequences, heads


def test_values_are_the_means_over_sequences_and_heads(observation: Callable[..., Observation]) -> None:
    found = {(value.metric, value.layer): value.value for value in measure(observation(attention=ATTENTION))}
    expected: dict[tuple[str, int | None], float] = {}
    for layer in (0, 1):
        heads = [ATTENTION[layer, sequence, head].astype(np.float64) for sequence in range(3) for head in range(2)]
        for level in THRESHOLDS:
            counts = np.mean([by_scipy(head, level) for head in heads], axis=0)
            expected |= {
                (f"attention_{name}/{level:g}", layer + 1): n for name, n in zip(FEATURES, counts, strict=True)
            }
        bars = [summarize(barcodes(head)) for head in heads]
        expected |= {(f"attention_{name}", layer + 1): np.mean([one[name] for one in bars]) for name in BARS}
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_damaged_layer_says_so_and_the_others_have_their_values(observation: Callable[..., Observation]) -> None:
    damaged = ATTENTION.copy()
    damaged[0, 1, 1, 4, 2] = np.nan
    values = list(measure(observation(attention=damaged)))
    assert {value.value for value in values if value.layer == 1} == {None}
    assert all("[0, 1]" in str(value.reason) for value in values if value.layer == 1)
    assert all(value.value is not None for value in values if value.layer == 2)
    assert len(values) == 2 * (len(FEATURES) * len(THRESHOLDS) + len(BARS))
