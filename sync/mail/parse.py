"""From the bytes of a mail to a `Message`: never an exception, whatever the bytes are.

The ladder of what cannot be read (DESIGN.md §7): FULL; PARTIAL, headers with what text could be saved; UNREADABLE,
a sender and no more; and only without a sender `Unreadable`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

from sync.mail.address import MAX_ADDRESSES, parse_addresses
from sync.mail.authentication import HEADER as AUTHENTICATION
from sync.mail.body import Body, BodyReader
from sync.mail.container import MailFiles
from sync.mail.date import written_at
from sync.mail.header import HeaderFields, decode_value, parse_parameters, read_header, with_newlines
from sync.mail.machine import RULE_HEADERS
from sync.mail.patience import TooLong, within
from sync.mail.structure import Tree, part_at, read_structure
from sync.mail.transfer import decoded_size
from sync.message import Attachment, FingerprintParts, Legibility, Message, Participant, Reply, Unreadable
from sync.text.clean import clean, clean_line
from sync.text.quotes import is_forward

DEFAULT_LIMIT_BYTES = 25 * 1_000 * 1_000
"""What of one mail is looked at when the caller sets no limit."""

MAX_SUBJECT_CHARS = 1_000
MAX_AUTHENTICATION_HEADERS = 5
"""Authentication-Results that are kept, the topmost ones."""

MAX_AUTHENTICATION_CHARS = 2_000
MAX_RULE_VALUE_CHARS = 1_000
MAX_AUTHORS_NAMED = 5
CUSTOMER_HEADERS = (
    *("reply-to", "x-original-from", "x-original-sender", "x-google-original-from", "x-mailfrom", "x-envelope-from"),
    *("x-replyto", "resent-from"),
)
"""Where contact forms and mailing lists put the person they speak for. Looked at only where an operator's rule says so."""

MAX_FINGERPRINT_CHARS = 2_000
"""What of each of the four headers counts for the fingerprint."""

MAX_KEPT_BYTES = 1_000_000
"""What is kept of a mail that nobody could read."""

READING_SECONDS = 20.0
"""Computing that one mail may take; the largest that are loaded take less than a second."""
HEADER_SECONDS = 5.0
"""…and its header alone."""

_ANSWER_MARK = re.compile(r"\s*(?:\[[^\]]{1,60}\]\s*)?[^\s:：]{1,12}\s?[:：]")
"""Some short word and a colon: "Re:", "AW:", "回复："."""

_MESSAGE_ID = re.compile(r"<[^<>\s]{1,998}>")


@dataclass(frozen=True, slots=True)
class Headers:
    """What the header alone tells. `recipients` are To, Cc and (in a sent copy) Bcc in order; `also_from`
    are the addresses of From after the first; `rules` as in `Message.headers`."""

    fingerprint: FingerprintParts
    written_at: datetime | None = None
    author: Participant | None = None
    also_from: tuple[Participant, ...] = ()
    recipients: tuple[Participant, ...] = ()
    more_recipients: int = 0
    subject: str = ""
    rules: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Recognised:
    """By what a mail is known again wherever it lies, and when it was written."""

    fingerprint: FingerprintParts
    written_at: datetime | None = None


def understand_headers(raw_header: bytes) -> Headers:
    """What the header of a mail tells: `raw_header` are its bytes as the server gives them (a whole mail does too).

    The fingerprint's parts are unfolded but not decoded. Never raises; nonsense gives empty parts.
    """
    raw_header = with_newlines(raw_header)
    try:
        return within(HEADER_SECONDS, lambda: _headers_of(read_header(raw_header, 0, len(raw_header))))
    except TooLong:
        return Headers(FingerprintParts())


def recognise(raw_header: bytes) -> Recognised:
    """The little of `understand_headers` that a listing needs, from the same bytes and in a third of the time."""
    raw_header = with_newlines(raw_header)
    try:
        return within(HEADER_SECONDS, lambda: _recognised(read_header(raw_header, 0, len(raw_header))))
    except TooLong:
        return Recognised(FingerprintParts())


@dataclass(frozen=True, slots=True)
class Understood:
    """A mail, and how to open its files: None where it has none, or was not there as a whole."""

    content: Message | Unreadable
    files: MailFiles | None = None


def understand(
    raw: bytes, *, limit_bytes: int = DEFAULT_LIMIT_BYTES, full_size: int | None = None
) -> Message | Unreadable:
    """The mail in `raw` (RFC 5322 bytes).

    At most `limit_bytes` are looked at. `full_size` is the mail's size in bytes at the server when `raw` is only its
    beginning (its header, say): a note then tells that content was not loaded. Direction and participants are left
    open: `sync.decide` works them out. Never raises, and ends: what takes longer than `READING_SECONDS` is given up for
    its headers.
    """
    return understand_with_files(raw, limit_bytes=limit_bytes, full_size=full_size).content


def understand_with_files(
    raw: bytes, *, limit_bytes: int = DEFAULT_LIMIT_BYTES, full_size: int | None = None
) -> Understood:
    """`understand` for those who keep the mail until its files are asked for."""
    size = max(len(raw), full_size or 0)
    is_cut = size > min(len(raw), limit_bytes)
    raw = with_newlines(raw[:limit_bytes])
    try:
        return within(READING_SECONDS, lambda: _understand(raw, size, is_cut=is_cut))
    except TooLong:
        return Understood(_sender_only(raw, f"reading it took more than {READING_SECONDS:g} s of computing"))
    except Exception as error:  # noqa: BLE001  the promise: one mail that nobody foresaw costs nobody anything
        return Understood(_sender_only(raw, f"{type(error).__name__} while reading it"))


def _understand(raw: bytes, size: int, *, is_cut: bool = False) -> Understood:
    header = read_header(raw, 0, len(raw))
    if not header.fields:
        return Understood(Unreadable(raw[:MAX_KEPT_BYTES], "it has no header"))
    headers = _headers_of(header)
    tree = read_structure(raw, header, len(raw))
    forwarded = is_forward(headers.subject) or not _answers(header, headers.subject)
    body = BodyReader(raw, cut_at=len(raw) if is_cut else None, forwarded=forwarded).read(tree.root)
    text = clean(body.whole()).strip("\n")
    notes = _notes(headers, tree, body)
    if is_cut:
        notes.append(_size_note(size, nothing_loaded=header.offset >= len(raw)))
    damaged = body.damaged or bool(tree.faults) or header.cut or header.shortened
    legibility = Legibility.PARTIAL if damaged or is_cut or headers.more_recipients else Legibility.FULL
    if body.damaged and not text.strip() and not body.attachments:
        if headers.author is None:
            return Understood(Unreadable(raw[:MAX_KEPT_BYTES], "its text is damaged and it names no sender"))
        legibility = Legibility.UNREADABLE
    message = Message(
        text=text,
        author=headers.author,
        recipients=headers.recipients,
        subject=headers.subject,
        sent_at=headers.written_at,
        attachments=tuple(_bounded(one, tree, raw, size) for one in body.attachments),
        legibility=legibility,
        notes=tuple(notes),
        reply=_reply(body, text),
        headers=headers.rules,
    )
    has_files = bool(body.attachments) and not is_cut
    return Understood(message, MailFiles(raw, tree.root, body.attachments) if has_files else None)


def _answers(header: HeaderFields, subject: str) -> bool:
    """True when the mail says that it answers another one, by reference or by a mark before its subject."""
    return "in-reply-to" in header.fields or "references" in header.fields or _ANSWER_MARK.match(subject) is not None


def _reply(body: Body, text: str) -> Reply | None:
    """The text told apart, where there is something to tell. What stands below the mail's own words stays."""
    reply = body.reply
    if reply is None or not body.text.strip() or not (reply.removed_lines or reply.signature):
        return None
    if not reply.removed_lines:
        return None if body.paragraphs else replace(reply, text=text, original=text)
    new = clean(replace(body, text=reply.text).whole()).strip("\n")
    return replace(reply, text=new, original=text, signature="" if body.paragraphs else reply.signature)


def _bounded(one: Attachment, tree: Tree, raw: bytes, size: int) -> Attachment:
    """A file in whose middle the mail was cut, with the most it can have: it ends where the mail does."""
    part = None if one.size is not None else part_at(tree.root, one.ref)
    if part is None or part.stop <= part.start:
        return one
    ends = raw.count(b"\n", part.start, part.stop) + raw.count(b"\r", part.start, part.stop)
    encoded = size - part.start
    return replace(one, size=decoded_size(encoded, ends * encoded // (part.stop - part.start), part.transfer_encoding))


def _sender_only(raw: bytes, why: str) -> Message | Unreadable:
    """The last rung but one: headers without content, as long as there is a sender."""
    try:
        headers = understand_headers(raw)
    except Exception:  # noqa: BLE001  see `understand`
        return Unreadable(raw[:MAX_KEPT_BYTES], why)
    if headers.author is None:
        return Unreadable(raw[:MAX_KEPT_BYTES], f"{why}, and it names no sender")
    return Message(
        text="",
        author=headers.author,
        recipients=headers.recipients,
        subject=headers.subject,
        sent_at=headers.written_at,
        legibility=Legibility.UNREADABLE,
        headers=headers.rules,
    )


# ------------------------------------------------------------------------------------------------- headers


def _headers_of(header: HeaderFields) -> Headers:
    charset = ""
    if any(not header.raw(name).isascii() for name in ("subject", "from", "to", "cc")):
        charset = parse_parameters(header.ascii("content-type"))[1].get("charset", "")
    recipients: dict[str, Participant] = {}
    more = 0
    for name in ("to", "cc", "bcc"):
        for value in header.all_raw(name):
            found, left_out = parse_addresses(value, fallback_charset=charset)
            more += left_out
            for participant in found:
                if participant.value in recipients:
                    continue
                if len(recipients) < MAX_ADDRESSES:
                    recipients[participant.value] = participant
                else:
                    more += 1
    return Headers(
        fingerprint=_fingerprint(header),
        written_at=written_at(header.ascii("date")),
        author=_author(header, charset),
        also_from=_also_from(header, charset),
        recipients=tuple(recipients.values()),
        more_recipients=more,
        subject=clean_line(decode_value(header.raw("subject"), charset), limit_chars=MAX_SUBJECT_CHARS),
        rules=_rules(header),
    )


def _author(header: HeaderFields, charset: str) -> Participant | None:
    """Who wrote it: the first address of From, else Sender, else the envelope's sender. Never Reply-To: anyone can
    put anybody there."""
    for name in ("from", "sender", "return-path"):
        for value in header.all_raw(name):
            found, _ = parse_addresses(value, fallback_charset=charset)
            if found:
                return found[0]
    return None


def _also_from(header: HeaderFields, charset: str) -> tuple[Participant, ...]:
    """Who else wrote it (RFC 5322 §3.6.2 allows several)."""
    value = header.raw("from")
    if b"," not in value and b";" not in value:
        return ()
    return tuple(parse_addresses(value, fallback_charset=charset)[0][1:])


def _recognised(header: HeaderFields) -> Recognised:
    return Recognised(_fingerprint(header), written_at(header.ascii("date")))


def _fingerprint(header: HeaderFields) -> FingerprintParts:
    return FingerprintParts(
        message_id=_message_id(header),
        date=_undecoded(header, "date"),
        author=_undecoded(header, "from"),
        subject=_undecoded(header, "subject"),
    )


def _message_id(header: HeaderFields) -> str:
    value = _undecoded(header, "message-id")
    match = _MESSAGE_ID.search(value)
    return match.group() if match is not None else value


def _undecoded(header: HeaderFields, name: str) -> str:
    """A value byte by byte (Latin-1), unfolded, white space as single blanks, without NUL: databases refuse it."""
    text = header.raw(name)[:MAX_FINGERPRINT_CHARS].decode("latin-1").replace("\x00", "")
    return " ".join(text.split())


def _rules(header: HeaderFields) -> tuple[tuple[str, str], ...]:
    names = (*RULE_HEADERS, *CUSTOMER_HEADERS)
    found = [(name, _rule_value(header, name)) for name in names if name in header.fields]
    if b"multipart/report" in header.raw("content-type").lower():
        found.append(("content-type", _rule_value(header, "content-type")))
    for value in header.all_raw(AUTHENTICATION)[:MAX_AUTHENTICATION_HEADERS]:
        text = value[: MAX_AUTHENTICATION_CHARS * 4].decode("utf-8", "replace")
        found.append((AUTHENTICATION, clean_line(text, limit_chars=MAX_AUTHENTICATION_CHARS)))
    return tuple(found)


def _rule_value(header: HeaderFields, name: str) -> str:
    return clean_line(header.ascii(name), limit_chars=MAX_RULE_VALUE_CHARS)


# ------------------------------------------------------------------------------------------------- notes


def _notes(headers: Headers, tree: Tree, body: Body) -> list[str]:
    notes = list(dict.fromkeys(body.notes))
    if headers.also_from:
        named = [one.name or one.value for one in headers.also_from[:MAX_AUTHORS_NAMED]]
        more = len(headers.also_from) - len(named)
        notes.append(f"Also from: {', '.join(named)}{f' and {more} more' if more else ''}.")
    if headers.more_recipients:
        notes.append(f"{headers.more_recipients} more recipients were left out.")
    notes += [f"Part of this message may be missing: {fault}." for fault in dict.fromkeys(tree.faults)]
    return notes


def _size_note(size: int, *, nothing_loaded: bool) -> str:
    megabytes = f"{size / 1_000_000:.1f} MB"
    if nothing_loaded:
        return f"The content of this message was not loaded because of its size ({megabytes})."
    return f"This message was not loaded completely because of its size ({megabytes})."
