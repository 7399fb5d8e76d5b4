"""What is wrong in an sbatch script that runs a sweep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.problem import Problem

WARNING_S = 60  # 20 s for trials to save, and as much again for Ray to end on all nodes


@dataclass(frozen=True)
class _Needed:
    """pattern: what one line of the script has to match."""

    field: str
    pattern: str
    what: str
    mend: str


_NEEDED = (
    _Needed(
        "#SBATCH --requeue",
        r"#SBATCH\s+--requeue\b",
        "a preempted job would not come back",
        "#SBATCH --requeue",
    ),
    _Needed(
        "#SBATCH --exclusive",
        r"#SBATCH\s+--exclusive(\s|$)",
        "symmetric-run refuses a node with another Ray, and at its end stops every Ray of yours on its nodes",
        "#SBATCH --exclusive",
    ),
    _Needed(
        "#SBATCH --signal",
        r"#SBATCH\s+--signal=B:(TERM|INT|SIGTERM|SIGINT|15|2)@\d+",
        "the job ends without a warning, and trials lose what came after their last checkpoints",
        "#SBATCH --signal=B:TERM@120",
    ),
    _Needed(
        "trap",
        r"\s*trap\s+\S.*\b(SIG)?(TERM|INT)\b",
        "the warning ends this script, and not the sweep",
        "a trap that sends SIGTERM to sweep.py",
    ),
    _Needed(
        "RAY_AUTH_MODE",
        r"\s*export\s+(\S+=\S*\s+)*RAY_AUTH_MODE=[\"']?token\b",
        "every user of these nodes can run code as you",
        "export RAY_AUTH_MODE=token",
    ),
    _Needed(
        "TOPOSWEEP_RESULTS",
        r"\s*export\s+(\S+=\S*\s+)*TOPOSWEEP_RESULTS=[^\s#]",
        "the store would be in a folder of one node",
        "export TOPOSWEEP_RESULTS=a folder that all nodes see",
    ),
    _Needed(
        "ray symmetric-run",
        r".*\bray symmetric-run\b",
        "nothing starts Ray on all nodes",
        "srun ray symmetric-run --address ADDRESS --min-nodes NODES -- COMMAND",
    ),
)


def problems(text: str) -> Iterator[Problem]:
    """What is missing is named at line 1, what is there and wrong at its own line."""
    code = [(number, _without_comment(line)) for number, line in enumerate(text.splitlines(), 1)]
    for needed in _NEEDED:
        if not any(re.match(needed.pattern, line) for _, line in code):
            yield Problem(_nearest(code, needed.field), needed.field, needed.what, needed.mend)
    for number, line in code:
        if "0.0.0.0" in line:
            yield Problem(number, "0.0.0.0", "this opens Ray to every network", "leave the option out")
        warning = re.match(r"#SBATCH\s+--signal=B:\w+@(\d+)", line)
        if warning and int(warning[1]) < WARNING_S:
            what = f"{warning[1]} s are too few for trials to save and Ray to end"
            yield Problem(number, "#SBATCH --signal", what, "#SBATCH --signal=B:TERM@120")


def _without_comment(line: str) -> str:
    if line.startswith("#") and not line.startswith("#SBATCH"):
        return ""
    return re.sub(r"\s#.*", "", line)


def _nearest(code: list[tuple[int, str]], field: str) -> int:
    """The line that has the field, but not as it has to be; else 1."""
    return next((number for number, line in code if field in line), 1)
