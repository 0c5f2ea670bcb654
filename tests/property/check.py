"""The end of a play: its ledger, its mailbox and its Inbox against each other, and against what was told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sync.resolve import FAILURES_BEFORE_ASIDE
from sync.sandbox.conversations import Who, conversation_id
from tests.property.mailbox import Mail
from tests.property.people import ADA, ADA_AT_HOME
from tests.property.process import HORIZON_SECONDS, MAX_ATTEMPTS, MAX_RESENDS, SOURCE_SETTINGS
from tests.property.world import BEGAN

if TYPE_CHECKING:
    from tests.property.play import Play

RACE_SECONDS = 20.0
"""A message that became visible out of turn, or for which nothing waited any more, may be passed by what was already on
its way: a pass, a look into the ledger, and a wait for the budget long."""
GRAIN_SECONDS = 1.0
"""What arrived so little before the source's start may count as after it: services tell arrival in whole seconds."""


@dataclass(frozen=True)
class Delivered:
    """A delivery as the ledger tells it, with the mail it stands for."""

    id: int
    message_id: int
    mail: Mail
    customer: str
    state: str
    reason: str
    inbox_message_id: str
    doubled_with: str
    direction: str
    stream_rank: int
    arrived: float
    late: bool
    resends: int
    seen: float
    backfill: bool


def _seconds(moment: object) -> float:
    """A moment as the database gives it (SQLite: microseconds since the epoch), in the world's time."""
    if isinstance(moment, datetime):
        return (moment - BEGAN).total_seconds()
    return int(str(moment)) / 1_000_000 - BEGAN.timestamp()


class Check:
    """The end of a play against its ledger, its mailbox and its Inbox."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self._messages = {message["id"]: message for message in play.site.sandbox.messages()}
        self._deliveries = [self._delivered(row) for row in play.rows(_DELIVERIES)]

    def run(self) -> None:
        self._nothing_is_lost()
        self._only_backfills_reach_behind_the_start()
        self._ids_agree()
        self._states_are_explained()
        self._each_is_where_it_belongs()
        self._lanes_are_in_order()

    def _delivered(self, row: Sequence[object]) -> Delivered:
        stream, epoch, external_id = (str(one) for one in row[:3])
        mail = self._play.mailbox.history[stream, epoch.partition(":")[2], external_id]
        texts = ["" if one is None else str(one) for one in row[3:]]
        return Delivered(
            id=int(texts[0]),
            message_id=int(texts[1]),
            mail=mail,
            customer=texts[2],
            state=texts[3],
            reason=texts[4],
            inbox_message_id=texts[5],
            doubled_with=texts[6],
            direction=texts[7],
            stream_rank=int(texts[8]),
            arrived=mail.arrived,
            late=bool(row[12]),
            resends=int(texts[10]),
            seen=_seconds(row[14]),
            backfill=bool(row[15]),
        )

    def _of_operator(self, one: Delivered) -> bool:
        told = self._play.told
        return one.message_id in told.dropped or one.message_id in told.revived

    def _nothing_is_lost(self) -> None:
        there = {mail.number: mail for box in self._play.mailbox.boxes.values() for mail in box.mails.values()}
        touched = {
            self._play.mailbox.history[str(row[1]), str(row[2]).partition(":")[2], str(row[3])].number
            for row in self._play.rows(PLACES)
            if row[0] in self._play.told.dropped or row[0] in self._play.told.revived
        }
        ended = Counter((one.mail.number, one.customer) for one in self._deliveries)
        brought_in = self._brought_in()
        for mail in there.values():
            if mail.ghost or mail.number in touched:
                continue
            if mail.arrived < HORIZON_SECONDS and mail.number not in brought_in:
                continue
            if mail.outgoing and mail not in self._play.mailbox.boxes["Sent"].mails.values():
                continue
            for customer in mail.customers:
                if not ended[mail.number, customer]:
                    raise AssertionError(f"{mail} is lost: no delivery to {customer}")
        for (number, customer), times in ended.items():
            live = [one for one in self._deliveries if (one.mail.number, one.customer) == (number, customer)]
            if times > 1 and sum(one.state == "sent" for one in live) > 1 and number not in touched:
                raise AssertionError(f"mail {number} went to {customer} {times} times: {live}")

    def _brought_in(self) -> set[int]:
        """The mails that backfills had to bring in. One that is moved may be where they have looked already."""
        jobs = {int(str(row[0])): str(row[1]) for row in self._play.rows("SELECT id, state FROM backfills")}
        done = [asked.mails for asked in self._play.told.backfills if jobs[asked.job_id] == "done"]
        return set().union(*done) - self._play.told.moved

    def _only_backfills_reach_behind_the_start(self) -> None:
        """And what they bring in is silent."""
        asked = self._play.told.backfills
        for one in self._deliveries:
            old = one.mail.arrived < HORIZON_SECONDS - GRAIN_SECONDS
            if old and not any(job.since <= one.arrived for job in asked):
                raise AssertionError(f"{one} came before the source's start, and nobody asked for it")
            if old and not one.backfill:
                raise AssertionError(f"{one} came before the source's start, and went as if it were new")
            if one.state == "sent" and self._messages[one.inbox_message_id]["silent"] is not one.backfill:
                raise AssertionError(f"{one}: silent is not {one.backfill}")

    def _ids_agree(self) -> None:
        """Every message of the Inbox is a delivery's, and the other way round."""
        held = {one.inbox_message_id for one in self._deliveries if one.state == "sent"}
        doubled = {one.doubled_with for one in self._deliveries if one.doubled_with}
        missing = held - self._messages.keys()
        if missing:
            raise AssertionError(f"the ledger has ids that the Inbox does not know: {missing}")
        excused = {one.mail.text for one in self._deliveries if self._of_operator(one) or one.state == "held"}
        if held & self._play.from_before:
            raise AssertionError("a message that was there before was taken for one of ours")
        for message_id in self._messages.keys() - held - doubled - self._play.from_before:
            words = self._messages[message_id]["text"].split("\n")[0]
            if words not in excused:
                raise AssertionError(f"{words!r} ({message_id}) is in the Inbox, and no delivery knows of it")
        if doubled:
            raise AssertionError(f"doubled, although everything was stored within settling: {doubled}")

    def _states_are_explained(self) -> None:
        for one in self._deliveries:
            if one.state == "sent" or self._of_operator(one):
                continue
            if one.state == "dead" and self._play.told.refusals >= MAX_ATTEMPTS:
                continue
            if one.state == "held" and sum(self._play.site.ambiguous.values()) > MAX_RESENDS:
                continue
            raise AssertionError(f"{one} did not get through, and nothing in the story says why")

    def _each_is_where_it_belongs(self) -> None:
        world_site = next(iter(self._play.site.sandbox.emulator.world.sites.values()))
        for one in self._deliveries:
            if one.state != "sent":
                continue
            message = self._messages[one.inbox_message_id]
            if one.mail.text not in message["text"]:
                raise AssertionError(f"{one} holds the id of {message['text']!r}")
            wanted = "BUSINESS_TO_PARTICIPANT" if one.mail.outgoing else "PARTICIPANT_TO_BUSINESS"
            if message["direction"] != wanted or one.direction != wanted:
                raise AssertionError(f"{one} went {message['direction']}")
            contacts = [contact.id for contact in world_site.contacts.by_id.values() if one.customer in contact.emails]
            if len(contacts) != 1:
                raise AssertionError(f"{one.customer} has {len(contacts)} contacts")
            conversation = world_site.target(conversation_id(world_site.id, Who("contactId", contacts[0])))
            if message["conversationId"] != conversation:
                raise AssertionError(f"{one} is in another conversation than its customer's")

    def _lanes_are_in_order(self) -> None:
        lanes: dict[str, list[Delivered]] = {}
        for one in self._deliveries:
            if one.state == "sent" and not self._of_operator(one):
                lanes.setdefault(one.customer, []).append(one)
        # Who could not be resolved again and again steps aside: other addresses do not wait for it any more.
        if not self._play.told.merged and self._play.site.unresolved < FAILURES_BEFORE_ASIDE:
            lanes["Ada's conversation"] = lanes.get(ADA, []) + lanes.get(ADA_AT_HOME, [])
        for lane in lanes.values():
            lane.sort(key=lambda one: int(one.inbox_message_id))
            for index, first in enumerate(lane):
                for second in lane[index + 1 :]:
                    self._in_order(first, second)

    def _is_in_turn(self, one: Delivered) -> bool:
        """Whether it was to be seen when it arrived, and so before everything that arrived later."""
        return not one.mail.late and not one.backfill and one.mail.number not in self._play.told.moved

    def _in_order(self, first: Delivered, second: Delivered) -> None:
        """`first` stands before `second` in the Inbox. That is wrong when `second` is older and was known by then."""
        if (first.arrived, first.stream_rank, first.message_id) <= (
            second.arrived,
            second.stream_rank,
            second.message_id,
        ):
            return
        written = self._play.site.stored[first.inbox_message_id].written
        known = self._play.created[second.id]
        waited = written - first.seen
        in_turn = self._is_in_turn(second)
        patience = 0.0 if in_turn and waited < SOURCE_SETTINGS.order_wait_seconds else RACE_SECONDS
        if known + patience < written:
            raise AssertionError(
                f"{second.mail} was known at {known:.3f}, and passed by {first.mail}, written at {written:.3f}"
            )
        if (
            known >= written
            and in_turn
            and second.arrived < first.arrived
            and waited < SOURCE_SETTINGS.order_wait_seconds
        ):
            raise AssertionError(f"{first.mail} did not wait for its sibling streams, where {second.mail} was")
        if not second.late:
            raise AssertionError(f"{second.mail} came after {first.mail}, and is not flagged late")


_DELIVERIES = """
SELECT streams.key, messages.epoch, messages.external_id, deliveries.id, deliveries.message_id, participants.value,
       deliveries.state, deliveries.reason, deliveries.inbox_message_id, deliveries.doubled_with, deliveries.direction,
       deliveries.stream_rank, deliveries.late, deliveries.resends, deliveries.seen_at, deliveries.backfill
FROM deliveries
JOIN messages ON messages.id = deliveries.message_id
JOIN streams ON streams.id = messages.stream_id
JOIN participants ON participants.id = deliveries.participant_id
ORDER BY deliveries.id
"""
PLACES = """
SELECT messages.id, streams.key, messages.epoch, messages.external_id
FROM messages JOIN streams ON streams.id = messages.stream_id
"""
