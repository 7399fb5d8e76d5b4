"""A real headless Chromium: pages with what their console said, and what they asked the network for."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

SCREENSHOTS = "TOPOSWEEP_SCREENSHOTS"  # a folder that keeps them after the tests


@dataclass
class Opened:
    """page: Playwright's. errors: of the console and of scripts; requests: the addresses that were asked for."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def chromium() -> str:
    """Its path; a test is skipped where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is not installed")
    return found


@contextlib.contextmanager
def opened(address: str, *, width: int = 1280, height: int = 900, **context: Any) -> Iterator[Opened]:
    """A page of that width. context: of Playwright's ``new_context``, as ``color_scheme="dark"``."""
    from playwright.sync_api import sync_playwright

    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=root)
        try:
            page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
            found = Opened(page)
            page.on("console", lambda one: found.errors.append(one.text) if one.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: found.errors.append(str(error)))
            page.on("request", lambda one: found.requests.append(one.url))
            page.goto(address)
            yield found
        finally:
            browser.close()


def screenshot(page: Page, folder: Path, name: str) -> None:
    """Of the whole page, as ``NAME.png`` in the folder that ``$TOPOSWEEP_SCREENSHOTS`` names, or else in this one."""
    place = Path(os.environ.get(SCREENSHOTS, folder))
    place.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=place / f"{name}.png", full_page=True)
