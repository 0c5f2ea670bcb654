"""The status page in a real browser, on a desk and on a phone, in both colour schemes, before a real daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.acceptance.harness import page_port
from tests.acceptance.small import Small, small_site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

PASSWORD = "the page's own password"
WEB = '[web]\nlisten = "127.0.0.1:0"\npassword = { env = "WEB_PASSWORD" }'
DESK, PHONE = (1280, 820), (390, 844)


@pytest.fixture
def small(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    with small_site(tmp_path, tmp_path_factory) as made:
        made.environ["WEB_PASSWORD"] = PASSWORD
        yield made


@contextmanager
def opened(browser: Browser, port: int, size: tuple[int, int], *, dark: bool = False) -> Iterator[Page]:
    """The page at a size. Whatever the browser complains about, or loads from elsewhere, fails the test."""
    complaints: list[str] = []
    home = f"http://127.0.0.1:{port}/"

    def look(request: Request) -> None:
        if not request.url.startswith(home):
            complaints.append(f"loads {request.url}")

    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light", base_url=home
    )
    page = context.new_page()
    page.on("request", look)
    page.on("console", lambda message: complaints.append(message.text) if "status of 403" not in message.text else None)
    page.goto("/")
    yield page
    context.close()
    assert complaints == []


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


@pytest.mark.parametrize(("size", "dark"), [(DESK, False), (PHONE, True)], ids=["desk", "phone, dark"])
def test_an_operator_finds_what_failed_and_tries_it_again(
    small: Small, browser: Browser, size: tuple[int, int], dark: bool
) -> None:
    small.sandbox.fault("status", call="messages.send", status=400, code="INVALID_ARGUMENT", text="T000001", times=None)
    small.configure(daemon=WEB, lane_hold="300ms")
    daemon = small.start()
    port = page_port(daemon)
    small.put("T000001", "Anna <anna@private.example>")
    dead = ("message", "list", "--state", "dead", "--json")
    daemon.wait_for(lambda: len(small.type(*dead).ok().rows("messages")) == 1, "one is refused for good")
    small.put("T000002", "Bert <bert@private.example>")
    small.wait_sent("T000002")
    with opened(browser, port, size, dark=dark) as page:
        assert fits(page)
        page.get_by_role("link", name="Log in", exact=True).first.click()
        page.get_by_label("Password of this page").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_have_text("That is not the password.")
        page.get_by_label("Password of this page").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        sources = page.get_by_role("region", name="Sources")
        sources.get_by_role("row", name="mail").get_by_role("link", name="1").first.click()
        expect(page.get_by_text("anna@private.example")).to_be_visible()
        assert fits(page)
        page.get_by_role("link", name="Order T000001").click()
        expect(page.get_by_role("heading", name="What happened")).to_be_visible()
        assert fits(page)
        small.sandbox.clear_faults()
        page.get_by_role("button", name="Retry").click()
        expect(page.get_by_role("status")).to_be_visible()
        small.wait_sent("T000001", "T000002")
        sent = ("message", "list", "--state", "sent", "--json")
        daemon.wait_for(lambda: len(small.type(*sent).ok().rows("messages")) == 2, "both are recorded as sent")
        page.reload()
        expect(page.get_by_role("heading", name="Delivery").get_by_text("sent")).to_be_visible()
        page.get_by_role("link", name="Status").click()
        page.get_by_role("button", name="Pause mail").click()
        expect(page.get_by_role("button", name="Resume mail")).to_be_visible()
        page.get_by_role("button", name="Resume mail").click()
        expect(page.get_by_role("button", name="Pause mail")).to_be_visible()
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("link", name="Messages")).to_have_count(0)
    assert "the page" in small.type("message", "show", "1").ok().out
    assert daemon.stop() == 0
