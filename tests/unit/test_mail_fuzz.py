"""Whatever the bytes are: no exception, clean text, and never much time."""

from __future__ import annotations

import base64
import random
import re
import time
import tracemalloc
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.mail import (
    Headers,
    normalise_address,
    open_file,
    parse,
    parse_addresses,
    recognise,
    transfer,
    understand,
    understand_headers,
    understand_with_files,
    written_at,
)
from sync.mail.address import MAX_ADDRESSES
from sync.mail.header import decode_words, parse_parameters, with_newlines
from sync.message import FingerprintParts, Message, Unreadable, message_from_json, message_to_json
from tests.growth import assert_linear

CORPUS = Path(__file__).parents[1] / "corpus" / "mail"
MAILS = [path.read_bytes() for path in sorted(CORPUS.glob("*.eml"))]
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
MOST_SECONDS = 2.0
"""Of computing, for the worst."""
MEMORY_BYTES = 20_000_000
"""Beside a few times the mail's own size."""
HEAD = b"From: a <a@example.com>\nTo: b@example.com\nSubject: s\nMIME-Version: 1.0\n"


def _texts_of(message: Message) -> list[str]:
    people = [message.author, *message.recipients]
    return [
        message.text,
        message.subject,
        *message.notes,
        *(value for _, value in message.headers),
        *(attachment.filename for attachment in message.attachments),
        *(text for person in people if person is not None for text in (person.name, person.value)),
    ]


def _check(raw: bytes) -> None:
    content = understand(raw)
    assert parse._understand(with_newlines(raw), len(raw)).content == content  # without its safety net
    recognised = recognise(raw)
    assert (recognised.fingerprint, recognised.written_at) == _fingerprint_and_date(understand_headers(raw))
    if isinstance(content, Unreadable):
        assert content.why
        return
    for text in _texts_of(content):
        assert FORBIDDEN.search(text) is None
    assert all(attachment.filename for attachment in content.attachments)
    assert message_from_json(message_to_json(content)) == content
    headers = understand_headers(raw)
    assert headers.author == content.author
    assert headers.subject == content.subject
    assert headers.written_at == content.sent_at
    files = understand_with_files(raw).files
    assert (files is not None) == bool(content.attachments)
    if files is not None:
        for attachment in content.attachments:
            assert files.open(attachment.ref) == open_file(raw, attachment.ref)


def _fingerprint_and_date(headers: Headers) -> tuple[FingerprintParts, datetime | None]:
    return headers.fingerprint, headers.written_at


@given(
    st.lists(
        st.sampled_from([b"QUJD", b"QQ==", b"QUI=", b"Q", b"\r\n", b"\n", b"\r", b"=", b" ", b"\t", b"-", b"\xff"]),
        max_size=40,
    )
)
def test_base64_without_fault_is_what_the_forgiving_reader_makes_of_it(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    decoded = transfer._faultless(data)
    assert decoded is None or transfer._forgiven(data) == (decoded, True)
    assert transfer._faultless(base64.encodebytes(data)) == data


@given(st.binary(max_size=4_000))
def test_any_bytes_are_understood_or_named_unreadable(raw: bytes) -> None:
    _check(raw)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [
                    *(b"\n", b"\r\n", b"--b", b"--b--", b"From: ", b"=?utf-8?b?", b"text/html", b"<table><td>"),
                    *(b"Content-Type: multipart/mixed; boundary=b\n", b"Content-Type: message/rfc822\n"),
                    *(b"Content-Transfer-Encoding: base64\n", b"charset=", b"utf-16", b"%", b"*0*=", b"''"),
                    *(b'"', b"<", b">", b"@", b"(", b",", b";", b":", b"\\"),
                ]
            ),
        ),
        max_size=120,
    )
)
def test_any_mixture_of_mail_fragments_is_understood(pieces: list[bytes]) -> None:
    _check(HEAD + b"".join(pieces))


def _mutated(raw: bytes, chance: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[place : place + chance.randint(1, 30)] = b""
            case 1:
                data[place:place] = chance.randbytes(chance.randint(1, 20))
            case 2:
                data = data[:place]
            case 3:
                other = chance.choice(MAILS)
                start = chance.randrange(len(other))
                data[place:place] = other[start : start + 200]
            case _:
                if place < len(data):
                    data[place] = chance.choice(b'\x00\r\n\t "<>@;:=?-\xff\x80')
    return bytes(data)


def test_mutated_mails_are_understood(soak: bool) -> None:
    chance = random.Random(20261123)
    for _ in range(100_000 if soak else 2_000):
        _check(_mutated(chance.choice(MAILS), chance))


@given(st.binary(max_size=300))
def test_any_address_list_is_read(value: bytes) -> None:
    found, more = parse_addresses(value)
    assert more == 0
    for participant in found:
        assert participant.value == normalise_address(participant.value)
        assert FORBIDDEN.search(participant.name) is None


@given(st.text(max_size=300))
def test_any_header_text_is_read(value: str) -> None:
    decode_words(value)
    parse_parameters(value)
    moment = written_at(value)
    assert moment is None or moment.utcoffset() is not None
    normal = normalise_address(value)
    assert normal == "" or normalise_address(normal) == normal


def _nested(depth: int) -> bytes:
    parts = [HEAD + b"Content-Type: multipart/mixed; boundary=b0\n\n"]
    parts += [b"--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n" % (level, level + 1) for level in range(depth)]
    return b"".join(parts) + b"--b%d\nContent-Type: text/plain\n\ndeep" % depth


HOSTILE: dict[str, Callable[[], bytes]] = {
    "header line of 40 KB": lambda: HEAD + b"X-Long: " + b"a" * 40_000 + b"\n\nhi",
    "40 KB of open encoded words": lambda: HEAD.replace(b": s", b": " + b"=?utf-8?q?a" * 4_000) + b"\nhi",
    "20,000 recipients": lambda: HEAD.replace(
        b"b@", b",\n ".join(b'"N, %d" <u%d@x.y>' % (i, i) for i in range(20_000))
    ),
    "20,000 To fields": lambda: b"".join(b"To: u%d@x.y\n" % i for i in range(20_000)) + HEAD + b"\nhi",
    "open quotes": lambda: HEAD.replace(b"b@", b'"\\' * 100_000) + b"\nhi",
    "open comments": lambda: HEAD.replace(b"b@", b"(" * 100_000) + b"\nhi",
    "open angles": lambda: HEAD.replace(b"b@", b"<a," * 80_000) + b"\nhi",
    "at signs": lambda: HEAD.replace(b"b@", b"a@ " * 80_000) + b"\nhi",
    "combining marks": lambda: HEAD.replace(b"b@", ("\u0300\u0316" * 60_000).encode()) + b"\nhi",
    "5,000 multiparts in one another": lambda: _nested(5_000),
    "10,000 parts": lambda: HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 10_000,
    "500,000 delimiters": lambda: HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n" * 500_000,
    "500,000 false delimiters": lambda: (
        HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n" + b"--c\n" * 500_000
    ),
    "one boundary for all": lambda: HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" * 3_000,
    "40,000 parameters": lambda: HEAD + b"Content-Type: text/plain" + b'; a="\\"' * 40_000 + b"\n\nhi",
    "a million header lines": lambda: HEAD + b"A: b\n" * 1_000_000,
    "a million continuation lines": lambda: HEAD + b"A: b\n" + b" c\n" * 1_000_000,
    "header names without end": lambda: b"".join(b"A%d: b\n" % i for i in range(200_000)) + HEAD + b"\nhi",
    "padded base64": lambda: HEAD + b"Content-Transfer-Encoding: base64\n\n" + b"QQ==\n" * 300_000,
    "base64 with words": lambda: HEAD + b"Content-Transfer-Encoding: base64\n\n" + b"a" * 2_000_000 + b"! b c d",
    "equals signs": lambda: HEAD + b"Content-Transfer-Encoding: quoted-printable\n\n" + b"=" * 3_000_000,
    "punycode as charset": lambda: HEAD + b"Content-Type: text/plain; charset=punycode\n\n" + b"a-" * 500_000,
    "flowed": lambda: HEAD + b"Content-Type: text/plain; format=flowed\n\n" + b"a \n" * 500_000,
    "5,000 HTML parts": lambda: (
        HEAD
        + b"Content-Type: multipart/alternative; boundary=b\n\n"
        + b"--b\nContent-Type: text/html\n\n<p>a\n" * 5_000
    ),
    "lines of 40 KB": lambda: HEAD + b"\n" + (b"word " * 8_000 + b"\n") * 200,
    "5,000 elements in one another": lambda: HEAD + b"Content-Type: text/html\n\n" + b"<div>" * 5_000 + b"hi",
    "5,000 quotes in one another": lambda: HEAD + b"Content-Type: text/html\n\n" + b"<blockquote>" * 5_000 + b"hi",
    "5,000 tables in one another": lambda: HEAD + b"Content-Type: text/html\n\n" + b"<table><tr><td>" * 5_000 + b"hi",
    "24 MB of false delimiters": lambda: (
        HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n" + b"--c\n" * 6_000_000
    ),
    "header lines that lost their indent": lambda: (b"odd\n" * 29 + b"Received: x\n") * 15_000 + HEAD + b"\nhi",
    "answers between quotes": lambda: HEAD + b"In-Reply-To: <a>\n\n" + b"> quoted\nanswer\n" * 100_000,
    "attributions": lambda: (
        HEAD + b"In-Reply-To: <a>\n\n" + b"On Mon, May 6, 2024 at 10:30 AM Shop <a@b.c> wrote:\n" * 20_000
    ),
    "half attributions": lambda: HEAD + b"\n" + (b"words On " * 40 + b"2024 10:30 wrote:\n") * 10_000,
    "60 hidden HTML parts of 1 MB": lambda: (
        HEAD
        + b"Content-Type: multipart/mixed; boundary=b\n\n"
        + (b"--b\nContent-Type: text/html\n\n<div hidden>" + b"<a href=x>t</a>" * 60_000 + b"\n") * 60
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mail_takes_linear_time(name: str) -> None:
    raw = HOSTILE[name]()
    began = time.thread_time()
    content = understand(raw)
    assert time.thread_time() - began < MOST_SECONDS
    assert_linear(understand, raw)
    assert isinstance(content, Message)
    assert content.author is not None
    assert len(content.recipients) <= MAX_ADDRESSES


@pytest.mark.parametrize(
    "name",
    [
        "lines of 40 KB",
        "5,000 elements in one another",
        "10,000 parts",
        "20,000 recipients",
        "24 MB of false delimiters",
    ],
)
def test_hostile_mail_takes_memory_in_proportion(name: str) -> None:
    raw = HOSTILE[name]()
    tracemalloc.start()
    try:
        understand(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_BYTES + 5 * len(raw)


def test_20_000_recipients_are_counted_not_kept() -> None:
    message = understand(HOSTILE["20,000 recipients"]())
    assert isinstance(message, Message)
    assert len(message.recipients) == MAX_ADDRESSES
    assert "19000 more recipients were left out." in message.notes
