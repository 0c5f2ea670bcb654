"""Messages: recording what was seen, loading contents, and what operators ask about them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from sync.decide import Seen, Verdict
from sync.ledger import contents, fetches, moves, record, stories
from sync.ledger.attachments import Spooled, files_of, with_small_data
from sync.ledger.edits import replaceable
from sync.ledger.engine import Database
from sync.ledger.fence import need_lease
from sync.ledger.repository import Repository, reads, writes
from sync.ledger.rows import (
    FoundRow,
    LeaseRef,
    Mark,
    MessageFilter,
    MessageLine,
    Moved,
    Preview,
    Recorded,
    StoryRow,
    View,
)
from sync.ledger.settle import settle
from sync.ledger.tallies import Tally
from sync.ledger.types import key_text
from sync.message import Message
from sync.states import MessageState


@dataclass(frozen=True, slots=True)
class ToSend:
    """A frozen content, and its files."""

    message: Message
    files: tuple[Spooled, ...] = ()


@dataclass(frozen=True, slots=True)
class EditedIds:
    """Edited messages whose new content is of use: to be delivered in place of the old one, or to be told of because the
    old one was delivered."""

    exchangeable: frozenset[str] = frozenset()
    to_tell: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        """Both."""
        return self.exchangeable | self.to_tell


class Messages(Repository):
    """The messages of the ledger. `raw_max_bytes` bounds the raw copies of unreadable messages, and apart from them the
    contents that are kept for retries."""

    def __init__(self, database: Database, raw_max_bytes: int) -> None:
        super().__init__(database)
        self._raw_max_bytes = raw_max_bytes

    # ------------------------------------------------------------------ recording

    @reads
    def known(self, tx: Connection, stream_id: int, epoch: str, ids: Sequence[str]) -> frozenset[str]:
        """Which of these ids have a row. `epoch` with its generation, as in `View`."""
        places = record.known_places(tx, stream_id, epoch, ids).places
        return frozenset(one for one in ids if key_text(one) in places)

    @reads
    def versions(self, tx: Connection, stream_id: int, epoch: str, ids: Sequence[str]) -> dict[str, str]:
        """The versions of those of these ids that have a row; "" where none was told."""
        places = record.known_places(tx, stream_id, epoch, ids).places
        return {one: places[key][2] for one in ids if (key := key_text(one)) in places}

    @reads
    def edited(self, tx: Connection, view: View, seen: Sequence[Seen]) -> EditedIds:
        """Which of these are known in another version, and their new content is of use."""
        known = record.known_places(tx, view.stream_id, view.epoch, [one.external_id for one in seen])
        edits = [one for one in known.edits(seen) if one.old and one.state == MessageState.LOADED]
        still = replaceable(tx, [one.message_id for one in edits])
        late = [one for one in edits if one.message_id not in still] if view.tell_edits else []
        return EditedIds(
            frozenset(one.seen.external_id for one in edits if one.message_id in still),
            frozenset(one.seen.external_id for one in late),
        )

    @reads
    def judge(self, tx: Connection, view: View, seen: Sequence[Seen]) -> tuple[Preview, ...]:
        """What `record` would make of each place; nothing is written."""
        return tuple(record.preview(tx, view, seen))

    @writes
    def record(
        self,
        tx: Connection,
        view: View,
        seen: Sequence[Seen],
        mark: Mark | None,
        now: datetime,
        release_at: datetime,
        backfill: bool = False,  # noqa: FBT001  part of the agreed signature
        lease: LeaseRef | None = None,
    ) -> Recorded:
        """Records a batch and its cursor (None: it was not found by going on from the cursor). Places that are known
        count as repeated; those found earlier without content are loaded when it is given now. Raises TemporaryError
        `ledger.stale_pass` when the source's account or the numbering changed since the view was made, and LeaseLost
        when another process polls the source by now: `lease` is the pass's."""
        need_lease(tx, lease)
        recording = record.Recording(
            tx, view, now=now, release_at=release_at, backfill=backfill, raw_max_bytes=self._raw_max_bytes
        )
        return recording.run(seen, mark)

    # ------------------------------------------------------------------ contents

    @reads
    def to_fetch(self, tx: Connection, source: str, now: datetime, limit: int) -> tuple[FoundRow, ...]:
        """Messages of a source whose content is due to be fetched, in order of arrival."""
        return tuple(fetches.due_fetches(tx, source, now, limit))

    @writes
    def load_contents(
        self,
        tx: Connection,
        verdicts: Mapping[int, Verdict],
        now: datetime,
        release_at: datetime,
        hourly_limit: int = 0,
        lease: LeaseRef | None = None,
    ) -> int:
        """The contents of found messages were looked at. Returns how many deliveries came of it; messages that are not
        `found` any more are left alone. `hourly_limit` as in `View`. Raises LeaseLost as `record` does."""
        need_lease(tx, lease)
        tally = Tally()
        stored = settle(
            tx,
            verdicts,
            tally,
            now=now,
            release_at=release_at,
            raw_max_bytes=self._raw_max_bytes,
            hourly_limit=hourly_limit,
        )
        tally.write(tx)
        return stored.pending

    @writes
    def fetch_failed(
        self,
        tx: Connection,
        message_ids: Collection[int],
        now: datetime,
        next_fetch_at: datetime,
        max_attempts: int,
        lease: LeaseRef | None = None,
    ) -> tuple[int, ...]:
        """A fetch brought nothing for these. Returns those that are `gone` now, after `max_attempts` tries. Raises
        LeaseLost as `record` does."""
        need_lease(tx, lease)
        tally = Tally()
        gone = fetches.count_failures(tx, message_ids, tally, now, next_fetch_at, max_attempts)
        tally.write(tx)
        return tuple(gone)

    @reads
    def contents(self, tx: Connection, message_ids: Collection[int]) -> dict[int, Message]:
        """The frozen contents that are there."""
        return contents.read_contents(tx, message_ids)

    @reads
    def to_send(self, tx: Connection, message_ids: Collection[int]) -> dict[int, ToSend]:
        """The frozen contents that are there, with their files."""
        found = contents.read_contents(tx, message_ids)
        with_files = [key for key, message in found.items() if any(one.spooled for one in message.attachments)]
        files = with_small_data(tx, files_of(tx, with_files)) if with_files else {}
        return {key: ToSend(message, files.get(key, ())) for key, message in found.items()}

    @reads
    def spooled_bytes(self, tx: Connection) -> int:
        """Bytes of content that wait to be delivered."""
        return contents.spooled_bytes(tx)

    @reads
    def spooled_around(self, tx: Connection, row: FoundRow) -> tuple[int, int]:
        """Of those, the bytes of the contents that come before a found message of their source, and of those after it."""
        return contents.spooled_around(tx, row)

    # ------------------------------------------------------------------ operators

    @reads
    def list(self, tx: Connection, wanted: MessageFilter) -> tuple[MessageLine, ...]:
        """Messages and their deliveries, newest first."""
        return stories.list_messages(tx, wanted)

    @reads
    def story(self, tx: Connection, message_id: int) -> StoryRow | None:
        """All that is known of one message; None when there is no such message."""
        return stories.tell(tx, message_id)

    @writes
    def retry(
        self,
        tx: Connection,
        which: Collection[int] | MessageFilter,
        now: datetime,
        *,
        fetching: Collection[str] | None = None,
        by: str = "",
    ) -> tuple[Moved, ...]:
        """Another try for what is dead, skipped, held or gone, flagged late. `fetching` names the sources whose
        connector can load a single message again (None: all). `by`: who wants it, for the story."""
        return moves.retry(tx, stories.ids_of(tx, which), now, fetching=fetching, by=by)

    @writes
    def drop(
        self, tx: Connection, which: Collection[int] | MessageFilter, now: datetime, *, by: str = ""
    ) -> tuple[Moved, ...]:
        """Skips what is not final, and what is held; except what is on the wire. `by`: who wants it, for the story."""
        return moves.drop(tx, stories.ids_of(tx, which), now, keep_max_bytes=self._raw_max_bytes, by=by)
