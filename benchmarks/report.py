"""How long ``sweep.py report`` takes, and how large its page is, on a store of any size that nothing was trained for.

    python benchmarks/report.py [TRIALS CHECKPOINTS]

Writes the store with every metric of the quickstart (360 values a checkpoint), which takes a minute for the 1,000
trials x 20 checkpoints that are the default, and prints the seconds of each part and of the whole command.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from orchestrator import results  # noqa: E402
from orchestrator.analysis import analyse  # noqa: E402
from orchestrator.report import findings, markdown, page, paper, tables  # noqa: E402
from orchestrator.store import Store  # noqa: E402
from tests import synthetic  # noqa: E402

SEEDS, VARIANTS = 10, ("plain", "batch_size=4", "learning_rate=2e-3", "warmup=0.02", "weight_decay=0")
T = TypeVar("T")


def timed(what: str, action: Callable[[], T]) -> T:
    began = time.perf_counter()
    found = action()
    print(f"{what:24} {time.perf_counter() - began:6.1f} s", flush=True)
    return found


def written(folder: Path, trials: int, checkpoints: int) -> Store:
    variants = VARIANTS[: max(1, min(len(VARIANTS), trials // SEEDS))]
    budgets = [f"{2e11 * 1.25**k:.3g}" for k in range(max(1, trials // (SEEDS * len(variants))))]
    seeds = ",".join(map(str, range(min(SEEDS, trials))))
    settings = (f"seeds={seeds}", f"budgets={','.join(budgets)}", f"variants={','.join(variants)}")
    return synthetic.write(folder / "store", *settings, checkpoints=checkpoints, pictures=False)


def main() -> None:
    trials, checkpoints = map(int, sys.argv[1:3]) if len(sys.argv) > 2 else (1000, 20)
    with tempfile.TemporaryDirectory() as folder:
        store = timed("(writing the store)", lambda: written(Path(folder), trials, checkpoints))
        frame = timed("results.collect", lambda: results.collect(store))
        print(f"{len(store.trial_ids()):,} trials, {len(frame):,} values")
        timed("results.write", lambda: results.write(store, frame))
        analysis = timed("analysis.analyse", lambda: analyse(frame, results.ends(store)))
        found = timed("findings.gather", lambda: findings.gather(store, frame, analysis))
        timed("tables", lambda: tables.write(store, list(found.tables)))
        figures = timed("figures", lambda: paper.write(store, found))
        timed("report.md", lambda: markdown.render(found, figures))
        html = timed("report.html", lambda: page.render(found))
        print(f"{len(html):,} bytes")
        command = [sys.executable, "sweep.py", "report", store.uri]
        timed("sweep.py report", lambda: subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL))


if __name__ == "__main__":
    main()
