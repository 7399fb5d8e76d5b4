import base64
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from orchestrator import report, results
from orchestrator.store import Status, Store


class Page(HTMLParser):
    """Text, tags and outside references of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.references: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value for key, value in attrs if key in ("src", "href") and value and value[0] != "#"]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(store: Path) -> Page:
    return Page((store / "report.html").read_text())


def test_is_one_page_that_needs_nothing_else(finished: Path) -> None:
    html = page(finished)
    assert html.references == []
    assert html.tags.count("svg") == 3
    assert (finished / "report.html").stat().st_size < 5_000_000


def test_shows_every_budget_and_where_the_numbers_are_from(finished: Path) -> None:
    text = " ".join(page(finished).text)
    assert "4 of 4 trials are done" in text
    assert "embedded1-cpython-" in text
    for heading in ("loss", "bits/byte", "H1 total", "TwoNN dim"):
        assert heading in text


def test_names_failures_and_escapes_them(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    store.write_status(store.trial_ids()[0], Status("failed", 3, 1.0, "ValueError: <script>alert(1)</script>"))
    report.write(store, results.collect(store))
    assert "failed; its last good step is 3: ValueError: <script>" in " ".join(page(store_copy).text)
    assert "script" not in page(store_copy).tags


def test_a_store_without_a_finished_trial_has_a_report_too(store_copy: Path) -> None:
    shutil.rmtree(store_copy / "trials")
    store = Store.existing(str(store_copy))
    frame = results.collect(store)
    results.write(store, frame)
    report.write(store, frame)
    assert "No trial is done yet." in " ".join(page(store_copy).text)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_draws_it_without_sideways_scrolling(finished: Path, tmp_path: Path, width: int) -> None:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    probe = tmp_path / "probe.html"
    html = (finished / "report.html").read_text()
    frame = f'<iframe id=f style="width:{width}px;height:800px"></iframe>'
    measure = (
        "<script>f.onload=()=>{const d=f.contentDocument.documentElement;"
        "document.body.append('overflow='+Math.max(0,d.scrollWidth-d.clientWidth))};f.srcdoc=atob('%s')</script>"
    )
    encoded = base64.b64encode(html.encode("ascii", "xmlcharrefreplace")).decode()
    probe.write_text(f"<body>{frame}{measure % encoded}</body>")
    command = ["chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", probe.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "overflow=0" in shown


def test_clouds_without_a_loop_are_reported_too(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    frame = results.collect(store)
    frame.loc[frame["metric"] == "h1_total_persistence_scaled", "value"] = 0.0
    report.write(store, frame)
    assert page(store_copy).tags.count("svg") == 3


def test_without_a_loss_there_is_no_picture_of_it(store_copy: Path) -> None:
    store = Store.existing(str(store_copy))
    frame = results.collect(store)
    report.write(store, frame[~frame["metric"].str.startswith("held_out_loss")])
    html = page(store_copy)
    assert html.tags.count("svg") == 2
    assert not any("against compute" in text and "loss" in text for text in html.text)
