"""HTML mail as plain text that reads like the page looked.

Parsed by selectolax (lexbor) and walked without recursion. Markup that would make a tree builder slow (very deep
nesting, tags with hundreds of attributes, endless open formatting) is read as a flat stream of tags instead: the
same rules without a tree. Both are linear in the size of the input.
"""

from __future__ import annotations

import html as entities
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from selectolax.lexbor import LexborHTMLParser, LexborNode

from sync.text.clean import clean
from sync.text.hidden import font_is_zero, hidden_classes, is_hidden
from sync.text.layout import BLOCKS, DROPPED, VOID, TextLayout

MAX_HTML_CHARS = 1_000_000
"""What is looked at of one HTML text; embedded `data:` pictures do not count."""

MAX_TREE_TAGS_UNCHECKED = 1_000
"""Up to so many tags no markup can be slow; beyond it the tags are counted first."""

MAX_TREE_DEPTH = 2_000
"""Deeper nesting is read as a flat stream: tree builders are quadratic in depth."""

MAX_STREAM_TOKENS = 200_000
"""What is read of markup that is read as a flat stream: tags and texts between them."""

MAX_ATTRIBUTES_CHARS = 8_192
"""A tag with more text in it (without `data:` pictures) is cut to its name."""

_DATA_URI = re.compile(r"data:[a-z0-9.+/-]{0,80}[;,][^\"'<>\s)]{256,}", re.IGNORECASE)
_LONG_TAG = re.compile(rf"<(/?[a-zA-Z][a-zA-Z0-9:]{{0,30}})[^<>]{{{MAX_ATTRIBUTES_CHARS},}}>?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TAG_NAME = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_TOKEN = re.compile(r"<!--.*?(?:-->|\Z)|<(/?)([a-zA-Z][a-zA-Z0-9:]*)([^<>]*)>?|<[!?][^<>]*>?|[^<]+|<", re.DOTALL)
_ATTRIBUTE = re.compile(r"([a-zA-Z][a-zA-Z-]{0,30})\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))|\bhidden\b")
_IMPLIED_END = frozenset({"p", "li", "td", "th", "tr", "dt", "dd", "option", "tbody", "thead", "tfoot", "colgroup"})
_FILLER = re.compile("[\u00a0\u00ad\u034f\u2007\u200b-\u200d\u2060\ufeff]")
_FILLERS = re.compile("[\u00ad\u034f\u200b\u2060\ufeff]")
_FILLER_RUN = re.compile("(?:[\u200c\u200d\u2007\u00a0] ?){4,}")
_FILLER_LINE = re.compile("^[ \u200c\u200d\u2007]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
_RAW_TEXT = frozenset({"script", "style", "title", "xmp", "noembed", "noframes", "iframe"})


Marker: TypeAlias = Callable[[LexborNode, str, Mapping[str, str | None]], str]
"""Called with each element that has attributes, and its tag: gives the mark (`sync.text.layout.FIRST_MARK`) that goes
before it, or "", and may put one after it into the tree."""


def html_to_text(
    html: str,
    *,
    limit_chars: int = MAX_HTML_CHARS,
    pictures: Mapping[str, str] | None = None,
    marker: Marker | None = None,
) -> str:
    """The visible text of `html`: lists with their marks, links as `text (url)`, table rows on lines of their own,
    quotes behind `> `; scripts, styles and hidden elements (preheaders) left out. Where everything is hidden the
    hidden text is better than none. `pictures` are the names of the files that came with it, by Content-ID: each is
    named where it stands. Clean (`sync.text.clean`), without blank ends; empty only when there is no text.
    """
    html = _bounded(html, limit_chars)
    pictures = pictures or {}
    text, something_hidden = _convert(html, pictures, hidden_too=False, marker=marker)
    if not text and something_hidden:
        text, _ = _convert(html, pictures, hidden_too=True, marker=marker)
    return text


def _bounded(html: str, limit_chars: int) -> str:
    if "data:" in html or "DATA:" in html:
        html = _DATA_URI.sub("", html)
    html = html[:limit_chars]
    if len(html) > MAX_ATTRIBUTES_CHARS:
        html = _LONG_TAG.sub(r"<\1>", html)
    if not html.isascii() and _SURROGATE.search(html) is not None:
        html = html.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return html.replace("\x00", "")


def _convert(html: str, pictures: Mapping[str, str], *, hidden_too: bool, marker: Marker | None) -> tuple[str, bool]:
    """The text, and whether an element was left out because it is hidden."""
    layout = TextLayout(pictures)
    if _tree_is_safe(html):
        something_hidden = _walk(html, layout, hidden_too=hidden_too, marker=marker)
    else:
        something_hidden = _stream(html, layout, hidden_too=hidden_too)
    text = layout.result()
    if not text.isascii() and _FILLER.search(text) is not None:
        text = _FILLERS.sub("", _FILLER_RUN.sub(" ", text)).replace("\u00a0", " ")
        text = _FILLER_LINE.sub("", text)
    lines = [line.rstrip() for line in clean(text).split("\n")]
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip("\n").rstrip(), something_hidden


def _tree_is_safe(html: str) -> bool:
    """False when building a tree could take more than linear time: too many elements open at once."""
    if html.count("<") <= MAX_TREE_TAGS_UNCHECKED:
        return True
    open_now = 0
    for closing, name in _TAG_NAME.findall(html):
        lowered = name.lower()
        if lowered in VOID or lowered in _IMPLIED_END:
            continue
        open_now += -1 if closing else 1
        if open_now > MAX_TREE_DEPTH:
            return False
        open_now = max(open_now, 0)
    return True


# ------------------------------------------------------------------------------------------------- the tree


def _walk(html: str, layout: TextLayout, *, hidden_too: bool, marker: Marker | None) -> bool:
    root = LexborHTMLParser(html).root
    if root is None:
        return False
    walker = _Walker(layout, hidden_too=hidden_too, marker=marker)
    walker.walk(root)
    return walker.something_hidden


class _Walker:
    """Goes through a tree in document order, without recursion, and leaves out what is hidden."""

    def __init__(self, layout: TextLayout, *, hidden_too: bool, marker: Marker | None) -> None:
        self.something_hidden = False
        self._marker = marker
        self._layout = layout
        self._hidden_too = hidden_too
        self._classes: set[str] = set()
        self._sizes: list[tuple[int, bool]] = []  # (depth, too small to be seen) of elements that set the font's size
        self._depth = 0

    def walk(self, root: LexborNode) -> None:
        """All below `root`."""
        node: LexborNode | None = root
        while node is not None:
            entered = self._open(node)
            child = node.first_child if entered else None
            if child is not None:
                self._depth += 1
                node = child
                continue
            if entered:
                self._close(node)
            node = self._next_up(node, root)

    def _open(self, node: LexborNode) -> bool:
        """True when the node was opened: it is shown, and may hold more."""
        tag = node.tag or ""
        if tag == "-text":
            self._text(node.text_content or "")
            return False
        if tag[:1] in {"-", "!"}:
            return False
        if tag in DROPPED:
            if tag == "style" and not self._hidden_too:
                self._read_sheet(node)
            return False
        attributes: Mapping[str, str | None] = {} if tag == "br" else node.attributes
        if attributes and not self._hidden_too:
            if is_hidden(attributes, self._classes, tag):
                self.something_hidden = True
                return False
            is_zero = font_is_zero(attributes)
            if is_zero is not None:
                self._sizes.append((self._depth, is_zero))
        style = attributes.get("style")
        if style is not None and "mso-list" in style.lower() and self._layout.office_list(style, node.text):
            return False
        if self._marker is not None and attributes:
            mark = self._marker(node, tag, attributes)
            if mark:
                self._layout.text(mark)
        self._layout.open(tag, attributes)
        return True

    def _text(self, text: str) -> None:
        if self._sizes and self._sizes[-1][1]:
            self.something_hidden = self.something_hidden or not text.isspace()
        else:
            self._layout.text(text)

    def _read_sheet(self, node: LexborNode) -> None:
        for name, hidden in hidden_classes(node.text() or "").items():
            (self._classes.add if hidden else self._classes.discard)(name)

    def _close(self, node: LexborNode) -> None:
        if self._sizes and self._sizes[-1][0] == self._depth:
            self._sizes.pop()
        self._layout.close(node.tag or "")

    def _next_up(self, node: LexborNode, root: LexborNode) -> LexborNode | None:
        """The node after `node` and all it holds; elements that end on the way up are closed."""
        current: LexborNode | None = node
        while current is not None:
            following: LexborNode | None = current.next
            if following is not None:
                return following
            current = current.parent
            if current is None or current.tag == "-document":
                return None
            self._depth -= 1
            self._close(current)
            if current.mem_id == root.mem_id:
                return None
        return None


# ------------------------------------------------------------------------------------------------- the flat stream


def _stream(html: str, layout: TextLayout, *, hidden_too: bool) -> bool:
    """Reads tags one after the other. What is hidden ends with the closing tag of the element that hides it."""
    something_hidden = False
    hiding: str | None = None
    depth = 0
    for closing, tag, attributes, text in _tokens(html):
        if hiding is not None:
            if tag == hiding:
                depth += -1 if closing else 1
                hiding = hiding if depth > 0 else None
            continue
        if text is not None:
            layout.text(text)
        elif closing:
            layout.close(tag)
        elif tag in DROPPED and tag not in VOID:
            hiding, depth = tag, 1
        elif not hidden_too and tag not in VOID and is_hidden(attributes):
            hiding, depth, something_hidden = tag, 1, True
        else:
            layout.open(tag, attributes)
            if tag in VOID:
                layout.close(tag)
    return something_hidden


def _tokens(html: str) -> Iterator[tuple[bool, str, Mapping[str, str | None], str | None]]:
    """(closing, tag, attributes, None) for a tag, (False, "", {}, text) for text."""
    position, end = 0, len(html)
    lowered = html.lower()
    unclosed: set[str] = set()
    for _ in range(MAX_STREAM_TOKENS):
        if position >= end:
            return
        match = _TOKEN.match(html, position)
        if match is None:
            return
        position = match.end()
        name = match.group(2)
        if name is not None:
            tag = name.lower()
            yield bool(match.group(1)), tag, _parse_attributes(match.group(3)), None
            if tag in _RAW_TEXT and not match.group(1) and tag not in unclosed:
                stop = lowered.find(f"</{tag}", position)
                if stop == -1:
                    unclosed.add(tag)
                else:
                    position = stop
        elif not match.group().startswith(("<!", "<?")):
            yield False, "", {}, entities.unescape(match.group())


def _parse_attributes(text: str) -> dict[str, str | None]:
    if not text or text.isspace():
        return {}
    found: dict[str, str | None] = {}
    for match in _ATTRIBUTE.finditer(text):
        if match.group(1) is None:
            found.setdefault("hidden", None)
            continue
        value = match.group(2) or match.group(3) or match.group(4) or ""
        found.setdefault(match.group(1).lower(), entities.unescape(value))
    return found


def is_html(text: str) -> bool:
    """True when `text` is labelled plain but is an HTML document: some senders mix the labels up."""
    head = text[:512].lstrip().lower()
    return head.startswith(("<!doctype html", "<html", "<head>", "<body")) or (
        head.startswith("<") and _tag_share(text[:2_000])
    )


def _tag_share(head: str) -> bool:
    tags = [name.lower() for _closing, name in _TAG_NAME.findall(head)]
    return len(tags) >= 4 and sum(tag in BLOCKS or tag in {"br", "span", "a", "b", "td"} for tag in tags) * 2 > len(
        tags
    )
