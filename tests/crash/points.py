"""The named points at which the program can be stopped. Their numbers are those of the table in docs/failures.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KILL, EXCEPTION = "kill", "exception"
MODES = (KILL, EXCEPTION)
FREEZE = "freeze"
"""SIGSTOP: the program goes on when it gets SIGCONT. For several daemons."""

Setting = Literal["maildir", "imap", "spool", "drop_after_store", "drop_before_store", "files", "empty"]
"""What a point needs to be reached: a mailbox in files; an IMAP mailbox; one that is larger than the spool, so that
contents are fetched later; one send whose answer is lost, stored or not; mails with files; a database without tables."""


@dataclass(frozen=True)
class Point:
    """A place in the program. `at` is the how-manieth time of passing it that stops the program."""

    name: str
    number: int
    what: str
    setting: Setting = "maildir"
    at: int = 1


POINTS = (
    Point("listed", 1, "after listing, before rows", "imap"),
    Point("recorded", 2, "after rows and cursor are committed", "imap"),
    Point("fetched_later", 3, "after a later fetch of content, before it is stored", "spool"),
    Point("contact_created", 4, "after the contact was created, before the participant's row", at=2),
    Point("conversation_opened", 5, "after get-or-create answered, before the mapping", at=2),
    Point("uploaded", 6, "after an attachment was uploaded, before that is remembered", "files", at=3),
    Point("upload_remembered", 6, "after an attachment was uploaded and remembered, before the intent", "files", at=3),
    Point("intents_none", 7, "in a group of intents, before its commit: none is durable"),
    Point("intents_some", 7, "between two commits of intents that came together: one is durable", at=2),
    Point("intents_all", 7, "after a group of intents was committed, before any is sent"),
    Point("before_first_byte", 8, "after the intent, before the first byte", at=3),
    Point("nothing_received", 9, "during the POST, when nothing was received", at=3),
    Point("answer_lost", 10, "during the POST, accepted, and the answer is lost", at=3),
    Point("answered", 11, "after the answer, before the result is committed", at=3),
    Point("result_committed", 12, "after the result", at=3),
    Point("reading_back", 13, "during read-back", "drop_after_store"),
    Point("found_by_reading_back", 14, "after a read-back found it, before adoption is committed", "drop_after_store"),
    Point("settled", 15, "after settling, before the resend", "drop_before_store"),
    Point("migrating", 17, "in a migration", "empty", at=6),
)

FLEET_POINTS = (Point("bringing", 19, "contents of a backfill are loaded, before they are recorded", "imap"),)
"""For several daemons only: one alone goes on with its backfill, whatever happens to it."""
BY_NAME = {point.name: point for point in (*POINTS, *FLEET_POINTS)}
