"""Uploading the files of a message before its intent: once per message, however many it goes to.

What was uploaded is remembered in the ledger with the time, so that a crash or a retry does not upload it again while the
Inbox knows it, and does when it may have forgotten. An upload that came to nothing is repeated; after some, the message
goes without the file, and a line says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from sync.clock import Clock
from sync.errors import MessageError, Scope, TemporaryError
from sync.inbox import MEDIA_SECONDS, InboxClient, NotTaken
from sync.ledger import Ledger, Spooled
from sync.message import Attachment, Message

log = structlog.get_logger()

UPLOADS_AT_ONCE: Final = 4
"""Files on their way into one inbox at the same time: each holds a piece or two in memory."""
RENEWALS_MAX: Final = 1
"""How often files that the Inbox says it does not know are uploaded anew."""
NOT_UPLOADED: Final = "it could not be uploaded"
NOT_KNOWN: Final = "the Inbox did not keep it"
UNKNOWN_MEDIA: Final = "inbox.invalid_media_url"


@dataclass(frozen=True, slots=True)
class Uploads:
    """A message's files in the Inbox, by `Attachment.spooled`: their ids, and why others were not taken. `fresh`: some
    were uploaded just now, which took its time."""

    file_ids: Mapping[int, str] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    fresh: bool = False


class Uploader:
    """One inbox's."""

    def __init__(self, inbox: str, *, client: InboxClient, ledger: Ledger, max_attempts: int, clock: Clock) -> None:
        self._inbox = inbox
        self._client = client
        self._ledger = ledger
        self._max_attempts = max_attempts
        self._clock = clock
        self._at_work: dict[int, asyncio.Lock] = {}
        self._slots = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def ready(self, message_id: int, message: Message) -> Uploads:
        """All files of a message, uploaded as far as they can be. Raises TemporaryError and AuthError: scope message when
        an upload failed and is to be tried again, else of the whole inbox."""
        wanted = {one.spooled: one for one in message.attachments if one.spooled}
        if not wanted:
            return Uploads()
        lock = self._at_work.setdefault(message_id, asyncio.Lock())
        try:
            async with lock, self._slots:
                return await self._upload_all(message_id, wanted)
        finally:
            if not lock.locked():
                self._at_work.pop(message_id, None)

    async def not_known(self, message_id: int) -> None:
        """A send was refused because the Inbox does not know a file of it (any more)."""
        await self._ledger.call(self._ledger.attachments.renew, message_id, RENEWALS_MAX, NOT_KNOWN)

    async def _upload_all(self, message_id: int, wanted: Mapping[int, Attachment]) -> Uploads:
        rows = await self._ledger.call(self._ledger.attachments.of_message, message_id)
        by_id = {row.id: row for row in rows}
        file_ids: dict[int, str] = {}
        refused: dict[int, str] = {}
        fresh = False
        for number, one in wanted.items():
            row = by_id.get(number)
            if row is None:
                refused[number] = NOT_UPLOADED
            elif row.why_not:
                refused[number] = row.why_not
            elif row.file_id is not None and self._is_known(row.uploaded_at):
                file_ids[number] = row.file_id
            else:
                fresh = True
                result = await self._upload(one, row)
                if isinstance(result, NotTaken):
                    refused[number] = result.why
                else:
                    file_ids[number] = result
        return Uploads(file_ids, refused, fresh)

    def _is_known(self, uploaded_at: datetime | None) -> bool:
        now = self._clock.now()
        return uploaded_at is not None and timedelta(0) <= now - uploaded_at < timedelta(seconds=MEDIA_SECONDS)

    async def _upload(self, one: Attachment, row: Spooled) -> str | NotTaken:
        attachments = self._ledger.attachments
        try:
            result = await self._client.upload(one.filename, one.mime_type, row.bytes, lambda: self._pieces(row.id))
        except (MessageError, TemporaryError) as error:
            if isinstance(error, TemporaryError) and error.scope is not Scope.MESSAGE:
                raise
            last = row.failures + 1 >= self._max_attempts
            await self._ledger.call(attachments.upload_failed, row.id, NOT_UPLOADED if last else "")
            log.warning("attachment.not_uploaded", inbox=self._inbox, attachment=row.id, code=error.code, last=last)
            if last:
                return NotTaken(error.code, NOT_UPLOADED)
            raise
        if isinstance(result, NotTaken):
            await self._ledger.call(attachments.upload_failed, row.id, result.why)
            log.warning("attachment.not_taken", inbox=self._inbox, attachment=row.id, code=result.code)
            return result
        await self._ledger.call(attachments.uploaded, row.id, result, self._clock.now())
        log.info("attachment.uploaded", inbox=self._inbox, attachment=row.id, bytes=row.bytes)
        return result

    async def _pieces(self, attachment_id: int) -> AsyncIterator[bytes]:
        number = 0
        while (piece := await self._ledger.call(self._ledger.attachments.piece, attachment_id, number)) is not None:
            yield piece
            number += 1
