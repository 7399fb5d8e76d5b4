"""The topology suite beside the libraries that do the same, on one core, in one run; and what a checkpoint costs.

    python benchmarks/topology.py [--repeats 5] [--large]

Each pair is timed in turn, the best of REPEATS counts, and results are compared before times are. A ratio is their time
over ours: above 1 we are faster. Where both call the same library it is near 1. ``--large`` adds the neural persistence
of all weight matrices of a Pythia-1.4B (5 GB of memory, a minute to draw them).
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gudhi
import numpy as np
import skdim
import torch
from ripser import ripser
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform
from threadpoolctl import threadpool_limits

import metrics
from metrics.probe import Observation, ProbeSet, observe
from metrics.topology import divergence, intrinsic_dimension, neural_persistence, persistent_homology
from trainables import models


@dataclass(frozen=True)
class Case:
    """Two ways to one number or array; ``tolerance`` is relative to the largest of it."""

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    tolerance: float = 1e-5


def cloud(points: int, dimensions: int) -> np.ndarray:
    """Directions of very different variance, as hidden states have."""
    return np.random.default_rng(0).normal(size=(points, dimensions)) * np.linspace(1, 0.05, dimensions)


def ripser_lengths(distances: np.ndarray, dimension: int) -> np.ndarray:
    diagram = ripser(distances, maxdim=dimension, distance_matrix=True)["dgms"][dimension]
    return lengths(diagram[np.isfinite(diagram[:, 1])])


def lengths(bars: np.ndarray) -> np.ndarray:
    """Sorted, without those that float32 makes or ends."""
    found = np.sort(bars[:, 1] - bars[:, 0])
    return found[found > 1e-5]


def gudhi_lengths(points: np.ndarray, dimension: int) -> np.ndarray:
    tree = gudhi.RipsComplex(points=points).create_simplex_tree(max_dimension=dimension + 1)
    tree.compute_persistence()
    bars = tree.persistence_intervals_in_dimension(dimension)
    return lengths(bars[np.isfinite(bars[:, 1])])


def scipy_tree(matrix: np.ndarray) -> np.ndarray:
    """The maximum spanning tree of the bipartite graph; scipy looks for the smallest, and takes 0 for no edge."""
    n, m = matrix.shape
    ends = np.repeat(np.arange(n), m), n + np.tile(np.arange(m), n)
    turned = float(matrix.max()) + 1 - matrix.ravel().astype(np.float64)
    tree = minimum_spanning_tree(csr_array((turned, ends), shape=(n + m, n + m)))
    return np.sort(float(matrix.max()) + 1 - tree.data)


def path_matrix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Largest over the middle units of the smaller of two weights: entry by entry, as it is defined."""
    paths = np.full((first.shape[0], second.shape[1]), -np.inf, dtype=first.dtype)
    for unit in range(first.shape[1]):
        np.maximum(paths, np.minimum(first[:, unit, None], second[unit]), out=paths)
    return paths


def zero_block_divergence(x: np.ndarray, y: np.ndarray) -> float:
    """RTD by the matrix of 2 n vertices that the authors' code gives to ripser."""
    r1, r2 = (squareform(pdist(points) / np.quantile(pdist(points), 0.9)) for points in (x, y))
    matrix = np.block([[np.zeros_like(r1), r1], [r1, np.minimum(r1, r2)]])
    return float(ripser_lengths(matrix, 1).sum())


def cases() -> Iterator[Case]:
    for points, dimensions in ((256, 64), (512, 512)):
        x = cloud(points, dimensions)
        yield Case(
            f"h1_{points}x{dimensions}_ripser",
            lambda x=x: lengths(persistent_homology.barcodes(x)[1]),
            lambda x=x: ripser_lengths(squareform(pdist(x)), 1),
            1e-3,
        )
    small = cloud(128, 64)
    yield Case(
        "h1_128x64_gudhi",
        lambda: lengths(persistent_homology.barcodes(small)[1]),
        lambda: gudhi_lengths(small, 1),
        1e-3,
    )
    x = cloud(512, 64)
    yield Case(
        "h0_512x64_ripser",
        lambda: lengths(persistent_homology.barcodes(x, 0)[0]),
        lambda: ripser_lengths(squareform(pdist(x)), 0),
    )
    yield Case(
        "h0_512x64_scipy_tree",
        lambda: lengths(persistent_homology.barcodes(x, 0)[0]),
        lambda: np.sort(minimum_spanning_tree(squareform(pdist(x))).data),
    )
    yield Case("h0_512x64_gudhi", lambda: lengths(persistent_homology.barcodes(x, 0)[0]), lambda: gudhi_lengths(x, 0))
    rng = np.random.default_rng(0)
    for shape in ((512, 2048), (2048, 8192)):
        matrix = np.abs(rng.normal(size=shape)).astype(np.float32)
        yield Case(
            f"spanning_tree_{shape[0]}x{shape[1]}_scipy",
            lambda matrix=matrix: neural_persistence.maximum_spanning_tree_weights(matrix),
            lambda matrix=matrix: scipy_tree(matrix),
        )
    first, second = (np.abs(rng.normal(size=shape)).astype(np.float32) for shape in ((512, 2048), (2048, 512)))
    yield Case(
        "deep_graph_persistence_by_path_matrix",
        lambda: neural_persistence.path_tree_weights([first, second]),
        lambda: neural_persistence.maximum_spanning_tree_weights(path_matrix(first, second)),
    )
    for points, dimensions in ((512, 64), (512, 512)):
        x = cloud(points, dimensions)
        yield Case(
            f"mle_{points}x{dimensions}_skdim",
            lambda x=x: intrinsic_dimension.mle(x, 20),
            lambda x=x: skdim.id.MLE().fit_transform(x, n_neighbors=20, comb="mle"),
        )
        yield Case(
            f"two_nn_{points}x{dimensions}_skdim",
            lambda x=x: intrinsic_dimension.two_nn(x),
            lambda x=x: skdim.id.TwoNN(discard_fraction=0.1).fit_transform(x),
        )
    y = x + 0.3 * cloud(512, 512)[::-1]
    for points in (96, 512):
        yield Case(
            f"rtd_{points}_ripser_2n",
            lambda points=points: divergence.representation_topology_divergence(x[:points], y[:points]),
            lambda points=points: zero_block_divergence(x[:points], y[:points]),
            1e-3,
        )


def best(function: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)


def compared(case: Case, repeats: int) -> float:
    ours, theirs = np.asarray(case.ours()), np.asarray(case.theirs())  # this also compiles and imports
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=case.tolerance * float(np.abs(theirs).max()))
    seconds = best(case.ours, repeats), best(case.theirs, repeats)
    print(f"{case.name:42} {1000 * seconds[0]:10.2f} ms {1000 * seconds[1]:10.2f} ms {seconds[1] / seconds[0]:8.2f}")
    return seconds[1] / seconds[0]


def observed(name: str, *, sequences: int, tokens: int, points: int) -> Observation:
    """An untrained model seen through random tokens."""
    config = models.MODELS[name]
    blocks = np.random.default_rng(0).integers(0, config.vocab_size, size=(sequences, tokens + 1))
    probe_set = ProbeSet.of(blocks, ("random",) * sequences, np.ones(config.vocab_size, dtype=int), n_points=points)
    return observe(models.build(config, init_seed=0), probe_set)


def unary_suite(name: str, observation: Observation, repeats: int) -> float:
    """Seconds of every metric of one checkpoint, the forward pass not counted."""
    unary = [metric for metric in metrics.registry().values() if metric.kind == "checkpoint"]
    seconds = {m.name: best(lambda m=m: list(m.measure(observation)), repeats) for m in unary}
    listed = ", ".join(f"{metric} {spent:.2f}" for metric, spent in seconds.items() if spent >= 0.01)
    print(f"{name}: {sum(seconds.values()):.2f} s ({listed})")
    return sum(seconds.values())


def large_model(name: str = "pythia-1.4b") -> float:
    """Seconds of the neural persistence of every block matrix, random; and the memory it adds to the model's."""
    shapes = [weight.shape for weight in models.build(name, device="meta").parameters() if weight.ndim == 2]
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes[1:-1]]  # without the embeddings
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    neural_persistence.neural_persistence(weights)
    spent = time.perf_counter() - began
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    held = sum(weight.nbytes for weight in weights) / 2**30
    print(f"{name}: neural persistence of {len(weights)} matrices, {held:.1f} GB: {spent:.1f} s, {added:.2f} GB more")
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="of each timing, in turn; the best counts")
    parser.add_argument("--large", action="store_true", help="also all weight matrices of a Pythia-1.4B")
    options = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    print(f"{'one core':42} {'ours':>13} {'theirs':>13} {'ratio':>8}")
    ratios = {case.name: compared(case, options.repeats) for case in cases()}
    quickstart = observed("neox-280k", sequences=128, tokens=128, points=256)
    seconds = {"quickstart_checkpoint": unary_suite("a quickstart checkpoint", quickstart, options.repeats)}
    pythia = observed("pythia-70m", sequences=8, tokens=128, points=512)
    seconds["pythia_70m_checkpoint"] = unary_suite("a pythia-70m checkpoint", pythia, 1)
    if options.large:
        seconds["neural_persistence_1.4b"] = large_model()
    print(json.dumps({"name": "topology", "ratios": ratios, "seconds": seconds}))


if __name__ == "__main__":
    main()
