"""Reports about mail that was sent (RFC 3464 delivery status, RFC 8098 read receipts, RFC 5965 complaints) as sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sync.mail.date import written_at
from sync.mail.header import HeaderFields, decode_value, read_header
from sync.text.clean import clean_line

MAX_NAMED = 20
"""Recipients that are named; a sentence tells how many more there are."""

MAX_BLOCKS = 2_000
"""Recipients that are looked at."""

MAX_REASON_CHARS = 400

REPORT_TYPES = frozenset(
    {
        "message/delivery-status",
        "message/global-delivery-status",
        "message/disposition-notification",
        "message/global-disposition-notification",
        "message/feedback-report",
    }
)
RETURNED_TYPES = frozenset({"text/rfc822-headers", "message/global-headers"})

_BLANK = re.compile(rb"\r?\n[ \t]*\r?\n")
_TYPE_PREFIX = re.compile(r"^\s*(?:rfc822|utf-8|x400|smtp|unknown|x-[a-z0-9-]+|dns)\s*;\s*", re.IGNORECASE)
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_ACTIONS = {
    "failed": "Not delivered to {who}",
    "delayed": "Not delivered yet to {who} (the mail server goes on trying)",
    "delivered": "Delivered to {who}",
    "relayed": "Handed on for {who}",
    "expanded": "Handed on to the members of {who}",
}
_STATUS_WORDS = {
    "1.1": "this mailbox does not exist",
    "1.2": "this domain does not exist or takes no mail",
    "1.3": "this is no valid address",
    "1.10": "this domain takes no mail",
    "2.1": "the mailbox takes no mail",
    "2.2": "the mailbox is full",
    "2.3": "the message is too large for the mailbox",
    "3.4": "the message is too large for the system",
    "4.1": "the receiving server did not answer",
    "4.4": "no mail server could be found for this address",
    "4.7": "the receiving server could not be reached in time",
    "7.1": "the receiving server refuses it",
}
_DISPOSITIONS = {
    "displayed": "{who} has opened the message",
    "deleted": "{who} has deleted the message without opening it",
    "dispatched": "{who} has passed the message on",
    "processed": "A program of {who} has processed the message",
    "denied": "{who} does not want to say whether the message was opened",
    "failed": "The receipt for the message to {who} failed",
}


@dataclass(frozen=True, slots=True)
class Returned:
    """The message a report is about, as far as its header came back."""

    subject: str = ""
    date: str = ""

    def words(self) -> str:
        """A sentence that names it; empty when nothing is known."""
        if not self.subject and not self.date:
            return ""
        named = f"“{self.subject}”" if self.subject else "without a subject"
        return f"It was the message {named}" + (f" of {self.date}." if self.date else ".")


def returned_message(header: HeaderFields) -> Returned:
    """What the header of a returned message tells."""
    moment = written_at(header.ascii("date"))
    date = "" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"
    return Returned(clean_line(decode_value(header.raw("subject")), limit_chars=MAX_REASON_CHARS), date)


def report_sentences(mime_type: str, data: bytes) -> list[str]:
    """What a report's machine-readable part says: one sentence for each recipient. Empty when it says nothing."""
    blocks = [block for block in _BLANK.split(data, MAX_BLOCKS)[:MAX_BLOCKS] if block.strip()]
    fields = [read_header(block.lstrip(), 0, len(block.lstrip())) for block in blocks]
    if "disposition" in mime_type:
        found = [sentence for block in fields if (sentence := _receipt(block))]
    elif "feedback" in mime_type:
        found = [sentence for block in fields[:1] if (sentence := _complaint(block))]
    else:
        found = [sentence for block in fields if (sentence := _delivery(block))]
    found = list(dict.fromkeys(found))
    if len(found) > MAX_NAMED:
        return [*found[:MAX_NAMED], f"({len(found) - MAX_NAMED} more recipients)"]
    return found


def _field(block: HeaderFields, *names: str) -> str:
    """The first of these fields, without the type in front (`rfc822;`)."""
    for name in names:
        value = clean_line(_TYPE_PREFIX.sub("", decode_value(block.raw(name))), limit_chars=MAX_REASON_CHARS)
        if value:
            return value
    return ""


def _delivery(block: HeaderFields) -> str:
    who = _field(block, "original-recipient", "final-recipient").strip("<>")
    who = who or _field(block, "final-recipient", "x-actual-recipient").strip("<>")
    if not who:
        return ""
    action = _field(block, "action").lower().partition(" ")[0]
    status = _STATUS.search(_field(block, "status"))
    if action not in _ACTIONS:
        action = "delivered" if status and status.group()[0] == "2" else "failed"
    sentence = _ACTIONS[action].format(who=who)
    if action not in {"failed", "delayed"}:
        return f"{sentence}."
    reason = _field(block, "diagnostic-code", "x-display-name")
    known = _STATUS_WORDS.get(status.group()[2:]) if status else None
    parts = [part for part in (known, reason or (status.group() if status and not known else "")) if part]
    return f"{sentence}: {'; '.join(parts)}" if parts else f"{sentence}."


def _receipt(block: HeaderFields) -> str:
    value = _field(block, "disposition").lower()
    if not value:
        return ""
    who = _field(block, "final-recipient", "original-recipient").strip("<>") or "The recipient"
    kind = value.rpartition(";")[2].strip().partition("/")[0].strip()
    return _DISPOSITIONS.get(kind, "{who} sent a receipt for the message").format(who=who) + "."


def _complaint(block: HeaderFields) -> str:
    kind = _field(block, "feedback-type") or "abuse"
    who = _field(block, "original-rcpt-to", "original-mail-from").strip("<>")
    return f"A complaint ({kind}) was made about a message" + (f" to {who}." if who else ".")
