"""What a mail program would not show: hidden elements (preheaders), and classes that a style sheet hides."""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_SHEET_CHARS = 200_000
MAX_CLASSES = 1_000

_HIDING = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all|(?<![a-z-])opacity\s*:\s*0(?:\.0+)?(?![.\d])"
    r"|(?<![a-z-])max-height\s*:\s*0(?![.\d])",
    re.IGNORECASE,
)
_FLAT = re.compile(r"(?<![a-z-])(?:height|width)\s*:\s*0(?![.\d])", re.IGNORECASE)
_CLIPPED = re.compile(r"overflow\s*:\s*hidden", re.IGNORECASE)
_FONT = re.compile(r"font-size\s*:\s*(\d{0,4}(?:\.\d{1,6})?)\s*(px|pt|r?em|%)?", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_BRACE = re.compile(r"[{}]")
_DISPLAY = re.compile(r"(?<![a-z-])display\s*:\s*([a-z-]+)", re.IGNORECASE)
_CLASS = re.compile(r"([a-zA-Z0-9]{0,20})(\.[a-zA-Z0-9_-]{1,100})")


def is_hidden(
    attributes: Mapping[str, str | None], classes: frozenset[str] | set[str] = frozenset(), tag: str = ""
) -> bool:
    """True when the element and all it holds is not shown. `classes` are those that a style sheet hides (`.name`,
    `tag.name`)."""
    if not attributes:
        return False
    if "hidden" in attributes:
        return True
    style = attributes.get("style")
    if style is not None and ":" in style:
        if _HIDING.search(style) is not None:
            return True
        if _FLAT.search(style) is not None and _CLIPPED.search(style) is not None:
            return True
    if not classes:
        return False
    named = attributes.get("class")
    if named is None or not any(f".{name}" in classes or f"{tag}.{name}" in classes for name in named.split()[:20]):
        return False
    shown = None if style is None else _DISPLAY.search(style)
    return shown is None or shown.group(1).lower() == "none"


def font_is_zero(attributes: Mapping[str, str | None]) -> bool | None:
    """True when the element makes its text too small to be seen, False when it sets another size, None when it says
    nothing. The size is inherited: frames of size 0 around text of a normal size are common."""
    style = attributes.get("style")
    if style is None or "font-size" not in style.lower():
        return None
    match = _FONT.search(style)
    if match is None or not match.group(1).strip("."):
        return False
    size, unit = float(match.group(1)), (match.group(2) or "px").lower()
    return size == 0 or (unit in {"px", "pt"} and size <= 1)


def hidden_classes(sheet: str) -> dict[str, bool]:
    """Classes (`.name`, `tag.name`) that the style sheet hides (True) or shows (False) everywhere: rules within `@media`
    do not count."""
    found: dict[str, bool] = {}
    sheet = sheet[:MAX_SHEET_CHARS]
    if "display" not in sheet.lower():
        return found
    sheet = _COMMENT.sub(" ", sheet)
    depth = prelude_start = body_start = 0
    prelude = ""
    for match in _BRACE.finditer(sheet):
        if match.group() == "{":
            depth += 1
            if depth == 1:
                prelude, body_start = sheet[prelude_start : match.start()], match.end()
            continue
        depth = max(0, depth - 1)
        if depth:
            continue
        prelude_start = match.end()
        if "@" in prelude:
            continue
        display = _DISPLAY.search(sheet, body_start, match.start())
        if display is not None:
            for selector in prelude.split(",")[:100]:
                named = _CLASS.fullmatch(selector.strip())
                if named is not None and len(found) < MAX_CLASSES:
                    found[named.group(1).lower() + named.group(2)] = display.group(1).lower() == "none"
    return found
