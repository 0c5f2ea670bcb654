"""The ledger's tables: sources and streams, messages and deliveries, participants, leases, events.

Revision: 0001, the first
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")
"""SQLite: microseconds since 1970."""

TABLES = (
    "meta",
    "inboxes",
    "sources",
    "streams",
    "messages",
    "payloads",
    "raws",
    "participants",
    "conversations",
    "deliveries",
    "leases",
    "events",
    "tallies",
)


def upgrade() -> None:
    """Creates the tables, what is pointed at first."""
    _create_configured()
    _create_messages()
    _create_deliveries()
    _create_records()


def downgrade() -> None:
    """Drops everything."""
    for name in reversed(TABLES):
        op.drop_table(name)


def _partial(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _create_configured() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )
    op.create_table(
        "inboxes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'ok'"), nullable=False),
        sa.Column("code", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("sentence", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("next_step", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("parked_at", TIME, nullable=True),
        sa.Column("probe_at", TIME, nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("budget", sa.Text(), nullable=True),
        sa.Column("app_id", sa.Text(), nullable=True),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("first_seen_at", TIME, nullable=False),
        sa.CheckConstraint("state IN ('ok', 'parked')", name=op.f("ck_inboxes_state")),
        sa.PrimaryKeyConstraint("name", name="pk_inboxes"),
    )
    op.create_table(
        "sources",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("inbox", sa.Text(), nullable=False),
        sa.Column("connector", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("horizon", TIME, nullable=True),
        sa.Column("paused", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'ok'"), nullable=False),
        sa.Column("code", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("sentence", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("next_step", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_pass_at", TIME, nullable=True),
        sa.Column("last_good_pass_at", TIME, nullable=True),
        sa.Column("next_pass_at", TIME, nullable=True),
        sa.Column("counts", sa.Text(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint("state IN ('failing', 'ok', 'parked', 'removed')", name=op.f("ck_sources_state")),
        sa.PrimaryKeyConstraint("id", name="pk_sources"),
        sa.UniqueConstraint("name", name="uq_sources_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "streams",
        sa.Column("id", ID, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("epoch", sa.Text(), nullable=True),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("complete_until", TIME, nullable=True),
        sa.Column("first_loaded_at", TIME, nullable=True),
        sa.Column("before_horizon", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_streams_source_id_sources"),
        sa.PrimaryKeyConstraint("id", name="pk_streams"),
        sa.UniqueConstraint("source_id", "key", name="uq_streams_source_id_key"),
        sqlite_autoincrement=True,
    )


def _create_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", ID, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("stream_id", ID, nullable=False),
        sa.Column("epoch", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("arrived_at", TIME, nullable=False),
        sa.Column("written_at", TIME, nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(length=16), nullable=True),
        sa.Column("occurrence", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("claim", sa.LargeBinary(length=16), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("detail", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("duplicate_of", ID, nullable=True),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("fetch_attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("fetch_at", TIME, nullable=True),
        sa.Column("backfill", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("late", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.CheckConstraint("state IN ('dead', 'found', 'gone', 'loaded', 'skipped')", name=op.f("ck_messages_state")),
        sa.ForeignKeyConstraint(["duplicate_of"], ["messages.id"], name="fk_messages_duplicate_of_messages"),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_messages_source_id_sources"),
        sa.ForeignKeyConstraint(["stream_id"], ["streams.id"], name="fk_messages_stream_id_streams"),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        sa.UniqueConstraint("stream_id", "epoch", "external_id", name="uq_messages_stream_id_epoch_external_id"),
        sqlite_autoincrement=True,
    )
    _partial("ix_messages_duplicate_of", "messages", ["duplicate_of"], "duplicate_of IS NOT NULL")
    _partial("ix_messages_failed", "messages", ["id"], "state IN ('dead', 'gone')")
    _partial("ix_messages_fingerprint", "messages", ["stream_id", "epoch", "fingerprint"], "fingerprint IS NOT NULL")
    _partial("ix_messages_found", "messages", ["source_id", "arrived_at"], "state = 'found'")
    _partial("uq_messages_claim", "messages", ["claim"], "claim IS NOT NULL", unique=True)
    op.create_table(
        "payloads",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("kept_at", TIME, nullable=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name="fk_payloads_message_id_messages", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("message_id", name="pk_payloads"),
    )
    op.create_index("ix_payloads_kept_at_bytes", "payloads", ["kept_at", "bytes"])
    op.create_table(
        "raws",
        sa.Column("message_id", ID, autoincrement=False, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("why", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name="fk_raws_message_id_messages", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("message_id", name="pk_raws"),
    )
    op.create_index("ix_raws_at_bytes", "raws", ["at", "bytes"])


def _create_deliveries() -> None:
    op.create_table(
        "participants",
        sa.Column("id", ID, nullable=False),
        sa.Column("inbox", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("contact_id", sa.Text(), nullable=True),
        sa.Column("conversation_id", sa.Text(), nullable=True),
        sa.Column("resolved_at", TIME, nullable=True),
        sa.Column("hour_at", TIME, nullable=True),
        sa.Column("hour_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_participants"),
        sa.UniqueConstraint("inbox", "kind", "value", name="uq_participants_inbox_kind_value"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "conversations",
        sa.Column("inbox", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_arrived_at", TIME, nullable=True),
        sa.Column("last_subject_key", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("inbox", "conversation_id", name="pk_conversations"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", ID, nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.Column("participant_id", ID, nullable=False),
        sa.Column("inbox", sa.Text(), nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("arrived_at", TIME, nullable=False),
        sa.Column("stream_rank", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("direction", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("code", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("sentence", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("release_at", TIME, nullable=False),
        sa.Column("backfill", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("late", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("retry_at", TIME, nullable=True),
        sa.Column("contact_id", sa.Text(), nullable=True),
        sa.Column("conversation_id", sa.Text(), nullable=True),
        sa.Column("request", sa.Text(), nullable=True),
        sa.Column("request_hash", sa.Text(), nullable=True),
        sa.Column("subject_key", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("sequence_mark", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("intent_at", TIME, nullable=True),
        sa.Column("answer_due_at", TIME, nullable=True),
        sa.Column("holder", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unknown_at", TIME, nullable=True),
        sa.Column("look_at", TIME, nullable=True),
        sa.Column("looks", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("resends", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("recheck_at", TIME, nullable=True),
        sa.Column("inbox_message_id", sa.Text(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("request_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("read_back", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("doubled_with", sa.Text(), nullable=True),
        sa.Column("sent_at", TIME, nullable=True),
        sa.Column("updated_at", TIME, nullable=False),
        sa.CheckConstraint("state <> 'sent' OR inbox_message_id IS NOT NULL", name=op.f("ck_deliveries_sent")),
        sa.CheckConstraint(
            "state IN ('dead', 'held', 'pending', 'sending', 'sent', 'skipped', 'unknown')",
            name=op.f("ck_deliveries_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('sending', 'unknown')"
            " OR (conversation_id IS NOT NULL AND request IS NOT NULL"
            " AND intent_at IS NOT NULL AND answer_due_at IS NOT NULL)",
            name=op.f("ck_deliveries_on_the_wire"),
        ),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name="fk_deliveries_message_id_messages"),
        sa.ForeignKeyConstraint(
            ["participant_id"], ["participants.id"], name="fk_deliveries_participant_id_participants"
        ),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_deliveries_source_id_sources"),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("message_id", "participant_id", name="uq_deliveries_message_id_participant_id"),
        sqlite_autoincrement=True,
    )
    _partial("ix_deliveries_failed", "deliveries", ["message_id"], "state IN ('dead', 'held')")
    _partial("ix_deliveries_pending", "deliveries", ["inbox", "backfill", "arrived_at"], "state = 'pending'")
    _partial("ix_deliveries_pending_source", "deliveries", ["source_id", "release_at"], "state = 'pending'")
    _partial("ix_deliveries_recheck", "deliveries", ["inbox", "recheck_at"], "recheck_at IS NOT NULL")
    _partial(
        "uq_deliveries_doubled_with", "deliveries", ["inbox", "doubled_with"], "doubled_with IS NOT NULL", unique=True
    )
    _partial(
        "uq_deliveries_inbox_message_id",
        "deliveries",
        ["inbox", "inbox_message_id"],
        "inbox_message_id IS NOT NULL",
        unique=True,
    )
    _partial(
        "uq_deliveries_on_the_wire",
        "deliveries",
        ["inbox", "conversation_id"],
        "state IN ('sending', 'unknown')",
        unique=True,
    )


def _create_records() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "events",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("inbox", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("message_id", ID, nullable=True),
        sa.Column("delivery_id", ID, nullable=True),
        sa.Column("code", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("detail", sa.Text(), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_at", "events", ["at"])
    _partial("ix_events_message_id", "events", ["message_id"], "message_id IS NOT NULL")
    op.create_table(
        "tallies",
        sa.Column("source_id", ID, autoincrement=False, nullable=False),
        sa.Column("inbox", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_tallies_source_id_sources"),
        sa.PrimaryKeyConstraint("source_id", "inbox", "kind", "state", "reason", name="pk_tallies"),
    )
