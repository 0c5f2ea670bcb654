"""What holds for every pass of one source, and what one pass did."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog

from sync.attachments import AttachmentRules
from sync.clock import Clock
from sync.connector import Http, PassContext, Stream
from sync.decide import SourceRules
from sync.errors import InboxSyncError
from sync.ledger import LeaseRef, Ledger, SourceRow, StreamRow, View
from sync.mail.address import OwnAddresses
from sync.senders import sender_rules
from sync.settings import SourceSettings
from sync.text.quotes import QuotePolicy, ReplyPolicy, SignaturePolicy
from sync.tokens import LedgerTokenStore

log = structlog.get_logger()

FIRST_LOAD_WAIT_SECONDS = 600.0
"""While a source is loaded for the first time its rows wait for its other streams, at most so long; the end of the pass
lets them go."""
CLOCK_GRAIN = timedelta(seconds=1)
"""Services tell arrival in whole seconds. What arrived in the second of the horizon was there before if the first look
saw it, and came after if a later look did."""
MAX_BACKOFF_SECONDS = 900.0

KnownBy: TypeAlias = Callable[[int, str, Sequence[str]], frozenset[str]]
"""(stream's id, epoch with its generation, ids) → those that are known; runs in the ledger's threads."""


@dataclass(slots=True)
class PassReport:
    """What one pass did. `error` is why it ended early or which stream failed; `spool_full`: there is more to load when
    there is room."""

    source: str
    found: int = 0
    repeated: int = 0
    new: int = 0
    before_horizon: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    deliveries: int = 0
    error: InboxSyncError | None = None
    spool_full: bool = False
    abandoned: bool = False
    fetched: int = 0
    good_streams: int = 0
    next_wait_seconds: float = 0.0
    seconds: float = 0.0

    def plus(self, later: PassReport) -> PassReport:
        """This pass and a later one, told as one."""
        return replace(
            later,
            found=self.found + later.found,
            repeated=self.repeated + later.repeated,
            new=self.new + later.new,
            before_horizon=self.before_horizon + later.before_horizon,
            skipped=self.skipped + later.skipped,
            dead=self.dead + later.dead,
            deliveries=self.deliveries + later.deliveries,
            seconds=self.seconds + later.seconds,
        )


class PassTerms:
    """What passes of one source have in common: what the connector is given, by what rules its messages are judged, and
    how long its rows wait."""

    def __init__(
        self,
        name: str,
        settings: SourceSettings,
        *,
        inbox: str,
        own_addresses: OwnAddresses,
        ledger: Ledger,
        http: Http | None,
        clock: Clock,
    ) -> None:
        self._name = name
        self._settings = settings
        self._inbox = inbox
        self._own_addresses = own_addresses
        self._ledger = ledger
        self._http = http
        self._clock = clock
        self._senders = sender_rules(settings, own_addresses)
        self.lease: LeaseRef | None = None
        """The lease of the pass that runs: nothing is recorded without it. None where nobody else can be at work."""

    def context(self, source: SourceRow, row: StreamRow | None = None, known_by: KnownBy | None = None) -> PassContext:
        """What the connector is given for this pass. `known_by`: what counts as known, if not every row does."""
        ask = known_by or self._ledger.messages.known

        async def known(epoch: str, ids: Sequence[str]) -> frozenset[str]:
            if row is None:
                return frozenset()
            return await self._ledger.call(ask, row.id, _place_epoch(source, epoch), list(ids))

        async def versions(epoch: str, ids: Sequence[str]) -> Mapping[str, str]:
            if row is None:
                return {}
            place = _place_epoch(source, epoch)
            return await self._ledger.call(self._ledger.messages.versions, row.id, place, list(ids))

        now = self._clock.now()
        return PassContext(
            log=log.bind(source=self._name),
            now=self._clock.now,
            deadline_at=now + timedelta(seconds=self._settings.pass_timeout_seconds),
            size_limit_bytes=self._settings.size_limit_bytes,
            since=source.horizon,
            known=known,
            http=self._http,
            epoch=None if row is None else row.epoch,
            tokens=LedgerTokenStore(self._name, self._ledger, self._clock),
            versions=versions,
        )

    @functools.cached_property
    def attachment_rules(self) -> AttachmentRules:
        """Which files are brought over."""
        settings = self._settings
        return AttachmentRules(
            bring=settings.attachments,
            file_max_bytes=settings.attachment_limit_bytes,
            message_max_bytes=settings.attachments_limit_bytes,
            files_max=settings.max_attachments,
            named_only=frozenset(one.lower().lstrip(".") for one in settings.named_only),
        )

    def rules(self, source: SourceRow, stream: Stream, row: StreamRow, epoch: str) -> SourceRules:
        """By what messages of this stream are judged."""
        live = row.first_loaded_at is not None
        return SourceRules(
            inbox=self._inbox,
            source=self._name,
            role=stream.role,
            horizon=source.horizon,
            forgotten_until=source.forgotten_until,
            horizon_slack=CLOCK_GRAIN if live and row.epoch == epoch else timedelta(0),
            known_until=row.complete_until if live else None,
            max_age=timedelta(days=self._settings.max_age_days),
            duplicates=self._settings.duplicates,
            is_own=self._own_addresses.matches,
            senders=self._senders,
            replies=ReplyPolicy(QuotePolicy(self._settings.quotes), SignaturePolicy(self._settings.signatures)),
        )

    def view(self, source: SourceRow, row: StreamRow, epoch: str) -> View:
        """How the ledger is asked about messages of this stream."""
        return View(
            source=self._name,
            source_id=source.id,
            stream_id=row.id,
            stream_rank=row.rank,
            inbox=self._inbox,
            epoch=_place_epoch(source, epoch),
            hourly_limit=self._settings.participant_messages_per_hour,
            tell_edits=self._settings.edits == "note",
        )

    def release_at(self, row: StreamRow, now: datetime) -> datetime:
        """Until when rows recorded now wait for others that may come before them."""
        first_load = row.first_loaded_at is None
        wait = self._settings.order_wait_seconds
        return now + timedelta(seconds=max(wait, FIRST_LOAD_WAIT_SECONDS) if first_load and wait else wait)


def _place_epoch(source: SourceRow, epoch: str) -> str:
    """The epoch as the ledger keeps it: another account under the same source name is another numbering."""
    return f"{source.generation}:{epoch}"
