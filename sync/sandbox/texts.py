"""What an Inbox may do to the texts it is given: the ways of changing them that can be switched on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from sync.sandbox.values import JsonObject, as_list, as_object

_BLANKS = re.compile(r"[ \t\u00a0]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _quotes(text: str) -> str:
    text = re.sub(r'(^|[\s(\[])"', "\\1\u201c", text).replace('"', "\u201d")
    return re.sub(r"(^|[\s(\[])'", "\\1\u2018", text).replace("'", "\u2019")


FORMS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "trim": str.strip,
        "collapse": lambda text: "\n".join(_BLANKS.sub(" ", line) for line in text.split("\n")),
        "nfc": lambda text: unicodedata.normalize("NFC", text),
        "nfd": lambda text: unicodedata.normalize("NFD", text),
        "quotes": _quotes,
        "crlf": lambda text: text.replace("\r\n", "\n").replace("\n", "\r\n"),
        "lf": lambda text: text.replace("\r\n", "\n").replace("\r", "\n"),
        "strip_controls": lambda text: _CONTROLS.sub("", text),
    }
)
"""Each way of changing a text, by the name under which it is switched on."""


def changed_content(content: JsonObject, forms: Iterable[str]) -> JsonObject:
    """The content with its texts changed in every given way, one after the other."""
    functions = [FORMS[form] for form in forms]

    def change(text: object) -> object:
        if isinstance(text, str):
            for function in functions:
                text = function(text)
        return text

    result = dict(content)
    if "basic" in result:
        items = []
        for item in as_list(as_object(result["basic"]).get("items")):
            entry = as_object(item)
            items.append({**entry, "text": change(entry["text"])} if "text" in entry else entry)
        result["basic"] = {**as_object(result["basic"]), "items": items}
    if "minimal" in result:
        minimal = as_object(result["minimal"])
        result["minimal"] = {**minimal, "text": change(minimal.get("text"))}
    if "previewText" in result:
        result["previewText"] = change(result["previewText"])
    return result
