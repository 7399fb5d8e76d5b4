"""The page in a real Chromium."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from orchestrator.report import page
from tests import browser
from tests.orchestrator.report.conftest import Made

POINTS = """(one) => [...one.querySelectorAll('.js-plotly-plot')]
  .flatMap((plot) => plot.data).reduce((sum, trace) => sum + (trace.z ?? trace.x ?? []).length, 0)"""


def _open(opened: Page, path: Path) -> list[str]:
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(path.as_uri())
    opened.locator(".js-plotly-plot").nth(6).wait_for(state="attached", timeout=60_000)
    opened.wait_for_timeout(1000)  # the last ones are being drawn
    return asked


@pytest.fixture(scope="module")
def written(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(page.render(made.found))
    return path


@pytest.fixture(scope="module")
def opened(written: Path) -> Iterator[Page]:
    complaints: list[str] = []
    with browser.page(complaints) as found:
        asked = _open(found, written)
        yield found
        assert complaints == []
        assert all(url.startswith(("file:", "blob:", "data:")) for url in asked)


@pytest.mark.chromium
def test_charts_are_drawn_with_nothing_from_elsewhere(opened: Page, tmp_path: Path) -> None:
    panels = opened.locator("figure[data-panel]")
    names = [panels.nth(place).get_attribute("data-panel") for place in range(panels.count())]
    assert len(names) >= 7
    for place in range(panels.count()):
        panels.nth(place).scroll_into_view_if_needed()
        drawn = panels.nth(place).locator(".js-plotly-plot path, .js-plotly-plot image, .js-plotly-plot canvas")
        drawn.first.wait_for(state="attached")
        assert panels.nth(place).evaluate(POINTS) > 0, names[place]
    assert browser.keep_screenshot(opened, "report-1280", tmp_path, full_page=True).stat().st_size > 50_000


@pytest.mark.chromium
def test_the_step_slider_moves_the_diagram(opened: Page) -> None:
    figure = opened.locator("figure[data-panel]", has=opened.locator("input[type=range]")).first
    slider = figure.locator("input[type=range]")
    data = (
        "(one) => JSON.stringify([...one.querySelectorAll('.js-plotly-plot')].map((plot) => plot.data.map((t) => t.x)))"
    )
    before, step = figure.evaluate(data), figure.locator("output").inner_text()
    slider.evaluate("(one) => { one.value = 0; one.dispatchEvent(new Event('input')); }")
    opened.wait_for_timeout(300)
    assert figure.locator("output").inner_text() != step
    assert figure.evaluate(data) != before


@pytest.mark.chromium
def test_tables_are_filtered_and_downloaded(opened: Page, made: Made) -> None:
    table = opened.locator("[data-table=correlations]")
    table.locator("input[type=search]").fill("twonn_dimension")
    shown = table.locator("tbody tr")
    assert 0 < shown.count() <= (made.analysis.correlations["metric"] == "twonn_dimension").sum()
    assert all("twonn_dimension" in shown.nth(place).inner_text() for place in range(shown.count()))
    table.locator("input[type=search]").fill("")
    with opened.expect_download() as download:
        opened.locator("[data-csv=effects]").click()
    assert len(Path(download.value.path()).read_text().splitlines()) == len(made.analysis.effects) + 1


@pytest.mark.chromium
def test_light_and_dark(opened: Page) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    before = opened.evaluate(colour)
    opened.locator("#theme").click()
    assert opened.evaluate(colour) != before
    opened.locator("#theme").click()
    assert opened.evaluate(colour) == before


@pytest.mark.chromium
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_reaches_over_the_side(opened: Page, width: int, tmp_path: Path) -> None:
    opened.set_viewport_size({"width": width, "height": 900})
    opened.emulate_media(color_scheme="dark")
    opened.wait_for_timeout(500)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    browser.keep_screenshot(opened, f"report-dark-{width}", tmp_path, full_page=True)
    opened.emulate_media(media="print")
    assert not opened.locator("#theme").is_visible()
    opened.emulate_media(media="screen", color_scheme="light")
    opened.set_viewport_size({"width": 1280, "height": 900})


def test_what_is_packed_is_what_was_there_and_cannot_end_its_script(made: Made) -> None:
    data = "</script><b>ü".encode()
    text = page.packed(data)
    assert gzip.decompress(base64.b64decode(text)) == data
    html = page.render(made.found).decode()
    assert len(re.findall("</script>", html)) == len(re.findall("<script", html))
    assert not re.search(r'(src|href)="https?://', html)
