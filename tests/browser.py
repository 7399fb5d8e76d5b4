"""A real headless Chromium for tests: pages that are looked at, used, and free of errors."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
)


@contextlib.contextmanager
def opened(url: str, *, width: int = 1280, dark: bool = False, downloads: Path | None = None) -> Iterator[Page]:
    """A page of its own browser. Anything on its console that is an error, and any request that fails, fails the test
    at the end; so does a page that asks any host but this machine."""
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS), downloads_path=downloads)
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        page.on("console", lambda said: faults.append(f"console: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(f"uncaught: {error}"))
        page.on("requestfailed", lambda one: faults.append(f"failed: {one.url} {one.failure}"))
        page.on("request", lambda one: None if _is_here(one.url) else faults.append(f"asked elsewhere: {one.url}"))
        try:
            page.goto(url)
            yield page
        finally:
            browser.close()
    assert not faults, faults


def _is_here(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:", "http://localhost:"))
