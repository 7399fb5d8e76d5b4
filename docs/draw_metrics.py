"""Draws the pictures of docs/metrics.md from a finished sweep.

    python docs/draw_metrics.py results/quickstart

Of the first seed's trial with the largest budget; the pair metrics from the whole store's results.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from metrics.measure import Checkpoint, probe_set
from metrics.probe import Observation, observe
from metrics.topology import attention, geometry, intrinsic_dimension, neural_persistence, spectra
from metrics.topology.point_cloud import distance_scale, minimum_spanning_trees, pairwise_distances
from metrics.trace import WEIGHTS, read
from orchestrator import figures
from orchestrator.requests import prescribed_steps
from orchestrator.store import Store
from trainables import checkpoint, models
from trainables.token_store import TokenStore

FOLDER = Path(__file__).parent / "pictures"


@dataclass(frozen=True)
class Shown:
    """The checkpoint that is drawn, and what it was measured among."""

    store: Store
    last: Checkpoint
    observation: Observation
    results: pd.DataFrame

    @property
    def cloud(self) -> np.ndarray:
        """Of the last layer."""
        return self.observation.hidden_states[-1]


def shown(path: str) -> Shown:
    store = Store.existing(path)
    configs = [store.read_trial(trial_id) for trial_id in store.trial_ids()]
    config = max(configs, key=lambda one: (one.steps, -one.seed))
    last = Checkpoint(config, store.trial(config.trial_id), config.steps)
    settings = store.read_sweep()["sweep"]  # type: ignore[index]
    tokens = TokenStore.open(store.tokens(config.tokens))
    probes = probe_set(tokens, n_sequences=settings["probe_sequences"], n_points=settings["probe_points"])
    model = models.build(config.model)
    model.load_state_dict(checkpoint.load_weights(last.trial, last.step))
    return Shown(store, last, observe(model, probes), pd.read_parquet(Path(path) / "results.parquet"))


def draw_persistent_homology(one: Shown, axes: list[Axes]) -> None:
    found = one.store.read_diagrams(one.last.config.trial_id, one.last.step)
    of_layer = found[found["layer"] == found["layer"].max()]
    bars = {int(k): part[["birth", "death"]].to_numpy() for k, part in of_layer.groupby("dimension")}
    for axis, draw in zip(axes, (figures.draw_barcodes, figures.draw_diagram, figures.draw_betti_curves), strict=True):
        draw(axis, bars)


def draw_neural_persistence(one: Shown, axes: list[Axes]) -> None:
    block = [
        (name, matrix)
        for layer, name, matrix in neural_persistence.block_matrices(one.observation.weights)
        if layer == 1
    ]
    everything = [matrix for _, _, matrix in neural_persistence.block_matrices(one.observation.weights)]
    largest = max(float(np.abs(matrix).max()) for matrix in everything)
    for name, matrix in block:
        tree = neural_persistence.maximum_spanning_tree_weights(np.abs(matrix)) / largest
        axes[0].plot(np.linspace(0, 1, len(tree)), np.sort(1 - tree), label=name)
    axes[0].set(xlabel="share of the bars", ylabel="length 1 - w", title="bars of block 1")
    axes[0].legend(fontsize=7)
    mlp = [matrix.T for name, matrix in block if "mlp" in name]
    own = max(float(np.abs(matrix).max()) for matrix in mlp)
    paths = neural_persistence.path_tree_weights(mlp) / own
    axes[1].plot(np.linspace(0, 1, len(paths)), np.sort(1 - paths), color="tab:red", label="paths through both")
    for matrix, label in zip(mlp, ("into the MLP", "out of it"), strict=True):
        tree = neural_persistence.maximum_spanning_tree_weights(np.abs(matrix)) / own
        axes[1].plot(np.linspace(0, 1, len(tree)), np.sort(1 - tree), lw=0.8, label=label)
    axes[1].set(xlabel="share of the bars", title="deep graph: the MLP of block 1")
    axes[1].legend(fontsize=7)
    _against_step(one, axes[2], ["neural_persistence", "deep_graph_persistence"])


def draw_intrinsic_dimension(one: Shown, axes: list[Axes]) -> None:
    distances = np.sort(pairwise_distances(np.unique(one.cloud, axis=0)), axis=1)
    log_mu = np.sort(np.log(distances[:, 2] / distances[:, 1]))
    kept = int(0.9 * len(log_mu))
    heights = -np.log1p(-np.arange(1, kept + 1) / len(log_mu))
    dimension = intrinsic_dimension.two_nn(one.cloud)
    axes[0].plot(log_mu[:kept], heights, ".", ms=3)
    axes[0].plot([0, log_mu[kept - 1]], [0, dimension * log_mu[kept - 1]], label=f"slope {dimension:.2f}")
    axes[0].set(xlabel="log mu", ylabel="-log(1 - F)", title="TwoNN, last layer")
    axes[0].legend(fontsize=8)
    for layer, cloud in enumerate(one.observation.hidden_states):
        distinct = len(np.unique(cloud, axis=0))
        scales = [scale for scale in intrinsic_dimension.GRIDE_SCALES if scale < distinct]
        axes[1].plot(scales, intrinsic_dimension.gride(cloud, scales), "o-", ms=3, label=f"layer {layer}")
    axes[1].set(xscale="log", xlabel="scale (neighbours)", title="GRIDE by scale")
    axes[1].set_xticks(intrinsic_dimension.GRIDE_SCALES, [str(scale) for scale in intrinsic_dimension.GRIDE_SCALES])
    axes[1].set_xticks([], minor=True)
    axes[1].legend(fontsize=7)
    sizes = np.linspace(len(one.cloud) / 5, len(one.cloud), 9).round().astype(int)
    rng = np.random.default_rng(0)
    members = rng.random((len(sizes), len(one.cloud))).argsort(axis=1) < sizes[:, None]
    lengths = minimum_spanning_trees(pairwise_distances(one.cloud), members)
    sums = np.where(np.isfinite(lengths), lengths, 0).sum(axis=1)
    axes[2].loglog(sizes, sums, "o", ms=4)
    slope, height = np.polyfit(np.log(sizes), np.log(sums), 1)
    axes[2].loglog(sizes, np.exp(height) * sizes**slope, label=f"m = {slope:.2f}, dimension {1 / (1 - slope):.2f}")
    axes[2].set_xticks(sizes[::2], [str(size) for size in sizes[::2]])
    axes[2].set_xticks([], minor=True)
    axes[2].set(xlabel="points", ylabel="sum of H0 lifetimes", title="PH dimension, last layer")
    axes[2].legend(fontsize=8)


def draw_divergence(one: Shown, axes: list[Axes]) -> None:
    largest = one.results[one.results["budget_flops"] == one.results["budget_flops"].max()]
    for axis, (metric, title) in zip(
        axes,
        (
            ("linear_cka/across_seeds", "CKA of seeds"),
            ("representation_topology_divergence/across_seeds", "RTD of seeds"),
            ("representation_topology_divergence/across_steps", "RTD to the step before"),
        ),
        strict=True,
    ):
        table = largest[largest["metric"] == metric].pivot_table(index="layer", columns="step", values="value")
        image = axis.imshow(table.to_numpy(dtype=float), origin="lower", aspect="auto", cmap="magma")
        axis.set_xticks(range(len(table.columns)), [str(step) for step in table.columns], rotation=60)
        axis.set_yticks(range(len(table.index)), [str(layer) for layer in table.index])
        axis.set(xlabel="step", ylabel="layer", title=title)
        axis.figure.colorbar(image, ax=axis)


def draw_attention(one: Shown, axes: list[Axes]) -> None:
    head = one.observation.attention[-1, 0, 0]
    axes[0].imshow(np.sqrt(head), cmap="magma")
    axes[0].set(xlabel="token attended to", ylabel="token", title="a head of the last block (root)")
    thresholds = np.linspace(0.01, 0.9, 90)
    features = attention.graph_features(one.observation.attention[-1], thresholds)
    for name in ("components", "cycles"):
        axes[1].plot(thresholds, features[name].mean(axis=(0, 1)), label=name)
    axes[1].set(xscale="log", xlabel="threshold", title="graphs of the last block, mean of heads")
    axes[1].legend(fontsize=8)
    figures.draw_barcodes(axes[2], dict(enumerate(attention.barcodes(head))))
    axes[2].set(title="its barcode", xlabel="1 - attention")


def draw_geometry(one: Shown, axes: list[Axes]) -> None:
    scales = np.geomspace(0.05, 100, 40)
    for layer, cloud in enumerate(one.observation.hidden_states):
        unit = 1 / distance_scale(cloud)
        axes[0].plot(scales, [geometry.magnitude(cloud, t * unit) for t in scales], label=f"layer {layer}")
    axes[0].set(xscale="log", yscale="log", xlabel="t", title="magnitude function")
    axes[0].legend(fontsize=7)
    for layer, cloud in enumerate(one.observation.hidden_states):
        few = cloud[:: len(cloud) // geometry.EULER_POINTS]
        distances = pairwise_distances(few)
        shares = np.linspace(0, 0.3, 60)
        radii = np.quantile(distances[np.triu_indices(len(few), 1)], shares)
        axes[1].plot(shares, geometry.simplex_curve(few, radii), lw=1, label=f"layer {layer}")
    axes[1].set(xlabel="share of the pairs joined", title="Euler characteristic, 64 points")
    axes[1].set_yscale("symlog", linthresh=10)
    _against_step(one, axes[2], ["magnitude/4"], layer=one.results["layer"].max())


def draw_spectra(one: Shown, axes: list[Axes]) -> None:
    name = "mlp.dense_h_to_4h"
    matrix = next(m for layer, n, m in neural_persistence.block_matrices(one.observation.weights) if n == name)
    values = spectra.singular_values(matrix)
    rank, stable = spectra.effective_rank(values), spectra.stable_rank(matrix)
    axes[0].plot(np.arange(1, len(values) + 1), values)
    axes[0].set(xlabel="index", title=f"singular values, {name}")
    axes[0].axvline(rank, color="tab:orange", label=f"effective rank {rank:.1f}")
    axes[0].axvline(stable, color="tab:green", label=f"stable rank {stable:.1f}")
    axes[0].legend(fontsize=8)
    alpha = spectra.power_law_alpha(matrix)
    squares = np.sort(values**2)
    axes[1].loglog(squares, 1 - np.arange(len(squares)) / len(squares), ".", ms=4)
    start = squares[len(squares) // 2]
    line = squares[squares >= start]
    axes[1].loglog(line, 0.5 * (line / start) ** (1 - alpha), label=f"slope of alpha = {alpha:.2f}")
    axes[1].xaxis.set_minor_formatter(NullFormatter())
    axes[1].set(xlabel="squared singular value", title="share of values at least as large", ylim=(0.005, 2))
    axes[1].legend(fontsize=8)
    for layer in range(len(one.observation.hidden_states)):
        _against_step(one, axes[2], ["participation_ratio"], layer=layer)


def draw_trajectory(one: Shown, axes: list[Axes]) -> None:
    steps = prescribed_steps(one.last.config)
    path = np.stack([read(one.last.trial, step, WEIGHTS) for step in steps])
    centred = path - path.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    x, y = (centred @ directions[:2].T).T
    axes[0].plot(x, y, "o-", ms=4)
    for step, *at in zip(steps, x, y, strict=True):
        axes[0].annotate(str(step), at, fontsize=7)
    axes[0].set(title="projected weights, first two components")
    distances = pairwise_distances(path)
    image = axes[1].imshow(distances, cmap="magma", origin="lower")
    axes[1].set_xticks(range(len(steps)), [str(step) for step in steps], rotation=60)
    axes[1].set_yticks(range(len(steps)), [str(step) for step in steps])
    axes[1].set(title="distance of checkpoints")
    axes[1].figure.colorbar(image, ax=axes[1])
    axes[2].plot(steps, distances[0], "o-", ms=3, label="from the start")
    axes[2].plot(
        steps[1:], distances[np.arange(len(steps) - 1), np.arange(1, len(steps))], "o-", ms=3, label="step by step"
    )
    axes[2].set(xlabel="step", title="distance travelled")
    axes[2].legend(fontsize=8)


def _against_step(one: Shown, axis: Axes, names: list[str], layer: int | None = None) -> None:
    """Mean and range over seeds of the largest budget."""
    largest = one.results[one.results["budget_flops"] == one.results["budget_flops"].max()]
    for name in names:
        rows = largest[
            (largest["metric"] == name) & (largest["layer"].isna() if layer is None else largest["layer"] == layer)
        ]
        spread = rows.groupby("step")["value"].agg(["mean", "min", "max"])
        label = name if layer is None else f"{name}, layer {layer}"
        (line,) = axis.plot(spread.index, spread["mean"], "o-", ms=3, label=label)
        axis.fill_between(spread.index, spread["min"], spread["max"], color=line.get_color(), alpha=0.2)
    axis.set(xlabel="step", title="through training, 3 seeds")
    axis.set_xscale("symlog", linthresh=1)
    axis.legend(fontsize=7)


PICTURES: dict[str, Callable[[Shown, list[Axes]], None]] = {
    "persistent_homology": draw_persistent_homology,
    "neural_persistence": draw_neural_persistence,
    "intrinsic_dimension": draw_intrinsic_dimension,
    "divergence": draw_divergence,
    "attention": draw_attention,
    "geometry": draw_geometry,
    "spectra": draw_spectra,
    "trajectory": draw_trajectory,
}


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    matplotlib.use("Agg")
    plt.rcParams.update({"font.size": 8, "axes.titlesize": 9})
    one = shown(sys.argv[1])
    FOLDER.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        figure, axes = plt.subplots(1, 3, figsize=(10, 2.9), dpi=80, layout="constrained")
        draw(one, list(axes))
        figure.savefig(FOLDER / f"{name}.png")
        plt.close(figure)
        print(FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
