"""One page that needs nothing else, in a genuine Chromium: drawn, chosen from, filtered, dark, narrow and printed."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import gzip
import json
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Page

from orchestrator import results
from orchestrator.analysis import Analysis, analyse
from orchestrator.comparison import Beside
from orchestrator.report import findings, page
from orchestrator.report.findings import Findings
from orchestrator.report.series import Values
from orchestrator.report.tables import Table
from orchestrator.store import Status, Store
from tests import browser

EVIL = "</script><script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"


class Read(HTMLParser):
    """Text, tags and outside references of a page."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.references: list[str] = []
        self.feed(html.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value for key, value in attrs if key in ("src", "href") and value and value[0] != "#"]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def data(html: bytes) -> dict[str, Any]:
    """What the charts of a page are made of."""
    packed = re.search(rb'id="data">([A-Za-z0-9+/=]*)</script>', html)
    assert packed is not None
    return dict(json.loads(gzip.decompress(base64.b64decode(packed[1]))))


@pytest.fixture(scope="module")
def html(found: Findings) -> bytes:
    return page.render(found)


def test_it_links_to_its_own_store_alone(html: bytes) -> None:
    references = set(Read(html).references)
    assert {"results.parquet", "report.md", "figures/", "tables/effects.csv", "tables/effects.parquet"} <= references
    assert all(re.match(r"(tables/|figures/|results\.parquet$|report\.md$|data:,$)", one) for one in references)


def test_the_same_findings_give_the_same_page(found: Findings, html: bytes) -> None:
    assert page.render(found) == html


def test_every_frame_is_what_plotly_takes(html: bytes) -> None:
    import plotly.graph_objects as go

    panels = data(html)["panels"]
    assert {one["name"] for one in panels} >= {"loss", "layers", "heat", "diagrams", "seeds", "effects", "correlations"}
    for panel in panels:
        for chart in panel["charts"]:
            frames = list(chart["frames"].items())
            for name, traces in frames[:: max(1, len(frames) // 12)]:
                go.Figure(traces, chart["layout"])
                go.Figure([], chart["layouts"].get(name, {}))


def test_options_lead_to_frames(html: bytes) -> None:
    for panel in data(html)["panels"]:
        keys = {key for chart in panel["charts"] for key in chart["frames"]}
        for place, control in enumerate(panel["controls"]):
            used = {int(key.split(".")[place]) for key in keys}
            if control["by"] is None:
                assert used == set(range(len(control["options"]))), (panel["name"], control["label"])


def test_what_comes_from_a_sweep_is_text(found: Findings) -> None:
    table = Table("effects", EVIL, pd.DataFrame({"metric": [EVIL], "layer": [None]}))
    evil = dataclasses.replace(
        found, title=EVIL, failures=(EVIL,), summary=(EVIL,), tables=(table,), record={"a": EVIL}
    )
    html = page.render(evil)
    assert EVIL.encode() not in html
    assert Read(html).tags.count("script") == 3
    assert "img" not in Read(html).tags
    assert data(html)["tables"]["effects"]["columns"][0] == [EVIL]


# --- In a browser -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def shown(path: Path, **options: Any) -> Iterator[Page]:
    """The page from disk, all drawn; nothing may complain, and nothing but files be asked for."""
    complaints: list[str] = []
    requests: list[str] = []
    with browser.page(complaints, **options) as found:
        found.on("request", lambda one: requests.append(one.url))
        found.goto(path.as_uri())
        browser.wait_for(found, "document.documentElement.dataset.drawn")
        yield found
    assert complaints == []
    assert [one for one in requests if not one.startswith(("file:", "data:", "blob:"))] == []


@pytest.fixture(scope="module")
def path(html: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page alone in a folder."""
    place = tmp_path_factory.mktemp("page") / "report.html"
    place.write_bytes(html)
    return place


def points(found: Page) -> dict[str, int]:
    """How many marks each chart has drawn: points, cells of images, bars."""
    script = """() => Object.fromEntries([...document.querySelectorAll('[data-panel]')].map((panel) => [
        panel.dataset.panel,
        [...panel.querySelectorAll('.chart')].map((chart) => chart.querySelectorAll(
            '.scatterlayer path, .heatmaplayer image, .barlayer path').length).reduce((a, b) => Math.min(a, b))]))"""
    return dict(found.evaluate(script))


@pytest.mark.chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_every_chart_is_drawn_at_any_width(path: Path, tmp_path: Path, width: int, scheme: str) -> None:
    with shown(path, width=width, color_scheme=scheme) as found:
        drawn = points(found)
        assert len(drawn) >= 8
        assert min(drawn.values()) >= 1, drawn
        assert drawn["loss"] > 20
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert found.evaluate(wider) == 0
        browser.keep_screenshot(found, f"report-{width}-{scheme}", tmp_path, full_page=True)


@pytest.mark.chromium
def test_a_finished_sweep_is_drawn_from_disk(finished: Path, tmp_path: Path) -> None:
    with shown(finished / "report.html") as found:
        assert min(points(found).values()) >= 1
        assert "4 of 4 trials are done" in found.inner_text("#summary")
        browser.keep_screenshot(found, "report-finished", tmp_path, full_page=True)


def chart(found: Page, panel: str, what: str, place: int = 0) -> Any:
    """Something of a chart's data, as plotly has it."""
    return found.evaluate(f"document.querySelectorAll('[data-panel={panel}] .chart')[{place}].{what}")


@pytest.mark.chromium
def test_controls_choose_what_is_shown(path: Path) -> None:
    with shown(path) as found:
        slider = found.locator("[data-panel=diagrams] input[type=range]")
        assert found.locator("[data-panel=diagrams] output").inner_text() == slider.evaluate(
            "(one) => JSON.stringify(one.nextElementSibling.textContent).slice(1, -1)"
        )
        before = [chart(found, "diagrams", "data[1].y", place) for place in (0, 1)]
        said = found.locator("[data-panel=diagrams] output").inner_text()
        slider.press("ArrowLeft")
        browser.wait_for(found, f"document.querySelector('[data-panel=diagrams] output').textContent !== {said!r}")
        after = [chart(found, "diagrams", "data[1].y", place) for place in (0, 1)]
        assert before[0] != after[0]
        assert chart(found, "diagrams", "data[1].x", 1) is not None
        layers = chart(found, "layers", "data[1].y")
        found.locator("[data-panel=layers] select").first.select_option(label="twonn_dimension")
        browser.wait_for(
            found, "document.querySelector('[data-panel=layers] .ytitle').textContent === 'twonn_dimension'"
        )
        assert chart(found, "layers", "data[1].y") != layers
        heat = chart(found, "heat", "data[0].z")
        found.locator("[data-panel=heat] select").nth(1).select_option(index=1)
        found.wait_for_timeout(300)
        assert chart(found, "heat", "data[0].z") != heat


@pytest.mark.chromium
def test_tables_are_filtered_sorted_and_downloaded(path: Path, found: Findings, tmp_path: Path) -> None:
    effects = found.table("effects")
    assert effects is not None
    with shown(path, accept_downloads=True) as opened:
        table = opened.locator("[data-table=effects]")
        assert table.locator("tbody tr").count() == 20
        table.locator("input[type=search]").fill("twonn")
        count = (effects.frame["metric"] == "twonn_dimension").sum()
        assert table.locator("tbody tr").count() == min(count, 20)
        assert all("twonn_dimension" in row for row in table.locator("tbody tr").all_inner_texts())
        table.locator("select").select_option(label="layer 2")
        assert table.locator("tbody tr").count() == 4  # of 2 models x 2 variants
        heading = table.locator("th", has_text="per tenfold")
        place = effects.headings.index("per tenfold FLOPs")
        heading.click()
        shown_ = [float(row.split("\t")[place]) for row in table.locator("tbody tr").all_inner_texts()]
        assert shown_ == sorted(shown_)
        heading.click()
        again = [float(row.split("\t")[place]) for row in table.locator("tbody tr").all_inner_texts()]
        assert again == shown_[::-1]
        with opened.expect_download() as download:
            opened.locator("[data-csv=effects]").click()
        download.value.save_as(tmp_path / "effects.csv")
    got = pd.read_csv(tmp_path / "effects.csv", keep_default_na=False, na_values=[""])
    assert list(got.columns) == list(effects.frame.columns)
    assert list(got["per_decade"]) == pytest.approx(list(effects.frame["per_decade"].astype(float)), rel=1e-5)


@pytest.mark.chromium
def test_light_and_dark_can_be_chosen_and_charts_follow(path: Path) -> None:
    ink = "getComputedStyle(document.querySelector('[data-panel=loss] .xtitle')).fill"
    paper = "getComputedStyle(document.body).backgroundColor"
    with shown(path, color_scheme="light") as found:
        light = found.evaluate(f"[{ink}, {paper}]")
        found.click("#theme")
        browser.wait_for(found, f"{ink} !== {light[0]!r}")
        dark = found.evaluate(f"[{ink}, {paper}]")
        assert light[1] == "rgb(255, 255, 255)"
        assert dark == ["rgb(230, 232, 235)", "rgb(20, 23, 26)"]
    with shown(path, color_scheme="dark") as found:
        assert found.evaluate(f"[{ink}, {paper}]") == dark
        found.click("#theme")
        browser.wait_for(found, f"{paper} === {light[1]!r}")


@pytest.mark.chromium
def test_on_paper_it_is_black_on_white(path: Path, tmp_path: Path) -> None:
    with shown(path, color_scheme="dark") as found:
        found.emulate_media(media="print")
        browser.wait_for(
            found, "getComputedStyle(document.querySelector('[data-panel=loss] .xtitle')).fill === 'rgb(0, 0, 0)'"
        )
        assert found.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not found.locator("#theme").is_visible()
        assert not found.locator("nav").is_visible()
        browser.keep_screenshot(found, "report-print", tmp_path, full_page=True)


@pytest.mark.chromium
def test_a_hostile_sweep_does_nothing_in_a_browser(found: Findings, tmp_path: Path) -> None:
    table = Table("effects", EVIL, pd.DataFrame({"metric": [EVIL] * 8, "layer": [None] * 8}))
    evil = dataclasses.replace(
        found, title=EVIL, failures=(EVIL,), summary=(EVIL,), tables=(table,), record={"a": EVIL}
    )
    (tmp_path / "report.html").write_bytes(page.render(evil))
    with shown(tmp_path / "report.html") as opened:
        assert EVIL in opened.inner_text("[data-table=effects] tbody")
        assert opened.evaluate("window.hurt") is None


@pytest.mark.chromium
def test_published_checkpoints_and_a_comparison_are_drawn(
    store: Store, frame: pd.DataFrame, nothing: Analysis, published: Callable[..., pd.DataFrame], tmp_path: Path
) -> None:
    found = findings.gather(store, frame, nothing, Beside("other", results.trajectories(frame), "tokens", EVIL))
    found = dataclasses.replace(found, values=Values.of(published(2), {}))
    (tmp_path / "report.html").write_bytes(page.render(found))
    with shown(tmp_path / "report.html") as opened:
        drawn = points(opened)
        assert min(drawn.values()) >= 1
        assert set(drawn) >= {"loss", "layers", "heat", "beside"}
        assert chart(opened, "loss", "data.at(-1).marker.symbol") == "x"
        assert "Beside other, by tokens" in opened.inner_text("#beside")
        browser.keep_screenshot(opened, "report-published", tmp_path, full_page=True)


@pytest.mark.chromium
def test_a_sweep_that_has_only_begun_has_a_page(store: Store, tmp_path: Path) -> None:
    copy = Store.open(str(shutil.copytree(store.root.path, tmp_path / "store")))
    for trial in copy.trial_ids():
        copy.trial(trial).delete("measurements")
        copy.write_status(trial, Status("running", 0, 0.0))
    frame = results.collect(copy)
    found = findings.gather(copy, frame, analyse(frame, {}))
    (tmp_path / "report.html").write_bytes(page.render(found))
    with shown(tmp_path / "report.html") as opened:
        assert "nothing is measured yet" in opened.inner_text("#summary")
        assert "No trial is done yet." in opened.inner_text("#by-budget")
