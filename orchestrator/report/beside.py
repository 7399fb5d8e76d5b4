"""The sweep beside another store: its trials, and the other's models, along tokens or FLOPs."""

from __future__ import annotations

from orchestrator.report.charts import Chart, Control, Panel, Trace, axis, colour, crosses, key, line, thin
from orchestrator.report.curves import LINES
from orchestrator.report.findings import Compared
from orchestrator.report.series import AXES, thinned
from orchestrator.results import HEADLINES


def panel(compared: Compared) -> Panel | None:
    """A frame for each metric that both have."""
    if not compared.metrics:
        return None
    frames = {key(place): _traces(compared, metric) for place, metric in enumerate(compared.metrics)}
    layout = {"xaxis": axis(AXES[compared.beside.by], log=True), "yaxis": axis("")}
    names = [HEADLINES[metric] for metric in compared.metrics]
    titles = {key(place): {"yaxis": {"title": {"text": name}}} for place, name in enumerate(names)}
    said = (
        "Thin: the sweep's trials. Thick: the other store's models, the mean over seeds. A cross is a checkpoint with "
        "a fault, which is no part of the line."
    )
    return Panel("beside", said, [Chart(frames, layout, titles)], [Control("metric", names)])


def _traces(compared: Compared, metric: str) -> list[Trace]:
    along = compared.beside.by
    trials, means, faulty = compared.lines(metric)
    traces: list[Trace] = [
        thin(trials[at][along], trials[at]["value"], "sweep", str(trials[at]["trial"].iloc[0]), "#7f7f7f")
        for at in thinned(trials, LINES)
    ]
    for place, (model, mean) in enumerate(means.items()):
        traces.append(line(mean["at"].astype(float), mean["value"], model, colour(place)))
    return [*traces, crosses(faulty[along], faulty["value"])] if not faulty.empty else traces
