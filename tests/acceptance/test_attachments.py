"""Files of mails, from a Maildir into the sandbox with the real program: what comes over, what is only named, what is
uploaded again, and what is left when all is delivered."""

from __future__ import annotations

import sqlite3
import struct
import urllib.request
import zlib
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path

import pytest

from sync.sandbox.values import JsonObject, as_list, as_object, at_path
from tests.acceptance.harness import wait_for
from tests.acceptance.small import OWN, Small, small_site


@pytest.fixture
def small(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    with small_site(tmp_path, tmp_path_factory) as made:
        yield made


def png(width: int, height: int, padding: int = 0) -> bytes:
    """A picture of one colour, with so many bytes of a comment."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + b"\x40\x80\xc0" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    comment = chunk(b"tEXt", b"Comment\0" + b"x" * padding)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + comment
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def letter(*files: tuple[str, str, bytes], to: str = OWN, sender: str = "Customer <c1@example.com>") -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = sender, to, "Broken lamp"
    message["Date"], message["Message-ID"] = formatdate(), f"<{len(files)}.{sender[-12:-1]}.files@mail.example>"
    message.set_content("Here it is.")
    for name, mime_type, data in files:
        main, _, sub = mime_type.partition("/")
        message.add_attachment(data, maintype=main, subtype=sub, filename=name)
    return message


def items(small: Small) -> list[JsonObject]:
    """What stands in the bubbles of all messages."""
    found: list[JsonObject] = []
    for message in small.sandbox.messages():
        found += map(as_object, as_list(at_path(message["content"], "basic.items")))
    return found


def media(small: Small, kind: str) -> list[JsonObject]:
    return [as_object(one[kind]) for one in items(small) if kind in one]


def texts(small: Small) -> str:
    return "\n".join(str(one["text"]) for one in items(small) if "text" in one)


def uploaded(small: Small) -> int:
    return len(small.sandbox.journal("media.upload"))


def spooled(small: Small) -> list[int]:
    """How many files and pieces of files are in the ledger."""
    with sqlite3.connect(f"file:{small.ledger}?mode=ro", uri=True) as ledger:
        tables = ("attachments", "attachment_pieces")
        return [ledger.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]


def stored(small: Small) -> int:
    return small.sandbox.stats()["messagesStored"]


def test_images_come_as_images_files_as_files_and_the_ledger_keeps_nothing(small: Small) -> None:
    report = bytes(range(256)) * 5000
    mail = letter(("lamp.png", "image/png", png(320, 200)), ("report ä.pdf", "application/pdf", report))
    small.put("", raw=mail.as_bytes())
    small.type("sync").ok()
    (image,) = media(small, "image")
    assert (image["filename"], image["width"], image["height"]) == ("lamp.png", 320, 200)
    (file,) = media(small, "file")
    assert (file["filename"], file["mimeType"]) == ("report ä.pdf", "application/pdf")
    assert "Here it is." in texts(small)
    assert "Attachment" not in texts(small)
    assert "Not brought over" not in texts(small)
    kept = {
        one.filename: one.data for site in small.sandbox.emulator.world.sites.values() for one in site.media.values()
    }
    assert kept["report ä.pdf"] == report
    assert spooled(small) == [0, 0]


def test_what_is_not_brought_over_is_named_with_the_reason(small: Small) -> None:
    small.configure(small.maildir(more='attachment_limit_bytes = 200000\nnamed_only = ["exe", "video/*"]'))
    mail = letter(
        ("invoice.pdf.exe", "application/octet-stream", b"MZ" * 400),
        ("film.mp4", "video/mp4", b"v" * 1000),
        ("large.bin", "application/octet-stream", b"x" * 300_000),
        ("empty.txt", "application/octet-stream", b""),
        ("script.sh", "application/x-sh", b"echo hello"),
        ("fine.csv", "text/csv", b"a;b\n"),
    )
    small.put("", raw=mail.as_bytes())
    small.type("sync").ok()
    assert [one["filename"] for one in media(small, "file")] == ["fine.csv"]
    said = texts(small)
    for words in (
        "invoice.pdf.exe (800 bytes): files of this kind may be harmful",
        "film.mp4 (1.0 kB): files of this kind may be harmful",
        "large.bin (300 kB): it is larger than 200 kB",
        "empty.txt (0 bytes): it is empty",
        "script.sh (10 bytes): the Inbox does not take files of this kind",
    ):
        assert words in said


def test_a_file_that_the_inbox_finds_too_large_is_left_out_and_the_text_arrives(small: Small) -> None:
    small.sandbox.switch(file_max_bytes=1000)
    small.put("", raw=letter(("a.pdf", "application/pdf", b"x" * 2000), ("b.pdf", "application/pdf", b"y")).as_bytes())
    small.type("sync").ok()
    assert [one["filename"] for one in media(small, "file")] == ["b.pdf"]
    assert "a.pdf (2.0 kB): it is too large for the Inbox" in texts(small)


def test_decoration_is_left_out_without_a_word_and_pictures_in_the_text_are_shown(small: Small) -> None:
    mail = letter()
    mail.clear_content()
    mail.set_content('<p>Here it is.</p><img src="cid:a"><img src="cid:b"><img src="cid:c">', subtype="html")
    for cid, name, data in (
        ("a", "photo.png", png(300, 200, 4000)),
        ("b", "logo.png", png(32, 32, 2000)),
        ("c", "pixel.gif", b"GIF89a\x01\0\x01\0" + b"\0" * 30),
    ):
        mail.add_related(data, "image", name.partition(".")[2], cid=f"<{cid}>", filename=name, disposition="inline")
    small.put("", raw=mail.as_bytes())
    small.type("sync").ok()
    assert [one["filename"] for one in media(small, "image")] == ["photo.png"]
    assert "logo" not in texts(small)
    assert "pixel" not in texts(small)
    assert spooled(small) == [0, 0]


def test_a_message_to_several_customers_is_uploaded_once(small: Small) -> None:
    small.configure(small.maildir(more='sent = ["INBOX"]'))
    to = ", ".join(f"c{number}@example.com" for number in range(3))
    mail = letter(("offer.pdf", "application/pdf", b"%PDF" * 1000), to=to, sender=f"Shop <{OWN}>")
    small.put("", raw=mail.as_bytes())
    small.type("sync").ok()
    assert stored(small) == 3
    assert len(media(small, "file")) == 3
    assert uploaded(small) == 1
    assert spooled(small) == [0, 0]


@pytest.mark.parametrize("call", ["media.upload", "media.upload_url"])
def test_an_upload_that_fails_once_is_repeated(small: Small, call: str) -> None:
    small.sandbox.fault("status", status=503, call=call)
    small.put("", raw=letter(("a.pdf", "application/pdf", b"x" * 2000)).as_bytes())
    small.start()
    wait_for(lambda: stored(small) == 1, "it arrives")
    assert [one["filename"] for one in media(small, "file")] == ["a.pdf"]


def test_a_file_that_cannot_be_uploaded_at_all_costs_the_file_and_not_the_message(small: Small) -> None:
    small.sandbox.fault("status", status=500, call="media.upload", times=None)
    small.put("", raw=letter(("a.pdf", "application/pdf", b"x" * 2000)).as_bytes())
    small.start()
    wait_for(lambda: stored(small) == 1, "it arrives")
    assert media(small, "file") == []
    assert "Not brought over: a.pdf (2.0 kB): it could not be uploaded" in texts(small)
    assert uploaded(small) == 6


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 403, "code": "PERMISSION_DENIED"}, {"status": 404}, {}])
def test_an_inbox_that_takes_no_files_gets_every_message_without_them(small: Small, fault: dict[str, object]) -> None:
    small.sandbox.fault("status" if fault else "garbage", call="media.upload_url", times=None, **fault)
    files = [(f"{number}.pdf", "application/pdf", b"x" * 2000) for number in range(4)]
    small.put("", raw=letter(*files).as_bytes())
    small.put("B0", "Other <c2@example.com>")
    small.start()
    wait_for(lambda: stored(small) == 2, "both arrive")
    assert all(f"{number}.pdf (2.0 kB): it could not be uploaded" in texts(small) for number in range(4))
    assert small.inbox()["state"] == "ok"
    assert len(small.sandbox.journal("media.upload_url")) == 6


def test_an_outage_of_everything_costs_no_file(small: Small) -> None:
    small.configure(inbox="max_upload_attempts = 1\npark_after_failures = 2")
    small.sandbox.fault("status", status=503, times=None)
    small.put("", raw=letter(("a.pdf", "application/pdf", b"x" * 2000)).as_bytes())
    small.start()
    wait_for(lambda: small.inbox()["state"] == "parked", "it is parked")
    small.sandbox.clear_faults()
    wait_for(lambda: stored(small) == 1, "it arrives")
    assert [one["filename"] for one in media(small, "file")] == ["a.pdf"]


def test_a_file_that_the_inbox_has_forgotten_is_uploaded_anew(small: Small) -> None:
    small.sandbox.fault("status", status=400, code="INVALID_MEDIA_URL", call="messages.send")
    small.put("", raw=letter(("a.pdf", "application/pdf", b"x" * 2000)).as_bytes())
    small.start()
    wait_for(lambda: stored(small) == 1, "it arrives")
    assert [one["filename"] for one in media(small, "file")] == ["a.pdf"]
    assert uploaded(small) == 2


def test_a_lost_answer_to_a_message_with_files_is_found_by_reading_back(small: Small) -> None:
    small.sandbox.fault("drop_after_store", call="messages.send")
    small.put("", raw=letter(("a.png", "image/png", png(90, 90)), ("b.pdf", "application/pdf", b"y")).as_bytes())
    small.start()
    wait_for(lambda: small.inbox()["deliveries"].get("sent") == 1, "it is found")
    assert stored(small) == 1
    assert (len(media(small, "file")), len(media(small, "image"))) == (1, 1)


def test_the_page_shows_the_picture_and_offers_the_file(small: Small) -> None:
    small.put("", raw=letter(("a.png", "image/png", png(90, 90)), ("b.pdf", "application/pdf", b"y")).as_bytes())
    small.type("sync").ok()
    with urllib.request.urlopen(small.sandbox.url, timeout=10) as answer:
        page = answer.read().decode()
    assert "a.png" in page
    assert "<img" in page
    assert "b.pdf" in page
