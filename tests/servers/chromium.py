"""Debian's Chromium, driven by Playwright. Take the fixture `browser`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.needs import require

PATIENCE_SECONDS = 60
"""How long a page is waited for; a machine at work with other tests is slow."""
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of a module."""
    program = require("chromium", package="chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS, timeout=1000 * PATIENCE_SECONDS)
        expect.set_options(timeout=1000 * PATIENCE_SECONDS)
        yield browser
        browser.close()
