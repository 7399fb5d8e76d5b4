"""What the analysis is made of: values of trials at chosen steps, as one matrix, and what is known of each trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from metrics.base import ACROSS_SEEDS
from metrics.topology.hidden_norms import OF_QUANTILES
from orchestrator.results import newest

LOSS = "held_out_loss"
OF_LOSS = ("held_out_loss", "bits_per_byte", "perplexity")  # other words for the loss, and its parts by domain
WHOLE = -1  # in place of a layer, for values of the whole model
ABOUT = ["model", "variant", "n_params", "seed", "budget_flops", "tokens", "flops"]
NORM, RATE = "parameter_norm", "config/learning_rate"


@dataclass(frozen=True)
class Trials:
    """Done trials, a row each, all with a finite held-out loss.

    about: indexed by trial: model, variant, n_params, seed, budget_flops, tokens, flops and loss at the end, and, where
    known, learning_rate and parameter_norm. values: the same rows, (metric, layer) columns, at the end or, of
    :func:`early`, before. Values of pairs of seeds are left out: two trials share each of them, and what is counted
    twice looks surer than it is. So are the quantiles of hidden norms, which say the same as their mean 13 times over.
    """

    about: pd.DataFrame
    values: pd.DataFrame

    def of(self, rows: pd.Series | np.ndarray) -> Trials:
        """Those trials for which ``rows`` is true, and the columns that have values among them."""
        return Trials(self.about[rows], self.values[rows].dropna(axis="columns", how="all"))

    @property
    def topics(self) -> pd.DataFrame:
        """``values`` without those that are the loss in other words."""
        return self.values.loc[:, ~is_of_loss(self.values.columns.get_level_values("metric"))]


USED = (*ABOUT, RATE, "trial", "metric", "metric_version", "layer", "step", "value")


@dataclass(frozen=True)
class Steps:
    """Sound rows of the results, with each row's trial as a number: looked up once, for many steps."""

    rows: pd.DataFrame
    codes: np.ndarray
    names: pd.Index
    ends: np.ndarray  # by number; -1 of a trial that is not done

    @classmethod
    def of(cls, values: pd.DataFrame, ends: Mapping[str, int]) -> Steps:
        sound = values["fault"].isna() & (values["status"] == "ok") & np.isfinite(values["value"].astype(float))
        used = [name for name in values.columns if name in USED]  # of millions of rows, copied again and again
        rows = newest(values.loc[sound, used])
        rows = rows[~(rows["metric"].str.endswith(ACROSS_SEEDS) | rows["metric"].isin(OF_QUANTILES))]
        codes, names = pd.factorize(rows["trial"])
        return cls(rows, codes, pd.Index(names), np.array([ends.get(name, -1) for name in names], dtype=np.int64))

    def wide(self, steps: np.ndarray) -> pd.DataFrame:
        """Values of each trial at its step (``steps`` by number): trials x (metric, layer)."""
        chosen = self.rows[self.rows["step"].to_numpy(dtype=np.int64) == steps[self.codes]]
        layers = chosen["layer"].astype("Int64").fillna(WHOLE).astype(int)
        return chosen.groupby(["trial", "metric", layers], observed=True)["value"].mean().unstack(["metric", "layer"])

    def early(self, share: float) -> pd.DataFrame:
        """Values at the last measured step, but the first, of at most ``share`` of a trial's steps."""
        steps = np.full(len(self.names), -1, dtype=np.int64)
        at = self.rows["step"].to_numpy(dtype=np.int64)
        soon = (at > 0) & (at <= share * self.ends[self.codes])
        np.maximum.at(steps, self.codes[soon], at[soon])
        return self.wide(np.where(steps > 0, steps, -2))


def is_of_loss(metrics: pd.Index | pd.Series) -> np.ndarray:
    """Which of these names are the loss in other words, over all or of a domain."""
    return np.array([name.partition("/")[0] in OF_LOSS for name in metrics], dtype=bool)


def final(steps: Steps) -> Trials:
    """Trials that are done, at their end."""
    wide = steps.wide(np.where(steps.ends >= 0, steps.ends, -2))
    if wide.empty or (LOSS, WHOLE) not in wide.columns:
        return Trials(pd.DataFrame(columns=[*ABOUT, "loss"]), wide.iloc[:0])
    wide = wide[wide[(LOSS, WHOLE)].notna() & (wide[(LOSS, WHOLE)] > 0)]
    at_end = steps.rows["step"].to_numpy(dtype=np.int64) == steps.ends[steps.codes]
    firsts = steps.rows[at_end].drop_duplicates("trial").set_index("trial").loc[wide.index]
    about = firsts[ABOUT].copy()
    about["variant"] = about["variant"].fillna("")
    about["loss"] = wide[(LOSS, WHOLE)]
    if (NORM, WHOLE) in wide.columns:
        about["parameter_norm"] = wide[(NORM, WHOLE)]
    if RATE in firsts:
        about["learning_rate"] = pd.to_numeric(firsts[RATE], errors="coerce")
    known = about["budget_flops"].notna() & (about["budget_flops"] > 0)  # of published models not always
    return Trials(about[known], wide[known])


def layer_column(table: pd.DataFrame) -> pd.DataFrame:
    """``layer`` as the results have it: missing for the whole model."""
    layers = table["layer"].astype("Int64")
    return table.assign(layer=layers.mask(layers == WHOLE))
