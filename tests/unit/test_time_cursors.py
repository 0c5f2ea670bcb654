"""A service that is read by time of change: ties over several pages, and what it shows only later (failures.md D18)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from sync.clock import SystemClock
from sync.connector import ConnectorConfig, ConnectorInfo, Finding, PassContext, Stream
from sync.ledger import Ledger, MessageFilter
from sync.mail.address import OwnAddresses
from sync.message import Batch, Direction, Found, Json, Message, Participant, ParticipantKind
from sync.poll import Poller
from sync.settings import SourceSettings
from tests.unit.loop_desk import fresh_ledger

BEGAN = datetime.now(UTC) - timedelta(hours=1)
PAGE = 100
OVERLAP = timedelta(minutes=5)


@dataclass
class Tickets:
    """A connector whose service gives pages of what changed since a time, ties in any order. `visible` are the tickets it
    shows now, with their times of change."""

    info: ClassVar = ConnectorInfo("tickets", "for tests")
    Config: ClassVar = ConnectorConfig
    account: str = "tickets"
    visible: dict[str, datetime] = field(default_factory=dict)
    pages: int = 0

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        return []

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        return [Stream("comments", overlap_seconds=OVERLAP.total_seconds())]

    async def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        since = datetime.fromisoformat(cursor) if isinstance(cursor, str) else None
        wanted = [
            (changed, key) for key, changed in self.visible.items() if since is None or changed >= since - OVERLAP
        ]
        wanted.sort(key=lambda one: (one[0], hash((self.pages, one[1]))))  # ties: another order each time
        newest = max((changed for changed, _ in wanted), default=since or BEGAN)
        for start in range(0, max(1, len(wanted)), PAGE):
            self.pages += 1
            some = wanted[start : start + PAGE]
            done = start + PAGE >= len(wanted)
            yield Batch(
                tuple(self._found(key, changed) for changed, key in some),
                cursor=newest.isoformat() if done else cursor,
                complete_until=newest - OVERLAP if done else None,
            )

    @staticmethod
    def _found(key: str, changed: datetime) -> Found:
        anna = Participant(ParticipantKind.EXTERNAL, "tickets:anna")
        message = Message(key, author=anna, direction=Direction.PARTICIPANT_TO_BUSINESS, participants=(anna,))
        return Found(key, changed, content=message)

    async def aclose(self) -> None:
        """Nothing to close."""


@pytest.fixture
def ledger(tmp_path: Path, ledger_template: Path) -> Iterator[Ledger]:
    opened = fresh_ledger(tmp_path, ledger_template)
    opened.inboxes.load("main", "s", BEGAN)
    yield opened
    opened.close()


def poller_of(tickets: Tickets, ledger: Ledger) -> Poller:
    return Poller(
        "tickets",
        SourceSettings.model_validate({"connector": "tickets", "start": "all", "participant_messages_per_hour": 0}),
        inbox="main",
        connector=tickets,
        own_addresses=OwnAddresses(()),
        ledger=ledger,
        spool_max_bytes=10**9,
        http=None,
        clock=SystemClock(),
    )


async def test_d18_300_tickets_of_one_moment_over_three_pages_and_one_committed_late_come_once_each(
    ledger: Ledger,
) -> None:
    tied = BEGAN + timedelta(minutes=10)
    tickets = Tickets(visible={f"tied {number}": tied for number in range(300)})
    poller = poller_of(tickets, ledger)
    first = await poller.run_pass()
    assert (first.error, first.new, first.repeated) == (None, 300, 0)
    assert tickets.pages == 3
    tickets.visible["late"] = tied - timedelta(minutes=2)  # committed by the service after it was looked for
    second = await poller.run_pass()
    assert (second.error, second.new, second.deliveries) == (None, 1, 1)
    tickets.visible["newer"] = tied + timedelta(minutes=30)
    third = await poller.run_pass()
    fourth = await poller.run_pass()
    assert (third.new, fourth.new) == (1, 0)
    lines = ledger.messages.list(MessageFilter(limit=1000))
    assert sorted(line.external_id for line in lines) == sorted(tickets.visible)
    assert {len(line.deliveries) for line in lines} == {1}
