"""What is remembered of an inbox's conversations while it is delivered into: their newest sequence and subject.

The ledger is what counts. Whatever moves a conversation on there only must be forgotten here.
"""

from __future__ import annotations

from sync.delivery import Conversation, Intent, Waiting
from sync.ledger import Ledger

CONVERSATIONS_KEPT = 20_000
"""Conversations whose newest sequence and subject are remembered in memory; beyond that they are read again."""


class Conversations:
    """One inbox's."""

    def __init__(self, inbox: str, ledger: Ledger) -> None:
        self._inbox = inbox
        self._ledger = ledger
        self._kept: dict[str, Conversation] = {}

    async def get(self, conversation_id: str) -> Conversation:
        """What is known of a conversation; an empty one of one that nothing went into yet."""
        known = self._kept.get(conversation_id)
        if known is None:
            await self.learn({conversation_id})
            known = self._kept.get(conversation_id) or Conversation(self._inbox, conversation_id)
        return known

    async def learn(self, wanted: set[str]) -> None:
        """Reads those that are not remembered."""
        if len(self._kept) > CONVERSATIONS_KEPT:
            self._kept.clear()
        unknown = wanted - self._kept.keys()
        if unknown:
            found = await self._ledger.call(self._ledger.deliveries.conversations, self._inbox, sorted(unknown))
            for conversation_id in unknown:  # one that nothing went into yet is known to be empty
                empty = Conversation(self._inbox, conversation_id)
                self._kept.setdefault(conversation_id, found.get(conversation_id, empty))

    def forget(self, conversation_id: str) -> None:
        """It is read again when it is needed."""
        self._kept.pop(conversation_id, None)

    def note_sent(self, row: Waiting, intent: Intent, sequence: int) -> None:
        """A send of this intent was accepted."""
        known = self._kept.get(intent.conversation_id)
        newest = row.order.arrived_at
        if known is not None and known.last_arrived_at is not None:
            newest = max(newest, known.last_arrived_at)
        self._kept[intent.conversation_id] = Conversation(
            self._inbox,
            intent.conversation_id,
            max(sequence, known.last_sequence if known else 0),
            newest,
            intent.subject_key,
        )
