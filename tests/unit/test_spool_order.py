"""A full spool: what comes first goes first, though its content has to wait for room that others have taken."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from sync.clock import SystemClock
from sync.connector import ConnectorConfig, ConnectorInfo, Finding, PassContext, Stream
from sync.errors import MessageError, TemporaryError
from sync.ledger import Ledger, MessageFilter
from sync.mail.address import OwnAddresses
from sync.message import (
    Attachment,
    Batch,
    Content,
    Direction,
    Found,
    Json,
    Message,
    Participant,
    ParticipantKind,
)
from sync.poll import Poller
from sync.settings import SourceSettings
from tests.unit.loop_desk import LoopDesk, fresh_ledger, until

BEGAN = datetime.now(UTC) - timedelta(hours=1)
ANNA = Participant(ParticipantKind.EMAIL, "anna@example.com")
TEXT_BYTES = 2_000
SPOOL_BYTES = 5_000
FILLED = 3
"""So many texts fill it."""
ORDER_WAIT_SECONDS = 0.1
PASSES_MOST = 30

LATER_STREAM_IS_EARLIER = {"INBOX": (5, 6, 7, 8), "Sent": (1, 2, 3, 4)}
LATER_STREAM_IS_BETWEEN = {"INBOX": (1, 3, 5, 7, 9), "Sent": (2, 4, 6, 8)}
ONE_STREAM_WITH_MIGRATED_MAIL = {"INBOX": (6, 7, 8, 1, 2, 3, 4, 5)}
ALL_IN_ONE_SECOND = {"INBOX": (1, 1, 1), "Sent": (1, 1, 1)}
LAYOUTS: Mapping[str, Mapping[str, Sequence[int]]] = {
    "a later stream is earlier": LATER_STREAM_IS_EARLIER,
    "a later stream is between": LATER_STREAM_IS_BETWEEN,
    "one stream with migrated mail": ONE_STREAM_WITH_MIGRATED_MAIL,
    "all in one second": ALL_IN_ONE_SECOND,
}


class Mailbox:
    """A connector over streams of messages, given as the seconds of their arrival in the order in which the stream has
    them. `on_fetch` says what fails; `with_files`: the weight is in files instead of texts."""

    info: ClassVar = ConnectorInfo("mailbox", "for tests")
    Config: ClassVar = ConnectorConfig
    account = "mailbox"

    def __init__(self, streams: Mapping[str, Sequence[int]], *, with_files: bool = False) -> None:
        self.held = {key: list(seconds) for key, seconds in streams.items()}
        self.with_files = with_files
        self.on_fetch: Callable[[Sequence[str]], Exception | None] = lambda _ids: None

    def names(self) -> list[str]:
        """All messages, in order of arrival, equal ones by stream and position."""
        every = [
            (second, rank, position, f"{key}-{position}")
            for rank, (key, seconds) in enumerate(self.held.items())
            for position, second in enumerate(seconds)
        ]
        return [name for *_, name in sorted(every)]

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        return []

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        return [Stream(key) for key in self.held]

    async def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        seen = cursor if isinstance(cursor, int) else 0
        seconds = self.held[stream.key]
        found = tuple(
            Found(f"{stream.key}-{position}", BEGAN + timedelta(seconds=second), size=TEXT_BYTES)
            for position, second in enumerate(seconds)
            if position >= seen
        )
        yield Batch(found, len(seconds), complete_until=datetime.now(UTC))

    async def fetch(self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Content]:
        failure = self.on_fetch(ids)
        if failure is not None:
            raise failure
        return {one: self._message(one) for one in ids}

    def _message(self, name: str) -> Message:
        text = name if self.with_files else f"{name} {'x' * TEXT_BYTES}"
        made = Message(text, author=ANNA, direction=Direction.PARTICIPANT_TO_BUSINESS, participants=(ANNA,))
        if not self.with_files:
            return made
        return dataclasses.replace(made, attachments=(Attachment("a.bin", "application/zip", TEXT_BYTES, ref="a"),))

    async def open_attachment(
        self, stream: Stream, epoch: str, external_id: str, attachment: Attachment, ctx: PassContext
    ) -> AsyncIterator[bytes]:
        yield b"x" * TEXT_BYTES

    async def aclose(self) -> None:
        """Nothing to close."""


class Place:
    """A mailbox that is polled into the ledger of a desk, with a small spool."""

    def __init__(self, desk: LoopDesk, mailbox: Mailbox, **settings: object) -> None:
        self.desk = desk
        self.mailbox = mailbox
        self.poller = Poller(
            "mail",
            SourceSettings.model_validate(
                {
                    "connector": "mailbox",
                    "start": "all",
                    "every": 0.05,
                    "order_wait_seconds": ORDER_WAIT_SECONDS,
                    **settings,
                }
            ),
            inbox="main",
            connector=mailbox,
            own_addresses=OwnAddresses(()),
            ledger=desk.ledger,
            spool_max_bytes=SPOOL_BYTES,
            http=None,
            clock=SystemClock(),
        )

    async def deliver(self) -> list[str]:
        """Delivers until nothing can move any more; what the Inbox has then."""
        desk = self.desk
        desk.take_lease()
        async with desk.delivering():
            await until(desk.deliverer.is_quiet, "nothing can move any more")
        return self.sent()

    def sent(self) -> list[str]:
        names = self.mailbox.names()
        texts = self.desk.inbox.texts("anna")
        return [next(name for name in names if text.startswith(name) or f"\n{name}" in text) for text in texts]

    def states(self) -> dict[str, str]:
        return {line.external_id: line.state.value for line in self.desk.ledger.messages.list(MessageFilter())}

    def spooled_bytes(self) -> int:
        return self.desk.ledger.messages.spooled_bytes()


@pytest.fixture
def desk(tmp_path: Path, ledger_template: Path) -> Iterator[LoopDesk]:
    ledger: Ledger = fresh_ledger(tmp_path, ledger_template)
    yield LoopDesk(ledger)
    ledger.close()


@pytest.mark.parametrize("with_files", [False, True], ids=["texts", "files"])
@pytest.mark.parametrize("layout", LAYOUTS)
async def test_what_was_found_and_has_no_room_is_passed_by_nothing(
    desk: LoopDesk, layout: str, *, with_files: bool
) -> None:
    mailbox = Mailbox(LAYOUTS[layout], with_files=with_files)
    place = Place(desk, mailbox)
    report = await place.poller.run_pass()
    assert report.spool_full
    assert "found" in place.states().values()
    expected = mailbox.names()
    sent: list[str] = []
    for _ in range(PASSES_MOST):
        sent = await place.deliver()
        assert sent == expected[: len(sent)]
        if len(sent) == len(expected):
            return
        await asyncio.sleep(ORDER_WAIT_SECONDS)
        await place.poller.run_pass()
    raise AssertionError(f"it got stuck at {sent}: {place.states()}")


async def test_while_the_inbox_takes_nothing_the_spool_grows_to_its_bound_and_no_further(desk: LoopDesk) -> None:
    mailbox = Mailbox({"INBOX": range(101, 121), "Sent": range(1, 41)})
    place = Place(desk, mailbox)
    for _ in range(20):
        await place.poller.run_pass()
    states = place.states()
    loaded = [name for name in mailbox.names() if states[name] == "loaded"]
    first = mailbox.names()[: sum(name.startswith("Sent") for name in loaded)]
    assert set(first) <= set(loaded)  # what comes first was brought in, in order
    assert first
    assert place.spooled_bytes() <= 2 * SPOOL_BYTES + 2 * TEXT_BYTES


async def test_a_source_that_has_failed_since_is_waited_for_as_long_as_ever_and_not_longer(desk: LoopDesk) -> None:
    mailbox = Mailbox(LATER_STREAM_IS_EARLIER)
    place = Place(desk, mailbox)
    await place.poller.run_pass()
    assert await place.deliver() == []
    mailbox.on_fetch = lambda _ids: TemporaryError("the connection broke", code="mailbox.broken")
    report = await place.poller.run_pass()
    assert report.error is not None
    assert len(await place.deliver()) == FILLED
    mailbox.on_fetch = lambda _ids: None
    for _ in range(PASSES_MOST):
        await place.poller.run_pass()
    assert place.states()["Sent-0"] == "loaded"


async def test_a_message_that_cannot_be_loaded_does_not_hold_up_the_others_beyond_their_time(desk: LoopDesk) -> None:
    mailbox = Mailbox(LATER_STREAM_IS_EARLIER)
    mailbox.on_fetch = lambda ids: MessageError("bad", code="mailbox.bad") if "Sent-0" in ids else None
    place = Place(desk, mailbox, max_fetch_attempts=1000)
    expected = mailbox.names()[1:]
    for _ in range(PASSES_MOST):
        await place.poller.run_pass()
        if await place.deliver() == expected:
            return
        await asyncio.sleep(ORDER_WAIT_SECONDS)
    raise AssertionError(f"{place.sent()}: {place.states()}")


async def test_a_paused_source_holds_up_nothing_beyond_its_time(desk: LoopDesk) -> None:
    place = Place(desk, Mailbox(LATER_STREAM_IS_EARLIER))
    await place.poller.run_pass()
    assert await place.deliver() == []
    desk.ledger.sources.pause("mail", datetime.now(UTC))
    assert len(await place.deliver()) == FILLED
