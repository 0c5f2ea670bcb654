"""What a person would read in a mail: which parts are its text, which are files beside it, and what is said of the rest.

Parts that are neither text nor a plain file (invitations, reports, forwarded mails, winmail.dat, …) become paragraphs
below the text or a note; docs/mail.md has the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from sync.mail.armor import take_out
from sync.mail.calendar import read_invitation
from sync.mail.card import read_cards
from sync.mail.charset import decode, decode_html
from sync.mail.cms import content_of
from sync.mail.container import MARK, SMIME_TYPES, TNEF_TYPES, block_files, tnef_files, tnef_text
from sync.mail.files import attachment_of, declared_filename, filename_of
from sync.mail.flowed import unflow
from sync.mail.forwarded import introduction
from sync.mail.header import read_header
from sync.mail.parts import PartHead
from sync.mail.report import REPORT_TYPES, RETURNED_TYPES, Returned, report_sentences, returned_message
from sync.mail.rtf import rtf_to_text
from sync.mail.structure import MAX_DEPTH, Part, read_structure
from sync.mail.tnef import read_tnef
from sync.mail.transfer import decode_transfer
from sync.message import Attachment, Reply
from sync.text.canonical import canonical
from sync.text.clean import MAX_TEXT_CHARS, clean, clean_line, without_tracker_marks
from sync.text.html import is_html
from sync.text.quotes import joined, read_html, read_plain

MAX_TEXT_BYTES = 4 * 1_024 * 1_024
"""What of all text parts together is decoded."""

MAX_TEXT_PART_BYTES = 2 * 1_024 * 1_024
"""What of one text part is decoded."""

TEXT_READ_BYTES = MAX_TEXT_PART_BYTES + 1_024
"""Whoever loads so much of a longer text part (as it is encoded) has loaded what is decoded of it, and that there is more
is seen."""

MAX_TEXT_BLOCKS = 50
"""Text parts that are joined to one text."""

MAX_ATTACHMENTS = 100
"""Files that are listed; a note tells how many more there are."""

MAX_LEVELS = 3
"""Mails within mails that are opened; deeper ones are files."""

MAX_OPENED = 30
"""Mails within one mail that are opened, on all levels together."""

MAX_SPECIAL = 50
"""Invitations, cards, reports and wrappings of one mail that are read."""

WINMAIL = "winmail.dat"
"""By this name Outlook's packets go where their type was lost."""

MAX_PLACEHOLDER_CHARS = 600
"""A longer plain text is never taken for a mere notice that the mail is HTML."""

MAX_TEASER_CHARS = 300
TEASER_SHARE = 20
"""A plain text up to so long is a mere teaser when the HTML beside it reads so many times as long."""

_HTML_TYPES = frozenset({"text/html", "text/xhtml", "application/xhtml+xml"})
_TEXT_TYPES = (
    _HTML_TYPES
    | {"text/plain", "application/plain"}
    | {*("text/enriched", "text/richtext", "text/markdown", "text/rtf")}
)
_SIGNATURES = frozenset(
    {
        "application/pgp-signature",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "application/pgp-keys",
        "application/pgp-encrypted",
        "application/applefile",
    }
)
_CALENDARS = frozenset({"text/calendar", "text/x-vcalendar", "application/ics"})
_CARDS = frozenset({"text/vcard", "text/x-vcard", "text/directory"})
_NO_ALTERNATIVE = frozenset({"text/x-amp-html", "text/watch-html"})
_NESTED = frozenset({"message/rfc822", "message/global", "message/news"})
_FILE_FAMILIES = frozenset({"image", "audio", "video", "font", "model"})
_READ_TYPES = (_TEXT_TYPES - {name for name in _TEXT_TYPES if name.startswith("text/")}) | (
    _CALENDARS | _CARDS | SMIME_TYPES | TNEF_TYPES | REPORT_TYPES | RETURNED_TYPES
)
_WORD = re.compile(r"[^\W_]")
_PLACEHOLDER = re.compile(
    r"html|(?:view|read|see|open)\b.{0,40}\b(?:browser|online)|im browser|webversion|web-version|navigateur|navegador"
    r"|nel browser|przegl[ąa]dar|браузер|mime[- ]?(?:compatible|capable|format)|multi-?part message",
    re.IGNORECASE,
)
_ENRICHED_PARAMETER = re.compile(r"<param>[^<]{0,200}</param>", re.IGNORECASE)
_ENRICHED_TAG = re.compile(r"<(?!<)/?[a-zA-Z-]{1,60}>")
_DELIMITER_LINE = re.compile(rb"^--(?:-{0,40}=_|[^\s-])[^\n]*\n?", re.MULTILINE)
_PLACED = re.compile(r"\[cid:([^\[\]\s@]{1,100})(?:@[^\[\]\s]{1,200})?\]")
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r\x0c\x1b")
_BINARY_WINDOW_BYTES = 4_096
_MAX_CONTROL_SHARE = 0.1


@dataclass(slots=True)
class _Block:
    """A text part; what it says is worked out when it is asked for."""

    part: Part
    is_html: bool
    reply: Reply | None = None


@dataclass(slots=True)
class Body:
    """What a mail says. `text` are its own words (`reply` tells new ones from quoted ones), `paragraphs` what is said
    below them (forwarded mails, invitations, reports), `notes` sentences about what is missing."""

    text: str = ""
    reply: Reply | None = None
    paragraphs: list[str] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    damaged: bool = False

    def whole(self) -> str:
        """The text with everything below it."""
        return "\n\n".join(part for part in (self.text.strip("\n"), *self.paragraphs) if part.strip())


@dataclass(slots=True)
class _Bounds:
    """What is left of the limits that a mail shares with the mails in it."""

    text_bytes: int = MAX_TEXT_BYTES
    opened: int = MAX_OPENED
    special: int = MAX_SPECIAL


class BodyReader:
    """Reads the parts of one mail. `cut_at` is where the raw bytes end when the mail goes on beyond them; `forwarded`:
    it forwards another mail, or answers none."""

    def __init__(
        self,
        raw: bytes,
        cut_at: int | None = None,
        *,
        forwarded: bool = False,
        level: int = 0,
        bounds: _Bounds | None = None,
    ) -> None:
        self._raw = raw
        self._forwarded = forwarded
        self._cut_at = cut_at
        self._level = level
        self._bounds = bounds or _Bounds()
        self._body = Body()
        self._left_out = 0
        self._saw_text = False
        self._too_long = False
        self._pictures: dict[str, str] = {}
        self._fallbacks: list[str] = []
        self._invitations: set[tuple[str, ...]] = set()

    def read(self, root: Part) -> Body:
        """The body below `root`."""
        body = self._body
        if root.children:
            self._pictures = {cid: filename_of(self._raw, part) for cid, part in _with_content_id(root)}
        body.reply = self._read(self._visit(root, is_root=True))
        text = body.reply.original
        if not text.strip():
            text = next((fallback for fallback in self._fallbacks if fallback.strip()), "")
            body.reply = read_plain(text, forwarded=self._forwarded)
        body.text = text
        if self._too_long or len(text) > MAX_TEXT_CHARS:
            body.notes.append("The text of this message is too long to be shown whole.")
        if self._left_out:
            body.notes.append(f"{self._left_out} more attachments are not named here.")
        return body

    # -- which parts are text

    def _visit(self, part: Part, *, is_root: bool = False, related: bool = False) -> list[_Block]:
        kind = part.mime_type
        if kind.startswith("multipart/"):
            return self._visit_multipart(part)
        if self._is_text(part, is_root=is_root, related=related):
            self._saw_text = True
            return [_Block(part, kind in _HTML_TYPES)]
        special = self._special(part) if not kind.startswith("image/") else None
        if special is None:
            shown = kind.startswith("image/") and (related or part.disposition == "inline")
            self._attach(part, inline=shown and part.disposition != "attachment")
            return []
        return special

    def _is_text(self, part: Part, *, is_root: bool, related: bool) -> bool:
        kind = part.mime_type
        if is_root and kind.startswith("text/") and kind not in _CALENDARS | _CARDS:
            return part.disposition != "attachment" or not declared_filename(part)
        if kind not in _TEXT_TYPES or part.disposition == "attachment" or related:
            return False
        return not (declared_filename(part) and self._saw_text)

    def _visit_multipart(self, part: Part) -> list[_Block]:
        kind = part.mime_type
        if part.too_deep:
            self._attach(part, inline=False)
            return []
        if not part.children:
            self._body.damaged = True
            return [_Block(part, is_html=False)] if part.stop > part.start else []
        if kind == "multipart/alternative":
            return self._choose(part)
        if kind == "multipart/related":
            return self._visit_related(part)
        if kind == "multipart/report":
            return self._visit_report(part)
        if kind == "multipart/encrypted":
            self._body.notes.append("This message is encrypted (PGP) and cannot be read here.")
        blocks: list[_Block] = []
        for child in part.children:
            if child.mime_type not in _SIGNATURES:
                blocks += self._visit(child)
        return blocks

    def _visit_related(self, part: Part) -> list[_Block]:
        root = part.children[0]
        start = part.parameters.get("start", "").strip("<> ").encode()
        if start:
            for child in part.children:
                if child.header.raw("content-id").strip(b"<> ") == start:
                    root = child
                    break
        if not root.mime_type.startswith(("text/", "multipart/")):
            for child in part.children:
                if child.mime_type.startswith(("text/", "multipart/")):
                    root = child
                    break
        blocks = self._visit(root)
        for child in part.children:
            if child is not root:
                blocks += self._visit(child, related=True)
        return blocks

    def _choose(self, part: Part) -> list[_Block]:
        """One of the alternatives: plain text, unless it says nothing and HTML says more."""
        plain: list[_Block] = []
        rich: list[_Block] = []
        for child in part.children:
            if child.mime_type in _NO_ALTERNATIVE:
                continue
            blocks = self._visit(child)
            if any(block.is_html for block in blocks):
                rich = blocks if self._join(blocks) or not rich else rich
            elif blocks and (not plain or len(self._join(blocks)) > len(self._join(plain))):
                plain = blocks
        if not rich or not plain:
            return rich or plain
        said = self._join(plain)
        if self._says_more_of_quotes(rich, plain):
            return rich
        if len(said) > MAX_PLACEHOLDER_CHARS:
            return plain
        is_teaser = len(said) < MAX_TEASER_CHARS and any(
            block.part.stop - block.part.start > TEASER_SHARE * len(said) for block in rich
        )
        if _WORD.search(said) and not is_teaser and not _PLACEHOLDER.search(said):
            return plain
        shown = self._join(rich)
        if shown.split() == said.split():  # no notice: a short text that speaks of HTML
            return plain
        if _WORD.search(said) and not _PLACEHOLDER.search(said):
            return rich if len(shown) > TEASER_SHARE * len(said) else plain
        return rich if _WORD.search(shown) and len(shown) > len(said) // 2 else plain

    def _says_more_of_quotes(self, rich: list[_Block], plain: list[_Block]) -> bool:
        """True when the markup tells what is quoted and the plain text does not (its program's words are unknown)."""
        if self._read(plain).removed_lines:
            return False
        read = self._read(rich)
        return read.removed_lines > 0 and len(read.text) < len(self._join(plain))

    # -- from parts to text

    def _join(self, blocks: list[_Block]) -> str:
        return self._read(blocks).original

    def _read(self, blocks: list[_Block]) -> Reply:
        replies: list[Reply] = []
        seen: set[str] = set()
        for block in blocks[:MAX_TEXT_BLOCKS]:
            if block.reply is None:
                block.reply = self._reply_of(block)
            text = block.reply.original
            same = canonical(text) if len(blocks) > 1 else text
            if text.strip() and same not in seen:
                replies.append(block.reply)
                seen.add(same)
        return joined(replies)

    def _reply_of(self, block: _Block) -> Reply:
        part = block.part
        data = self._decoded(part)
        charset = part.parameters.get("charset", "")
        if part.mime_type.startswith("multipart/"):
            data = _DELIMITER_LINE.sub(b"", data)
        if part.mime_type == "text/rtf":
            return read_plain(clean(rtf_to_text(data)), forwarded=self._forwarded)
        text, exact = (decode_html if block.is_html else decode)(data, charset)
        if not exact and _is_binary(data):
            self._body.damaged = True
            return joined([])
        self._too_long = self._too_long or len(text) > MAX_TEXT_CHARS
        text = without_tracker_marks(text)
        if block.is_html or is_html(text):
            return read_html(text, forwarded=self._forwarded, pictures=self._pictures)
        return read_plain(self._plain_text(part, text), forwarded=self._forwarded)

    def _decoded(self, part: Part) -> bytes:
        """The bytes of a text part, as far as the limits go."""
        stop = min(part.stop, part.start + min(MAX_TEXT_PART_BYTES, self._bounds.text_bytes))
        self._bounds.text_bytes -= stop - part.start
        if stop < part.stop:
            self._too_long = True
        data, complete = decode_transfer(self._raw[part.start : stop], part.transfer_encoding)
        if not complete and stop == part.stop and self._cut_at is None:
            self._body.damaged = True
        return data

    def _plain_text(self, part: Part, text: str) -> str:
        found = take_out(clean(text))
        text = found.text
        if found.blocks:
            self._add_files(block_files(found.blocks, part.path))
            if found.encrypted:
                self._body.notes.append("A part of this message is encrypted (PGP) and cannot be read here.")
        if part.parameters.get("format", "").lower() == "flowed":
            text = unflow(text, delete_space=part.parameters.get("delsp", "").lower() == "yes")
        elif part.mime_type in {"text/enriched", "text/richtext"}:
            text = _ENRICHED_TAG.sub("", _ENRICHED_PARAMETER.sub("", text)).replace("<<", "<")
        if "[cid:" in text:
            text = _PLACED.sub(r"[\1]", text)
        return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")

    # -- parts of other kinds

    def _special(self, part: Part) -> list[_Block] | None:
        """What stands for a part that is neither text nor a plain file; None when it is a plain file after all."""
        kind = part.mime_type
        if kind in _NESTED:
            self._attach(part, inline=False)
            self._open_mail(part)
            return []
        if kind in {"message/partial", "message/external-body"}:
            return self._elsewhere(part)
        if self._bounds.special <= 0:
            return None
        if kind in _CALENDARS or kind in _CARDS:
            self._bounds.special -= 1
            self._invitation_or_card(part)
            return None
        if kind in SMIME_TYPES:
            self._bounds.special -= 1
            return self._smime(part)
        if kind in TNEF_TYPES or declared_filename(part).lower() == WINMAIL:
            self._bounds.special -= 1
            return self._tnef(part)
        if kind in REPORT_TYPES and part.disposition != "attachment":
            self._bounds.special -= 1
            sentences = report_sentences(kind, self._decoded(part))
            self._body.paragraphs += ["\n".join(sentences)] if sentences else []
            return [] if sentences else None
        if kind in RETURNED_TYPES and "protected-headers" in part.parameters:
            return []
        return None

    def _invitation_or_card(self, part: Part) -> None:
        text = clean(decode(self._decoded(part), part.parameters.get("charset", "") or "utf-8")[0])
        if part.mime_type in _CARDS:
            self._body.paragraphs += ["\n".join(read_cards(text))]
            return
        invitation = read_invitation(text, part.parameters.get("method", ""))
        if invitation is None or invitation.identity in self._invitations:
            return
        self._invitations.add(invitation.identity)
        self._body.paragraphs.append("\n".join(invitation.lines))
        if not invitation.is_answer:
            self._fallbacks.append(invitation.description)

    def _tnef(self, part: Part) -> list[_Block] | None:
        data, _ = decode_transfer(self._raw[part.start : part.stop], part.transfer_encoding)
        tnef = read_tnef(data)
        if tnef is None:
            return None
        self._fallbacks.append(tnef_text(tnef))
        self._add_files(tnef_files(tnef, part.path, is_cut=self._cut_at is not None))
        return []

    def _smime(self, part: Part) -> list[_Block] | None:
        data, _ = decode_transfer(self._raw[part.start : part.stop], part.transfer_encoding)
        mail = content_of(data)
        if mail is not None and self._may_open():
            body = self._open(mail, path="", forwarded=self._forwarded)
            if body.whole() or body.attachments:
                self._take(body, f"{part.path}{MARK}")
                return [_Block(part, is_html=False, reply=body.reply)]
        kind = part.parameters.get("smime-type", "").lower()
        if mail is not None or kind == "certs-only":
            self._body.notes.append("This message holds only a certificate (S/MIME).")
            return None
        what = "signed in a way that hides its text" if "signed" in kind else "encrypted"
        self._body.notes.append(f"This message is {what} (S/MIME) and cannot be read here.")
        return None

    def _elsewhere(self, part: Part) -> list[_Block] | None:
        parameters = part.parameters
        if part.mime_type == "message/partial":
            number, total = (parameters.get(name, "")[:6] for name in ("number", "total"))
            pieces = f"piece {number or '?'}" + (f" of {total}" if total else "")
            self._body.notes.append(f"This is {pieces} of a message that was sent in pieces.")
            if number == "1":
                self._open_mail(part)
            return None
        where = clean_line(parameters.get("url", "").replace(" ", ""))
        if not where:
            names = (parameters.get(name, "").strip("/") for name in ("site", "directory", "name"))
            where = clean_line("/".join(name for name in names if name))
        inner = read_header(self._raw, part.start, part.stop)
        name = clean_line(parameters.get("name", "")) or inner.ascii("content-description")[:200]
        what = f"“{clean_line(name)}”" if name else "A part of this message"
        self._body.notes.append(f"{what} was not sent along; it is kept at {where or 'another place'}.")
        return []

    # -- reports about mail

    def _visit_report(self, part: Part) -> list[_Block]:
        """The sentences first, then what the reporting server wrote for people; the returned mail is named."""
        blocks: list[_Block] = []
        sentences: list[str] = []
        returned: list[Part] = []
        for number, child in enumerate(part.children):
            if child.mime_type in REPORT_TYPES:
                said = report_sentences(child.mime_type, self._decoded(child))
                sentences += said
                blocks += [] if said else [_Block(child, is_html=False)]  # words where fields belong
            elif number and (child.mime_type in _NESTED or child.mime_type in RETURNED_TYPES):
                returned.append(child)
            else:
                blocks += self._visit(child)
        about = Returned()
        for child in returned[:1]:
            data, _ = decode_transfer(self._raw[child.start : child.stop], child.transfer_encoding)
            about = returned_message(read_header(data.lstrip(), 0, len(data.lstrip())))
        if not sentences:
            for child in returned:
                self._attach(child, inline=False)
            return blocks
        summary = "\n".join([*sentences, *([about.words()] if about.words() else [])])
        return [_Block(part, is_html=False, reply=read_plain(clean(summary), forwarded=True)), *blocks]

    # -- mails within mails

    def _may_open(self) -> bool:
        return self._level < MAX_LEVELS and self._bounds.opened > 0

    def _open(self, mail: bytes, *, path: str, forwarded: bool = True) -> Body:
        self._bounds.opened -= 1
        header = read_header(mail, 0, len(mail))
        level = self._level + 1
        tree = read_structure(mail, header, len(mail), path=path, most_depth=MAX_DEPTH >> (level + 1))
        reader = BodyReader(mail, self._cut_at, forwarded=forwarded, level=level, bounds=self._bounds)
        return reader.read(tree.root)

    def _take(self, body: Body, prefix: str = "") -> None:
        """What an opened mail has beside its text becomes ours."""
        self._body.paragraphs += body.paragraphs
        self._body.notes += body.notes
        self._add_files([replace(one, ref=prefix + one.ref) for one in body.attachments])

    def _open_mail(self, part: Part) -> None:
        """A forwarded mail: who wrote it, when and to whom, and its text, below ours."""
        if not self._may_open():
            return
        mail = self._raw[part.start : part.stop].lstrip(b"\r\n")
        encoded = part.transfer_encoding in {"base64", "quoted-printable"}
        if encoded:
            mail, _ = decode_transfer(mail, part.transfer_encoding)
        head = introduction(mail)
        if not head:
            return
        body = self._open(mail, path="" if encoded else part.path)
        text = body.whole()
        self._body.paragraphs.append(f"{head}\n\n{text}" if text.strip() else head)
        self._take(replace(body, paragraphs=[]), f"{part.path}{MARK}" if encoded else "")

    # -- files

    def _attach(self, part: Part, *, inline: bool) -> None:
        self._add_files([attachment_of(self._raw, part, inline=inline, cut_at=self._cut_at)])

    def _add_files(self, files: list[Attachment]) -> None:
        room = MAX_ATTACHMENTS - len(self._body.attachments)
        self._body.attachments += files[: max(0, room)]
        self._left_out += max(0, len(files) - max(0, room))


def is_mere_file(head: PartHead) -> bool:
    """True when nothing in here looks at the bytes of such a part below a multipart, whatever is around it."""
    kind = head.mime_type
    family = kind.partition("/")[0]
    if family in _FILE_FAMILIES:
        return True
    if head.filename.lower() == WINMAIL or kind in _READ_TYPES:
        return False
    return family == "application" or (family == "text" and (kind not in _TEXT_TYPES or head.is_attachment))


def _with_content_id(root: Part) -> Iterator[tuple[str, Part]]:
    """Every part below `root` that HTML can point to, by its Content-ID."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        waiting += part.children
        if "content-id" in part.header.fields and not part.children:
            cid = part.header.ascii("content-id").strip("<> ")[:300]
            if cid:
                yield cid, part


def _is_binary(data: bytes) -> bool:
    """True when text that no charset fits is full of control characters: a file that is labelled as text."""
    head = data[:_BINARY_WINDOW_BYTES]
    controls = len(head) - len(head.translate(None, _CONTROLS))
    return controls > len(head) * _MAX_CONTROL_SHARE
