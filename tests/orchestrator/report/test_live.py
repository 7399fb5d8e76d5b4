"""A genuine process serves the report of a store to this machine alone, and shows what is measured meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator.report import live
from orchestrator.store import Status, Store
from tests import browser, synthetic

ROOT = Path(__file__).parents[3]
PATIENCE_S = 120.0


class Served(NamedTuple):
    store: Store
    port: int
    process: subprocess.Popen[str]

    def ask(self, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()


@contextlib.contextmanager
def serving(store: Store) -> Iterator[Served]:
    command = [sys.executable, "sweep.py", "report", store.uri, "--live"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, **pipes)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("report   http://127.0.0.1:"), process.communicate()
        yield Served(store, int(said.split("/")[2].rpartition(":")[2]), process)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A sweep of two trials, of which one is measured."""
    place = tmp_path_factory.mktemp("live") / "store"
    store = synthetic.write(place, "seeds=0,1", "budgets=5e10", checkpoints=4)
    second = store.trial_ids()[1]
    shutil.move(f"{store.trial(second)}/measurements", place.parent / "measurements")
    store.write_status(second, Status("running", 0, 0.0))
    with serving(store) as served:
        yield served


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_it_serves_the_page_and_what_belongs_to_it(begun: Served) -> None:
    status, headers, page = begun.ask()
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    assert b"1 of 2 trials are done" in page
    assert b'id="live"' in page
    for path, kind in (("/results.parquet", "apache"), ("/tables/by_budget.csv", "csv"), ("/figures/loss.svg", "svg")):
        status, headers, body = begun.ask(path)
        assert (status, kind in headers["Content-Type"], len(body) > 100) == (200, True, True), path
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_head_tells_the_tag_alone_and_a_known_one_is_not_sent_again(begun: Served) -> None:
    begun.ask()
    status, headers, body = begun.ask(method="HEAD")
    assert (status, body) == (200, b"")
    status, _, body = begun.ask(**{"If-None-Match": headers["ETag"]})
    assert (status, body) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        *("/sweep.json", "/trials", "/figures/", "/figures", "/tables/../sweep.json", "/../tokens", "//etc/passwd"),
        *("/figures/..%2Fsweep.json", "/tables/nothing.csv", "/tables//etc/passwd", "/.lease.json"),
    ],
)
def test_nothing_else_is_served(begun: Served, path: str) -> None:
    assert begun.ask(path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:80", "", "[::1]:80"])
def test_a_name_of_elsewhere_is_refused(begun: Served, host: str) -> None:
    status, _, body = begun.ask(Host=host)
    assert status == 403
    assert b"trials" not in body
    assert begun.ask(Host=f"localhost:{begun.port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_looking_is_allowed(begun: Served, method: str) -> None:
    assert begun.ask(method=method)[0] == 501


def test_it_listens_on_this_machine_alone(begun: Served) -> None:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == begun.port]
    assert listening == [f"0100007F:{begun.port:04X}"]


@pytest.mark.chromium
def test_the_page_changes_when_something_is_measured_and_the_reader_stays_where_they_are(begun: Served) -> None:
    second = begun.store.trial_ids()[1]
    complaints: list[str] = []
    with browser.page(complaints) as page:
        page.goto(f"http://127.0.0.1:{begun.port}/")
        browser.wait_for(page, "document.documentElement.dataset.drawn")
        page.locator("[data-panel=layers] select").first.select_option(label="twonn_dimension")
        page.evaluate("scrollTo(0, 900)")
        page.wait_for_timeout(4500)  # it asks every two seconds, and knows the tag once it has asked
        shutil.copytree(
            Path(begun.store.root.path).parent / "measurements", f"{begun.store.trial(second)}/measurements"
        )
        begun.store.write_status(second, Status("done", begun.store.read_trial(second).steps, 1.0))
        browser.wait_for(page, "document.body.textContent.includes('2 of 2 trials are done')")
        browser.wait_for(page, "document.documentElement.dataset.drawn")
        assert page.evaluate("document.querySelector('[data-panel=layers] .ytitle').textContent") == "twonn_dimension"
        assert abs(page.evaluate("scrollY") - 900) < 5
    assert complaints == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_quietly(begun: Served, number: signal.Signals) -> None:
    with serving(begun.store) as served:
        served.ask(method="HEAD")
        served.process.send_signal(number)
        out, errors = served.process.communicate(timeout=PATIENCE_S)
        assert (served.process.returncode, out, errors) == (0, "", "")


def test_a_store_where_nothing_is_measured_yet(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path / "store", "seeds=0", "budgets=5e10", checkpoints=2, pictures=False)
    (trial,) = store.trial_ids()
    store.trial(trial).delete("measurements")
    store.trial(trial).delete("status.json")
    page, tag = live.Live(store, None).current()
    assert b"nothing is measured yet" in page
    assert tag


def test_the_fingerprint_changes_with_what_is_measured(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path / "store", "seeds=0", "budgets=5e10", checkpoints=2, pictures=False)
    before = live.fingerprint(store)
    assert live.fingerprint(store) == before
    (trial,) = store.trial_ids()
    store.forget_skipped(trial, 0, [])
    assert live.fingerprint(store) == before
    one = {
        "metric": "a",
        "version": 1,
        "status": "ok",
        "reason": None,
        "seconds": 0.1,
        "values": [["a", None, 1.0, None]],
    }
    store.add_measurements(trial, 0, [one])
    assert live.fingerprint(store) != before
