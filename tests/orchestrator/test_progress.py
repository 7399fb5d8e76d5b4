import io

import pytest
from rich.console import Console

from orchestrator.progress import Counts, Display, Rate, clock

COUNTS = Counts(
    trials=12,
    done=3,
    running=2,
    failed=1,
    tokens=5000,
    tokens_total=20000,
    fetched=0,
    fetches_total=0,
    evaluations=7,
    evaluations_total=102,
    evaluations_queued=4,
)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (90000, "25:00:00")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_time_left_is_what_is_left_at_the_rate_so_far() -> None:
    rate = Rate()
    assert rate.seconds_left(10.0, 0, 100) is None
    assert rate.seconds_left(20.0, 10, 100) is None  # the first units set the clock
    assert rate.seconds_left(30.0, 30, 100) == pytest.approx(70 / 2)


@pytest.mark.parametrize("terminal", [False, True])
def test_shows_trials_tokens_and_evaluations(terminal: bool) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120, color_system=None)
    with Display(console) as display:
        display.update(COUNTS)
    shown = text.getvalue()
    for part in ("3/12 done, 2 running, 1 failed", "tokens/s", "7/102, 4 queued"):
        assert part in shown


def test_a_plain_log_is_not_flooded() -> None:
    text = io.StringIO()
    with Display(Console(file=text, width=160)) as display:
        for _ in range(50):
            display.update(COUNTS)
    assert len(text.getvalue().splitlines()) == 1
