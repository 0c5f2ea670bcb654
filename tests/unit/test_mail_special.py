"""Parts of a mail that are neither text nor a plain file: what is read out of them, and that nothing in them hurts."""

from __future__ import annotations

import binascii
import random
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.mail import open_file, understand, understand_with_files
from sync.mail.armor import MAX_BLOCKS, take_out
from sync.mail.body import MAX_ATTACHMENTS, MAX_LEVELS, MAX_OPENED
from sync.mail.calendar import read_invitation
from sync.mail.card import MAX_CARDS, read_cards
from sync.mail.cms import content_of
from sync.mail.contentlines import content_lines
from sync.mail.report import MAX_NAMED, report_sentences
from sync.mail.rtf import rtf_to_text, unpack
from sync.mail.tnef import MAX_FILES, SIGNATURE, read_tnef
from sync.message import Message
from tests.growth import assert_linear

CORPUS = Path(__file__).parents[1] / "corpus" / "mail"
NAMES = sorted(path.stem for path in CORPUS.glob("*.eml"))
HEAD = b"From: a <a@example.com>\nTo: b@example.com\nSubject: s\nMIME-Version: 1.0\n"


def der(tag: int, content: bytes) -> bytes:
    """One element of ASN.1."""
    size = len(content)
    length = size.to_bytes((size.bit_length() + 7) // 8 or 1, "big")
    return bytes((tag, size)) + content if size < 128 else bytes((tag, 0x80 | len(length))) + length + content


def cms(kind: str, content: bytes) -> bytes:
    """SignedData (RFC 5652 §5) or CompressedData (RFC 3274) around a content."""
    data = der(0x30, der(6, bytes.fromhex("2a864886f70d010701")) + der(0xA0, content))
    return der(0x30, der(6, bytes.fromhex(kind)) + der(0xA0, der(0x30, der(2, b"\1") + der(0x31, b"") + data)))


SIGNED = "2a864886f70d010702"
COMPRESSED = "2a864886f70d0109100109"
MAIL = b"Content-Type: text/plain\n\nsigned words\n"


# ------------------------------------------------------------------------------------------------- files and their refs


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_the_corpus_can_be_opened_by_its_ref(name: str) -> None:
    raw = (CORPUS / f"{name}.eml").read_bytes()
    message = understand(raw)
    assert isinstance(message, Message)
    refs = [attachment.ref for attachment in message.attachments]
    assert len(set(refs)) == len(refs)
    files = understand_with_files(raw).files
    for attachment in message.attachments:
        data = open_file(raw, attachment.ref)
        assert files is not None
        assert files.open(attachment.ref) == data
        assert data is not None
        if "!" in attachment.ref:
            assert len(data) == attachment.size
        elif attachment.size is not None:
            assert abs(len(data) - attachment.size) <= 3 + len(data) // 10


@pytest.mark.parametrize(
    ("name", "filename", "content"),
    [
        ("tnef-files", "Grundriß Erdgeschoss.pdf", b"%PDF-1.4"),
        ("uuencode-two", "other.txt", b"hello uu world"),
        ("smime-opaque-signed-with-file", "offer.pdf", b"%PDF-1.4 x"),
        ("forwarded-with-file", "offer.pdf", b"%PDF-1"),
        ("text-attached-with-disposition", "log.txt", b"line of the log\n"),
    ],
)
def test_a_file_inside_another_part_opens_to_its_bytes(name: str, filename: str, content: bytes) -> None:
    raw = (CORPUS / f"{name}.eml").read_bytes()
    message = understand(raw)
    assert isinstance(message, Message)
    (attachment,) = (one for one in message.attachments if one.filename == filename)
    assert open_file(raw, attachment.ref) == content


def test_a_mail_that_was_cut_or_has_no_files_gives_none_to_open() -> None:
    raw = (CORPUS / "forwarded-with-file.eml").read_bytes()
    assert understand_with_files(raw, limit_bytes=len(raw) - 1).files is None
    assert understand_with_files(HEAD + b"\nwords").files is None


@pytest.mark.parametrize("ref", ["", "9", "1.9", "1!", "1!x", "1!99999", "1!1!1", "!", "-1", "1.1.1.1"])
def test_a_ref_that_leads_nowhere_opens_nothing(ref: str) -> None:
    assert open_file(HEAD + b"\nwords", ref) is None


@pytest.mark.parametrize(
    ("declared", "filename", "known"),
    [
        ("application/octet-stream", "IMG_1.JPG", "image/jpeg"),
        ("application/octet-stream", "offer.pdf", "application/pdf"),
        ("application/octet-stream", "data.bin", "application/octet-stream"),
        ("application/octet-stream", "setup.exe", "application/octet-stream"),
        ("application/force-download", "photo.webp", "image/webp"),
        ("image/jpg", "photo", "image/jpeg"),
        ("image/png", "photo.jpg", "image/png"),
    ],
)
def test_a_file_without_a_type_has_that_of_its_extension(declared: str, filename: str, known: str) -> None:
    mail = HEAD + f'Content-Type: {declared}; name="{filename}"\n\nbytes'.encode()
    message = understand(mail)
    assert isinstance(message, Message)
    assert [one.mime_type for one in message.attachments] == [known]


# ------------------------------------------------------------------------------------------------- S/MIME, TNEF, RTF


def test_signed_data_gives_its_content_in_one_piece_and_in_pieces() -> None:
    assert content_of(cms(SIGNED, der(4, MAIL))) == MAIL
    pieces = der(0x24, der(4, MAIL[:9]) + der(0x24, der(4, MAIL[9:20])) + der(4, MAIL[20:]))
    assert content_of(cms(SIGNED, pieces)) == MAIL
    assert content_of(cms(SIGNED, b"\x24\x80" + der(4, MAIL) + b"\0\0")) == MAIL
    assert content_of(cms(COMPRESSED, der(4, zlib.compress(MAIL)))) == MAIL
    assert content_of(cms("2a864886f70d010703", der(4, MAIL))) is None


def test_wrappings_nested_without_end_and_zip_bombs_are_bounded() -> None:
    assert content_of(cms(SIGNED, b"\x24\x80" * 100_000)) is None
    bomb = content_of(cms(COMPRESSED, der(4, zlib.compress(b"\0" * 60_000_000))))
    assert bomb is not None
    assert len(bomb) <= 25_000_000


def test_tnef_with_absurd_lengths_ends_where_the_data_ends() -> None:
    rendering = struct.pack("<BIIH", 2, 0x00069002, 0, 0)
    data = SIGNATURE + b"\0\0" + rendering * (MAX_FILES + 50) + struct.pack("<BII", 2, 0x0006800F, 0xFFFFFFFF) + b"tail"
    tnef = read_tnef(data)
    assert tnef is not None
    assert len(tnef.files) <= MAX_FILES
    properties = struct.pack("<I", 0xFFFFFFFF) + struct.pack("<HHI", 0x101F, 0x3707, 0xFFFFFFFF) * 1_000
    attribute = struct.pack("<BII", 1, 0x00069003, len(properties)) + properties + b"\0\0"
    assert read_tnef(SIGNATURE + b"\0\0" + attribute * 20) is not None


def test_compressed_rtf_is_unpacked() -> None:
    # the example of MS-OXRTFCP §4.1.1
    packed = bytes.fromhex(
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
    )
    assert unpack(packed) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    assert rtf_to_text(unpack(packed)) == "hello world"


@pytest.mark.parametrize(
    ("rtf", "text"),
    [
        (rb"{\rtf1 one\par two\line three\tab four}", "one\ntwo\nthree\tfour"),
        (rb"{\rtf1\ansi\ansicpg1251 \'cf\'f0\'e8\'e2\'e5\'f2}", "Привет"),
        (rb"{\rtf1\uc1 5 \u8364? \u-10179?\u-8704?}", "5 € 😀"),
        (rb"{\rtf1{\fonttbl{\f0 Arial;}}{\*\generator x;}{\info{\author Jo}}words \{x\} \\}", "words {x} \\"),
        (rb"no rtf", ""),
    ],
)
def test_rtf_reads_as_its_words(rtf: bytes, text: str) -> None:
    assert rtf_to_text(rtf) == text


# ------------------------------------------------------------------------------------------------- words


def test_content_lines_are_unfolded_and_unescaped() -> None:
    (line,) = content_lines('item1.X;A="q;:";B=c:one\\, two\\nthree \r\n four\n')
    assert (line.name, line.parameters, line.text) == ("X", {"A": "q;:", "B": "c"}, "one, two\nthree four")


def test_an_invitation_without_an_event_is_none() -> None:
    assert read_invitation("BEGIN:VCALENDAR\nEND:VCALENDAR") is None
    assert read_invitation("words") is None


@pytest.mark.parametrize(
    ("start", "end", "when"),
    [
        ("DTSTART:20260102T090000Z", "DTEND:20260102T100000Z", "Friday 2 January 2026, 09:00 to 10:00 (UTC)"),
        ("DTSTART:20260102T090000", "", "Friday 2 January 2026, 09:00"),
        ("DTSTART;VALUE=DATE:20260102", "DTEND;VALUE=DATE:20260103", "Friday 2 January 2026, all day"),
        ("DTSTART;VALUE=DATE:20260102", "DURATION:P3D", "Friday 2 January 2026 to Sunday 4 January 2026"),
        (
            "DTSTART;TZID=A/B:20260102T230000",
            "DURATION:PT2H",
            "Friday 2 January 2026, 23:00 to Saturday 3 January 2026, 01:00 (A/B)",
        ),
        (
            "DTSTART;TZID=A/B:20260102T090000",
            "DTEND;TZID=C/D:20260102T120000",
            "Friday 2 January 2026, 09:00 (A/B) to 12:00 (C/D)",
        ),
        ("DTSTART:20260102T090000", "DTEND:20250101T000000", "Friday 2 January 2026, 09:00"),
        ("DTSTART;VALUE=DATE:20260102", "DTEND:20260103T000000", "Friday 2 January 2026, all day"),
        ("DTSTART;VALUE=DATE:20260102", "DTEND:20260103T180000Z", "Friday 2 January 2026 to Saturday 3 January 2026"),
        ("DTSTART;VALUE=DATE:00010101", "DTEND:00010101T000000", "Monday 1 January 0001, all day"),
        ("DTSTART:20260102T090000", "DTEND;VALUE=DATE:20260103", "Friday 2 January 2026, 09:00"),
    ],
)
def test_an_invitation_says_when(start: str, end: str, when: str) -> None:
    invitation = read_invitation(f"BEGIN:VEVENT\nSUMMARY:x\n{start}\n{end}\nEND:VEVENT")
    assert invitation is not None
    assert f"When: {when}" in invitation.lines


def test_of_many_recipients_some_are_named_and_the_others_counted() -> None:
    fields = b"Reporting-MTA: dns; x\n\n" + b"".join(
        b"Final-Recipient: rfc822; u%d@example.com\nAction: failed\nStatus: 5.1.1\n\n" % number for number in range(500)
    )
    sentences = report_sentences("message/delivery-status", fields)
    assert len(sentences) == MAX_NAMED + 1
    assert sentences[0] == "Not delivered to u0@example.com: this mailbox does not exist"
    assert sentences[-1] == f"({500 - MAX_NAMED} more recipients)"


def test_a_text_that_only_mentions_blocks_stays() -> None:
    for text in ("begin 644 a\nlines that are no code\nend\n", "begin the beguine", "-----BEGIN CERTIFICATE-----\nx"):
        assert take_out(text).text == text


# ------------------------------------------------------------------------------------------------- whatever comes


@given(st.binary(max_size=600))
def test_any_bytes_are_taken_by_every_reader(data: bytes) -> None:
    content_of(data)
    content_of(cms(SIGNED, data))
    read_tnef(SIGNATURE + data)
    rtf_to_text(b"{\\rtf1" + data)
    unpack(struct.pack("<III", 0, 5_000, 0x75465A4C) + b"\0\0\0\0" + data)
    for kind in ("message/delivery-status", "message/disposition-notification", "message/feedback-report"):
        report_sentences(kind, data)


@given(
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.sampled_from(
                [
                    *(
                        "BEGIN:VEVENT\n",
                        "END:VEVENT\n",
                        "SUMMARY:",
                        "DTSTART",
                        ";TZID=",
                        ":20261301T250000Z\n",
                        "RRULE:",
                    ),
                    *(
                        "DURATION:P99999999D",
                        "FREQ=WEEKLY;UNTIL=",
                        "BEGIN:VCARD\n",
                        "END:VCARD\n",
                        "FN:x\n",
                        "ATTENDEE;CN=",
                    ),
                    *(
                        "-----BEGIN PGP MESSAGE-----\n",
                        "-----END PGP MESSAGE-----\n",
                        "begin 644 x\n",
                        "#86)C\n",
                        "end\n",
                    ),
                    *("-----BEGIN PGP SIGNED MESSAGE-----\n", "Hash: x\n\n", "-----BEGIN PGP SIGNATURE-----\n", "\n"),
                ]
            ),
        ),
        max_size=40,
    )
)
def test_any_text_is_taken_by_every_reader(pieces: list[str]) -> None:
    text = "".join(pieces)
    read_invitation(text)
    assert len(read_cards(text)) <= MAX_CARDS
    assert len(take_out(text).blocks) <= MAX_BLOCKS


def test_mutated_winmail_and_signed_data_are_taken(soak: bool) -> None:
    chance = random.Random(5)
    seeds = [read for name in NAMES if (read := _container(name))]
    assert len(seeds) >= 5
    for _ in range(200_000 if soak else 3_000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        read_tnef(bytes(data))
        content_of(bytes(data))


def _container(name: str) -> bytes:
    if not name.startswith(("tnef", "smime-opaque")):
        return b""
    raw = (CORPUS / f"{name}.eml").read_bytes()
    for section in ("1", "2"):
        data = open_file(raw, section) or b""
        if data.startswith((SIGNATURE, b"0")):
            return data
    return b""


HOSTILE = {
    "calendar of 60,000 events": HEAD + b"Content-Type: text/calendar\n\n" + b"BEGIN:VEVENT\nSUMMARY:x\n" * 60_000,
    "one calendar line": HEAD + b"Content-Type: text/calendar\n\nBEGIN:VEVENT\nX" + b";A=b" * 300_000,
    "50,000 begun PGP blocks": HEAD + b"\n" + b"-----BEGIN PGP SIGNED MESSAGE-----\n" * 50_000,
    "100,000 begun uuencoded files": HEAD + b"\n" + b"begin 644 a\n" * 100_000,
    "a uuencoded file without end": HEAD + b"\nbegin 644 a\n" + binascii.b2a_uu(b"x" * 45) * 40_000,
    "a delivery report of 2 MB": HEAD
    + b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n"
    + b"Final-Recipient: rfc822; a@b.c\n\n" * 60_000,
    "rich text with 300,000 groups": HEAD + b"Content-Type: text/rtf\n\n{\\rtf1" + b"{\\b x}" * 300_000,
    "cards": HEAD + b"Content-Type: text/vcard\n\n" + b"BEGIN:VCARD\nFN:x\nEND:VCARD\n" * 60_000,
    "1,000 forwarded mails": HEAD
    + b"Content-Type: multipart/digest; boundary=b\n\n"
    + b"--b\n\nFrom: a@b.c\nSubject: s\n\nwords\n" * 1_000,
    "forwarded mails in one another": HEAD + b"Content-Type: message/rfc822\n\nFrom: a@b.c\n" * 5_000,
    "brackets of pictures": HEAD + b"\n" + b"[cid:" * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_special_parts_take_linear_time(name: str) -> None:
    raw = HOSTILE[name]
    assert isinstance(understand(raw), Message)
    assert_linear(understand, raw)


def test_forwarded_mails_are_opened_up_to_a_number_and_a_depth() -> None:
    many = understand(HOSTILE["1,000 forwarded mails"])
    assert isinstance(many, Message)
    assert many.text.count("--- Forwarded message ---") == MAX_OPENED
    assert len(many.attachments) == MAX_ATTACHMENTS
    assert any("more attachments" in note for note in many.notes)
    deep = understand(HOSTILE["forwarded mails in one another"])
    assert isinstance(deep, Message)
    assert deep.text.count("--- Forwarded message ---") == MAX_LEVELS
