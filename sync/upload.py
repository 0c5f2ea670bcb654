"""Uploading the files of a message before its intent: once per message, however many it goes to.

What was uploaded is remembered in the ledger with the time, so that a crash or a retry does not upload it again while the
Inbox knows it, and does when it may have forgotten. An upload that came to nothing is repeated; after some, the message
goes without the file, and a line says so. That the Inbox takes no files, while it answers everything else, is no reason
to send nothing: a read tells the two apart.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from sync.clock import Clock
from sync.delivery import Uploaded
from sync.errors import AuthError, InboxSyncError, MessageError, Scope, TemporaryError
from sync.inbox import MEDIA_SECONDS, InboxClient, NotTaken
from sync.ledger import Ledger, Spooled
from sync.message import Attachment, Message

log = structlog.get_logger()

UPLOADS_AT_ONCE: Final = 4
"""Messages whose files are on their way into one inbox at the same time: each holds a piece or two in memory."""
UPLOADS_KEPT: Final = 1000
"""Files whose ids are remembered in memory, too: the next delivery of the same message may have been read before."""
RENEWALS_MAX: Final = 1
"""How often files that the Inbox says it does not know are uploaded anew."""
NOT_UPLOADED: Final = "it could not be uploaded"
NOT_KNOWN: Final = "the Inbox did not keep it"
UNKNOWN_MEDIA: Final = "inbox.invalid_media_url"
PERHAPS_MEDIA_ALONE: Final = frozenset(
    {
        "inbox.server_error",
        "inbox.unreadable_answer",
        "inbox.foreign_answer",
        "inbox.not_permitted",
        "inbox.refused",
    }
)
"""Answers to the wish for an address to upload to that say nothing about the file: it may be that files are not taken
now, or that the whole inbox does not work."""


@dataclass(frozen=True, slots=True)
class Uploads:
    """A message's files in the Inbox, by `Attachment.spooled`: their ids, and why others were not taken. `fresh`: some
    were uploaded just now, which took its time."""

    file_ids: Mapping[int, str] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    fresh: bool = False


class Uploader:
    """One inbox's. `remember` commits what the Inbox calls files."""

    def __init__(
        self,
        inbox: str,
        *,
        client: InboxClient,
        ledger: Ledger,
        remember: Callable[[Uploaded], Awaitable[None]],
        max_attempts: int,
        clock: Clock,
    ) -> None:
        self._inbox = inbox
        self._client = client
        self._ledger = ledger
        self._remember = remember
        self._max_attempts = max_attempts
        self._clock = clock
        self._at_work: dict[int, asyncio.Lock] = {}
        self._slots = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._kept: OrderedDict[int, tuple[str, datetime]] = OrderedDict()

    async def ready(self, message_id: int, message: Message, files: Sequence[Spooled], *, last_try: bool) -> Uploads:
        """All files of a message, uploaded as far as they can be. `files`: their rows as they were read with the message.
        Raises TemporaryError and AuthError: scope message when an upload failed and is to be tried again, else of the
        whole inbox. `last_try`: the message would be given up with another failure, so it goes without what fails now."""
        wanted = {one.spooled: one for one in message.attachments if one.spooled}
        if not wanted:
            return Uploads()
        lock = self._at_work.setdefault(message_id, asyncio.Lock())
        try:
            async with lock, self._slots:
                rows = {row.id: row for row in files}
                return await self._upload_all(wanted, rows, 1 if last_try else self._max_attempts)
        finally:
            if not lock.locked():
                self._at_work.pop(message_id, None)

    async def not_known(self, message_id: int) -> None:
        """A send was refused because the Inbox does not know a file of it (any more)."""
        self._kept.clear()
        await self._ledger.call(self._ledger.attachments.renew, message_id, RENEWALS_MAX, NOT_KNOWN)

    async def _upload_all(self, wanted: Mapping[int, Attachment], rows: Mapping[int, Spooled], most: int) -> Uploads:
        """`most`: the failures after which a file is left out. What was uploaded is remembered also when another file
        fails."""
        new: dict[int, str] = {}
        try:
            return await self._upload_each(wanted, rows, most, new)
        finally:
            await self._note(new)

    async def _upload_each(
        self, wanted: Mapping[int, Attachment], rows: Mapping[int, Spooled], most: int, new: dict[int, str]
    ) -> Uploads:
        """One that fails keeps no other from being tried, so that several cost a message no more tries than one does.
        `new` gets what was uploaded."""
        file_ids: dict[int, str] = {}
        refused: dict[int, str] = {}
        fresh = False
        failed: TemporaryError | None = None
        no_use: NotTaken | TemporaryError | None = None
        for number, one in wanted.items():
            row = rows.get(number)
            if row is None:
                refused[number] = NOT_UPLOADED
            elif row.why_not:
                refused[number] = row.why_not
            elif (file_id := self._known_id(row)) is not None:
                file_ids[number] = file_id
            else:
                fresh = True
                if no_use is None:
                    result = await self._upload(one, row, most)
                else:
                    result = await self._count(row, no_use.code, most)
                if isinstance(result, str):
                    file_ids[number] = new[number] = result
                    continue
                if isinstance(result, NotTaken):
                    refused[number] = result.why
                else:
                    failed = result
                if result.code in PERHAPS_MEDIA_ALONE:
                    no_use = result
        if failed is not None:
            raise failed
        return Uploads(file_ids, refused, fresh)

    async def _note(self, new: Mapping[int, str]) -> None:
        """Remembers what was uploaded, also when a later file of the message could not be."""
        if not new:
            return
        now = self._clock.now()
        await self._remember(Uploaded(tuple(new.items()), now))
        self._kept |= {number: (file_id, now) for number, file_id in new.items()}
        while len(self._kept) > UPLOADS_KEPT:
            self._kept.popitem(last=False)

    def _known_id(self, row: Spooled) -> str | None:
        """What the Inbox calls the file, if it still knows it."""
        file_id, uploaded_at = self._kept.get(row.id, (row.file_id, row.uploaded_at))
        age = None if uploaded_at is None else self._clock.now() - uploaded_at
        return file_id if age is not None and timedelta(0) <= age < timedelta(seconds=MEDIA_SECONDS) else None

    async def _upload(self, one: Attachment, row: Spooled, most: int) -> str | NotTaken | TemporaryError:
        attachments = self._ledger.attachments
        try:
            body = self._pieces(row.id) if row.data is None else row.data
            result = await self._client.upload(one.filename, one.mime_type, row.bytes, body)
        except (AuthError, MessageError, TemporaryError) as error:
            if not await self._is_about_files(error):
                raise
            return await self._count(row, error.code, most)
        if isinstance(result, NotTaken):
            await self._ledger.call(attachments.upload_failed, row.id, result.why)
            log.warning("attachment.not_taken", inbox=self._inbox, attachment=row.id, code=result.code)
            return result
        log.info("attachment.uploaded", inbox=self._inbox, attachment=row.id, bytes=row.bytes)
        return result

    async def _count(self, row: Spooled, code: str, most: int) -> NotTaken | TemporaryError:
        """Counts a failure of a file: it is tried again, or left out for good."""
        last = row.failures + 1 >= most
        await self._ledger.call(self._ledger.attachments.upload_failed, row.id, NOT_UPLOADED if last else "")
        log.warning("attachment.not_uploaded", inbox=self._inbox, attachment=row.id, code=code, last=last)
        if last:
            return NotTaken(code, NOT_UPLOADED)
        return TemporaryError("a file could not be uploaded", code=code, scope=Scope.MESSAGE)

    async def _is_about_files(self, error: InboxSyncError) -> bool:
        """Whether the Inbox works, files apart. Raises what a read says when it does not."""
        if isinstance(error, MessageError) or (isinstance(error, TemporaryError) and error.scope is Scope.MESSAGE):
            return True
        if error.code not in PERHAPS_MEDIA_ALONE:
            return False
        with suppress(MessageError):  # a refusal in the API's own words is an answer, too
            await self._client.probe()
        return True

    async def _pieces(self, attachment_id: int) -> AsyncIterator[bytes]:
        number = 0
        while (piece := await self._ledger.call(self._ledger.attachments.piece, attachment_id, number)) is not None:
            yield piece
            number += 1
