"""A mailbox as customers fill it: 13 KB a mail in the mean, one in five with files, made from a seed.

| share | kind | size |
| --: | --- | --- |
| 45 % | plain text, a third of it with a quoted letter below | 1 to 4 KB |
| 33 % | text and HTML as mail programs write them | 4 to 20 KB |
| 12 % | text and HTML with an image or a PDF | 14 to 60 KB |
| 10 % | text with two files | 20 to 60 KB |

Charsets and transfer encodings are mixed (ASCII, UTF-8 and ISO 8859-1; quoted-printable, base64, 8bit). `customers`
people write all of them: the first mail of each is the one that finds no contact and no conversation.
"""

from __future__ import annotations

import base64
import os
import quopri
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.header import Header
from email.utils import format_datetime
from pathlib import Path

OWN = "support@shop.example"
CUSTOMERS_SHARE = 0.1
"""Customers for each mail: so much of the deliveries meets a participant for the first time."""
SECONDS_APART = 7
FIRST_AT = datetime(2026, 11, 1, tzinfo=UTC)
LINE_LENGTH = 72

WORDS = re.findall(
    r"\w+",
    "order parcel delivery vase cup kettle glaze colour blue green invoice address street number please thank you when"
    " could would the a of in to with and but also today tomorrow week gift card wedding friend broken handle saucer"
    " replacement refund account phone call letter shop opening hours Saturday lovely morning question answer stock",
)
FOREIGN = re.findall(r"\w+", "schöne Grüße für Tee geöffnet Straße Stück größer Übergabe façade très déjà señor mañana")
SUBJECTS = ("Order {n}", "Re: Order {n}", "Question about delivery {n}", "AW: Lieferung der Schüssel {n}", "Vase {n}")


def customers_of(count: int) -> int:
    """How many people write `count` mails."""
    return max(1, round(count * CUSTOMERS_SHARE))


def make_mails(count: int, *, seed: int = 1, customers: int | None = None) -> Iterator[bytes]:
    """`count` mails with CRLF line ends, in order of arrival."""
    chance = random.Random(seed)
    people = customers or customers_of(count)
    files = base64.encodebytes(chance.randbytes(48 * 1024)).replace(b"\n", b"\r\n")
    for number in range(count):
        # Everybody writes once before anybody is drawn a second time, so that the share of first mails is exact.
        person = number if number < people else chance.randrange(people)
        yield _mail(chance, number, person, seed, files)


def arrived_at(number: int) -> datetime:
    """When the mail of this number came."""
    return FIRST_AT + timedelta(seconds=number * SECONDS_APART)


def fill_maildir(folder: Path, count: int, *, seed: int = 1, owner: tuple[int, int] | None = None) -> int:
    """Writes `count` mails into a Maildir (made here), and returns their bytes. `owner`: user and group id."""
    for name in ("", "tmp", "new", "cur"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        if owner is not None:
            os.chown(folder / name, *owner)
    size = 0
    for number, raw in enumerate(make_mails(count, seed=seed)):
        at = arrived_at(number).timestamp()
        path = folder / "cur" / f"{int(at)}.M{number:06d}P1.bench,S={len(raw)}:2,"
        path.write_bytes(raw)
        os.utime(path, (at, at))
        if owner is not None:
            os.chown(path, *owner)
        size += len(raw)
    return size


# ---------------------------------------------------------------------------------------------------- one mail


def _mail(chance: random.Random, number: int, person: int, seed: int, files: bytes) -> bytes:
    foreign = chance.random() < 0.3
    text = _text(chance, number, foreign=foreign)
    subject = chance.choice(SUBJECTS).format(n=number % 997)
    kind = chance.random()
    if kind < 0.45:
        if chance.random() < 0.33:
            text += f"\nOn Mon, 2 Nov 2026 at 10:12, Shop <{OWN}> wrote:\n> " + _text(
                chance, number, foreign=False
            ).replace("\n", "\n> ")
        body = _part(text, "plain", chance, foreign=foreign)
    else:
        body = _alternative(text, chance, number, foreign=foreign)
        if kind >= 0.90:
            body = _mixed(_part(text, "plain", chance, foreign=foreign), chance, number, files, count=2)
        elif kind >= 0.78:
            body = _mixed(body, chance, number, files, count=1)
    when = format_datetime(arrived_at(number) - timedelta(seconds=2))
    head = (
        f"Return-Path: <c{person}@customer{person % 40}.example>\r\n"
        f"Received: from mx{person % 40}.example (mx{person % 40}.example [192.0.2.{person % 250}])\r\n"
        f"\tby mail.shop.example (Postfix) with ESMTPS id {number:010X}\r\n\tfor <{OWN}>; {when}\r\n"
        f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=customer{person % 40}.example; s=mail;\r\n"
        f"\tbh={base64.b64encode(chance.randbytes(32)).decode()};\r\n"
        f"\tb={base64.b64encode(chance.randbytes(128)).decode()}\r\n"
        f"Message-ID: <{seed}.{number}.{chance.getrandbits(48):x}@customer{person % 40}.example>\r\n"
        f"Date: {when}\r\n"
        f"From: {_name(person)} <c{person}@customer{person % 40}.example>\r\nTo: Shop <{OWN}>\r\n"
        f"Subject: {subject if subject.isascii() else Header(subject, 'utf-8').encode()}\r\n"
        f"MIME-Version: 1.0\r\nX-Mailer: Bench 1.0\r\n"
    )
    return head.encode() + body


def _name(person: int) -> str:
    return f"Customer {person}" if person % 5 else Header(f"Kundin Nº {person}", "utf-8").encode()


def _text(chance: random.Random, number: int, *, foreign: bool) -> str:
    words = WORDS + FOREIGN if foreign else WORDS
    paragraphs = [" ".join(chance.choices(words, k=chance.randrange(20, 110))) for _ in range(chance.randrange(1, 6))]
    return f"Hello, this is mail {number}.\n\n" + "\n\n".join(map(_wrapped, paragraphs)) + f"\n\nRegards\nC {number}\n"


def _wrapped(paragraph: str) -> str:
    lines, line = [], ""
    for word in paragraph.split():
        if len(line) + len(word) > LINE_LENGTH:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return "\n".join([*lines, line])


def _part(text: str, kind: str, chance: random.Random, *, foreign: bool) -> bytes:
    text = text.replace("\n", "\r\n")
    if not foreign:
        return f"Content-Type: text/{kind}; charset=us-ascii\r\n\r\n{text}".encode()
    charset, coding = chance.choice((("utf-8", "quoted-printable"), ("utf-8", "base64"), ("iso-8859-1", "8bit")))
    raw = text.encode(charset)
    if coding == "quoted-printable":
        raw = quopri.encodestring(raw.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    elif coding == "base64":
        raw = base64.encodebytes(raw).replace(b"\n", b"\r\n")
    head = f"Content-Type: text/{kind}; charset={charset}\r\nContent-Transfer-Encoding: {coding}\r\n\r\n"
    return head.encode() + raw


def _html(text: str, chance: random.Random) -> str:
    style = "font-family: Arial, sans-serif; font-size: 11pt; color: #202020; margin: 0 0 1em 0; line-height: 1.4"
    paragraphs = "\n".join(f'<p class="MsoNormal" style="{style}"><span>{one}</span></p>' for one in text.split("\n\n"))
    rules = "\n".join(
        f".c{n} {{ padding: {n}px; border: 1px solid #{n:06x}; }}" for n in range(chance.randrange(5, 120))
    )
    return (
        f'<html><head><meta http-equiv="Content-Type" content="text/html"><style>\n{rules}\n</style></head>\n'
        f'<body><div class="c1">{paragraphs}</div>\n<table><tr><td><b>Shop</b></td><td><a href="https://shop.example">'
        f"shop.example</a></td></tr></table></body></html>\n"
    )


def _alternative(text: str, chance: random.Random, number: int, *, foreign: bool) -> bytes:
    plain, html = (
        _part(text, "plain", chance, foreign=foreign),
        _part(_html(text, chance), "html", chance, foreign=foreign),
    )
    return _multipart("alternative", f"alt{number:08x}", [plain, html])


def _mixed(body: bytes, chance: random.Random, number: int, files: bytes, *, count: int) -> bytes:
    parts = [body]
    for index in range(count):
        kind, name = chance.choice((("image/jpeg", "photo"), ("application/pdf", "letter"), ("image/png", "scan")))
        line = 78
        length = chance.randrange(12_000, 28_000 if count == 2 else 45_000) // line * line
        start = chance.randrange((len(files) - length) // line) * line
        head = (
            f'Content-Type: {kind}; name="{name}{index}.{kind[-3:]}"\r\nContent-Transfer-Encoding: base64\r\n'
            f'Content-Disposition: attachment; filename="{name}{index}.{kind[-3:]}"\r\n\r\n'
        )
        parts.append(head.encode() + files[start : start + length])
    return _multipart("mixed", f"mix{number:08x}", parts)


def _multipart(kind: str, boundary: str, parts: list[bytes]) -> bytes:
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'.encode()
    inner = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    return head + inner + b"--" + boundary.encode() + b"--\r\n"
