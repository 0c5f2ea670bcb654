"""L8: bytes that parsers or databases refuse. Each mail of the corpus, and some that are worse, gives a text and a row, or
raw bytes and a reason, on both databases, and comes back as it went in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sync.connector import StreamRole
from sync.decide import Dead, Loaded, Seen, SourceRules
from sync.fetch import see_found
from sync.ledger.contents import content_text
from sync.mail import understand, understand_headers
from sync.message import Direction, Found, Unreadable, message_from_json
from sync.render import RenderContext, render
from tests.ledger.desk import NOON, Desk

CORPUS = Path(__file__).parents[1] / "corpus"
HEAD = b"From: A \xff\xfe <a@nasty.example>\nTo: support@shop.example\nSubject: "
NASTY = {
    "NUL everywhere": b"From: a\0b <a\0@nasty.example>\nSubject: x\0y\nMessage-ID: <\0>\n\nbefore\0after\0",
    "lone surrogates": HEAD
    + b"\xed\xa0\x80 \xed\xbf\xbf\nContent-Type: text/plain; charset=utf-8\n\n\xed\xa0\xbd alone",
    "8-bit headers": HEAD + b"\xe4\xf6\xfc \x80\x81 \xf0\x9f\x98\x80\nX-\xff: \xff\n\nwords",
    "unknown charset": HEAD + b"=?klingon?q?=FF=00?=\nContent-Type: text/plain; charset=klingon\n\n\xff\xfe\xfd words",
    "NUL in encoded words": HEAD + b"=?utf-8?q?a=00b=ED=A0=80?= =?utf-16?b?2AA=?=\n\nwords",
    "UTF-7 surrogates": HEAD + b"x\nContent-Type: text/plain; charset=utf-7\n\n+2AA- and +AAA- words",
    "not characters": HEAD + b"\xef\xbf\xbf \xf4\x8f\xbf\xbf\n\n\xef\xbf\xbe\xef\xb7\x90 words",
    "file names": HEAD + b"x\nContent-Type: application/pdf; name*=utf-8''%00%ED%A0%80.pdf\n\n%PDF",
    "escapes": HEAD + b"\\u0000 \\x00 %00 &#0;\nContent-Type: text/html\n\n<p>&#0;&#xD800;&#65535; words \\u0000",
    "emoji": HEAD + "👩‍👩‍👧‍👦 \U0010ffff".encode() + b"\n\n" + "👍🏽".encode() * 9_000,
    "nothing": b"\0" * 500,
    "noise": bytes(range(256)) * 40,
}
RULES = SourceRules(
    inbox="main",
    source="support",
    role=StreamRole.RECEIVED,
    horizon=None,
    horizon_slack=timedelta(0),
    known_until=None,
    max_age=timedelta(days=30),
    duplicates="once",
    is_own=lambda address: address.endswith("@shop.example"),
)


def mails() -> Iterator[tuple[str, bytes]]:
    yield from NASTY.items()
    for path in [*sorted((CORPUS / "mail").glob("*.eml")), *sorted((CORPUS / "replies").glob("*.eml"))[::10]]:
        yield path.stem, path.read_bytes()


def seen_of(name: str, raw: bytes) -> Seen:
    headers = understand_headers(raw)
    found = Found(name, NOON, headers.written_at, len(raw), fingerprint=headers.fingerprint, content=understand(raw))
    return see_found(found, RULES, NOON)


@pytest.mark.timeout(240)
def test_l8_nasty_mail_gives_a_text_and_a_row_on_both_databases_and_comes_back(desk: Desk) -> None:
    given = {name: seen_of(name, raw) for name, raw in mails()}
    recorded = desk.record(*given.values())
    assert len(recorded.new_message_ids) == len(given)
    contents = desk.ledger.messages.contents(recorded.new_message_ids)
    for (name, seen), number in zip(given.items(), recorded.new_message_ids, strict=True):
        line = desk.line(number)
        assert line.external_id == name
        match seen.content:
            case Loaded() as loaded:
                assert line.state.value == "loaded", name
                assert contents[number] == message_from_json(content_text(loaded.message)), name
                assert len(line.deliveries) == len(loaded.participants), name
            case Dead():
                assert (line.state.value, line.reason) == ("dead", "unreadable"), name
            case _:
                assert line.state.value == "skipped", name
                assert line.reason, name


def test_l8_nasty_mail_has_words_or_a_reason() -> None:
    for name, raw in NASTY.items():
        content = understand(raw)
        if isinstance(content, Unreadable):
            assert name in {"nothing", "noise"}
            assert content.why
        else:
            assert content.text.strip() or content.attachments, name


def test_l8_requests_for_nasty_mail_are_frozen_on_both_databases(desk: Desk) -> None:
    for name, raw in NASTY.items():
        content = understand(raw)
        if isinstance(content, Unreadable):
            continue
        waiting = desk.arrive(f"p{len(name)}{name[0]}")
        body = render(content, RenderContext(Direction.PARTICIPANT_TO_BUSINESS, "Mail", NOON)).body
        assert desk.commit(desk.intent(waiting, request=json.dumps(body, ensure_ascii=False))) == [True], name
