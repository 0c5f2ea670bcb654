"""Short words for tests: a ledger with an inbox, a source and its streams, messages to see and steps to take."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from sync.decide import Dead, Loaded, Seen, Skip
from sync.delivery import Accepted, Change, Intent, Waiting
from sync.ledger import LeaseRef, Ledger, Mark, MessageLine, Recorded, SourceRow, StreamRow, View
from sync.message import Direction, Json, Message, Participant, ParticipantKind

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
LEASE = LeaseRef("inbox:main", "holder-1", 1)


def person(name: str = "anna") -> Participant:
    return Participant(ParticipantKind.EMAIL, f"{name}@example.com", name.title())


def loaded(*names: str, body: str = "hello") -> Loaded:
    people = tuple(person(name) for name in names or ("anna",))
    message = Message(body, author=people[0], participants=people, direction=Direction.PARTICIPANT_TO_BUSINESS)
    return Loaded(replace(message, subject="Order 7"), people)


def mark_of(fingerprint: str | None) -> bytes | None:
    return None if fingerprint is None else hashlib.blake2b(fingerprint.encode(), digest_size=16).digest()


class Desk:
    """One inbox "main", one source "support" with the streams INBOX and Sent."""

    def __init__(self, ledger: Ledger, now: datetime) -> None:
        self.ledger = ledger
        self.now = now
        self._ids = count(1)
        self._sequences = count(1)
        ledger.inboxes.load("main", "site-1", now)
        self.source = self.load_source("support")
        self.inbox, self.sent = self.load_streams("support")
        lease = ledger.leases.take(LEASE.name, LEASE.holder, 3600)
        assert lease is not None
        self.lease = lease.ref

    # ------------------------------------------------------------------ sources

    def load_source(self, name: str, account: str = "anna@imap.example.com", inbox: str = "main") -> SourceRow:
        return self.ledger.sources.load(
            name, inbox=inbox, connector="imap", account=account, horizon=None, now=self.now
        )

    def start_pass(self, name: str, at: datetime) -> SourceRow:
        """A pass of this source begins."""
        return self.ledger.sources.load(
            name, "main", connector="imap", account="", horizon=None, now=at, starts_pass=True
        )

    def load_streams(self, source: str, *keys: str) -> list[StreamRow]:
        wanted = [
            (key, "sent" if key == "Sent" else "received", rank) for rank, key in enumerate(keys or ("INBOX", "Sent"))
        ]
        return self.ledger.streams.load(source, wanted, self.now)

    def view(self, stream: StreamRow | None = None, epoch: str = "1", source: SourceRow | None = None) -> View:
        row, owner = stream or self.inbox, source or self.source
        return View(owner.name, owner.id, row.id, row.rank, owner.inbox, f"{owner.generation}:{epoch}")

    # ------------------------------------------------------------------ seeing

    def at(self, seconds: float) -> datetime:
        return self.now + timedelta(seconds=seconds)

    def seen(
        self,
        external_id: str | int | None = None,
        content: Loaded | Skip | Dead | None = None,
        *,
        fingerprint: str | None = None,
        scope: str | None = "inbox:main",
        skip: Skip | None = None,
        arrived: float = 0.0,
    ) -> Seen:
        number = f"auto-{next(self._ids)}" if external_id is None else str(external_id)
        return Seen(
            external_id=number,
            arrived_at=self.at(arrived),
            written_at=self.at(arrived),
            fingerprint=mark_of(fingerprint),
            claim_scope=scope if fingerprint is not None else None,
            skip=skip,
            content=content,
        )

    def record(
        self,
        *seen: Seen,
        view: View | None = None,
        cursor: Json = None,
        complete_until: datetime | None = None,
        finished: bool = False,
        now: datetime | None = None,
        backfill: bool = False,
    ) -> Recorded:
        where = view or self.view()
        mark = Mark(cursor, where.epoch.partition(":")[2], complete_until, 0, finished)
        return self.ledger.messages.record(where, list(seen), mark, now or self.now, now or self.now, backfill=backfill)

    def arrive(self, *names: str, arrived: float = 0.0) -> Waiting:
        """A new message to these people; the delivery to the first."""
        found = self.record(self.seen(None, loaded(*names), arrived=arrived)).new_message_ids[0]
        return next(row for row in self.window() if row.message_id == found)

    # ------------------------------------------------------------------ delivering

    def window(self, inbox: str = "main") -> list[Waiting]:
        return self.ledger.deliveries.window(inbox, 10_000, self.now)

    def intent(self, row: Waiting, conversation: str | None = None, **changes: Any) -> Intent:
        made = Intent(
            delivery_id=row.delivery_id,
            attempt=row.attempt + 1,
            at=self.now,
            conversation_id=conversation or f"conversation-{row.participant_id}",
            request='{"text": "hello"}',
            request_hash="hash",
            sequence_mark=0,
            answer_due_at=self.at(30),
            subject_key="order 7",
        )
        return replace(made, **changes)

    def accepted(self, row: Waiting, inbox_message_id: str | None = None, **changes: Any) -> Accepted:
        number = next(self._sequences)
        made = Accepted(row.delivery_id, row.attempt + 1, self.now, inbox_message_id or f"wix-{number}", number)
        return replace(made, **changes)

    def commit(self, *changes: Change, lease: LeaseRef | None = None) -> list[bool]:
        return self.ledger.deliveries.commit(lease or self.lease, list(changes), self.now)

    def send(self, *rows: Waiting) -> None:
        assert all(self.commit(*(self.intent(row) for row in rows)))
        assert all(self.commit(*(self.accepted(row) for row in rows)))

    # ------------------------------------------------------------------ looking

    def states(self, message_ids: Sequence[int]) -> list[str]:
        lines = {line.id: line for line in (self.line(one) for one in message_ids)}
        return [f"{line.state}({line.reason})" if line.reason else line.state for line in lines.values()]

    def line(self, message_id: int) -> MessageLine:
        story = self.ledger.messages.story(message_id)
        assert story is not None
        return story.message

    def delivery_states(self, message_id: int) -> list[str]:
        return [one.state.value for one in self.line(message_id).deliveries]
