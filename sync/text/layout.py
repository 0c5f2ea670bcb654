"""Laying out text as a browser would, on lines of plain characters. Used by `sync.text.html` only.

Breaks are remembered and made when the next text comes, so that margins collapse and empty elements leave no trace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from sync.text.links import MAX_URL_CHARS, says, target_of

MAX_PICTURE_URL_CHARS = 200
"""A longer target of a link that is only a picture is left out."""

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
_TIGHT_CLASS = re.compile(r"mso(?:normal|listparagraph|plaintext|nospacing)", re.IGNORECASE)
_TIGHT_STYLE = re.compile(r"margin(?:-bottom)?\s*:\s*0", re.IGNORECASE)
_OFFICE_LEVEL = re.compile(r"mso-list\s*:[^;]{0,60}level(\d)", re.IGNORECASE)
_OFFICE_MARK = re.compile(r"mso-list\s*:\s*ignore", re.IGNORECASE)
_NUMBERED = re.compile(r"[(]?[0-9a-zA-Z]{1,6}[.)]")
_SMALL = re.compile(r"(?:width|height)\s*:\s*[0-3](?:px)?\s*(?:;|!|$)", re.IGNORECASE)
_SAYS_NOTHING = re.compile(
    r"(?:\S{1,200}\.(?:png|jpe?g|gif|svg|bmp|webp|tiff?)|images?|img|picture|photo|spacer|pixel|blank|separator|divider"
    r"|(?:inline|embedded|attached) image ?\d*|image ?\d{0,4}|picture \d{1,4}|graphic|cid:\S*)",
    re.IGNORECASE,
)
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"))
_ROMAN_UNITS = (*_ROMAN, (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))


@dataclass(slots=True)
class _List:
    ordered: bool
    number: int = 1
    style: str = "1"


@dataclass(slots=True)
class _Table:
    """`is_layout`: it says that it is no table of data. `is_data`: it says that it is one."""

    is_layout: bool
    is_data: bool
    has_columns: bool = False


@dataclass(slots=True)
class _Link:
    target: str
    said: list[str] = field(default_factory=list)
    chars: int = 0


class TextLayout:
    """Takes `open`, `text` and `close` in document order and gives the text."""

    def __init__(self, pictures: Mapping[str, str] | None = None) -> None:
        self._pictures = pictures or {}
        self._lines: list[str] = []
        self._line: list[str] = []
        self._breaks = 0  # 0 none, 1 a new line, 2 a blank line before the next text
        self._space = False
        self._separator = ""  # a table cell ended on this line: what comes between it and the next one
        self._fresh_cell = False  # a table cell began and has no text yet
        self._marker = ""  # of the list item that has begun and has no text yet
        self._lists: list[_List] = []
        self._links: list[_Link] = []
        self._cells: list[int] = []  # the number of lines when each open cell began
        self._tables: list[_Table] = []
        self._named: set[str] = set()  # link targets that were written out
        self._is_tight = False  # the paragraph that is open has no margin
        self._office_level = 1
        self._quotes = 0
        self._line_quotes = 0
        self._preformatted = 0
        self._marks = ""

    def open(self, tag: str, attributes: Mapping[str, str | None]) -> None:
        """An element begins."""
        if tag in BLOCKS:
            self._open_block(tag, attributes)
        elif tag in _CELLS:
            self._open_cell(tag)
        elif tag == "br":
            self._break_line()
        elif tag == "a":
            self._links.append(_Link(target_of(attributes.get("href"))))
        elif tag == "img":
            self._picture(attributes)
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
            style = (attributes.get("type") or "1").strip()
            self._lists.append(_List(tag == "ol", _number(attributes.get("start")), style))
        elif tag == "li":
            self._need(1)
            self._marker = self._next_marker(attributes.get("value"))
        elif tag == "blockquote":
            self._need(2)
            self._quotes += 1
        elif tag == "table":
            self._need(1)
            role = (attributes.get("role") or "").lower()
            border = (attributes.get("border") or "0").strip()
            self._tables.append(_Table(role in {"presentation", "none"}, border not in {"", "0"}))
        elif tag == "p":
            self._is_tight = _is_tight(attributes)
            self._need(1 if self._is_tight else 2)
        else:
            self._need(2 if tag in _PARAGRAPHS else 1)
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
        elif tag == "table":
            table = self._tables.pop() if self._tables else None
            self._need(2 if table is not None and table.has_columns else 1)
        elif tag == "p":
            self._need(1 if self._is_tight else 2)
            self._is_tight = False
        else:
            if tag == "li":
                self._marker = ""
            self._need(2 if tag in _PARAGRAPHS else 1)

    def _next_marker(self, value: str | None) -> str:
        if not self._lists:
            return "- "
        current = self._lists[-1]
        indent = "  " * min(len(self._lists) - 1, MAX_LIST_INDENT)
        if not current.ordered:
            return indent + "- "
        if value is not None:
            current.number = _number(value)
        marker = f"{indent}{_count(current.number, current.style)}. "
        current.number += 1
        return marker

    def office_list(self, style: str, marker: Callable[[], str]) -> bool:
        """Lists as word processors write them: paragraphs with a level, and a mark that says that it is one. True
        when the element is such a mark, which is then taken in."""
        level = _OFFICE_LEVEL.search(style)
        if level is not None:
            self._office_level = max(1, int(level.group(1)))
        if _OFFICE_MARK.search(style) is None:
            return False
        mark = marker().strip(" \u00a0\n\r\t")
        indent = "  " * min(self._office_level - 1, MAX_LIST_INDENT)
        self._marker = indent + (f"{mark} " if _NUMBERED.fullmatch(mark) else "- ")
        return True

    def _open_cell(self, tag: str) -> None:
        if self._breaks:
            self._make_breaks()
        if tag == "th" and self._tables and not self._tables[-1].is_layout:
            self._tables[-1].is_data = True
        self._cells.append(len(self._lines))
        self._fresh_cell = True

    def _close_cell(self) -> None:
        is_empty, self._fresh_cell = self._fresh_cell, False
        if not self._cells:
            return
        lines_before = self._cells.pop()
        table = self._tables[-1] if self._tables else None
        if len(self._lines) == lines_before and (self._line or (is_empty and table is not None and table.is_data)):
            self._breaks = 0
            if table is not None and table.is_layout:
                self._separator = " "
            elif table is not None and table.is_data:
                self._separator += " | "  # a column that is empty here stays a column
            else:
                self._separator = " | "
        elif self._line:
            self._need(1)

    def _need(self, breaks: int) -> None:
        """At least so many line ends before the next text. At a cell's beginning there is no margin."""
        if self._fresh_cell:
            return
        self._separator = ""
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
            if self._separator:  # the first columns of this row are empty
                self._line.append(self._separator.lstrip())
        elif self._separator:
            self._line.append(self._separator)
            if self._tables and not self._tables[-1].is_layout:
                self._tables[-1].has_columns = True
        elif self._space:
            self._line.append(" ")
        self._separator = ""
        self._space = self._fresh_cell = False
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
        self._separator = ""
        self._space = False
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
        if not said or not link.target or not self._line or link.target in self._named:
            return
        if len(link.target) > MAX_PICTURE_URL_CHARS and said[0] == "[" and said[-1] == "]":
            return  # a picture that leads somewhere in a roundabout way
        self._named.add(link.target)
        if not says(said, link.target):
            self._line.append(f" ({link.target})")

    def _picture(self, attributes: Mapping[str, str | None]) -> None:
        """Its description; for a picture that came along and has none, its file's name. Nothing for dots and lines."""
        if _is_dot(attributes):
            return
        words = " ".join((attributes.get("alt") or "")[: MAX_ALT_CHARS * 2].split())[:MAX_ALT_CHARS]
        if _SAYS_NOTHING.fullmatch(words) is not None:
            words = ""
        source = (attributes.get("src") or "")[:400].strip()
        if not words and source[:4].lower() == "cid:":
            words = self._pictures.get(unquote(source[4:]), "") or self._pictures.get(source[4:], "")
        if not words:
            return
        is_emoji = len(words) <= 4 and not words.isascii() and not any(char.isalnum() for char in words)
        if not is_emoji and self._line and self._line[-1].endswith("]"):
            self._space = True
        self._put(words if is_emoji else f"[{words}]")


def _number(value: str | None) -> int:
    text = (value or "1").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1


def _count(number: int, style: str) -> str:
    """A list item's number in the list's style (HTML's `type`): 1, a, A, i, I."""
    if number < 1 or style not in {"a", "A", "i", "I"}:
        return str(number)
    if style in {"a", "A"}:
        letters = ""
        while number:
            number, rest = divmod(number - 1, 26)
            letters = chr(ord(style) + rest) + letters
        return letters
    roman = ""
    number = min(number, 3_999)
    for value, letters in _ROMAN_UNITS:
        count, number = divmod(number, value)
        roman += letters * count
    return roman.upper() if style == "I" else roman


def _is_tight(attributes: Mapping[str, str | None]) -> bool:
    """True for paragraphs without a margin: word processors make one of every line."""
    if not attributes:
        return False
    named, style = attributes.get("class"), attributes.get("style")
    if named is not None and _TIGHT_CLASS.search(named) is not None:
        return True
    return style is not None and _TIGHT_STYLE.search(style) is not None


def _is_dot(attributes: Mapping[str, str | None]) -> bool:
    """True for pictures nobody can see: they count who opens a mail, or fill a gap."""
    for name in ("width", "height"):
        size = (attributes.get(name) or "").strip().removesuffix("px")
        if size in {"0", "1", "2", "3"}:
            return True
    style = attributes.get("style")
    return style is not None and _SMALL.search(style) is not None
