"""Disturbs real sweeps in every way this program promises to bear, and compares them with an undisturbed one.

After each scenario one more ``sweep.py run`` has to finish, with the same rows and the same bits, and nothing left
over: no process, temporary file, or lease. Exit code 0 where all promises were kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.runs import ChaosError, Outcome, Place, mounted, require, states, undisturbed
from tests.chaos.scenarios import SCENARIOS, SETTINGS, SHORT, Context, Scenario

COLUMNS = ("fault", "faults", "sweeps", "rows compared", "MB of weights compared", "seconds")


@dataclass(frozen=True)
class Row:
    kind: str
    faults: int
    sweeps: int
    rows: int
    bytes: int
    seconds: float
    broken: str = ""

    def cells(self) -> tuple[str, ...]:
        numbers = (self.faults, self.sweeps, self.rows)
        return (self.kind, *(f"{one:,}" for one in numbers), f"{self.bytes / 1e6:,.0f}", f"{self.seconds:,.0f}")


class References:
    """The undisturbed sweep of each settings, run once, when it is wanted first."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.known: dict[tuple[str, ...], tuple[Path, Outcome]] = {}

    def of(self, settings: tuple[str, ...]) -> tuple[Path, Outcome]:
        if settings not in self.known:
            place = Place(self.base / f"r{len(self.known)}", settings)
            outcome = undisturbed(place)
            require(not place.leftovers(), f"an undisturbed sweep leaves {place.leftovers()}")
            self.known[settings] = place.results, outcome
        return self.known[settings]


def play(scenario: Scenario, count: int, seed: int, base: Path, references: References) -> Row:
    """Run a scenario, and one more sweep; a row of the table, which says what was broken."""
    finished, reference = references.of(scenario.settings)
    place = Place(Path(tempfile.mkdtemp(prefix="s", dir=base)), scenario.settings)
    began = time.monotonic()
    faults, rows, size, broken = 0, 0, 0, ""
    context = Context(place, random.Random(f"{seed} {scenario.kind}"), finished)
    try:
        if scenario.root:
            with mounted(place, "-t", "tmpfs", "tmpfs"):
                faults, rows, size = _disturb_and_finish(scenario, context, count, reference)
        else:
            faults, rows, size = _disturb_and_finish(scenario, context, count, reference)
    except (ChaosError, AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
        broken = f"{type(error).__name__}: {error}"
    finally:
        place.kill_all()
    row = Row(scenario.kind, faults, len(place.runs), rows, size, time.monotonic() - began, broken)
    if not broken:
        shutil.rmtree(place.folder)
    return row


def _disturb_and_finish(scenario: Scenario, context: Context, count: int, reference: Outcome) -> tuple[int, int, int]:
    place = context.place
    faults = scenario.disturb(context, count)
    require(faults > 0 or not count, "no fault could be injected before the sweep was done")
    place.start().end(0)
    outcome = Outcome.of(place.store)
    outcome.require_equal(reference)
    require(set(states(place)) == {"done"}, f"trials are {states(place)}")
    left = place.leftovers()
    require(not left, f"left over: {left}")
    return faults, len(outcome.table), outcome.bytes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a selection that takes a few minutes")
    parser.add_argument("--only", metavar="WORD", nargs="+", default=[""], help="kinds of faults with a word in them")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments [0]")
    options = parser.parse_args()
    chosen = [one for one in SCENARIOS if one.quick or not options.quick]
    chosen = [one for one in chosen if any(word in one.kind for word in options.only)]
    if options.quick:
        chosen = [dataclasses.replace(one, settings=SHORT) if one.settings is SETTINGS else one for one in chosen]
    base = Path(tempfile.mkdtemp(prefix="tsc-"))
    references, rows = References(base), []
    for scenario in chosen:
        if scenario.root and os.geteuid() != 0:
            print(f"skipped, needs root: {scenario.kind}", flush=True)
            continue
        count = scenario.quick if options.quick else scenario.faults
        row = play(scenario, count, options.seed, base, references)
        rows.append(row)
        print(f"{'BROKEN' if row.broken else 'kept':7}{row.kind}: {row.faults} faults, {row.seconds:.0f} s", flush=True)
        if row.broken:
            print(f"{row.broken}\n(kept in {base})", flush=True)
    print_table(rows)
    broken = any(row.broken for row in rows)
    if not broken:
        shutil.rmtree(base)
    return int(broken)


def print_table(rows: Sequence[Row]) -> None:
    """In Markdown."""
    print("\n| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for row in rows:
        print(f"| {' | '.join(row.cells())} |")
    total = Row(
        f"{sum(row.faults > 0 for row in rows)} kinds",
        *(sum(getattr(row, name) for row in rows) for name in ("faults", "sweeps", "rows", "bytes", "seconds")),
    )
    print(f"| **{'** | **'.join(total.cells())}** |")


if __name__ == "__main__":
    sys.exit(main())
