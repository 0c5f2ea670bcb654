"""Headers: fingerprints, dates, encoded words, parameters; charsets and transfer encodings."""

from __future__ import annotations

import base64
import contextlib
import time
from datetime import UTC, datetime

import pytest

from sync.mail import is_loop, parse, understand, understand_headers, written_at
from sync.mail.charset import codec_of, decode
from sync.mail.header import decode_words, parse_parameters, read_header
from sync.mail.parse import MAX_RULE_VALUE_CHARS
from sync.mail.patience import TooLong, within
from sync.mail.transfer import decode_transfer
from sync.message import FingerprintParts, Legibility, Message, Unreadable
from sync.text.clean import MAX_TEXT_CHARS


def test_the_fingerprint_is_unfolded_and_not_decoded() -> None:
    raw = (
        b"Subject: =?utf-8?Q?=C3=84?=\r\n\tfolded\r\nFrom: J\xf6 <Jo@X.de>\r\nDate:  Mon, 2 Nov 2026 09:15:00 +0100\r\n"
    )
    parts = understand_headers(raw + b"Message-ID:\r\n <a@b>  (x)\r\n\r\nbody").fingerprint
    assert parts.subject == "=?utf-8?Q?=C3=84?= folded"
    assert parts.author == "J\xf6 <Jo@X.de>"
    assert parts.date == "Mon, 2 Nov 2026 09:15:00 +0100"
    assert parts.message_id == "<a@b>"


def test_the_fingerprint_is_the_same_however_a_server_folds() -> None:
    one = understand_headers(b"From: a@b.c\r\nSubject: one two\r\n\tthree\r\n\r\n").fingerprint
    other = understand_headers(b"SUBJECT:one\r\n two three\r\nfrom:   a@b.c").fingerprint
    assert one == other


def test_headers_alone_and_the_whole_mail_tell_the_same() -> None:
    header = (
        b"From: Jo <jo@x.y>\nTo: a@b.c\nCc: d@e.f\nSubject: s\nDate: 2 Nov 2026 09:15:00 +0000\nPrecedence: bulk\n\n"
    )
    alone, message = understand_headers(header), understand(header + b"text")
    assert isinstance(message, Message)
    assert (alone.author, alone.recipients, alone.subject) == (message.author, message.recipients, message.subject)
    assert (alone.written_at, alone.rules) == (message.sent_at, message.headers)
    assert alone.rules == (("precedence", "bulk"),)


@pytest.mark.parametrize("raw", [b"", b"\n", b"\x00\xff", b"no header at all", b": x\n\n"])
def test_nonsense_gives_empty_headers(raw: bytes) -> None:
    headers = understand_headers(raw)
    assert headers.author is None
    assert headers.fingerprint.message_id == headers.fingerprint.subject == ""
    assert isinstance(understand(raw), Unreadable)


def test_rule_headers_are_kept_short_and_a_report_shows_its_type() -> None:
    raw = (
        b"From: a@b.c\nReturn-Path: <>\nAuto-Submitted: "
        + b"x" * 5_000
        + b"\nContent-Type: multipart/REPORT; boundary=b\n\n"
    )
    rules = dict(understand_headers(raw).rules)
    assert rules["return-path"] == "<>"
    assert len(rules["auto-submitted"]) == MAX_RULE_VALUE_CHARS
    assert rules["content-type"].startswith("multipart/REPORT")


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("Mon, 2 Nov 2026 09:15:30 +0100", "2026-11-02T08:15:30"),
        ("2 Nov 2026 09:15 -0530", "2026-11-02T14:45:00"),
        ("Mon, 02-Nov-2026 09:15:00 GMT", "2026-11-02T09:15:00"),
        ("Mon Nov  2 09:15:00 2026", "2026-11-02T09:15:00"),
        ("Mon Nov  2 09:15:00 PST 2026", "2026-11-02T17:15:00"),
        ("November 2, 2026 9:15 PM", "2026-11-02T21:15:00"),
        ("2026-11-02T09:15:00Z", "2026-11-02T09:15:00"),
        ("2026-11-02 09:15:00.123 +02:00", "2026-11-02T07:15:00"),
        ("Mon, 2 Nov 2026 23:59:60 +0000", "2026-11-02T23:59:59"),
        ("Mon, 2 Nov 99 09:15:00 EDT", "1999-11-02T13:15:00"),
        ("Mon, 2 Nov 126 09:15:00 +0000", "2026-11-02T09:15:00"),
        ("Mon, 2 Nov 2026 09:15:00 XYZ", "2026-11-02T09:15:00"),
        ("Mon, 2 Nov 2026 09:15:00 +9999", "2026-11-02T09:15:00"),
        ("Mon, 2 Nov 2026 09:15:00 +0100 (CET)", "2026-11-02T08:15:00"),
        ("2 Nov 2026", "2026-11-02T00:00:00"),
    ],
)
def test_dates_in_many_forms(value: str, moment: str) -> None:
    assert written_at(value) == datetime.fromisoformat(moment).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        *("", "yesterday", "Mon, 31 Feb 2026 09:15:00 +0000", "1 Jan 1970 00:00:00 +0000", "1 Jan 2345 00:00:00 +0000"),
        *("2 Nov 2026 25:15:00 +0000", "99 Nov 2026 09:15:00", "1 " * 30_000),
    ],
)
def test_missing_and_absurd_dates_are_none(value: str) -> None:
    assert written_at(value) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("=?utf-8?Q?a=5Fb_c?=", "a_b c"),
        ("=?UTF-8?b?w6Q=?= =?utf-8?B?w7Y=?= x", "äö x"),
        ("=?utf-8?B?w6Q?=", "ä"),
        ("=?utf-8*en?Q?=C3=A4?=", "ä"),
        ("a=?utf-8?Q?=C3=A4?=b", "aäb"),
        ("=?utf-8?Q?who=3F?= =?", "who? =?"),
        ("=?x?y?z?=", "=?x?y?z?="),
        ("=?nonsense?Q?=C3=A4?=", "ä"),
        ("=?iso-8859-1?Q?=80?=", "€"),
        ("=?utf-8?Q??=", ""),
    ],
)
def test_encoded_words(value: str, text: str) -> None:
    assert decode_words(value) == text


@pytest.mark.parametrize(
    ("value", "main", "parameters"),
    [
        ('Text/Plain; Charset="UTF-8"', "text/plain", {"charset": "UTF-8"}),
        ("a/b; x*0=one; x*1=two", "a/b", {"x": "onetwo"}),
        ("a/b; x*1=two; x*0=one", "a/b", {"x": "onetwo"}),
        ("a/b; x*=utf-8'de'%C3%A4", "a/b", {"x": "ä"}),
        ("a/b; x*0*=utf-8''%C3; x*1*=%A4; x*2=b", "a/b", {"x": "äb"}),
        ("a/b; x*=%C3%A4", "a/b", {"x": "ä"}),
        ('a/b; x="=?utf-8?Q?=C3=A4?="', "a/b", {"x": "ä"}),
        ('a/b; x="a;b\\"c"; y=2', "a/b", {"x": 'a;b"c', "y": "2"}),
        ('a/b; x="C:\\new\\temp.txt"', "a/b", {"x": "C:\\new\\temp.txt"}),
        ('a/b; x="open; y=2', "a/b", {"x": "open", "y": "2"}),
        ("a/b;; ;x = 1 ;", "a/b", {"x": "1"}),
        ("a/b; x=1; x=2", "a/b", {"x": "1"}),
        ("", "", {}),
    ],
)
def test_parameters(value: str, main: str, parameters: dict[str, str]) -> None:
    assert parse_parameters(value) == (main, parameters)


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("ISO-8859-1", "cp1252"),
        ("latin1", "cp1252"),
        ("GB2312", "gb18030"),
        ("ks_c_5601-1987", "cp949"),
        ("shift_jis", "cp932"),
        ("UTF8", "utf-8"),
        ("'utf-8'", "utf-8"),
        ("windows-1251", "cp1251"),
        ("x-mac-roman", "mac-roman"),
        ("punycode", None),
        ("unicode_escape", None),
        ("rot13", None),
        ("base64", None),
        ("", None),
        ("../../x", None),
    ],
)
def test_charsets_are_read_as_their_supersets_and_only_text_codecs_count(declared: str, codec: str | None) -> None:
    assert codec_of(declared) == codec


def test_bytes_that_fit_no_charset_still_give_text() -> None:
    text, exact = decode(b"\x81\x8d\xff\xfe ok", "utf-8")
    assert "ok" in text
    assert not exact


@pytest.mark.parametrize(
    ("data", "encoding", "decoded"),
    [
        (b"SGVs\r\nbG8=", "base64", b"Hello"),
        (b"SGVsbG8", "Base64", b"Hello"),
        (b"SGVs*bG8=", "base64", b"Hello"),
        (b"SGVsbG8=SGVsbG8=", "base64", b"HelloHello"),
        (b"S", "base64", b""),
        (b"a=3Db=\n c=", "quoted-printable", b"a=b c"),
        (b"as it is", "8bit", b"as it is"),
        (b"", "base64", b""),
    ],
)
def test_transfer_encodings_keep_what_can_be_decoded(data: bytes, encoding: str, decoded: bytes) -> None:
    assert decode_transfer(data, encoding)[0] == decoded


@pytest.mark.parametrize("spoil", [b"", b"\x7f", b"Q", b"!Q", b"<p hidden>"])
def test_a_letter_lost_spoilt_or_added_in_base64_costs_its_line_and_not_what_follows(spoil: bytes) -> None:
    words = b"".join(b"%04d " % number for number in range(400))
    encoded = base64.encodebytes(words)
    for place in (5, 100, 900):
        decoded, _ = decode_transfer(encoded[:place] + spoil + encoded[place + 1 :], "base64")
        kept = sum(b"%04d " % number in decoded for number in range(400))
        assert kept >= 400 - 57 // 5 - 1, (place, kept)  # a line holds 57 bytes


def test_base64_whose_lines_are_no_whole_groups_is_read_as_one_stream() -> None:
    encoded = base64.b64encode(b"Hello, " * 90)
    lines = b"\n".join(encoded[at : at + 75] for at in range(0, len(encoded), 75))
    assert decode_transfer(lines.rstrip(b"="), "base64") == (b"Hello, " * 90, True)
    assert decode_transfer(lines.replace(b"\n", b" \n!", 1), "base64") == (b"Hello, " * 90, False)


def test_vendor_characters_in_iso_2022_jp_are_read() -> None:
    data = b"\x1b$B-!$NCm\x1b(B ok \x1b$B-j\x1b(B"
    assert decode(data, "iso-2022-jp") == ("①の注 ok ㈱", True)
    assert decode(data, "") == ("①の注 ok ㈱", True)


def test_damaged_iso_2022_jp_is_not_taken_for_ascii() -> None:
    text, exact = decode("注文".encode("iso2022_jp") + b"\x1b$B\x21\x1b(B end", "iso-2022-jp")
    assert text.startswith("注文")
    assert not exact


def test_our_own_marker_is_a_loop() -> None:
    ours, theirs = understand(b"From: a@b.c\nX-Inbox-Sync: 1\n\nx"), understand(b"From: a@b.c\n\nx")
    assert isinstance(ours, Message)
    assert isinstance(theirs, Message)
    assert is_loop(ours)
    assert not is_loop(theirs)


def test_a_fault_of_our_own_costs_the_text_and_not_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Message:
        raise RecursionError

    monkeypatch.setattr(parse, "_understand", fail)
    message = understand(b"From: Jo <jo@x.y>\nSubject: s\n\ntext")
    assert isinstance(message, Message)
    assert (message.legibility, message.text, message.subject) == (Legibility.UNREADABLE, "", "s")
    unreadable = understand(b"Subject: s\n\ntext")
    assert isinstance(unreadable, Unreadable)
    assert unreadable.raw == b"Subject: s\n\ntext"
    assert "RecursionError" in unreadable.why


def test_l2_a_mail_that_keeps_the_reader_busy_for_ever_costs_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def loop(*_: object) -> Message:
        while True:
            with contextlib.suppress(Exception):  # as a careless step in the middle would
                sum(range(100))

    monkeypatch.setattr(parse, "READING_SECONDS", 0.05)
    monkeypatch.setattr(parse, "_understand", loop)
    message = understand(b"From: Jo <jo@x.y>\nSubject: s\n\ntext")
    assert isinstance(message, Message)
    assert (message.legibility, message.text, message.subject) == (Legibility.UNREADABLE, "", "s")
    monkeypatch.setattr(parse, "HEADER_SECONDS", 0.05)
    monkeypatch.setattr(parse, "_headers_of", loop)
    nothing = understand(b"From: Jo <jo@x.y>\nSubject: s\n\ntext")
    assert isinstance(nothing, Unreadable)
    assert nothing.raw.startswith(b"From: Jo")
    assert understand_headers(b"Subject: s\n\n").fingerprint == FingerprintParts()


def test_who_waits_is_not_interrupted_and_who_is_in_time_hears_nothing_later() -> None:
    within(0.02, lambda: time.sleep(0.3))
    deadline = time.thread_time() + 0.3
    for _ in range(50):  # near the limit on both sides, in this very thread
        with contextlib.suppress(TooLong):
            within(0.003, lambda: sum(range(40_000)))
    while time.thread_time() < deadline:
        sum(range(100))


def test_a_text_beyond_the_limit_is_cut_with_a_note() -> None:
    message = understand(b"From: a@b.c\n\n" + b"word " * 300_000)
    assert isinstance(message, Message)
    assert len(message.text) <= MAX_TEXT_CHARS
    assert message.notes == ("The text of this message is too long to be shown whole.",)


def test_a_header_field_is_found_by_its_lower_case_name() -> None:
    header = read_header(b"X-A: one\r\nx-a: two\r\n\r\nbody", 0, 26)
    assert header.all_raw("x-a") == [b"one", b"two"]
    assert header.offset == 22


def test_a_mail_over_the_limit_keeps_what_was_loaded_and_says_so() -> None:
    raw = b"From: a@b.c\nSubject: s\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nwords\n"
    raw += b"--b\nContent-Type: a/b; name=x.bin\n\n"
    message = understand(raw + b"y" * 5_000, limit_bytes=1_000)
    assert isinstance(message, Message)
    assert message.text == "words"
    assert message.legibility is Legibility.PARTIAL
    assert message.notes == ("This message was not loaded completely because of its size (0.0 MB).",)
    assert message.attachments[0].filename == "x.bin"
    assert message.attachments[0].size == 5_000, "the most it can be: nobody knows where it ends"


def test_headers_of_a_mail_that_was_not_loaded_make_a_message_with_a_note() -> None:
    message = understand(b"From: a@b.c\r\nSubject: holiday film\r\n\r\n", full_size=31_200_000)
    assert isinstance(message, Message)
    assert (message.subject, message.text) == ("holiday film", "")
    assert message.legibility is Legibility.PARTIAL
    assert message.notes == ("The content of this message was not loaded because of its size (31.2 MB).",)


@pytest.mark.parametrize(
    "before", [b"\xef\xbb\xbf", b" ", b"\n\r\n", b" " * 80 + b"\n", b"\xef\xbb\xbfFrom jo Mon Nov  2 2026\n"]
)
def test_what_editors_put_in_front_of_a_mail_hides_no_field(before: bytes) -> None:
    raw = b"From: Jo <jo@x.y>\nSubject: s\n\n  text"
    message = understand(before + raw)
    assert isinstance(message, Message)
    assert message.author is not None
    assert (message.author.value, message.subject, message.text) == ("jo@x.y", "s", "  text")
    assert message.legibility is Legibility.FULL
    assert understand_headers(before + raw).fingerprint == understand_headers(raw).fingerprint


def test_a_forwarded_mails_whole_subject_is_its_file_name() -> None:
    raw = (
        b"From: jo@x.y\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nsee below\n--b\n"
        b"Content-Type: message/rfc822\n\nSubject: a text/plain body\n\nhello\n--b--\n"
    )
    message = understand(raw)
    assert isinstance(message, Message)
    assert [attachment.filename for attachment in message.attachments] == ["a text-plain body.eml"]


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("plain", "Thanks, Jo\n\n\u1427\n", "Thanks, Jo"),
        ("plain", "Thanks, Jo\r\n \u1427\r\n\r\n> earlier\r\n", "Thanks, Jo\n\n\n> earlier"),
        ("html", '<p>Thanks, Jo</p><img width=0><font color="#ffffff" size="1">\u1427</font>', "Thanks, Jo"),
        ("plain", "\u1431\u1427\u140a means something", "\u1431\u1427\u140a means something"),
    ],
)
def test_the_sign_of_a_tracking_extension_is_left_out_and_the_letter_in_words_stays(
    kind: str, body: str, text: str
) -> None:
    head = f"From: jo@example.com\nMIME-Version: 1.0\nContent-Type: text/{kind}; charset=utf-8\n\n"
    message = understand((head + body).encode())
    assert isinstance(message, Message)
    assert message.text.rstrip() == text
