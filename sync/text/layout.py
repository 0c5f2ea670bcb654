"""Laying out text as a browser would, on lines of plain characters. Used by `sync.text.html` only.

Breaks are remembered and made when the next text comes, so that margins collapse and empty elements leave no trace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_URL_CHARS = 1_000
"""A longer link target (tracking) is left out; the link's text stays."""

MAX_LIST_INDENT = 6
MAX_QUOTE_DEPTH = 5
MAX_ALT_CHARS = 200

FIRST_MARK = "\U0010fff0"
"""Texts of code points from here on are marks: they go where the next text goes and change nothing."""

VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
DROPPED = frozenset(
    {"script", "style", "title", "template", "svg", "math", "canvas", "audio", "video", "select", "datalist", "meta"}
    | {"link", "base", "map", "object", "applet", "iframe", "frameset", "noembed", "noframes", "source", "track"}
)
"""Elements without text that a person would read in a mail."""

_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre"})
_LINES = frozenset(
    {"address", "article", "aside", "body", "caption", "center", "dd", "details", "dir", "div", "dt", "fieldset"}
    | {"figcaption", "figure", "footer", "form", "header", "hgroup", "legend", "li", "main", "menu", "nav", "section"}
    | {"summary", "tbody", "tfoot", "thead", "tr"}
)
BLOCKS = _PARAGRAPHS | _LINES
_CELLS = frozenset({"td", "th"})
_LISTS = frozenset({"ul", "ol", "menu", "dir"})
_SPACES = re.compile(r"[ \t\n\r\f]+")
_SCHEME = re.compile(r"^(?:https?://)?(?:www\.)?", re.IGNORECASE)
_WEB = re.compile(r"^(?:https?|ftp|tel|sms):", re.IGNORECASE)


@dataclass(slots=True)
class _List:
    ordered: bool
    number: int = 1


@dataclass(slots=True)
class _Link:
    target: str
    said: list[str] = field(default_factory=list)
    chars: int = 0


class TextLayout:
    """Takes `open`, `text` and `close` in document order and gives the text."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line: list[str] = []
        self._breaks = 0  # 0 none, 1 a new line, 2 a blank line before the next text
        self._space = False
        self._separator = False  # a table cell ended on this line
        self._fresh_cell = False  # a table cell began and has no text yet
        self._marker = ""  # of the list item that has begun and has no text yet
        self._lists: list[_List] = []
        self._links: list[_Link] = []
        self._cells: list[int] = []  # the number of lines when each open cell began
        self._quotes = 0
        self._line_quotes = 0
        self._preformatted = 0
        self._marks = ""

    def open(self, tag: str, attributes: Mapping[str, str | None]) -> None:
        """An element begins."""
        if tag in BLOCKS:
            self._open_block(tag, attributes)
        elif tag in _CELLS:
            self._open_cell()
        elif tag == "br":
            self._break_line()
        elif tag == "a":
            self._links.append(_Link(_target_of(attributes.get("href"))))
        elif tag == "img":
            self._picture(attributes.get("alt"))
        elif tag == "hr":
            self._need(1)
            self._put("---")
            self._need(1)
        elif tag == "q":
            self._put("“")

    def close(self, tag: str) -> None:
        """An element ends (an end without a beginning does no harm)."""
        if tag in BLOCKS:
            self._close_block(tag)
        elif tag in _CELLS:
            self._close_cell()
        elif tag == "a":
            self._close_link()
        elif tag == "q":
            self._put("”")

    def text(self, text: str) -> None:
        """Text of the document, entities decoded."""
        if text >= FIRST_MARK:
            self._marks += text
            return
        if self._preformatted:
            self._preformatted_text(text)
            return
        words = _SPACES.sub(" ", text)
        if words in {"", " "}:
            self._space = self._space or bool(words)
            return
        if words[0] == " ":
            self._space = True
        ends_in_space = words[-1] == " "
        self._put(words.strip(" "))
        self._space = ends_in_space

    def result(self) -> str:
        """All lines so far."""
        if self._line:
            self._flush()
        return "\n".join(self._lines)

    # -- blocks

    def _open_block(self, tag: str, attributes: Mapping[str, str | None]) -> None:
        if tag in _LISTS:
            self._need(1 if self._lists else 2)
            self._lists.append(_List(tag == "ol", _number(attributes.get("start"))))
        elif tag == "li":
            self._need(1)
            self._marker = self._next_marker(attributes.get("value"))
        elif tag == "blockquote":
            self._need(2)
            self._quotes += 1
        else:
            self._need(2 if tag in _PARAGRAPHS and tag != "table" else 1)
            if tag == "pre":
                self._preformatted += 1

    def _close_block(self, tag: str) -> None:
        if tag in _LISTS:
            if self._lists:
                self._lists.pop()
            self._need(1 if self._lists else 2)
        elif tag == "blockquote":
            self._need(2)
            self._quotes = max(0, self._quotes - 1)
        elif tag == "pre":
            self._preformatted = max(0, self._preformatted - 1)
            self._need(2)
        else:
            if tag == "li":
                self._marker = ""
            self._need(2 if tag in _PARAGRAPHS and tag != "table" else 1)

    def _next_marker(self, value: str | None) -> str:
        if not self._lists:
            return "- "
        current = self._lists[-1]
        indent = "  " * min(len(self._lists) - 1, MAX_LIST_INDENT)
        if not current.ordered:
            return indent + "- "
        if value is not None:
            current.number = _number(value)
        marker = f"{indent}{current.number}. "
        current.number += 1
        return marker

    def _open_cell(self) -> None:
        if self._breaks:
            self._make_breaks()
        self._cells.append(len(self._lines))
        self._fresh_cell = True

    def _close_cell(self) -> None:
        self._fresh_cell = False
        if not self._cells:
            return
        lines_before = self._cells.pop()
        if len(self._lines) == lines_before and self._line:
            self._breaks = 0
            self._separator = True
        elif self._line:
            self._need(1)

    def _need(self, breaks: int) -> None:
        """At least so many line ends before the next text. At a cell's beginning there is no margin."""
        if self._fresh_cell:
            return
        self._separator = False
        self._space = False
        self._breaks = max(self._breaks, breaks)

    # -- text

    def _put(self, text: str) -> None:
        if not text:
            return
        if self._breaks:
            self._make_breaks()
        if not self._line:
            self._line_quotes = self._quotes
            self._line.append(self._marker or self._continuation())
            self._marker = ""
        elif self._separator:
            self._line.append(" | ")
        elif self._space:
            self._line.append(" ")
        self._separator = self._space = self._fresh_cell = False
        if self._marks:
            self._line.append(self._marks)
            self._marks = ""
        self._line.append(text)
        if self._links:
            self._links[-1].said.append(text)

    def _continuation(self) -> str:
        return "  " * min(len(self._lists), MAX_LIST_INDENT) if self._lists else ""

    def _make_breaks(self) -> None:
        if self._line:
            self._flush()
        if self._breaks > 1 and self._lines and self._lines[-1].strip("> "):
            self._lines.append("> " * min(self._quotes, self._line_quotes, MAX_QUOTE_DEPTH))
        self._breaks = 0

    def _break_line(self) -> None:
        """`<br>`: ends the line; on an empty line it makes a blank one."""
        if self._breaks:
            self._make_breaks()
        self._separator = self._space = False
        if not self._line:
            self._line_quotes = self._quotes
        self._flush()

    def _flush(self) -> None:
        line = "".join(self._line)
        self._lines.append("> " * min(self._line_quotes, MAX_QUOTE_DEPTH) + line)
        self._line.clear()

    def _preformatted_text(self, text: str) -> None:
        for number, line in enumerate(text.split("\n")):
            if number:
                self._break_line()
            if line:
                self._space = False
                self._put(line)

    # -- links and pictures

    def _close_link(self) -> None:
        if not self._links:
            return
        link = self._links.pop()
        said = " ".join(link.said).strip()
        if self._links:
            self._links[-1].said.append(said[:MAX_URL_CHARS])
        if not said or not link.target or not self._line or _says(said, link.target):
            return
        self._line.append(f" ({link.target})")

    def _picture(self, alt: str | None) -> None:
        words = " ".join((alt or "").split())[:MAX_ALT_CHARS]
        if not words:
            return
        is_emoji = len(words) <= 4 and not words.isascii() and not any(char.isalnum() for char in words)
        self._put(words if is_emoji else f"[{words}]")


def _number(value: str | None) -> int:
    text = (value or "1").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1


def _target_of(href: str | None) -> str:
    """The link's target as far as it tells a reader something: web, phone and mail addresses."""
    target = "".join((href or "").split())
    if len(target) > MAX_URL_CHARS:
        return ""
    if target[:7].lower() == "mailto:":
        return target[7:].split("?", 1)[0]
    return target if _WEB.match(target) else ""


def _says(said: str, target: str) -> bool:
    """True when the link's text already names its target."""
    bare_target = _SCHEME.sub("", target).rstrip("/").lower()
    bare_said = _SCHEME.sub("", said).rstrip("/").lower()
    if bare_said == bare_target or bare_target in said.lower():
        return True
    scheme, _, rest = target.partition(":")
    return scheme.lower() in {"tel", "sms"} and _digits(rest) == _digits(said)


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isdigit())
