"""Tables as people read them, and as files: Parquet and CSV in the store's ``tables/``."""

from __future__ import annotations

import dataclasses
import functools
import io
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.analysis import Analysis
from orchestrator.analysis.trials import LOSS
from orchestrator.report.series import short
from orchestrator.results import settings_that_vary, variant_of
from orchestrator.store import TABLES, Store
from trainables.config import TrialConfig
from trainables.prefix import PREFIX, Prefix
from trainables.storage import CorruptFileError
from trainables.typed import read

SAID = {  # column -> heading
    "per_decade": "per tenfold FLOPs",
    "seed_std": "seed std",
    "budget_flops": "budget",
    "n_params": "parameters",
    "low": "95 % from",
    "high": "to",
    "asked": "FLOPs asked",
    "spent": "FLOPs spent",
    "saved": "FLOPs taken over",
}
COST = ("model", "variant", "budget_flops", "trials", "done", "asked", "spent", "saved", "seconds", "device")


@dataclass(frozen=True)
class Table:
    """A table of the report; name: of its files. columns as in the frame, rows as they are to be sorted at first."""

    name: str
    title: str
    frame: pd.DataFrame

    @property
    def headings(self) -> list[str]:
        return [SAID.get(name, name) for name in self.frame.columns]

    def as_text(self, most: int | None = None) -> list[list[str]]:
        """Rows for people."""
        return [[text(value) for value in row] for row in self.frame.head(most).itertuples(index=False)]


def text(value: Any) -> str:
    """A cell for people; what is missing is a dash."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return "-"
    if isinstance(value, int) or float(value).is_integer():
        number = int(value)
        return f"{number:,}" if abs(number) < 1e7 else short(number)
    return f"{value:.4g}".replace("e+", "e").replace("e-0", "e-")


def of_analysis(analysis: Analysis) -> list[Table]:
    """Those that hold something, the surest findings first."""
    titles = {
        "effects": "Effect of compute on every metric",
        "correlations": "Correlation of every metric with the final held-out loss",
        "prediction": "Early values as predictors of the final loss",
        "isoflop": "Sizes of the lowest loss at equal compute",
        "isoflop_points": "What the parabolas are fitted to",
        "exponents": "How the best size and tokens grow with compute",
        "loss_fit": "L(N, D) = E + A/N^alpha + B/D^beta",
        "agreement": "Do small budgets rank as large ones do?",
    }
    assert set(titles) == {item.name for item in dataclasses.fields(analysis)} - {"remarks"}
    found = {name: getattr(analysis, name) for name in titles}
    by = {"effects": ["q", "p"], "correlations": ["given", "q", "p"], "prediction": ["q", "p"], "agreement": ["p"]}
    return [
        Table(name, titles[name], frame.sort_values(by[name], kind="stable") if name in by else frame)
        for name, frame in found.items()
        if not frame.empty
    ]


def of_budgets(summary: pd.DataFrame) -> pd.DataFrame:
    """:func:`orchestrator.results.by_budget` with plain columns, ``held_out_loss mean`` and so on, as files have it."""
    return summary.set_axis([" ".join(filter(None, name)) for name in summary.columns], axis=1)


def costs(store: Store) -> pd.DataFrame:
    """What trials were to spend and did, by model, variant and budget; columns ``COST``. Published ones cost nothing.

    asked: FLOPs of the full budgets; spent: of the steps that were trained; saved: of those taken over from another
    trial. seconds: of each trial's last attempt.
    """
    configs = [store.read_trial(trial_id) for trial_id in store.trial_ids()]
    varied = settings_that_vary(configs)
    rows = []
    for config in configs:
        if not isinstance(config, TrialConfig):
            continue
        status = store.read_status(config.trial_id)
        reached = status.step if status else 0
        taken = min(_taken_over(store, config), reached)
        rows.append(
            {
                "model": config.model.name,
                "variant": variant_of(config, varied),
                "budget_flops": config.budget_flops,
                "done": status is not None and status.state == "done",
                "asked": float(config.flops(config.steps)),
                "spent": float(config.flops(reached - taken)),
                "saved": float(config.flops(taken)),
                "seconds": status.seconds if status else 0.0,
                "device": (status.device if status else None) or "",
            }
        )
    if not rows:
        return pd.DataFrame(columns=list(COST))
    groups = pd.DataFrame(rows).groupby(["model", "variant", "budget_flops"], as_index=False)
    named = {"trials": ("asked", "size"), "done": ("done", "sum")}
    sums = {name: (name, "sum") for name in ("asked", "spent", "saved", "seconds")}
    devices = {"device": ("device", lambda found: ", ".join(sorted(set(filter(None, found)))))}
    return groups.agg(**named, **sums, **devices)[list(COST)]


def _taken_over(store: Store, config: TrialConfig) -> int:
    """Up to which step a trial is another's."""
    try:
        found: Prefix = store.trial(config.trial_id).read_record(PREFIX, functools.partial(read, Prefix))
    except (FileNotFoundError, CorruptFileError):
        return 0
    return found["step"]


def candidates(final: pd.DataFrame) -> pd.DataFrame:
    """Of a search: model, budget_flops, variant, seeds, loss (mean over seeds), std; the best first."""
    losses = final[final["metric"] == LOSS].groupby(["model", "budget_flops", "variant"], as_index=False)
    found = losses.agg(seeds=("trial", "nunique"), loss=("value", "mean"), std=("value", "std"))
    return found.sort_values(["model", "budget_flops", "loss"], ascending=[True, False, True], kind="stable")


def write(store: Store, tables: list[Table]) -> None:
    """Write ``tables/NAME.csv`` and ``.parquet``."""
    folder = store.root / TABLES
    for table in tables:
        folder.write(f"{table.name}.csv", table.frame.to_csv(index=False).encode())
        sink = io.BytesIO()
        table.frame.to_parquet(sink, index=False)
        folder.write(f"{table.name}.parquet", sink.getvalue())
