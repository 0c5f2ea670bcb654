"""What a person would read in a mail: which parts are its text, which are files beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sync.mail.charset import decode, decode_html
from sync.mail.files import attachment_of, declared_filename
from sync.mail.flowed import unflow
from sync.mail.structure import Part
from sync.mail.transfer import decode_transfer
from sync.message import Attachment, Reply
from sync.text.canonical import canonical
from sync.text.clean import MAX_TEXT_CHARS, clean
from sync.text.html import is_html
from sync.text.quotes import joined, read_html, read_plain

MAX_TEXT_BYTES = 4 * 1_024 * 1_024
"""What of all text parts together is decoded."""

MAX_TEXT_PART_BYTES = 2 * 1_024 * 1_024
"""What of one text part is decoded."""

MAX_TEXT_BLOCKS = 50
"""Text parts that are joined to one text."""

MAX_ATTACHMENTS = 100
"""Files that are listed; a note tells how many more there are."""

MAX_PLACEHOLDER_CHARS = 600
"""A longer plain text is never taken for a mere notice that the mail is HTML."""

_TEXT_TYPES = frozenset({"text/plain", "text/html", "text/enriched", "text/richtext", "text/markdown", "text/xhtml"})
_SIGNATURES = frozenset(
    {
        "application/pgp-signature",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "application/pgp-keys",
    }
)
_NO_ALTERNATIVE = frozenset({"text/x-amp-html", "text/watch-html"})
_NESTED = frozenset({"message/rfc822", "message/global"})
_WORD = re.compile(r"[^\W_]")
_PLACEHOLDER = re.compile(
    r"html|(?:view|read|see|open)\b.{0,40}\b(?:browser|online)|im browser|webversion|web-version|navigateur|navegador"
    r"|nel browser|przegl[ąa]dar|браузер|mime[- ]?(?:compatible|capable|format)|multi-?part message",
    re.IGNORECASE,
)
_ENRICHED_TAG = re.compile(r"<(?!<)/?[a-zA-Z-]{1,60}>")
_DELIMITER_LINE = re.compile(rb"^--[^\s-][^\n]*\n?", re.MULTILINE)
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
    """The text of a mail (`reply` tells new words from quoted ones), its files, and sentences about what is missing."""

    text: str = ""
    reply: Reply | None = None
    attachments: list[Attachment] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    damaged: bool = False
    nested: list[Part] = field(default_factory=list)


class BodyReader:
    """Reads the parts of one mail. `cut_at` is where the raw bytes end when the mail goes on beyond them; `forwarded`:
    it forwards another mail, or answers none."""

    def __init__(self, raw: bytes, cut_at: int | None = None, *, forwarded: bool = False) -> None:
        self._raw = raw
        self._forwarded = forwarded
        self._cut_at = cut_at
        self._body = Body()
        self._left_out = 0
        self._budget = MAX_TEXT_BYTES
        self._saw_text = False
        self._too_long = False

    def read(self, root: Part) -> Body:
        """The body below `root`."""
        blocks = self._visit(root, is_root=True)
        self._body.reply = self._read(blocks)
        self._body.text = self._body.reply.original
        if self._too_long or len(self._body.text) > MAX_TEXT_CHARS:
            self._body.notes.append("The text of this message is too long to be shown whole.")
        if self._left_out:
            self._body.notes.append(f"{self._left_out} more attachments are not named here.")
        return self._body

    # -- which parts are text

    def _visit(self, part: Part, *, is_root: bool = False, related: bool = False) -> list[_Block]:
        kind = part.mime_type
        if kind.startswith("multipart/"):
            return self._visit_multipart(part)
        if self._is_text(part, is_root=is_root, related=related):
            self._saw_text = True
            return [_Block(part, kind in {"text/html", "text/xhtml"})]
        if kind in _NESTED:
            self._body.nested.append(part)
        if kind in {"application/pkcs7-mime", "application/x-pkcs7-mime"}:
            self._note_smime(part)
        self._attach(part, inline=related or part.disposition == "inline")
        return []

    def _is_text(self, part: Part, *, is_root: bool, related: bool) -> bool:
        if part.mime_type not in _TEXT_TYPES:
            return False
        if is_root:
            return part.disposition != "attachment" or not declared_filename(part)
        if part.disposition == "attachment" or related:
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
        if kind == "multipart/encrypted":
            self._body.notes.append("This message is encrypted and cannot be read here.")
        blocks: list[_Block] = []
        for child in part.children:
            if child.mime_type in _SIGNATURES or child.mime_type == "application/applefile":
                continue
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
            elif blocks and (not plain or _WORD.search(self._join(blocks))):
                plain = blocks
        if not rich or not plain:
            return rich or plain
        said = self._join(plain)
        if self._says_more_of_quotes(rich, plain):
            return rich
        if len(said) > MAX_PLACEHOLDER_CHARS or (_WORD.search(said) and not _PLACEHOLDER.search(said)):
            return plain
        shown = self._join(rich)
        if shown.split() == said.split():  # no notice: a short text that speaks of HTML
            return plain
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
        stop = min(part.stop, part.start + min(MAX_TEXT_PART_BYTES, self._budget))
        self._budget -= stop - part.start
        if stop < part.stop:
            self._too_long = True
        cut = stop < part.stop or self._cut_at is not None
        data, complete = decode_transfer(self._raw[part.start : stop], part.transfer_encoding)
        if not complete and not cut:
            self._body.damaged = True
        charset = part.parameters.get("charset", "")
        if part.mime_type.startswith("multipart/"):
            data = _DELIMITER_LINE.sub(b"", data)
        text, exact = (decode_html if block.is_html else decode)(data, charset)
        if not exact and _is_binary(data):
            self._body.damaged = True
            return joined([])
        self._too_long = self._too_long or len(text) > MAX_TEXT_CHARS
        if block.is_html or is_html(text):
            return read_html(text, forwarded=self._forwarded)
        return read_plain(self._plain_text(part, text), forwarded=self._forwarded)

    def _plain_text(self, part: Part, text: str) -> str:
        text = clean(text)
        if part.parameters.get("format", "").lower() == "flowed":
            text = unflow(text, delete_space=part.parameters.get("delsp", "").lower() == "yes")
        elif part.mime_type in {"text/enriched", "text/richtext"}:
            text = _ENRICHED_TAG.sub("", text).replace("<<", "<")
        return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")

    # -- files

    def _attach(self, part: Part, *, inline: bool) -> None:
        if len(self._body.attachments) >= MAX_ATTACHMENTS:
            self._left_out += 1
            return
        self._body.attachments.append(attachment_of(self._raw, part, inline=inline, cut_at=self._cut_at))

    def _note_smime(self, part: Part) -> None:
        signed = "signed" in part.parameters.get("smime-type", "").lower()
        what = "signed in a way that hides its text" if signed else "encrypted"
        self._body.notes.append(f"This message is {what} (S/MIME) and cannot be read here.")


def _is_binary(data: bytes) -> bool:
    """True when text that no charset fits is full of control characters: a file that is labelled as text."""
    head = data[:_BINARY_WINDOW_BYTES]
    controls = len(head) - len(head.translate(None, _CONTROLS))
    return controls > len(head) * _MAX_CONTROL_SHARE
