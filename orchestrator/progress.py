"""Live progress of a sweep: bars on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_INTERVAL_S = 10.0


@dataclass(frozen=True)
class Counts:
    """Where a sweep stands. Tokens, fetched checkpoints and evaluations count from the start of this run."""

    trials: int
    done: int
    running: int
    failed: int
    tokens: int
    tokens_total: int
    fetched: int
    fetches_total: int
    evaluations: int
    evaluations_total: int
    evaluations_queued: int


@dataclass
class Rate:
    """Units per second since the first one, for the time left."""

    began: float | None = None
    first: int = 0

    def seconds_left(self, now: float, count: int, total: int) -> float | None:
        if self.began is None:
            if count > 0:
                self.began, self.first = now, count
            return None
        gained = count - self.first
        return (total - count) * (now - self.began) / gained if gained > 0 and now > self.began else None


@dataclass
class Display:
    """Shows :class:`Counts`; use as a context manager."""

    console: Console
    _tokens: Rate = field(default_factory=Rate)
    _fetches: Rate = field(default_factory=Rate)
    _evaluations: Rate = field(default_factory=Rate)
    _recent: list[tuple[float, int]] = field(default_factory=list)
    _printed: float = 0.0
    _bars: Any = None

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            columns = (TextColumn("{task.description:11}"), BarColumn(bar_width=24), TextColumn("{task.fields[text]}"))
            self._bars = Progress(*columns, console=self.console)
            self._bars.start()
            names = ("trials", "progress", "evaluations")
            self._ids = [self._bars.add_task(name, total=None, text="starting") for name in names]
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def say(self, line: str) -> None:
        """A line above the bars, for what should not be missed."""
        self.console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)

    def update(self, counts: Counts) -> None:
        now = time.time()
        trials, progress, evaluations = self._texts(counts, now)
        work = (counts.fetched, counts.fetches_total) if counts.fetches_total else (counts.tokens, counts.tokens_total)
        if self._bars:
            for task, done, total, text in (
                (self._ids[0], counts.done, counts.trials, trials),
                (self._ids[1], *work, progress),
                (self._ids[2], counts.evaluations, counts.evaluations_total, evaluations),
            ):
                self._bars.update(task, completed=done, total=max(1, total), text=text)
        elif now - self._printed >= PLAIN_INTERVAL_S:
            self._printed = now
            line = f"{time.strftime('%H:%M:%S')} trials {trials} | {progress} | evaluations {evaluations}"
            self.console.print(line, highlight=False)

    def _texts(self, counts: Counts, now: float) -> tuple[str, str, str]:
        self._recent = [*(point for point in self._recent if now - point[0] < 15), (now, counts.tokens)]
        then, before = self._recent[0]
        rate = (counts.tokens - before) / (now - then) if now > then else 0.0
        left = [
            self._tokens.seconds_left(now, counts.tokens, counts.tokens_total),
            self._fetches.seconds_left(now, counts.fetched, counts.fetches_total),
            self._evaluations.seconds_left(now, counts.evaluations, counts.evaluations_total),
        ]
        known = [seconds for seconds in left if seconds is not None]
        trials = f"{counts.done}/{counts.trials} done, {counts.running} running, {counts.failed} failed"
        time_left = f", about {clock(max(known))} left" if known else ""
        evaluated = f"{counts.evaluations}/{counts.evaluations_total}, {counts.evaluations_queued} queued"
        progress = f"{rate:,.0f} tokens/s"
        if counts.fetches_total:
            progress = f"{counts.fetched}/{counts.fetches_total} checkpoints fetched"
        return trials, progress + time_left, evaluated


@contextmanager
def ingestion(console: Console, blocks: int, seq_len: int) -> Iterator[Callable[[int], None]]:
    """Shows how far an ingestion is: gives a function to be told of the blocks packed so far."""
    rate, printed = Rate(), time.time()
    with Progress(
        TextColumn("tokens     "), BarColumn(bar_width=24), TextColumn("{task.fields[text]}"),
        console=console, transient=True, disable=not console.is_terminal,
    ) as bars:  # fmt: skip
        task = bars.add_task("", total=max(1, blocks), text="starting", visible=False)

        def update(done: int) -> None:
            nonlocal printed
            now = time.time()
            left = rate.seconds_left(now, done, blocks)
            time_left = f", about {clock(left)} left" if left is not None and left > 0 else ""
            text = f"{done * seq_len:,}" + (f" of {blocks * seq_len:,}{time_left}" if blocks else "")
            bars.update(task, completed=done, text=text, visible=True)
            if not console.is_terminal and now - printed >= PLAIN_INTERVAL_S:
                printed = now
                console.print(f"{time.strftime('%H:%M:%S')} tokens packed: {text}", highlight=False)

        yield update


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss, hours unbounded."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
