"""A genuine headless Chromium for tests of pages: found or skipped, and what it complains of is collected."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Error, Page, sync_playwright

SCREENSHOTS = "TOPOSWEEP_SCREENSHOTS"  # a folder where screenshots are kept to be looked at


@contextlib.contextmanager
def page(complaints: list[str], *, width: int = 1280, height: int = 900, **context: Any) -> Iterator[Page]:
    """A page of a Chromium of its own; errors of its console and uncaught ones are added to ``complaints``.

    context: of Playwright's ``new_page``, such as ``color_scheme="dark"``. Skips the test where there is no Chromium.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no chromium on the PATH")

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(f"{message.text} ({message.location.get('url', '')})")

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        opened = browser.new_page(viewport={"width": width, "height": height}, **context)
        opened.on("console", hear)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        yield opened
        browser.close()


def keep_screenshot(page: Page, name: str, folder: Path, *, full_page: bool = False) -> Path:
    """As ``name``.png in the folder that $TOPOSWEEP_SCREENSHOTS names, or else in ``folder``."""
    path = Path(os.environ.get(SCREENSHOTS) or folder) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, full_page=full_page)
    assert path.stat().st_size > 10_000
    return path


def wait_for(page: Page, expression: str, *, seconds: float = 60.0) -> None:
    """Until a script's expression is true, also across a reload.

    Playwright's own ``wait_for_function`` evaluates text within the page, which a page may forbid.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(Error):  # between two pages there is nothing to ask
            if page.evaluate(expression):
                return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {expression}")
