"""Everything that the report says, gathered once: page, Markdown and figures are made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator import comparison, results
from orchestrator.analysis import Analysis
from orchestrator.comparison import Beside
from orchestrator.report import barcodes, tables, words
from orchestrator.report.barcodes import Bars
from orchestrator.report.series import Values, parts
from orchestrator.report.tables import Table
from orchestrator.store import Store


@dataclass(frozen=True)
class Compared:
    """The sweep beside another store: a row for each model, budget and metric, and both trajectories."""

    beside: Beside
    own: pd.DataFrame
    metrics: tuple[str, ...]
    table: Table

    def lines(self, metric: str) -> tuple[list[pd.DataFrame], dict[str, pd.DataFrame], pd.DataFrame]:
        """Each of the sweep's trials by step; of the other's models the means over seeds (at, value) by step, of sound
        checkpoints; and its rows with a fault."""
        along = self.beside.by
        own, theirs = (
            table[(table["metric"] == metric) & (table[along] > 0)] for table in (self.own, self.beside.trajectories)
        )
        sound = theirs[theirs["fault"].isna()]
        means = {
            str(model): part.groupby("step").agg(at=(along, "first"), value=("value", "mean"))
            for (model,), part in parts(sound, "model")
        }
        trials = [part.sort_values("step") for _, part in parts(own, "trial")]
        return trials, means, theirs[theirs["fault"].notna()]


@dataclass(frozen=True)
class Findings:
    """summary: in sentences, the first on what was tried; remarks: what could not be said, and why.

    headings, rows: the results by budget, as text. tables: all that are written as files. failures: lines on faults,
    failed trials and measurements that lack; stopped: trials that a rule ended. record: ``sweep.json``.
    """

    title: str
    summary: tuple[str, ...]
    remarks: tuple[str, ...]
    headings: list[str]
    rows: list[list[str]]
    values: Values
    diagrams: list[Bars]
    analysis: Analysis
    tables: tuple[Table, ...]
    cost: pd.DataFrame
    candidates: pd.DataFrame
    failures: tuple[str, ...]
    stopped: tuple[str, ...]
    compared: Compared | None
    record: dict[str, Any]

    def table(self, name: str) -> Table | None:
        return next((one for one in self.tables if one.name == name), None)


def gather(store: Store, frame: pd.DataFrame, analysis: Analysis, beside: Beside | None = None) -> Findings:
    """frame: of :func:`orchestrator.results.collect`, analysis: of it."""
    record = store.read_sweep()
    assert record is not None, "a report is made of a store with a sweep.json"
    ends = results.ends(store)
    values = Values.of(frame, ends)
    final = results.at_budget(store, frame)
    summary = results.by_budget(final) if not final.empty else final
    headings, rows = results.as_text(summary) if not final.empty else ([], [])
    trials = store.trial_ids()
    tried = words.tried(
        record,
        trials=len(trials),
        done=len(ends),
        checkpoints=_checkpoints(frame),
        values=len(frame),
    )
    cost = tables.costs(store)
    searched = record["sweep"].get("search", "grid") != "grid" and not final.empty
    candidates = tables.candidates(final) if searched else final.iloc[:0]
    first = [
        *([Table("by_budget", "Results by budget", tables.of_budgets(summary))] if rows else []),
        *([Table("cost", "Cost", cost)] if not cost.empty else []),
        *([Table("candidates", "Candidates of the search", candidates)] if searched else []),
    ]
    compared = _compared(frame, final, beside) if beside and not final.empty else None
    return Findings(
        title=f"Sweep {record['space']}",
        summary=(tried, *words.found(final, analysis), *_cost_in_words(cost)),
        remarks=analysis.remarks,
        headings=headings,
        rows=rows,
        values=values,
        diagrams=barcodes.kept(store, values),
        analysis=analysis,
        tables=(*first, *tables.of_analysis(analysis), *([compared.table] if compared else [])),
        cost=cost,
        candidates=candidates,
        failures=tuple(_failures(store, frame)),
        stopped=tuple(results.stopped_lines(store)),
        compared=compared,
        record=record,
    )


def _checkpoints(frame: pd.DataFrame) -> int:
    trials = pd.factorize(frame["trial"])[0].astype("int64")
    return int(pd.unique(trials * (1 + int(frame["step"].max())) + frame["step"].to_numpy()).size) if len(frame) else 0


def _cost_in_words(cost: pd.DataFrame) -> list[str]:
    if cost.empty:
        return []
    asked, spent, saved, seconds = (float(cost[name].sum()) for name in ("asked", "spent", "saved", "seconds"))
    said = f"Budgets of {asked:.3g} FLOPs were asked for, {spent:.3g} spent"
    said += f" and {saved:.3g} ({saved / asked:.0%}) taken over from other trials" if saved else ""
    return [f"{said}, in {_duration(seconds)} of trials on {', '.join(sorted(set(cost['device']))) or 'no device'}."]


def _duration(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} seconds"


def _compared(frame: pd.DataFrame, final: pd.DataFrame, beside: Beside) -> Compared:
    found = comparison.compare(final, beside)
    both = tuple(dict.fromkeys(found["metric"])) if not found.empty else ()
    own = results.trajectories(frame[frame["metric"].isin(both)])
    table = pd.DataFrame(comparison.cells(found), columns=comparison.headings(beside), dtype=object)
    return Compared(beside, own, both, Table("beside", comparison.title(beside), table))


def _failures(store: Store, frame: pd.DataFrame) -> list[str]:
    faults = results.fault_lines(store) if frame["fault"].notna().any() else []
    lines = [*faults, *store.damage.values()]
    for trial_id in store.trial_ids():
        status = store.read_status(trial_id)
        if status is not None and status.state == "failed":
            lines.append(f"{trial_id} failed; its last good step is {status.step}: {status.reason}")
    missing = frame[(frame["status"] != "ok") & (frame["fault"] != "missing")]
    for (metric, status_, reason), rows in missing.groupby(["metric", "status", "reason"], dropna=False):
        lines.append(f"{metric}: {status_} on {len(rows):,} values ({str(reason).strip().splitlines()[-1]})")
    return lines
