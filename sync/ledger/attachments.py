"""The bytes of files that wait for their message's delivery, in pieces, and what the Inbox calls them once uploaded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias, cast

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from sync.ledger import schema
from sync.ledger.engine import Database
from sync.ledger.prepared import ForKeys
from sync.ledger.repository import Repository, chunks, reads, writes

_A = schema.attachments.c
_B = schema.attachment_pieces.c

Octets: TypeAlias = bytes
"""Where `bytes` is the name of a column."""

OWNERLESS_AFTER = timedelta(hours=6)
"""A file whose message was not written so long after it never will be: the program ended in between."""
SMALL_BYTES = 64 * 1024
"""A file of at most so many bytes is read with its row…"""
SMALL_OF_A_MESSAGE_BYTES = 256 * 1024
"""…as long as those of one message are no more than this together: so much of each message may be in memory."""

_OF_MESSAGES = ForKeys(
    select(_A.id, _A.message_id, _A.bytes, _A.file_id, _A.uploaded_at, _A.renewals, _A.failures, _A.why_not)
    .where(_A.message_id.in_(bindparam("keys", expanding=True)))
    .order_by(_A.id)
)
_FIRST_PIECES = ForKeys(
    select(_B.attachment_id, _B.data).where(_B.attachment_id.in_(bindparam("keys", expanding=True)), _B.number == 0)
)


@dataclass(frozen=True, slots=True)
class Spooled:
    """A file. `bytes`: its size; `file_id`: the Inbox's name for it since `uploaded_at`, None before; `renewals`: how
    often it had to be uploaded anew because the Inbox did not know it any more; `failures`: uploads that came to
    nothing; `why_not`: the reason why it will not be uploaded. `data`: the whole of a small file that is still to be
    uploaded, where it was read along."""

    id: int
    message_id: int | None
    bytes: int
    file_id: str | None
    uploaded_at: datetime | None
    renewals: int
    failures: int
    why_not: str
    data: Octets | None = None


class Attachments(Repository):
    """The files of messages. Their rows go together with the contents (`sync.ledger.contents`)."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._unrecorded: set[int] = set()
        """Files that this process has opened, and that no content named when it was last asked."""

    def open(self, now: datetime) -> int:
        """A new file without bytes; returns its number. It belongs to no message until a content names it."""
        number = self._open(now)
        self._unrecorded.add(number)
        return number

    @writes
    def _open(self, tx: Connection, now: datetime) -> int:
        tx.execute(delete(schema.attachments).where(_A.message_id.is_(None), _A.spooled_at < now - OWNERLESS_AFTER))
        return int(tx.execute(insert(schema.attachments).values(spooled_at=now).returning(_A.id)).scalar_one())

    @writes
    def append(self, tx: Connection, attachment_id: int, number: int, data: bytes) -> None:
        """The next piece of a file's bytes, counted from 0."""
        tx.execute(insert(schema.attachment_pieces).values(attachment_id=attachment_id, number=number, data=data))
        tx.execute(update(schema.attachments).where(_A.id == attachment_id).values(bytes=_A.bytes + len(data)))

    @writes
    def discard(self, tx: Connection, attachment_ids: Collection[int]) -> None:
        """These files are not wanted after all."""
        for some in chunks(sorted(attachment_ids)):
            tx.execute(delete(schema.attachments).where(_A.id.in_(some), _A.message_id.is_(None)))

    @reads
    def unrecorded_bytes(self, tx: Connection) -> int:
        """Bytes of files whose messages are about to be recorded by this process: they do not count in
        `Messages.spooled_bytes` yet. What a process that ended left behind waits for nothing and does not count."""
        waiting: dict[int, int] = {
            row.id: row.bytes for row in tx.execute(select(_A.id, _A.bytes).where(_A.message_id.is_(None)))
        }
        self._unrecorded &= waiting.keys()
        return sum(waiting[number] for number in self._unrecorded)

    @reads
    def of_message(self, tx: Connection, message_id: int) -> tuple[Spooled, ...]:
        """A message's files in their order."""
        return files_of(tx, [message_id]).get(message_id, ())

    @reads
    def piece(self, tx: Connection, attachment_id: int, number: int) -> bytes | None:
        """One piece; None after the last."""
        query = select(_B.data).where(_B.attachment_id == attachment_id, _B.number == number)
        data = tx.execute(query).scalar_one_or_none()
        return None if data is None else bytes(data)

    @writes
    def upload_failed(self, tx: Connection, attachment_id: int, why_not: str) -> None:
        """An upload came to nothing. `why_not` "" when it may be tried again."""
        tx.execute(
            update(schema.attachments).where(_A.id == attachment_id).values(failures=_A.failures + 1, why_not=why_not)
        )

    @writes
    def renew(self, tx: Connection, message_id: int, renewals_max: int, why_not: str) -> None:
        """The Inbox does not know the files of this message any more: they are uploaded again, or left out for `why_not`
        when that has happened `renewals_max` times."""
        tx.execute(
            update(schema.attachments)
            .where(_A.message_id == message_id, _A.file_id.is_not(None), _A.renewals >= renewals_max)
            .values(why_not=why_not)
        )
        tx.execute(
            update(schema.attachments)
            .where(_A.message_id == message_id, _A.file_id.is_not(None))
            .values(file_id=None, uploaded_at=None, renewals=_A.renewals + 1)
        )


def files_of(tx: Connection, message_ids: Collection[int]) -> dict[int, tuple[Spooled, ...]]:
    """The files of these messages in their order, as a part of the caller's transaction."""
    found: dict[int, list[Spooled]] = {}
    for row in _OF_MESSAGES.read(tx, message_ids):
        one = Spooled(*cast("tuple[int, int, int, str | None, datetime | None, int, int, str]", row))
        found.setdefault(one.message_id or 0, []).append(one)
    return {message_id: tuple(rows) for message_id, rows in found.items()}


def with_small_data(tx: Connection, files: dict[int, tuple[Spooled, ...]]) -> dict[int, tuple[Spooled, ...]]:
    """These files with the bytes of small ones that are still to be uploaded."""
    wanted: list[int] = []
    for rows in files.values():
        left = SMALL_OF_A_MESSAGE_BYTES
        for one in rows:
            if one.file_id is None and not one.why_not and one.bytes <= min(SMALL_BYTES, left):
                left -= one.bytes
                wanted.append(one.id)
    if not wanted:
        return files
    pieces = cast("list[tuple[int, bytes]]", _FIRST_PIECES.read(tx, wanted))
    data = {number: bytes(piece) for number, piece in pieces}
    # the first piece of a file is all of it only if it was written in one
    whole = {one.id: data[one.id] for rows in files.values() for one in rows if len(data.get(one.id, b"")) == one.bytes}
    return {
        message_id: tuple(replace(one, data=whole.get(one.id)) for one in rows) for message_id, rows in files.items()
    }
