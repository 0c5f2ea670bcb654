"""What the loops work with, for tests of one loop: a real ledger, and an Inbox in memory that does what a test says."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from pydantic import SecretStr

from sync.budget import Budget
from sync.clock import SystemClock
from sync.decide import Loaded, Seen
from sync.deliver import Deliverer, probe_when_parked
from sync.health import InboxHealth
from sync.inbox import InboxClient, InboxMessage, Mapping, outcome
from sync.lease import HeldLease
from sync.ledger import DeliveryRow, Ledger, Mark, View
from sync.message import Direction, Json, Message, Participant, ParticipantKind
from sync.reconcile import Reconciler
from sync.settings import InboxSettings, LedgerSettings

DEADLINE_SECONDS = 30.0
HOLDER = "holder-1"


def fresh_ledger(folder: Path, template: Path) -> Ledger:
    """A ledger on a copy of an empty database."""
    path = folder / "ledger.db"
    shutil.copy(template, path)
    return Ledger.open(LedgerSettings(url=f"sqlite:///{path}"))


async def until(condition: Callable[[], object], what: str, timeout_seconds: float = DEADLINE_SECONDS) -> None:
    """Lets the loop run until `condition` holds; fails with `what` after the deadline."""
    try:
        async with asyncio.timeout(timeout_seconds):
            while not condition():  # noqa: ASYNC110  conditions over the ledger have no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_seconds:g} s: {what}") from None


class MemoryInbox:
    """The methods of `InboxClient` over a dict. `on_send`, `on_resolve` and `on_look` may return (or raise) what a test
    wants instead; None lets the normal way go on."""

    def __init__(self) -> None:
        self.name = "main"
        self.app_id = ""
        self.budget = Budget(1e7, 1000, clock=SystemClock())
        self.stored: dict[str, list[InboxMessage]] = {}
        self.calls: Counter[str] = Counter()
        self.on_send: Callable[[str], outcome.SendOutcome | None] = lambda _text: None
        self.on_resolve: Callable[[str], Mapping | None] = lambda _value: None
        self.on_look: Callable[[str], list[InboxMessage] | None] = lambda _conversation: None
        self.gate = asyncio.Event()
        self.gate.set()

    async def resolve(self, participant: Participant, known: Mapping | None = None) -> Mapping:
        self.calls[f"resolve {participant.value}"] += 1
        self.calls["resolve"] += 1
        await asyncio.sleep(0)
        return self.on_resolve(participant.value) or Mapping(f"k-{participant.value}", f"c-{participant.value}")

    async def send(self, body: Json, *, recorded: str, may_write: Callable[[], bool]) -> outcome.SendOutcome:
        assert isinstance(body, dict)
        assert json.loads(recorded) == body
        self.calls["send"] += 1
        await asyncio.sleep(0)
        if not may_write():
            return outcome.NotWritten("inbox.not_allowed_to_write", "the right to send ended")
        await self.gate.wait()
        made = self.on_send(texts(body))
        if made is not None:
            return made
        kept = self.store(body)
        return outcome.Accepted(kept.id, kept.sequence, kept.created_at, app_id="app-1")

    def store(self, body: dict[str, Json]) -> InboxMessage:
        """Keeps a sent message as the Inbox would."""
        number = 1000 + sum(map(len, self.stored.values()))
        message = body["message"]
        assert isinstance(message, dict)
        kept = InboxMessage(
            id=str(number),
            sequence=number,
            created_at=datetime.now(UTC),
            direction=str(message["direction"]),
            visibility=str(message["visibility"]),
            app_id="app-1",
            raw={**message, "id": str(number)},
        )
        self.stored.setdefault(str(body["conversationId"]), []).append(kept)
        return kept

    async def upload(self, filename: str, mime_type: str, size: int, content: bytes | AsyncIterator[bytes]) -> str:
        """Takes any file, unread."""
        self.calls["upload"] += 1
        await asyncio.sleep(0)
        return f"file-{self.calls['upload']}"

    async def look(self, conversation_id: str, *, after_sequence: int, not_before: datetime) -> list[InboxMessage]:
        self.calls["look"] += 1
        await asyncio.sleep(0)
        answer = self.on_look(conversation_id)
        if answer is not None:
            return answer
        return [one for one in self.stored.get(conversation_id, []) if one.sequence > after_sequence]

    async def probe(self) -> None:
        self.calls["probe"] += 1

    def texts(self, name: str) -> list[str]:
        return [texts({"message": one.raw}) for one in self.stored.get(f"c-{name}@example.com", [])]


def texts(body: dict[str, Json]) -> str:
    """All texts of a message, for telling one from another."""
    content = cast("dict[str, Json]", cast("dict[str, Json]", body["message"])["content"])
    items = cast("dict[str, Json]", content["basic"])["items"]
    return "\n".join(str(cast("dict[str, Json]", item).get("text", "")) for item in cast("list[Json]", items))


class LoopDesk:
    """One inbox "main" with one source, its loops, and short words for using them."""

    def __init__(self, ledger: Ledger, **settings: object) -> None:
        self.ledger = ledger
        self.clock = SystemClock()
        self.settings = InboxSettings.model_validate(
            {
                "site_id": "s",
                "api_key": SecretStr("k"),
                "unknown_settle_seconds": 0.2,
                "doubled_look_seconds": 0.4,
                "first_look_seconds": 0.02,
                "retry_first_seconds": 0.02,
                "probe_seconds": 0.05,
                "probe_max_seconds": 0.2,
                "late_note_after_seconds": 3_000_000_000,
                **settings,
            }
        )
        self.began = datetime.now(UTC) - timedelta(minutes=5)
        ledger.inboxes.load("main", "s", self.began)
        self.source = ledger.sources.load(
            "support", inbox="main", connector="x", account="a", horizon=None, now=self.began
        )
        (self.stream,) = ledger.streams.load("support", [("INBOX", "received", 0)], self.began)
        self.count = 0
        self.inbox = MemoryInbox()
        self.take_lease()

    def take_lease(self, holder: str = HOLDER) -> None:
        """A lease and new loops for it, as after a start of the process."""
        taken = self.ledger.leases.take("inbox:main", holder, 3600, force=True)
        assert taken is not None
        self.lease = HeldLease(taken.ref, self.clock, self.clock.elapsed_seconds() + 3600)
        self.client = client = cast("InboxClient", self.inbox)
        self.health = InboxHealth("main", self.settings, self.ledger, self.clock)
        self.deliverer = Deliverer(
            "main",
            self.settings,
            client=client,
            ledger=self.ledger,
            lease=self.lease,
            health=self.health,
            badges={},
            clock=self.clock,
        )
        self.reconciler = Reconciler(
            "main",
            self.settings,
            client=client,
            ledger=self.ledger,
            lease=self.lease,
            health=self.health,
            news=self.deliverer.news_for_reconcile,
            clock=self.clock,
            alone=True,
        )
        self.reconciler.on_moved = self.deliverer.wake
        self.reconciler.is_at_work = self.deliverer.is_at_work

    def arrive(self, name: str, text: str, *, first_load: bool = False) -> int:
        """A new message of `name`; its id. In a `first_load` it waits for what else there may be."""
        self.count += 1
        people = (Participant(ParticipantKind.EMAIL, f"{name}@example.com"),)
        message = Message(
            text, author=people[0], direction=Direction.PARTICIPANT_TO_BUSINESS, participants=people, subject=""
        )
        arrived_at = self.began + timedelta(seconds=self.count)
        recorded = self.ledger.messages.record(
            View("support", self.source.id, self.stream.id, 0, "main", f"{self.source.generation}:"),
            [Seen(str(self.count), arrived_at, content=Loaded(message, people))],
            Mark(None, "", None if first_load else arrived_at, 0, finished=not first_load),
            self.began,
            self.began + timedelta(hours=first_load),
        )
        return recorded.new_message_ids[0]

    def states(self, message_id: int) -> list[str]:
        """The states of a message's deliveries."""
        story = self.ledger.messages.story(message_id)
        assert story is not None
        return [one.state.value for one in story.message.deliveries]

    def line(self, message_id: int) -> DeliveryRow:
        """A message's first delivery."""
        story = self.ledger.messages.story(message_id)
        assert story is not None
        return story.message.deliveries[0]

    def rechecks(self) -> int:
        """How many last looks are due, now or later."""
        return len(self.ledger.deliveries.rechecks("main", datetime.now(UTC) + timedelta(days=1)))

    @asynccontextmanager
    async def delivering(self, *, reconciling: bool = False, probing: bool = False) -> AsyncIterator[None]:
        """The loops run."""
        tasks = [asyncio.create_task(self.deliverer.run())]
        if reconciling:
            tasks.append(asyncio.create_task(self.reconciler.run()))
        if probing:
            tasks.append(
                asyncio.create_task(probe_when_parked(self.client, self.health, self.clock, self.deliverer.wake))
            )
        try:
            yield
        finally:
            await self.deliverer.stop(1.0)
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
