"""The sandbox's page in a real browser: what an operator sees, on a desk and on a phone, in both colour schemes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from sync.sandbox import DEFAULT_SITE_ID, Sandbox
from sync.sandbox.values import as_text
from tests.servers.ports import free_port
from tests.unit.sandbox_wire import Wire, send_body

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

OTHER_SITE = "5a9d0b00-0000-4000-8000-000000000002"
DESK = (1280, 820)
PHONE = (390, 844)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(port=free_port()) as running:
        yield running


@pytest.fixture
def conversation(sandbox: Sandbox) -> str:
    """A customer's mail with a picture, an agent's answer, and an activity."""
    wire = Wire(sandbox)
    contact = wire.contact("jo@example.com", name={"first": "Jo", "last": "Doe"})
    conversation = as_text(wire.open(contact).at("conversation.id"))
    said = {"mimeType": "image/png", "fileName": "lamp.png"}
    url = as_text(wire.call("POST", "/communication-channels-media/v1/upload-url", said).body["uploadUrl"])
    path = url.removeprefix(sandbox.url) + "?filename=lamp.png"
    file = Wire(sandbox, **{"Content-Type": "image/png"}).call("PUT", path, png(8, 6)).body
    items = [
        {"text": "The lamp is broken.\nHere is a picture."},
        {"image": {"id": file["fileId"], "filename": "lamp.png", "width": 8, "height": 6}},
        {"file": {"url": "https://files.example/invoice.pdf", "filename": "invoice.pdf"}},
    ]
    content = {"title": "Broken lamp", "basic": {"items": items}}
    wire.send(conversation, content=content, badges=[{"text": "Support mailbox"}])
    reply = send_body(conversation, "A new one leaves tomorrow.", direction="BUSINESS_TO_PARTICIPANT")
    wire.call("POST", "/inbox/v2/messages", {**reply, "sendAs": "CALLER"})
    activity = {"minimal": {"text": "Ticket 7 closed", "url": "https://desk.example/7"}}
    wire.send(conversation, content=activity, silent=True)
    return conversation


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x33\x66\xcc" * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@contextmanager
def opened(browser: Browser, sandbox: Sandbox, size: tuple[int, int], path: str = "/") -> Iterator[Page]:
    """The page at a size. Whatever the browser complains about, or loads from elsewhere, fails the test."""
    complaints: list[str] = []

    def look(request: Request) -> None:
        if not request.url.startswith(sandbox.url):
            complaints.append(f"loads {request.url}")

    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.on("pageerror", lambda problem: complaints.append(str(problem)))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", look)
    page.goto(sandbox.url + path)
    try:
        yield page
    finally:
        page.close()
    assert complaints == []


def left_of(page: Page, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    return box["x"]


def test_conversation_looks_like_an_inbox(browser: Browser, sandbox: Sandbox, conversation: str) -> None:
    with opened(browser, sandbox, DESK) as page:
        expect(page.locator(".row .name")).to_have_text(["Jo Doe"])
        expect(page.locator(".person h1")).to_have_text("Jo Doe")
        expect(page.locator(".person .id")).to_have_text(conversation)
        expect(page.locator(".message.in .title")).to_have_text("Broken lamp")
        expect(page.locator(".message .badge").first).to_have_text("Support mailbox")
        expect(page.locator(".message.in .file .filename")).to_have_text("invoice.pdf")
        expect(page.locator(".activity a")).to_have_attribute("href", "https://desk.example/7")
        expect(page.locator(".mark.silent")).to_have_count(1)
        picture = page.locator(".picture img")
        expect(picture).to_have_attribute("alt", "lamp.png")
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 8
        assert left_of(page, ".message.in .bubble") < left_of(page, ".message.out .bubble")


def test_new_messages_appear_by_themselves(browser: Browser, sandbox: Sandbox) -> None:
    with opened(browser, sandbox, DESK) as page:
        expect(page.locator(".empty h1")).to_have_text("Nothing here yet")
        contact = sandbox.seed_contact("jo@example.com", name="Jo Doe")
        sandbox.visitor_message("Is anybody there?", contact_id=contact)
        expect(page.locator(".message.in .bubble")).to_have_text("Is anybody there?")
        expect(page.locator(".mark.both")).to_have_text("in chat")
        for number in range(40):
            sandbox.seed_message(f"line {number}", contact_id=contact)
        expect(page.locator(".message").last).to_contain_text("line 39")
        expect(page.locator(".message").last).to_be_in_viewport()
        expect(page.locator("#figures")).to_contain_text("41 messages")


def test_reader_who_scrolled_back_stays_there(browser: Browser, sandbox: Sandbox) -> None:
    contact = sandbox.seed_contact("jo@example.com", name="Jo Doe")
    for number in range(60):
        sandbox.seed_message(f"line {number}", contact_id=contact)
    with opened(browser, sandbox, DESK) as page:
        page.locator("#stream").evaluate("stream => { stream.scrollTop = 0; }")
        sandbox.seed_message("the last line", contact_id=contact)
        expect(page.locator(".message")).to_have_count(61)
        expect(page.locator(".message").first).to_be_in_viewport()


def test_phone_shows_the_list_then_the_conversation(browser: Browser, sandbox: Sandbox, conversation: str) -> None:
    with opened(browser, sandbox, PHONE) as page:
        expect(page.locator("#thread")).to_be_hidden()
        page.locator(".row").click()
        expect(page).to_have_url(f"{sandbox.url}/?site={DEFAULT_SITE_ID}&conversation={conversation}")
        expect(page.locator(".list")).to_be_hidden()
        expect(page.locator(".message").last).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        page.get_by_role("link", name="All conversations").click()
        expect(page.locator(".row")).to_be_visible()


def test_list_is_filtered_by_name_and_text(browser: Browser, sandbox: Sandbox, conversation: str) -> None:
    del conversation
    ann = sandbox.seed_contact("ann@example.com", name="Ann Other")
    sandbox.seed_message("About the green sofa", contact_id=ann)
    with opened(browser, sandbox, DESK) as page:
        page.get_by_label("Filter conversations").fill("green")
        expect(page.locator(".row:visible .name")).to_have_text(["Ann Other"])
        sandbox.seed_message("Still about the green sofa", contact_id=ann)
        expect(page.locator(".row:visible .snippet")).to_have_text("Still about the green sofa")
        expect(page.locator(".row:visible")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_in_both_schemes(browser: Browser, sandbox: Sandbox, conversation: str, scheme: str) -> None:
    """Contrast of at least 4.5:1 (WCAG 2.2, 1.4.3) between every text and what it stands on."""
    del conversation
    with opened(browser, sandbox, DESK) as page:
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
        weak = page.evaluate(
            """() => {
              const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
              const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
              const light = c => [0, 1, 2].map(i => linear(c[i] / 255))
                .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
              const found = [];
              for (const each of document.querySelectorAll("body *")) {
                const own = [...each.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
                if (!own || !each.checkVisibility() || each.closest(".off, .skip, option")) continue;
                const ink = parse(getComputedStyle(each).color);
                let at = each, ground;
                do { ground = parse(getComputedStyle(at).backgroundColor); at = at.parentElement; }
                while (at && ground.length === 4 && ground[3] === 0);
                const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
                const ratio = (a + .05) / (b + .05);
                if (ratio < 4.5) found.push(`${each.className || each.tagName} ${ratio.toFixed(2)}`);
              }
              return found;
            }"""
        )
        assert weak == []


def test_keyboard_reaches_every_conversation(browser: Browser, sandbox: Sandbox, conversation: str) -> None:
    with opened(browser, sandbox, DESK) as page:
        page.locator("#filter").focus()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == f"row-{conversation}"
        page.keyboard.press("Enter")
        expect(page.locator("body.opened")).to_be_visible()


def test_other_sites_are_chosen_from_a_list(browser: Browser, sandbox: Sandbox, conversation: str) -> None:
    del conversation
    sandbox.add_site(OTHER_SITE)
    there = sandbox.seed_contact("there@example.com", name="Somebody There", site_id=OTHER_SITE)
    sandbox.seed_message("On the other site", contact_id=there, site_id=OTHER_SITE)
    with opened(browser, sandbox, DESK) as page:
        expect(page.locator(".row .name")).to_have_text(["Jo Doe"])
        page.get_by_label("Site").select_option(OTHER_SITE)
        expect(page.locator(".row .name")).to_have_text(["Somebody There"])


def test_page_says_when_the_sandbox_is_gone_and_comes_back(
    browser: Browser, sandbox: Sandbox, conversation: str
) -> None:
    del conversation
    page = browser.new_page()
    page.goto(sandbox.url)
    sandbox.stop()
    expect(page.locator("#live")).to_have_text("not reachable")
    sandbox.start()
    expect(page.locator("#live")).to_have_text("live")
    page.close()
