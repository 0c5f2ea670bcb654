"""The tables of the ledger. `alembic/versions` brings a database here step by step; a test holds the two together.

Every guard that the promise rests on is a constraint of the database: a place is recorded once, a claim on a message is
held once, a conversation has at most one delivery on the wire, an Inbox message belongs to one delivery.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    literal_column,
    text,
    true,
)
from sqlalchemy.schema import SchemaItem

from sync.ledger.types import BIG_ID, FreeText, LongText, UtcDateTime
from sync.states import ON_THE_WIRE_STATES, DeliveryState, MessageState

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMING)


def one_of(column: str, values: Iterable[str]) -> str:
    """`column IN ('a', 'b')` with the values in a stable order."""
    return f"{column} IN ({', '.join(repr(str(v)) for v in sorted(values))})"


def in_state(column: ColumnElement[str], *states: MessageState | DeliveryState) -> ColumnElement[bool]:
    """`column` is in one of these states, written as the partial indexes write it: as constants, not as parameters,
    since SQLite only uses a partial index whose condition it finds in the query."""
    constants = [literal_column(f"'{state.value}'", Text) for state in sorted(states)]
    return column == constants[0] if len(constants) == 1 else column.in_(constants)


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    condition = text(where)
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _text(name: str) -> Column[str]:
    return Column(name, FreeText, nullable=False, server_default=text("''"))


def _word(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=text("''"))


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false())


def _table(name: str, *items: SchemaItem, counts_up: bool = False) -> Table:
    # AUTOINCREMENT: an id is never used twice, not even after the newest row was deleted
    return Table(name, metadata, *items, sqlite_autoincrement=counts_up)


meta = _table("meta", Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

inboxes = _table(
    "inboxes",
    Column("name", Text, primary_key=True),
    Column("site_id", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'ok'")),
    _word("code"),
    _text("sentence"),
    _text("next_step"),
    Column("parked_at", UtcDateTime),
    Column("probe_at", UtcDateTime),
    _count("failures"),
    Column("budget", Text),
    Column("app_id", Text),
    Column("fault", LongText),
    Column("first_seen_at", UtcDateTime, nullable=False),
    CheckConstraint(one_of("state", ("ok", "parked")), name="state"),
)

sources = _table(
    "sources",
    Column("id", BIG_ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("inbox", Text, nullable=False),
    Column("connector", Text, nullable=False),
    Column("account", FreeText, nullable=False),
    Column("generation", Integer, nullable=False, server_default=text("1")),
    Column("horizon", UtcDateTime),
    _flag("paused"),
    Column("state", Text, nullable=False, server_default=text("'ok'")),
    _word("code"),
    _text("sentence"),
    _text("next_step"),
    _count("failures"),
    Column("last_pass_at", UtcDateTime),
    Column("last_good_pass_at", UtcDateTime),
    Column("next_pass_at", UtcDateTime),
    Column("counts", LongText, nullable=False, server_default=text("'{}'")),
    Column("created_at", UtcDateTime, nullable=False),
    Column("swept_at", UtcDateTime),
    Column("sweep", LongText, nullable=False, server_default=text("'{}'")),
    UniqueConstraint("name"),
    CheckConstraint(one_of("state", ("ok", "failing", "parked", "removed")), name="state"),
    counts_up=True,
)

streams = _table(
    "streams",
    Column("id", BIG_ID, primary_key=True),
    Column("source_id", BIG_ID, ForeignKey("sources.id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("role", Text, nullable=False),
    _count("rank"),
    Column("active", Boolean, nullable=False, server_default=true()),
    Column("epoch", Text),
    Column("cursor", LongText),
    Column("complete_until", UtcDateTime),
    Column("first_loaded_at", UtcDateTime),
    _count("before_horizon"),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("source_id", "key"),
    counts_up=True,
)

messages = _table(
    "messages",
    Column("id", BIG_ID, primary_key=True),
    Column("source_id", BIG_ID, ForeignKey("sources.id"), nullable=False),
    Column("stream_id", BIG_ID, ForeignKey("streams.id"), nullable=False),
    Column("epoch", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("arrived_at", UtcDateTime, nullable=False),
    Column("written_at", UtcDateTime),
    Column("size_bytes", BigInteger),
    Column("fingerprint", LargeBinary(16)),
    Column("occurrence", Integer, nullable=False, server_default=text("1")),
    Column("claim", LargeBinary(16)),
    Column("state", Text, nullable=False),
    _word("reason"),
    _text("detail"),
    Column("duplicate_of", BIG_ID, ForeignKey("messages.id")),
    Column("seen_at", UtcDateTime, nullable=False),
    _count("fetch_attempts"),
    Column("fetch_at", UtcDateTime),
    _flag("backfill"),
    _flag("late"),
    Column("updated_at", UtcDateTime, nullable=False),
    _word("version"),
    UniqueConstraint("stream_id", "epoch", "external_id"),
    CheckConstraint(one_of("state", MessageState), name="state"),
    _partial("uq_messages_claim", "claim", where="claim IS NOT NULL", unique=True),
    _partial("ix_messages_fingerprint", "stream_id", "epoch", "fingerprint", where="fingerprint IS NOT NULL"),
    _partial("ix_messages_found", "source_id", "arrived_at", where="state = 'found'"),
    _partial("ix_messages_failed", "id", where=one_of("state", ("dead", "gone"))),
    _partial("ix_messages_duplicate_of", "duplicate_of", where="duplicate_of IS NOT NULL"),
    counts_up=True,
)

payloads = _table(
    "payloads",
    Column("message_id", BIG_ID, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("bytes", BigInteger, nullable=False),
    Column("kept_at", UtcDateTime),
    Column("content", LongText, nullable=False),
    Index("ix_payloads_kept_at_bytes", "kept_at", "bytes"),
)
"""Frozen contents. `kept_at` NULL: waiting to be delivered. Set: only kept for an operator's retry, oldest dropped
first."""

attachments = _table(
    "attachments",
    Column("id", BIG_ID, primary_key=True),
    Column("message_id", BIG_ID, ForeignKey("messages.id", ondelete="CASCADE")),
    Column("bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("spooled_at", UtcDateTime, nullable=False),
    Column("file_id", Text),
    Column("uploaded_at", UtcDateTime),
    _count("renewals"),
    _count("failures"),
    _word("why_not"),
    Index("ix_attachments_message_id", "message_id"),
    _partial("ix_attachments_ownerless", "spooled_at", where="message_id IS NULL"),
    counts_up=True,
)
"""Files that wait with their message. `message_id` NULL: written, and their message is not yet. `file_id`: what the
Inbox calls it, since `uploaded_at`; `why_not`: the Inbox would not have it."""

attachment_pieces = _table(
    "attachment_pieces",
    Column(
        "attachment_id",
        BIG_ID,
        ForeignKey("attachments.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
"""Their bytes, in pieces of at most a MiB."""

raws = _table(
    "raws",
    Column("message_id", BIG_ID, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("bytes", BigInteger, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    _text("why"),
    Column("raw", LargeBinary, nullable=False),
    Index("ix_raws_at_bytes", "at", "bytes"),
)

participants = _table(
    "participants",
    Column("id", BIG_ID, primary_key=True),
    Column("inbox", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    _text("name"),
    Column("contact_id", Text),
    Column("conversation_id", Text),
    Column("resolved_at", UtcDateTime),
    Column("hour_at", UtcDateTime),
    Column("hour_count", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("inbox", "kind", "value"),
    counts_up=True,
)

conversations = _table(
    "conversations",
    Column("inbox", Text, primary_key=True),
    Column("conversation_id", Text, primary_key=True),
    Column("last_sequence", BigInteger, nullable=False, server_default=text("0")),
    Column("last_arrived_at", UtcDateTime),
    Column("last_subject_key", FreeText),
)

deliveries = _table(
    "deliveries",
    Column("id", BIG_ID, primary_key=True),
    Column("message_id", BIG_ID, ForeignKey("messages.id"), nullable=False),
    Column("participant_id", BIG_ID, ForeignKey("participants.id"), nullable=False),
    Column("inbox", Text, nullable=False),
    Column("source_id", BIG_ID, ForeignKey("sources.id"), nullable=False),
    Column("arrived_at", UtcDateTime, nullable=False),
    _count("stream_rank"),
    Column("direction", Text),
    Column("state", Text, nullable=False),
    _word("reason"),
    _word("code"),
    _text("sentence"),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("release_at", UtcDateTime, nullable=False),
    _flag("backfill"),
    _flag("late"),
    _count("attempt"),
    _count("failures"),
    Column("retry_at", UtcDateTime),
    Column("contact_id", Text),
    Column("conversation_id", Text),
    Column("request", LongText),
    Column("request_hash", Text),
    _text("subject_key"),
    Column("sequence_mark", BigInteger, nullable=False, server_default=text("0")),
    Column("intent_at", UtcDateTime),
    Column("answer_due_at", UtcDateTime),
    _word("holder"),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("unknown_at", UtcDateTime),
    Column("look_at", UtcDateTime),
    _count("looks"),
    _count("resends"),
    Column("recheck_at", UtcDateTime),
    Column("inbox_message_id", Text),
    Column("sequence", BigInteger),
    _word("request_id"),
    _flag("read_back"),
    Column("doubled_with", Text),
    Column("sent_at", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("message_id", "participant_id"),
    CheckConstraint(one_of("state", DeliveryState), name="state"),
    CheckConstraint(
        "state NOT IN ('sending', 'unknown')"
        " OR (conversation_id IS NOT NULL AND request IS NOT NULL AND intent_at IS NOT NULL AND answer_due_at IS NOT NULL)",
        name="on_the_wire",
    ),
    CheckConstraint("state <> 'sent' OR inbox_message_id IS NOT NULL", name="sent"),
    _partial(
        "uq_deliveries_on_the_wire",
        "inbox",
        "conversation_id",
        where=one_of("state", ON_THE_WIRE_STATES),
        unique=True,
    ),
    _partial(
        "uq_deliveries_inbox_message_id",
        "inbox",
        "inbox_message_id",
        where="inbox_message_id IS NOT NULL",
        unique=True,
    ),
    _partial("uq_deliveries_doubled_with", "inbox", "doubled_with", where="doubled_with IS NOT NULL", unique=True),
    _partial("ix_deliveries_pending", "inbox", "backfill", "arrived_at", where="state = 'pending'"),
    _partial("ix_deliveries_pending_source", "source_id", "release_at", where="state = 'pending'"),
    _partial("ix_deliveries_recheck", "inbox", "recheck_at", where="recheck_at IS NOT NULL"),
    _partial("ix_deliveries_failed", "message_id", where=one_of("state", ("dead", "held"))),
    counts_up=True,
)

leases = _table(
    "leases",
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

tokens = _table(
    "tokens",
    Column("source_id", BIG_ID, ForeignKey("sources.id"), primary_key=True, autoincrement=False),
    Column("value", LongText, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)
"""What a sign-in by OAuth brought: secret. `version` counts up, so that of two who renew at once one notices."""

events = _table(
    "events",
    Column("id", BIG_ID, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", Text, nullable=False),
    Column("inbox", Text),
    Column("source", Text),
    Column("message_id", BIG_ID),
    Column("delivery_id", BIG_ID),
    _word("code"),
    Column("detail", LongText, nullable=False, server_default=text("'{}'")),
    _partial("ix_events_message_id", "message_id", where="message_id IS NOT NULL"),
    Index("ix_events_at", "at"),
    counts_up=True,
)

tallies = _table(
    "tallies",
    Column("source_id", BIG_ID, ForeignKey("sources.id"), primary_key=True, autoincrement=False),
    Column("inbox", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
)
"""How many messages and deliveries are in which state, kept in the transactions that move them: counting ten million
rows for `status` would take seconds."""

OPEN_BACKFILL = ("listing", "bringing")
"""States of a backfill that goes on."""

backfills = _table(
    "backfills",
    Column("id", BIG_ID, primary_key=True),
    Column("source_id", BIG_ID, ForeignKey("sources.id"), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("until", UtcDateTime),
    Column("most", Integer),
    Column("state", Text, nullable=False),
    Column("listed", LongText, nullable=False, server_default=text("'[]'")),
    Column("counts", LongText, nullable=False, server_default=text("'{}'")),
    _word("code"),
    _text("sentence"),
    _text("next_step"),
    Column("started_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    CheckConstraint(one_of("state", (*OPEN_BACKFILL, "done", "stopped")), name="state"),
    _partial("uq_backfills_open", "source_id", where=one_of("state", OPEN_BACKFILL), unique=True),
    counts_up=True,
)
"""What an operator asked to be brought in from before a source's start. `listed`: ids of the streams that were listed to
their end; `most`: how many messages at most."""

backfill_items = _table(
    "backfill_items",
    Column("id", BIG_ID, primary_key=True),
    Column("backfill_id", BIG_ID, ForeignKey("backfills.id", ondelete="CASCADE"), nullable=False),
    Column("stream_id", BIG_ID, ForeignKey("streams.id"), nullable=False),
    _count("stream_rank"),
    Column("epoch", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("arrived_at", UtcDateTime, nullable=False),
    Column("written_at", UtcDateTime),
    Column("size_bytes", BigInteger),
    Column("fingerprint", LargeBinary(16)),
    Column("claim_scope", Text),
    _word("reason"),
    _text("detail"),
    UniqueConstraint("backfill_id", "stream_id", "external_id"),
    Index("ix_backfill_items_order", "backfill_id", "arrived_at", "stream_rank", "id"),
    counts_up=True,
)
"""What a backfill has listed and not recorded yet. Ids grow with the position in the stream."""
