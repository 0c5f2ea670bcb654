"""What is done with quoted messages and signatures: the settings `quotes` and `signatures` of a source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from sync.message import ORIGINAL_REF, Attachment, Message

ORIGINAL_FILENAME = "original message.txt"


class QuotePolicy(StrEnum):
    """Earlier messages below a reply: taken out, kept, or taken out with the whole text as a file beside."""

    REMOVE = "remove"
    KEEP = "keep"
    ATTACH = "attach"


class SignaturePolicy(StrEnum):
    """Signatures, "Sent from my phone" and legal notices: kept or taken out."""

    KEEP = "keep"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class ReplyPolicy:
    """Both."""

    quotes: QuotePolicy = QuotePolicy.REMOVE
    signatures: SignaturePolicy = SignaturePolicy.KEEP


def applied(message: Message, policy: ReplyPolicy) -> Message:
    """`message` with the text that is to be shown; a note says how much was left out. What its text could be told from
    (`Message.reply`) is gone afterwards: it need not be stored."""
    reply = message.reply
    if reply is None:
        return message
    if policy.quotes is QuotePolicy.KEEP and reply.removed_lines:
        return replace(message, reply=None)
    text = reply.text
    if policy.signatures is SignaturePolicy.REMOVE and reply.signature:
        text = text.removesuffix(reply.signature).rstrip()
    if not reply.removed_lines:
        return replace(message, text=text, reply=None)
    left_out = replace(message, text=text, reply=None, notes=(*message.notes, removed_note(reply.removed_lines)))
    if policy.quotes is QuotePolicy.REMOVE:
        return left_out
    size = len(reply.original.encode("utf-8", "replace"))
    original = Attachment(ORIGINAL_FILENAME, "text/plain", size, ORIGINAL_REF)
    return replace(left_out, attachments=(*message.attachments, original), original=reply.original)


def removed_note(lines: int) -> str:
    """The line that says how much was taken out."""
    return f"Quoted text left out: {lines:,} {'line' if lines == 1 else 'lines'}."
