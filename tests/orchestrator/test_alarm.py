from __future__ import annotations

import threading
import time

import pytest

from orchestrator.alarm import Alarm


def test_the_main_thread_ends_with_the_first_error_of_a_watching_thread() -> None:
    alarm = Alarm()

    def watch() -> None:
        alarm.raise_in_main(OSError("the first"))
        alarm.raise_in_main(OSError("the second"))

    began = time.monotonic()
    thread = threading.Timer(0.1, watch)
    thread.start()
    with pytest.raises(OSError, match="the first"), alarm.heard():
        time.sleep(30)
    assert time.monotonic() - began < 20
    thread.join()


def test_an_alarm_that_nobody_hears_any_more_hurts_nobody() -> None:
    alarm = Alarm()
    with alarm.heard():
        pass
    alarm.raise_in_main(OSError("late"))


def test_without_an_alarm_ctrl_c_stays_what_it_is() -> None:
    with pytest.raises(KeyboardInterrupt), Alarm().heard():
        raise KeyboardInterrupt
