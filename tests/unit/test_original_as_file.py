"""`quotes = "attach"` over connectors that give no files themselves: the original goes through the spool all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from sync.clock import SystemClock
from sync.connector import Attaches, ConnectorConfig, ConnectorInfo, Fetches, Finding, PassContext, Stream
from sync.ledger import Ledger, MessageFilter
from sync.mail.address import OwnAddresses
from sync.message import (
    ORIGINAL_REF,
    Attachment,
    Batch,
    Direction,
    Found,
    Json,
    Message,
    Participant,
    ParticipantKind,
    Reply,
)
from sync.poll import Poller
from sync.settings import SourceSettings
from tests.unit.loop_desk import fresh_ledger

BEGAN = datetime.now(UTC) - timedelta(hours=1)
ANNA = Participant(ParticipantKind.EMAIL, "anna@example.com")
ROOM_BYTES = 5_000


class Told:
    """A connector that is done with `poll`: neither `fetch` nor `open_attachment`."""

    info: ClassVar = ConnectorInfo("told", "for tests")
    Config: ClassVar = ConnectorConfig
    account = "told"

    def __init__(self, count: int, *, quoted_bytes: int = 20) -> None:
        self.count = count
        self.quoted_bytes = quoted_bytes

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        return []

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        return [Stream("all")]

    async def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        seen = cursor if isinstance(cursor, int) else 0
        found = tuple(self._found(number) for number in range(seen + 1, self.count + 1))
        yield Batch(found, self.count, complete_until=datetime.now(UTC))

    def original(self, number: int) -> str:
        return f"yes {number} ä\n\n> {'q' * self.quoted_bytes}"

    def _found(self, number: int) -> Found:
        original = self.original(number)
        message = Message(
            original,
            author=ANNA,
            direction=Direction.PARTICIPANT_TO_BUSINESS,
            participants=(ANNA,),
            attachments=(Attachment("photo.png", "image/png", 7),),
            reply=Reply(f"yes {number}", original, removed_lines=1),
        )
        return Found(str(number), BEGAN + timedelta(seconds=number), content=message)

    async def aclose(self) -> None:
        """Nothing to close."""


@pytest.fixture
def ledger(tmp_path: Path, ledger_template: Path) -> Iterator[Ledger]:
    opened = fresh_ledger(tmp_path, ledger_template)
    opened.inboxes.load("main", "s", BEGAN)
    yield opened
    opened.close()


def poller_of(told: Told, ledger: Ledger, *, spool_max_bytes: int = 10**9, **settings: object) -> Poller:
    assert not isinstance(told, (Attaches, Fetches))
    return Poller(
        "support",
        SourceSettings.model_validate({"connector": "told", "start": "all", "quotes": "attach", **settings}),
        inbox="main",
        connector=told,
        own_addresses=OwnAddresses(()),
        ledger=ledger,
        spool_max_bytes=spool_max_bytes,
        http=None,
        clock=SystemClock(),
    )


def stored(ledger: Ledger) -> list[Message]:
    ids = sorted(line.id for line in ledger.messages.list(MessageFilter()))
    contents = ledger.messages.contents(ids)
    return [contents[number] for number in ids if number in contents]


def file_of(ledger: Ledger, one: Attachment) -> bytes:
    pieces: list[bytes] = []
    while (piece := ledger.attachments.piece(one.spooled, len(pieces))) is not None:
        pieces.append(piece)
    return b"".join(pieces)


async def test_the_original_is_spooled_where_the_connector_gives_no_files(ledger: Ledger) -> None:
    told = Told(1)
    assert (await poller_of(told, ledger).run_pass()).error is None
    (message,) = stored(ledger)
    photo, original = message.attachments
    assert message.text == "yes 1"
    assert (photo.spooled, photo.ref) == (0, "")
    assert (original.filename, original.ref) == ("original message.txt", ORIGINAL_REF)
    assert file_of(ledger, original).decode() == told.original(1)
    assert message.original == ""


async def test_where_files_are_not_brought_over_the_original_says_so(ledger: Ledger) -> None:
    assert (await poller_of(Told(1), ledger, attachments=False).run_pass()).error is None
    (message,) = stored(ledger)
    assert message.attachments[-1].why_not == "files are not brought over"
    assert "Quoted text left out: 1 line." in message.notes


async def test_an_original_beyond_the_limit_says_so(ledger: Ledger) -> None:
    assert (await poller_of(Told(1), ledger, attachment_limit_bytes=10).run_pass()).error is None
    (message,) = stored(ledger)
    assert message.attachments[-1].why_not == "it is larger than 10 bytes"
    assert message.original == ""


async def test_without_room_what_cannot_be_loaded_again_is_found_again_in_the_next_pass(ledger: Ledger) -> None:
    told = Told(4, quoted_bytes=2_000)
    poller = poller_of(told, ledger, spool_max_bytes=ROOM_BYTES)
    report = await poller.run_pass()
    assert report.error is None
    assert report.spool_full
    held = stored(ledger)
    assert 0 < len(held) < told.count
    roomy = poller_of(told, ledger)
    report = await roomy.run_pass()
    assert not report.spool_full
    assert [message.text for message in stored(ledger)] == [f"yes {number}" for number in range(1, told.count + 1)]
    assert {line.state.value for line in ledger.messages.list(MessageFilter())} == {"loaded"}
