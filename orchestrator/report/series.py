"""What charts are drawn of: values by model, variant and budget, and their means and spreads over seeds alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from metrics.base import ACROSS_SEEDS, ACROSS_STEPS
from orchestrator import results
from orchestrator.results import HEADLINES

LOSS = "held_out_loss"
AXES = {"flops": "training FLOPs", "tokens": "training tokens", "step": "training step"}
WORDS = ("trial", "model", "variant", "metric", "fault")
NUMBERS = ("seed", "budget_flops", "step", "tokens", "flops", "layer", "value")
FIRST = (*HEADLINES, "neural_persistence", "linear_cka", "representation_topology_divergence")  # in lists of metrics


@dataclass(frozen=True)
class Cell:
    """Trials that differ in their seeds alone. budget: in FLOPs; missing of published models."""

    model: str
    variant: str
    budget: float

    @property
    def kind(self) -> str:
        return kind(self.model, self.variant)

    @property
    def label(self) -> str:
        return self.kind if np.isnan(self.budget) else f"{self.kind}, {short(self.budget)} FLOPs"


@dataclass(frozen=True)
class Values:
    """Every number that was measured, of each metric's newest version; words are categories.

    rows: columns ``WORDS`` and ``NUMBERS``, and place (in ``cells``), by trial and step. cells: by model, variant and
    budget, the largest first. ends: of each trial that is done, its last step. along: what a step had cost (AXES).
    """

    rows: pd.DataFrame
    cells: tuple[Cell, ...]
    ends: dict[str, int]
    along: str

    @classmethod
    def of(cls, frame: pd.DataFrame, ends: dict[str, int]) -> Values:
        """frame: of :func:`orchestrator.results.collect`."""
        found = results.newest(frame.loc[frame["value"].notna(), [*WORDS, *NUMBERS, "metric_version", "revision"]])
        published = bool(found["revision"].notna().any())
        rows = found[[*WORDS]].astype("category")
        for name in NUMBERS:
            rows[name] = found[name].astype("float64").to_numpy()
        if published:
            rows["budget_flops"] = np.nan
        of = ["model", "variant", "budget_flops"]
        number = rows.groupby(of, observed=True, dropna=False, sort=False).ngroup()
        distinct = rows[of].assign(number=number).drop_duplicates("number")
        distinct = distinct.sort_values(of, ascending=[True, True, False], kind="stable")
        found_cells = distinct[of].itertuples(index=False)
        cells = tuple(Cell(str(model), str(variant), budget) for model, variant, budget in found_cells)
        rows["place"] = np.argsort(distinct["number"].to_numpy())[number.to_numpy()]
        flops = rows["flops"].notna().all()
        return cls(rows.reset_index(drop=True), cells, ends, "flops" if flops else "step")

    @property
    def published(self) -> bool:
        return any(np.isnan(cell.budget) for cell in self.cells)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Models with their variants, in order."""
        return tuple(dict.fromkeys(cell.kind for cell in self.cells))

    def cells_of(self, kind: str) -> list[int]:
        """Places of a kind's cells, the largest budget first."""
        return [place for place, cell in enumerate(self.cells) if cell.kind == kind]

    def at_end(self) -> pd.DataFrame:
        """Of trials that are done, at their ends."""
        last = self.rows["trial"].astype(str).map(self.ends)
        return self.rows[self.rows["step"] == last]


def sound(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of checkpoints without a fault."""
    return rows[rows["fault"].isna()]


def kind(model: str, variant: str) -> str:
    return f"{model} {variant}".strip()


def short(number: float) -> str:
    """A number for people: 4e11, not 4e+11."""
    return f"{number:.3g}".replace("e+", "e")


def of_layer(layer: float) -> str:
    return "whole model" if np.isnan(layer) else "embeddings" if layer == 0 else f"layer {layer:.0f}"


def metrics_of(rows: pd.DataFrame, *, layered: bool, pairs: bool = False) -> list[str]:
    """Names of metrics that have layers, or none, those of the results table first; pairs across seeds apart."""
    has = rows[rows["layer"].notna()] if layered else rows[rows["layer"].isna()]
    names = [str(name) for name in has["metric"].unique()]
    kept = [name for name in names if name.endswith(ACROSS_SEEDS) == pairs]
    return sorted(kept, key=_rank)


def _rank(name: str) -> tuple[int, str]:
    bare = name.removesuffix(ACROSS_SEEDS).removesuffix(ACROSS_STEPS)
    return (FIRST.index(bare) if bare in FIRST else len(FIRST), name)


def spread(rows: pd.DataFrame, keys: Sequence[str], along: str) -> pd.DataFrame:
    """Mean, standard deviation (n - 1) and number of the values of each group, and its ``at`` on an axis; sorted."""
    groups = rows.groupby(list(keys), observed=True, dropna=False)
    found = groups["value"].agg(["mean", "std", "count"])
    found["at"] = groups[along].first() if along not in keys else found.index.get_level_values(along)
    return found.reset_index()


def parts(table: pd.DataFrame, *keys: str) -> Iterator[tuple[tuple[object, ...], pd.DataFrame]]:
    """Groups of a table, by key, missing ones, too."""
    for key, part in table.groupby(list(keys), observed=True, dropna=False, sort=True):
        yield key if isinstance(key, tuple) else (key,), part


def thinned(items: Sequence[object] | np.ndarray, most: int) -> list[int]:
    """Places of at most so many of the items, evenly, the first and the last among them."""
    if len(items) <= most:
        return list(range(len(items)))
    return sorted({round(place) for place in np.linspace(0, len(items) - 1, most)})


def matrix(table: pd.DataFrame, steps: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Layers, and means (layers, steps) of a table of one metric and cell; NaN where there is none."""
    layers = np.unique(table["layer"])
    cells = np.full((len(layers), len(steps)), np.nan)
    kept = table[table["step"].isin(steps)]
    cells[np.searchsorted(layers, kept["layer"]), np.searchsorted(steps, kept["step"])] = kept["mean"]
    return list(layers), cells
