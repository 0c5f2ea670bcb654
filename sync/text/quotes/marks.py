"""What the markup of mail programs says about quotes: marks put into a parsed HTML text before it is laid out.

The marks are code points that no text holds (plane 16, private use); `sync.text.layout` carries them along without
letting them change the layout. The names below are facts about the programs that write them.
"""

from __future__ import annotations

from collections.abc import Mapping

from selectolax.lexbor import LexborNode

from sync.text.layout import FIRST_MARK

MAX_MARKS = 200
"""Elements that are marked in one text."""

MAX_LOOKS_INSIDE = 16
"""Containers that are searched for a quote of their own; further ones count as quotes as they are."""

QUOTE, WHOLE, CLOSE, TAIL, RULED, INTRODUCTION, SIGNATURE, SIGNATURE_CLOSE = (
    chr(ord(FIRST_MARK) + number) for number in range(8)
)
ALL = QUOTE + WHOLE + CLOSE + TAIL + RULED + INTRODUCTION + SIGNATURE + SIGNATURE_CLOSE

_CONTAINER_CLASSES = frozenset(
    (
        *("gmail_quote", "gmail_quote_container", "yahoo_quoted", "iosymail", "protonmail_quote", "tutanota_quote"),
        *(
            "zmail_extra",
            "mail_quote",
            "ms-outlook-mobile-reference-message",
            "freshdesk_quote",
            "hs_reply",
            "skiff_quote",
        ),
        *("BlackBerry_quote", "hey_quote"),
    )
)
_CONTAINER_IDS = frozenset(
    (
        *("mail-editor-reference-message-container", "OLK_SRC_BODY_SECTION", "reply139content", "isReplyContent"),
        *("origbody", "oriMsgHtmlSeperator"),
    )
)
_CONTAINER_NAMES = frozenset({"quote", "messageReplySection"})  # GMX and Web.de; Spark
_TAIL_IDS = frozenset({"divRplyFwdMsg", "stopSpelling", "zwchr"})
_INTRODUCTION_CLASSES = frozenset({"gmail_attr", "moz-cite-prefix"})
_SIGNATURE_CLASSES = frozenset(
    (
        *(
            "gmail_signature",
            "gmail_signature_prefix",
            "moz-signature",
            "ms-outlook-mobile-signature",
            "yahoo-signature",
        ),
        *("protonmail_signature_block", "tutanota_signature"),
    )
)
_SIGNATURE_IDS = frozenset({"Signature", "ms-outlook-mobile-signature", "AppleMailSignature", "composer_signature"})
_SIGNATURE_NAMES = frozenset({"messageSignatureSection"})
_RULE_COLOURS = (
    *("#e1e1e1", "#b5c4df", "#c4c4c4", "#e5e5e5", "225, 225, 225", "225,225,225", "181, 196, 223", "181,196,223"),
    *("229, 229, 229", "229,229,229"),
)
"""Outlook for Windows and Mac, and Windows Mail draw the line above a quoted message in these colours."""

_CUES = ("quote", "cite", "Rply", "order-", "ORDER-", "ignature", "reference-message", "OLK_SRC", "ReplyContent")
_CUES_TOO = (
    "stopSpelling",
    "zwchr",
    "iosymail",
    "reply139",
    "origbody",
    "zmail",
    "Outlook",
    "gmail_",
    "moz-",
    "hs_reply",
)


def may_be_marked(html: str) -> bool:
    """A quick look: does the markup name anything that is marked?"""
    return any(cue in html for cue in _CUES) or any(cue in html for cue in _CUES_TOO)


class Marker:
    """Marks the elements that mail programs make for quotes and signatures; one object a text."""

    def __init__(self) -> None:
        self._marks = 0
        self._looks = 0

    def __call__(self, node: LexborNode, tag: str, attributes: Mapping[str, str | None]) -> str:
        """The mark before `node` ("" for most); the mark after it is put into the tree."""
        kind = _kind(tag, attributes)
        if not kind or self._marks >= MAX_MARKS:
            return ""
        self._marks += 1
        if kind == WHOLE and tag != "blockquote" and self._looks < MAX_LOOKS_INSIDE:
            self._looks += 1
            if node.css_first("blockquote") is not None:
                return INTRODUCTION
        if kind == SIGNATURE:
            node.insert_after(SIGNATURE_CLOSE)
        elif kind in {QUOTE, WHOLE}:
            node.insert_after(CLOSE)
        return kind


def _kind(tag: str, attributes: Mapping[str, str | None]) -> str:
    names = attributes.get("class")
    if names:
        classes = names.split()
        if not _CONTAINER_CLASSES.isdisjoint(classes):
            return QUOTE if tag == "blockquote" else WHOLE
        if not _INTRODUCTION_CLASSES.isdisjoint(classes):
            return INTRODUCTION
        if not _SIGNATURE_CLASSES.isdisjoint(classes):
            return SIGNATURE
        if "OutlookMessageHeader" in classes:
            return TAIL
    identity = attributes.get("id")
    if identity:
        if identity in _TAIL_IDS:
            return TAIL
        if identity in _CONTAINER_IDS or identity.startswith("yahoo_quoted"):
            return WHOLE
        if identity in _SIGNATURE_IDS:
            return SIGNATURE
    if tag == "blockquote":
        return QUOTE if _is_quote(attributes) else ""
    if tag in {"div", "hr"}:
        return _kind_of_block(attributes)
    return ""


def _kind_of_block(attributes: Mapping[str, str | None]) -> str:
    name = attributes.get("name")
    if name:
        if name in _CONTAINER_NAMES:
            return WHOLE
        if name in _SIGNATURE_NAMES:
            return SIGNATURE
    style = attributes.get("style")
    if style and "order-top" in style.replace("ORDER-TOP", "order-top"):
        folded = style.casefold()
        return RULED if "solid" in folded and any(colour in folded for colour in _RULE_COLOURS) else ""
    marker = attributes.get("data-marker")
    if marker == "__QUOTED_TEXT__":
        return WHOLE
    if marker == "__DIVIDER__":
        return TAIL
    return SIGNATURE if "data-signatureblock" in attributes else ""


def _is_quote(attributes: Mapping[str, str | None]) -> bool:
    """True for a block that quotes a message; people use the element to indent, and to quote others, too: without one
    of these marks it is a quote of a message only below an attribution, or with one in it."""
    if (attributes.get("type") or "").casefold() == "cite" or "cite" in attributes:
        return True
    return "quote" in (attributes.get("class") or "") or "quote" in (attributes.get("id") or "")
