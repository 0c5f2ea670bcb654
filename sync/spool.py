"""Bringing the files of a message into the ledger.

    connector.open_attachment ─small─▶ carried along ─────────────────────────────────▶ recorded with the message
                              └pieces─▶ attachment_pieces ─(its number in the content)─▶ the message is recorded

A small file is recorded in one transaction with its message. A content that names a larger one is only written after the
file is whole in the ledger; a file that no content names any more goes. So a crash in between costs nothing but loading
it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

import structlog

from sync import attachments as choice
from sync.attachments import AttachmentRules, choose, size_text
from sync.clock import Clock
from sync.connector import PIECE_MAX_BYTES, Attaches, Connector, Fetches, PassContext, Stream
from sync.decide import Loaded
from sync.errors import MessageError, Scope, TemporaryError
from sync.ledger import FoundRow, Ledger
from sync.message import ORIGINAL_REF, Attachment, Message
from sync.passes import PassTerms
from sync.settings import SourceSettings

log = structlog.get_logger()

SPOOL_FULL: Final = "ledger.spool_full"
SPOOLS_AHEAD: Final = 2
"""What comes first may use the spool's room so many times over, where messages that wait for it have filled the spool."""
FILE_SHARE: Final = 0.5
"""The part of a pass's time that one file may take."""
FILE_TRIES: Final = 3
"""After so many failures to load one file its message is delivered without it."""
CARRIED_FILE_MAX_BYTES: Final = 64 * 1024
"""A file of at most so many bytes is carried along to be recorded with its message…"""
CARRIED_MAX_BYTES: Final = 4 * 1024 * 1024
"""…as long as those of one batch are no more than this together."""
FAILURES_KEPT: Final = 10_000
"""Files whose failures are remembered; more than this, and counting begins anew."""
NOT_LOADED: Final = "it could not be loaded"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a file's message is."""

    stream: Stream
    epoch: str
    external_id: str


@dataclass(slots=True)
class Room:
    """What a batch of messages finds in the spool. `waiting_bytes`: what waits there, with what this batch adds to it;
    `carry_bytes`: what the batch may still carry along in memory."""

    waiting_bytes: int
    carry_bytes: int = CARRIED_MAX_BYTES


@dataclass(slots=True)
class _Brought:
    """A file that was loaded: in the ledger under its number, or with its bytes, to be carried along."""

    file: Attachment
    data: bytes | None = None


class _TooLarge(Exception):
    """A file turned out larger than its message had said."""


class Spooler:
    """One source's."""

    def __init__(
        self,
        name: str,
        settings: SourceSettings,
        *,
        connector: Connector,
        terms: PassTerms,
        ledger: Ledger,
        spool_max_bytes: int,
        clock: Clock,
    ) -> None:
        self._name = name
        self._settings = settings
        self._attaches = connector if isinstance(connector, Attaches) else None
        self._loads_again = isinstance(connector, Fetches)
        self._terms = terms
        self._ledger = ledger
        self._spool_max_bytes = spool_max_bytes
        self._clock = clock
        self._failures: dict[tuple[str, str, str, str], int] = {}

    async def room(self) -> Room:
        """What there is for the next batch."""
        waiting = await self._ledger.call(self._ledger.messages.spooled_bytes)
        return Room(waiting + await self._ledger.call(self._ledger.attachments.unrecorded_bytes))

    async def room_ahead(self, row: FoundRow) -> Room | None:
        """What a found message finds by itself: what comes after it in its source waits for it, and takes no room from it,
        up to as much again as the spool may hold. One that nothing of its source comes before is loaded in any case.
        None: it has to wait for room."""
        waiting = (await self.room()).waiting_bytes
        before, after = await self._ledger.call(self._ledger.messages.spooled_around, row)
        if not before:
            return Room(0)
        most = self._spool_max_bytes
        return Room(waiting - after) if waiting < SPOOLS_AHEAD * most and waiting - after < most else None

    async def spool(
        self, stream: Stream, epoch: str, external_id: str, loaded: Loaded, ctx: PassContext, room: Room
    ) -> Loaded:
        """The message with what became of each of its files; small ones come along (`Loaded.files`). Raises
        TemporaryError when one of them cannot be had now (then nothing of it is kept) and, with the code `SPOOL_FULL`,
        when there is no room for them now."""
        message = loaded.message
        if not message.attachments:
            return loaded
        rules = self._terms.attachment_rules
        chosen = choose(message.attachments, rules)
        if self._attaches is None:
            chosen = tuple(one if one.ref == ORIGINAL_REF or one.why_not else replace(one, ref="") for one in chosen)
        wanted = [one for one in chosen if _is_wanted(one)]
        self._need_room(room, sum(one.size or 0 for one in wanted))
        place = _Place(stream, epoch, external_id)
        brought: list[Attachment] = []
        carried: list[bytes] = []
        decoration = [one for one in message.attachments if choice.is_pixel(one)]
        try:
            for one in chosen:
                done = await self._bring(place, message, one, rules, ctx, room) if _is_wanted(one) else _Brought(one)
                if done is None:
                    decoration.append(one)
                elif done.data is None:
                    brought.append(done.file)
                else:
                    carried.append(done.data)
                    brought.append(replace(done.file, spooled=-len(carried)))
        except BaseException:
            await self._discard(brought)
            raise
        room.waiting_bytes += sum(one.size or 0 for one in brought if one.spooled)
        text = choice.without_marks(message.text, decoration)
        message = replace(message, text=text, attachments=tuple(brought), original="")
        return replace(loaded, message=message, files=tuple(carried))

    def _need_room(self, room: Room, size: int) -> None:
        if size and room.waiting_bytes and room.waiting_bytes + size > self._spool_max_bytes:
            raise TemporaryError(
                "the spool has no room for the files of this message now",
                code=SPOOL_FULL,
                next_step="nothing: it is loaded when others are delivered; spool_max_bytes is the limit",
                scope=Scope.MESSAGE,
            )

    async def _bring(
        self, place: _Place, message: Message, one: Attachment, rules: AttachmentRules, ctx: PassContext, room: Room
    ) -> _Brought | None:
        """The file as it is in the ledger now, or comes along, or with the reason why it does not; None for
        decoration."""
        key = (place.stream.key, place.epoch, place.external_id, one.ref)
        try:
            done = await self._copy_in_time(self._pieces(place, message, one, ctx), one, rules.file_max_bytes, room)
        except _TooLarge:
            return _Brought(replace(one, why_not=choice.TOO_LARGE.format(limit=size_text(rules.file_max_bytes))))
        except (MessageError, TemporaryError) as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            final = isinstance(error, MessageError) or not self._loads_again
            if not final and failures < min(FILE_TRIES, self._settings.max_fetch_attempts):
                if len(self._failures) > FAILURES_KEPT:
                    self._failures.clear()
                raise
            self._failures.pop(key, None)
            log.warning("attachment.not_loaded", source=self._name, id=place.external_id, code=error.code)
            return _Brought(replace(one, why_not=NOT_LOADED))
        self._failures.pop(key, None)
        if done.file.size == 0 or choice.is_decoration(done.file):
            await self._discard([done.file])
            return _Brought(replace(done.file, spooled=0, why_not=choice.EMPTY)) if done.file.size == 0 else None
        room.carry_bytes -= len(done.data or b"")
        return done

    async def _pieces(
        self, place: _Place, message: Message, one: Attachment, ctx: PassContext
    ) -> AsyncGenerator[bytes, None]:
        if one.ref == ORIGINAL_REF:
            data = message.original.encode("utf-8", "replace")
            for start in range(0, len(data), PIECE_MAX_BYTES):
                yield data[start : start + PIECE_MAX_BYTES]
            return
        if self._attaches is None:
            raise MessageError("its source gives no files", code="source.no_files")
        opened = self._attaches.open_attachment(place.stream, place.epoch, place.external_id, one, ctx)
        try:
            async for piece in opened:
                yield piece
        finally:
            if isinstance(opened, AsyncGenerator):
                await opened.aclose()

    async def _copy_in_time(
        self, pieces: AsyncGenerator[bytes, None], one: Attachment, max_bytes: int, room: Room
    ) -> _Brought:
        seconds = self._settings.pass_timeout_seconds * FILE_SHARE
        try:
            async with asyncio.timeout(seconds):
                return await self._copy(pieces, one, max_bytes, min(CARRIED_FILE_MAX_BYTES, room.carry_bytes))
        except TimeoutError:
            raise TemporaryError(
                f"loading a file took longer than {seconds:g} s",
                code="source.file_hung",
                next_step="nothing: it is tried again, then left out; if it stays, raise pass_timeout_seconds",
                source=self._name,
            ) from None

    async def _copy(
        self, pieces: AsyncGenerator[bytes, None], one: Attachment, max_bytes: int, carry_max_bytes: int
    ) -> _Brought:
        """The whole file: up to `carry_max_bytes` to be carried along, a larger one in the ledger. What is not whole is
        taken back."""
        attachments = self._ledger.attachments
        number = size = count = 0
        head = bytearray()
        carried = bytearray()
        try:
            async with aclosing(pieces) as opened:
                async for piece in opened:
                    size += len(piece)
                    if size > max_bytes:
                        raise _TooLarge  # noqa: TRY301  what was written goes, as after every failure
                    head += piece[: max(0, choice.HEAD_BYTES - len(head))]
                    carried += piece
                    if number or size > carry_max_bytes:
                        number = number or await self._ledger.call(attachments.open, self._clock.now())
                        await self._ledger.call(attachments.append, number, count, bytes(carried))
                        count += 1
                        carried.clear()
        except BaseException:
            if number:
                await self._ledger.call(attachments.discard, [number])
            raise
        width, height = choice.pixels_of(bytes(head)) if choice.shows_as_image(one) else (0, 0)
        file = replace(one, size=size, spooled=number, width=width, height=height)
        return _Brought(file, None if number else bytes(carried))

    async def _discard(self, files: list[Attachment]) -> None:
        numbers = [one.spooled for one in files if one.spooled > 0]
        if numbers:
            await self._ledger.call(self._ledger.attachments.discard, numbers)


def _is_wanted(one: Attachment) -> bool:
    """Whether it can and shall be brought over."""
    return bool(one.ref) and not one.why_not
