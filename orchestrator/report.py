"""report.html: one self-contained page with the table by budget, figures, failures and provenance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator import comparison, curves, results
from orchestrator.comparison import Beside
from orchestrator.store import REPORT, Store


def write(store: Store, frame: pd.DataFrame, beside: Beside | None = None) -> None:
    """Write ``report.html`` from the rows of :func:`orchestrator.results.collect`, ``beside`` another store."""
    import jinja2

    template = (Path(__file__).parent / "templates" / "report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    page = environment.from_string(template).render(_content(store, frame, beside))
    store.root.write(REPORT, page.encode())


def _content(store: Store, frame: pd.DataFrame, beside: Beside | None) -> dict[str, Any]:
    sweep = store.read_sweep()
    assert sweep is not None, "a report is made of a store with a sweep.json"
    final = results.at_budget(store, frame)
    measured = results.newest(frame).dropna(subset="value")
    headings, rows = results.as_text(results.by_budget(final)) if not final.empty else ([], [])
    return {
        "title": f"Sweep {sweep['space']}",
        "summary": _summary(store, frame, sweep),
        "headings": headings,
        "rows": rows,
        "figures": curves.figures(measured, final) if not final.empty else [],
        "comparison": beside and comparison.section(final, results.trajectories(frame), beside),
        "failures": _failures(store, frame),
        "spec": json.dumps(sweep, indent=1, ensure_ascii=False),
    }


def _summary(store: Store, frame: pd.DataFrame, sweep: dict[str, Any]) -> str:
    states = [store.read_status(trial_id) for trial_id in store.trial_ids()]
    done = sum(status is not None and status.state == "done" for status in states)
    checkpoints = frame.groupby("trial")["step"].nunique().sum() if not frame.empty else 0
    axes = sweep["sweep"]
    tried = f"{len(axes['seeds'])} seeds; {len(axes['budgets'])} budgets"
    if axes.get("checkpoints"):
        tried = f"published checkpoints {', '.join(axes['checkpoints'])}"
    return (
        f"{done} of {len(states)} trials are done ({', '.join(axes['model'])}; {tried}); {checkpoints} checkpoints "
        f"were measured, {len(frame):,} values. Corpus: {sweep['corpus_fingerprint']}. "
        f"Device: {sweep['provenance'].get('device')}."
    )


def _failures(store: Store, frame: pd.DataFrame) -> list[str]:
    lines = [*results.fault_lines(store), *store.damage.values()]
    for trial_id in store.trial_ids():
        status = store.read_status(trial_id)
        if status is not None and status.state == "failed":
            lines.append(f"{trial_id} failed; its last good step is {status.step}: {status.reason}")
    missing = frame[(frame["status"] != "ok") & (frame["fault"] != "missing")]
    for (metric, status, reason), rows in missing.groupby(["metric", "status", "reason"], dropna=False):
        lines.append(f"{metric}: {status} on {len(rows)} values ({str(reason).strip().splitlines()[-1]})")
    return lines
