"""A mailbox that a test writes: streams whose messages come, go, move, are numbered anew, or turn up late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

from sync.connector import ConnectorConfig, ConnectorInfo, Finding, PassContext, Stream, StreamRole
from sync.errors import TemporaryError
from sync.message import (
    Batch,
    Content,
    FingerprintParts,
    Found,
    Gone,
    Json,
    Listed,
    Message,
    Participant,
    ParticipantKind,
)
from tests.property.world import BEGAN, World

OWN = "support@shop.example"
ROLES = {"INBOX": StreamRole.RECEIVED, "Archive": StreamRole.RECEIVED, "Sent": StreamRole.SENT}
LATE_STREAM = "Archive"
"""Where messages may become visible after later ones; its polls look back by `LOOK_BACK` numbers."""
LOOK_BACK = 3
BATCH = 2
LATENCY_SECONDS = 0.004


@dataclass(frozen=True)
class Mail:
    """One message. `customers` are those it is to or from; `late`: it came with an old date, or became visible late."""

    number: int
    text: str
    author: str
    recipients: tuple[str, ...]
    arrived: float
    late: bool = False
    ghost: bool = False

    @property
    def outgoing(self) -> bool:
        return self.author == OWN

    @property
    def customers(self) -> tuple[str, ...]:
        return self.recipients if self.outgoing else (self.author,)


@dataclass
class Box:
    """One stream: its numbering, and what is in it."""

    epoch: int = 1
    next_uid: int = 1
    mails: dict[int, Mail] = field(default_factory=dict)
    hidden: dict[int, float] = field(default_factory=dict)


class Mailbox:
    """All streams. `history` knows which mail a place ever held."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.boxes = {key: Box() for key in ROLES}
        self.history: dict[tuple[str, str, str], Mail] = {}
        self.failures = 0
        self.latency_seconds = LATENCY_SECONDS

    def append(self, key: str, mail: Mail, *, hidden_for: float = 0.0) -> None:
        box = self.boxes[key]
        uid = box.next_uid
        box.next_uid += 1
        box.mails[uid] = mail
        self.history[key, str(box.epoch), str(uid)] = mail
        if hidden_for:
            box.hidden[uid] = self._world.now + hidden_for
        for old in [uid for uid in box.hidden if uid <= box.next_uid - LOOK_BACK]:
            del box.hidden[old]

    def renumber(self, key: str) -> None:
        box = self.boxes[key]
        mails = [box.mails[uid] for uid in sorted(box.mails)]
        box.epoch, box.next_uid, box.mails, box.hidden = box.epoch + 1, 1, {}, {}
        for mail in mails:
            self.append(key, mail)

    def move(self, key: str, uid: int, to: str) -> None:
        self.append(to, self.remove(key, uid))

    def has_held(self, key: str, mail: Mail) -> bool:
        """Whether it was in this stream before, under its present numbering."""
        epoch = str(self.boxes[key].epoch)
        return any(place[:2] == (key, epoch) and held is mail for place, held in self.history.items())

    def remove(self, key: str, uid: int) -> Mail:
        self.boxes[key].hidden.pop(uid, None)
        return self.boxes[key].mails.pop(uid)

    def visible(self, key: str) -> list[int]:
        box = self.boxes[key]
        for uid in [uid for uid, until in box.hidden.items() if until <= self._world.now]:
            del box.hidden[uid]
        return [uid for uid in sorted(box.mails) if uid not in box.hidden]

    def at_end(self, key: str, cursor: Json) -> bool:
        """Whether a cursor says that everything in the stream was found."""
        if not isinstance(cursor, dict) or cursor.get("epoch") != self.boxes[key].epoch:
            return False
        return int(str(cursor["uid"])) >= max(self.visible(key), default=0)


class ScriptedConnector:
    """The connector of one process over the mailbox that all share."""

    info: ClassVar = ConnectorInfo("scripted", "for the state machine")
    Config: ClassVar = ConnectorConfig

    def __init__(self, mailbox: Mailbox, world: World) -> None:
        self._mailbox = mailbox
        self._world = world
        self.account = "scripted"

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        return []

    async def aclose(self) -> None:
        pass

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        await self._answer()
        return [Stream(key, role) for key, role in ROLES.items()]

    async def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        await self._answer()
        box = self._mailbox.boxes[stream.key]
        epoch, now = box.epoch, ctx.now()
        uid = 0
        if isinstance(cursor, dict) and cursor.get("epoch") == epoch and isinstance(cursor.get("uid"), int):
            uid = int(str(cursor["uid"]))
        since = uid - LOOK_BACK if stream.key == LATE_STREAM else uid
        wanted = [(one, box.mails[one]) for one in self._mailbox.visible(stream.key) if one > since]
        known = await ctx.known(str(epoch), [str(one) for one, _ in wanted])
        new = [(one, mail) for one, mail in wanted if str(one) not in known]
        highest = max([one for one, _ in wanted], default=uid)
        for start in range(0, len(new), BATCH):
            some = new[start : start + BATCH]
            uid = max(uid, some[-1][0])
            yield Batch(tuple(_found(one, mail) for one, mail in some), {"epoch": epoch, "uid": uid}, str(epoch))
            await self._answer()
        yield Batch((), {"epoch": epoch, "uid": max(uid, highest)}, str(epoch), complete_until=now)

    async def list(self, stream: Stream, since: datetime | None, ctx: PassContext) -> AsyncIterator[Listed]:
        await self._answer()
        box = self._mailbox.boxes[stream.key]
        epoch, mails = box.epoch, dict(box.mails)
        uids = [uid for uid in self._mailbox.visible(stream.key) if since is None or arrival(mails[uid]) >= since]
        known = await ctx.known(str(epoch), [str(uid) for uid in uids])
        for start in range(0, len(uids) or 1, BATCH):
            some = uids[start : start + BATCH]
            yield Listed(
                tuple(_found(uid, mails[uid]) for uid in some if str(uid) not in known),
                tuple(str(uid) for uid in some if str(uid) in known),
                str(epoch),
            )
            await self._answer()
            if box.epoch != epoch:
                raise TemporaryError("numbered anew while it was listed", code="scripted.epoch")

    async def fetch(self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Content]:
        await self._answer()
        box = self._mailbox.boxes[stream.key]
        if epoch != str(box.epoch):
            raise TemporaryError("numbered anew in the middle of a pass", code="scripted.epoch")
        answers: dict[str, Content] = {}
        for one in ids:
            mail = box.mails.get(int(one))
            if mail is None:
                answers[one] = Gone("moved or deleted")
            elif not mail.ghost:
                answers[one] = _message(mail)
        return answers

    async def _answer(self) -> None:
        await asyncio.sleep(self._mailbox.latency_seconds)
        if self._mailbox.failures:
            self._mailbox.failures -= 1
            raise TemporaryError("the mailbox does not answer", code="scripted.down")


def arrival(mail: Mail) -> datetime:
    """When it arrived, as the service tells it."""
    return BEGAN + timedelta(seconds=mail.arrived)


def _found(uid: int, mail: Mail) -> Found:
    arrived_at = arrival(mail)
    parts = FingerprintParts(f"<{mail.number}@example.com>", arrived_at.isoformat(), mail.author, "")
    return Found(str(uid), arrived_at, arrived_at, size=100, fingerprint=parts)


def _message(mail: Mail) -> Message:
    return Message(
        mail.text,
        author=_person(mail.author),
        recipients=tuple(_person(one) for one in (mail.recipients if mail.outgoing else (OWN,))),
        sent_at=BEGAN + timedelta(seconds=mail.arrived),
    )


def _person(address: str) -> Participant:
    return Participant(ParticipantKind.EMAIL, address)
