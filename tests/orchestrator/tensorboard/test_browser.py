"""TensorBoard in a genuine Chromium: what a sweep wrote is drawn and can be filtered, and nothing complains."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from orchestrator.store import Store
from orchestrator.tensorboard.board import pictured
from tests import browser

pytestmark = pytest.mark.chromium
MATCHING = "Tags matching"  # the heading of what a filter leaves
expect.set_options(timeout=60_000)


@pytest.fixture
def trials(server: Any, finished: Path) -> list[str]:
    """Of the finished sweep; TensorBoard has read their last values."""
    found = Store.existing(str(finished)).trial_ids()
    server.wait(lambda: all("final/held_out_loss" in server.tags("scalars").get(trial, ()) for trial in found))
    return found


@pytest.fixture
def tab(server: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Opens a tab, keeps a screenshot of it in the end, and the console must have been silent."""
    complaints: list[str] = []
    with browser.page(complaints) as page:

        def show(name: str) -> Page:
            page.goto(f"{server.url}/#{name}")
            return page

        yield show
        page.wait_for_load_state("networkidle")
        browser.keep_screenshot(page, request.node.name.removeprefix("test_"), tmp_path)
    assert complaints == []


def matching(page: Page, pattern: str) -> Locator:
    """The cards that a filter of tags leaves."""
    page.locator("tf-tag-filterer input").fill(pattern)
    return page.locator("tf-category-paginated-view", has_text=MATCHING)


def test_scalars_are_curves_and_are_filtered_by_tag_and_run(tab: Callable[[str], Page], trials: list[str]) -> None:
    page = tab("scalars")
    cards = matching(page, "^held_out_loss$|^hidden_norm/mean").locator("tf-scalar-card")
    expect(cards).to_have_count(1 + 4)
    lines = cards.first.locator("path.line[d*=L]")
    expect(lines).to_have_count(2 * len(trials))  # each with its smoothed one
    page.locator("tf-runs-selector input[type=text], tf-runs-selector paper-input input").last.fill("-s0-")
    expect(lines).to_have_count(len(trials))


def test_a_histogram_has_an_outline_for_each_checkpoint(
    tab: Callable[[str], Page], trials: list[str], finished: Path
) -> None:
    cards = matching(tab("histograms"), "hidden_norm/layer_1").locator("tf-histogram-loader")
    expect(cards).to_have_count(len(trials))
    store = Store.existing(str(finished))
    for trial in trials:
        outlines = cards.filter(has_text=trial).locator("g.histogram path[d*=L]")
        expect(outlines).to_have_count(len(store.measured_steps(trial)))


def test_the_slider_of_an_image_goes_through_the_steps(
    tab: Callable[[str], Page], trials: list[str], finished: Path
) -> None:
    store, trial = Store.existing(str(finished)), trials[-1]
    steps = sorted(pictured(store.measured_steps(trial)))
    card = matching(tab("images"), "diagrams").locator("tf-image-loader", has_text=trial)
    image, slider = card.locator("img"), card.locator("paper-slider")
    assert len(steps) >= 3
    seen: set[str] = set()
    for step in reversed(steps):
        expect(card.get_by_text(f"step {step}", exact=True)).to_be_visible()
        expect(image).not_to_have_attribute("src", re.compile("|".join(map(re.escape, seen)) or "^$"))  # heading first
        expect(image).to_have_js_property("complete", value=True)
        assert image.evaluate("one => [one.naturalWidth, one.width]") == [350, 350]  # as it is, not thinned out
        seen.add(image.get_attribute("src") or "")
        slider.press("ArrowLeft")
    assert len(seen) == len(steps)


def test_charts_by_topic_are_drawn_once_their_category_is_opened(tab: Callable[[str], Page], trials: list[str]) -> None:
    page = tab("custom_scalars")
    charts = "tf-custom-scalar-multi-line-chart-card"
    training, topology = (
        page.locator("tf-category-paginated-view", has_text=title) for title in ("Training", "Persistent homology")
    )
    expect(training.locator(charts)).to_have_count(4)
    expect(training.locator(charts).first.locator("path.line[d*=L]")).to_have_count(2 * len(trials))
    expect(topology.locator(charts)).to_have_count(0)
    topology.locator("button.heading").click()
    expect(topology.locator(charts)).to_have_count(16)
    expect(topology.locator(charts).first.locator("path.line[d*=L]")).to_have_count(2 * 4 * len(trials))
    topology.scroll_into_view_if_needed()


def test_hparams_are_a_row_a_trial_and_are_filtered_by_seed(tab: Callable[[str], Page], trials: list[str]) -> None:
    page = tab("hparams")
    table = page.locator("tf-hparams-table-view")
    rows = table.locator("vaadin-grid-cell-content", has_text="neox-280k-")
    expect(rows.filter(visible=True)).to_have_count(len(trials))
    expect(table.get_by_text("held_out_loss", exact=True).first).to_be_visible()
    page.locator("tf-hparams-query-pane paper-checkbox", has_text="1.0000").click()
    expect(rows.filter(visible=True)).to_have_count(len(trials) // 2)


def test_all_of_it_is_in_the_time_series(tab: Callable[[str], Page], trials: list[str]) -> None:
    page = tab("timeseries")
    page.locator("metrics-tag-filter-component input").fill("^held_out_loss$|hidden_norm/layer_1|diagrams")
    page.keyboard.press("Escape")
    expect(page.get_by_text(f"{1 + 2 * len(trials)} cards", exact=True)).to_be_visible()
    for card in ("scalar-card", "histogram-card"):  # the others are drawn when they are scrolled to
        expect(page.locator(card).filter(visible=True).first).to_be_visible()
