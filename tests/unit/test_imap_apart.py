"""Large mails by their parts: they read as if they had been loaded whole, or are loaded whole."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.imap.answers import Fetched, Part, read_fetch
from connectors.imap.apart import Apart, PartsWrongError, load_parts
from connectors.imap.structure import MAX_SECTIONS, Section, read_structure
from connectors.imap.wire import Wire
from sync.mail import understand
from sync.message import Message
from tests.servers.imap_parts import section_of, structure_of

CORPUS = Path(__file__).parents[1] / "corpus" / "mail"
MAILS = {path.stem: re.sub(rb"(?<!\r)\n", b"\r\n", path.read_bytes()) for path in sorted(CORPUS.glob("*.eml"))}
"""As a server gives them."""
LIMIT_BYTES = 25_000_000


class FakeWire:
    """A server that has one mail. `lies`: what it says of some sections, or of the structure (named "")."""

    def __init__(self, raw: bytes, **lies: bytes | None) -> None:
        self.raw = raw
        self.lies = lies
        self.selected = b"INBOX"
        self.bytes_given = 0

    def fetch(self, _uids: str, items: str, *, literal_limit_bytes: int = 0) -> list[Fetched]:
        sections = {}
        for name, count in re.findall(r"BODY\.PEEK\[([^\]]*)\](?:<0\.(\d+)>)?", items):
            octets = self.lies.get(name, section_of(self.raw, name))
            if octets is not None:
                sections[f"BODY[{name}]"] = octets[: int(count)] if count else octets
        self.bytes_given += sum(map(len, sections.values()))
        assert all(len(octets) <= literal_limit_bytes for octets in sections.values())
        structure = self.lies.get("", structure_of(self.raw)) if "BODYSTRUCTURE" in items else None
        return [Fetched(7, None, None, sections, structure)]


def loaded(wire: FakeWire, limit_bytes: int = LIMIT_BYTES) -> Message | None:
    return load_parts(cast("Wire", wire), 7, len(wire.raw), limit_bytes)


def without_sizes(message: Message) -> Message:
    return replace(message, attachments=tuple(replace(one, size=None) for one in message.attachments))


@pytest.mark.parametrize("name", MAILS)
def test_a_mail_reads_the_same_whichever_way_it_was_loaded(name: str) -> None:
    whole = understand(MAILS[name])
    try:
        parts = loaded(FakeWire(MAILS[name]))
    except PartsWrongError:
        parts = None
    if parts is None:
        return
    assert isinstance(whole, Message)
    assert without_sizes(parts) == without_sizes(whole)
    for one, other in zip(parts.attachments, whole.attachments, strict=True):
        assert one.size == pytest.approx(other.size, abs=8, rel=0.01)


def test_most_of_the_corpus_can_be_loaded_by_its_parts() -> None:
    done = 0
    for raw in MAILS.values():
        try:
            done += loaded(FakeWire(raw)) is not None
        except PartsWrongError:
            continue
    assert done > len(MAILS) * 0.8


def test_of_a_text_that_is_too_long_only_what_is_shown_is_loaded() -> None:
    """Also where it is one that no mail program shows: a log file that was labelled as text."""
    head = b"From: c@example.com\r\nMessage-ID: <1@example.com>\r\nContent-Type: %s\r\n\r\n"
    text = b"Line by line it goes on.\r\n" * 200_000
    raw = head % b"text/plain" + text
    wire = FakeWire(raw)
    assert loaded(wire) == understand(raw)
    assert wire.bytes_given < 2_200_000
    part = b"--b\r\nContent-Type: text/plain; name=all.log\r\nContent-Disposition: attachment\r\n\r\n" + text
    raw = head % b"multipart/mixed; boundary=b" + b"--b\r\n\r\nSee the log.\r\n" + part + b"\r\n--b--\r\n"
    wire = FakeWire(raw)
    message = loaded(wire)
    assert message == understand(raw)
    assert message is not None
    assert message.attachments[0].size == len(text)
    assert wire.bytes_given < 5_000


def test_a_mail_whose_text_alone_is_beyond_the_limit_is_not_loaded_by_its_parts() -> None:
    raw = b"From: c@example.com\r\n\r\n" + b"words\r\n" * 200_000
    wire = FakeWire(raw)
    assert loaded(wire, 100_000) is None
    assert wire.bytes_given < 1_000


def test_headers_without_end_are_not_read_to_their_end() -> None:
    raw = b"From: c@example.com\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(200_000)) + b"\r\nwords\r\n"
    with pytest.raises(PartsWrongError):
        loaded(FakeWire(raw))


@pytest.mark.parametrize("section", ["HEADER", "1.MIME", "2.MIME", "1", "2"])
@pytest.mark.parametrize("said", [None, b"", b"x"], ids=["missing", "empty", "other"])
def test_a_section_that_is_not_as_told_has_the_mail_loaded_whole(section: str, said: bytes | None) -> None:
    raw = (
        b"From: c@example.com\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
        b"words\r\n--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n--b--\r\n"
    )
    assert loaded(FakeWire(raw)) == understand(raw)
    if section == "2" and said:
        return  # of a file only the beginning is looked at, for the length of its lines
    with pytest.raises(PartsWrongError):
        loaded(FakeWire(raw, **{section: said}))


@given(st.binary(max_size=300) | st.text('()"\\ NIL19ab{}', max_size=300).map(str.encode))
def test_any_bytes_are_a_structure_or_none(written: bytes) -> None:
    section = read_structure(written)
    assert section is None or all(one.octets >= 0 for one in section.every())


def test_a_structure_with_literals_is_read() -> None:
    parts: list[Part] = [
        (b'1 (UID 7 BODYSTRUCTURE (("text" "plain" ("name" {11}', b'UID 5 ")(" '),
        b') NIL NIL "7bit" 5 1)("IMAGE" "PNG" NIL NIL NIL "base64" 9) "mixed") RFC822.SIZE 99)',
    ]
    (fetched,) = read_fetch(parts)
    assert (fetched.uid, fetched.size) == (7, 99)
    assert fetched.structure is not None
    assert read_structure(fetched.structure) == Section(
        "", "multipart/mixed", parts=(Section("1", "text/plain", 5), Section("2", "image/png", 9))
    )


def test_more_parts_than_are_worth_it_are_none() -> None:
    part = b'("text" "plain" NIL NIL NIL "7bit" 5 1)'
    assert read_structure(b"(" + part * (MAX_SECTIONS - 1) + b' "mixed")') is not None
    assert read_structure(b"(" + part * MAX_SECTIONS + b' "mixed")') is None


def test_what_went_wrong_once_is_not_tried_again() -> None:
    raw = next(iter(MAILS.values()))
    wire = FakeWire(raw, HEADER=None)
    apart = Apart(0)
    assert apart.wants(b"INBOX", 7, len(raw))
    assert apart.load(cast("Wire", wire), 7, len(raw), LIMIT_BYTES) is None
    assert not apart.wants(b"INBOX", 7, len(raw))
    assert apart.wants(b"INBOX", 8, len(raw))
