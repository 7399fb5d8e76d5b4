"""What charts are drawn of: values by model, variant and budget, and their means and spreads over seeds alone."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from metrics.base import ACROSS_SEEDS, ACROSS_STEPS
from orchestrator import results
from orchestrator.results import HEADLINES

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

    rows: columns ``WORDS`` and ``NUMBERS``, place (in ``cells``) and last (of a trial that is done, its last step), by
    metric. cells: by model, variant and budget, the largest first. along: what a step had cost (AXES).
    """

    rows: pd.DataFrame
    cells: tuple[Cell, ...]
    along: str

    @classmethod
    def of(cls, frame: pd.DataFrame, ends: Mapping[str, int]) -> Values:
        """frame: of :func:`orchestrator.results.collect`; ends: of :func:`orchestrator.results.ends`."""
        found = results.newest(frame)
        found = found.loc[found["value"].notna().to_numpy(), [*WORDS, *NUMBERS, "revision"]]
        rows = found[[*WORDS]].astype("category")
        for name in NUMBERS:
            rows[name] = found[name].astype("float64").to_numpy()
        if found["revision"].notna().any():
            rows["budget_flops"] = np.nan
        of = ["model", "variant", "budget_flops"]
        number = rows.groupby(of, observed=True, dropna=False, sort=False).ngroup()
        distinct = rows[of].assign(number=number).drop_duplicates("number")
        distinct = distinct.sort_values(of, ascending=[True, True, False], kind="stable")
        of_cells = distinct[of].itertuples(index=False)
        cells = tuple(Cell(str(model), str(variant), budget) for model, variant, budget in of_cells)
        rows["place"] = np.argsort(distinct["number"].to_numpy())[number.to_numpy()]
        last = np.array([ends.get(str(trial), -1) for trial in rows["trial"].cat.categories], dtype=float)
        rows["last"] = rows["step"].to_numpy() == last[rows["trial"].cat.codes.to_numpy()]
        order = np.argsort(rows["metric"].cat.codes.to_numpy(), kind="stable")
        known = bool(rows["flops"].notna().all())
        return cls(rows.take(order).reset_index(drop=True), cells, "flops" if known else "step")

    @property
    def published(self) -> bool:
        return any(np.isnan(cell.budget) for cell in self.cells)

    @functools.cached_property
    def kinds(self) -> tuple[str, ...]:
        """Models with their variants, in order."""
        return tuple(dict.fromkeys(cell.kind for cell in self.cells))

    def cells_of(self, kind: str) -> list[int]:
        """Places of a kind's cells, the largest budget first."""
        return [place for place, cell in enumerate(self.cells) if cell.kind == kind]

    @functools.cached_property
    def has_faults(self) -> bool:
        return bool(self.rows["fault"].notna().any())

    def rows_of(self, metric: str) -> pd.DataFrame:
        """A metric's rows."""
        return of_metric(self.rows, metric)

    @functools.cached_property
    def means(self) -> pd.DataFrame:
        """Of every metric, place, layer and step, over the seeds without a fault; see :func:`spread`. By metric."""
        return spread(sound(self.rows) if self.has_faults else self.rows, ("place", "layer", "step"), self.along)

    @functools.cached_property
    def at_ends(self) -> pd.DataFrame:
        """The same of the last steps of trials that are done, whatever step that is."""
        last = self.rows[self.rows["last"]]
        return spread(sound(last), ("place", "layer"), self.along)

    def metrics(self, *, layered: bool, pairs: bool = False) -> list[str]:
        """Names of metrics that have layers, or none, those of the results table first; pairs across seeds apart."""
        has = self.means["layer"].notna() == layered
        names = map(str, self.means.loc[has, "metric"].unique())
        return sorted((name for name in names if name.endswith(ACROSS_SEEDS) == pairs), key=_rank)


def of_metric(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of a table by metric, found without a look at the others."""
    metric = table["metric"].cat
    code = metric.categories.get_indexer([name])[0]
    codes = metric.codes.to_numpy()
    return table.iloc[np.searchsorted(codes, code) : np.searchsorted(codes, code, "right")] if code >= 0 else table[:0]


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


def _rank(name: str) -> tuple[int, str]:
    bare = name.removesuffix(ACROSS_SEEDS).removesuffix(ACROSS_STEPS)
    return (FIRST.index(bare) if bare in FIRST else len(FIRST), name)


def spread(rows: pd.DataFrame, keys: Sequence[str], along: str) -> pd.DataFrame:
    """Mean, standard deviation (n - 1) and number of the values of each metric and group, and where on an axis (at).

    keys: of the groups, numbers, of which the layer may be missing. Columns: metric, the keys, mean, std, count, at; in
    this order.
    """
    numbers = [pd.factorize(rows[name], sort=True) for name in keys]  # one number for a group: many times as fast
    codes = [rows["metric"].cat.codes.to_numpy().astype(np.int64), *(found[0] + 1 for found in numbers)]
    sizes = [len(rows["metric"].cat.categories), *(len(found[1]) + 1 for found in numbers)]
    groups = rows[["value", along]].groupby(np.ravel_multi_index(codes, sizes), sort=True)
    table = groups["value"].agg(["mean", "std", "count"])
    table["at"] = groups[along].mean()
    places = np.unravel_index(table.index.to_numpy(dtype=np.int64), sizes)
    table.insert(0, "metric", pd.Categorical.from_codes(places[0], dtype=rows["metric"].dtype))
    for at, (name, (_, known)) in enumerate(zip(keys, numbers, strict=True), start=1):
        table.insert(at, name, np.append(np.nan, np.asarray(known, dtype=float))[places[at]])
    return table.reset_index(drop=True)


def parts(table: pd.DataFrame, *keys: str) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Groups of a table, by key, missing ones, too."""
    for key, part in table.groupby(list(keys), observed=True, dropna=False, sort=True):
        yield key if isinstance(key, tuple) else (key,), part


def thinned(items: Sequence[object] | np.ndarray, most: int) -> list[int]:
    """Places of at most so many of the items, evenly, the first and the last among them."""
    if len(items) <= most:
        return list(range(len(items)))
    return sorted({round(place) for place in np.linspace(0, len(items) - 1, most)})


def matrix(table: pd.DataFrame, column: str, steps: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Layers, and a column as (layers, steps), of a table of one metric and cell; NaN where there is none."""
    layers, own = np.unique(table["layer"]), table["step"].to_numpy()
    cells = np.full((len(layers), len(steps)), np.nan)
    kept = np.isin(own, steps)
    rows = np.searchsorted(layers, table["layer"].to_numpy()[kept])
    cells[rows, np.searchsorted(steps, own[kept])] = table[column].to_numpy()[kept]
    return list(layers), cells
