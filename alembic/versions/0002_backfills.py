"""Backfills: the jobs, and what each has listed and not yet brought in; when a source was last swept.

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")
OPEN = "state IN ('bringing', 'listing')"


def upgrade() -> None:
    """Adds two tables, and two columns to sources."""
    op.add_column("sources", sa.Column("swept_at", TIME, nullable=True))
    op.add_column("sources", sa.Column("sweep", sa.Text(), server_default=sa.text("'{}'"), nullable=False))
    op.create_table(
        "backfills",
        sa.Column("id", ID, nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("until", TIME, nullable=True),
        sa.Column("most", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("listed", sa.Text(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("counts", sa.Text(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("code", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("sentence", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("next_step", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.CheckConstraint("state IN ('bringing', 'done', 'listing', 'stopped')", name=op.f("ck_backfills_state")),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_backfills_source_id_sources"),
        sa.PrimaryKeyConstraint("id", name="pk_backfills"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_backfills_open",
        "backfills",
        ["source_id"],
        unique=True,
        sqlite_where=sa.text(OPEN),
        postgresql_where=sa.text(OPEN),
    )
    op.create_table(
        "backfill_items",
        sa.Column("id", ID, nullable=False),
        sa.Column("backfill_id", ID, nullable=False),
        sa.Column("stream_id", ID, nullable=False),
        sa.Column("stream_rank", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("epoch", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("arrived_at", TIME, nullable=False),
        sa.Column("written_at", TIME, nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(length=16), nullable=True),
        sa.Column("claim_scope", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("detail", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.ForeignKeyConstraint(
            ["backfill_id"], ["backfills.id"], name="fk_backfill_items_backfill_id_backfills", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["stream_id"], ["streams.id"], name="fk_backfill_items_stream_id_streams"),
        sa.PrimaryKeyConstraint("id", name="pk_backfill_items"),
        sa.UniqueConstraint(
            "backfill_id", "stream_id", "external_id", name="uq_backfill_items_backfill_id_stream_id_external_id"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_backfill_items_order", "backfill_items", ["backfill_id", "arrived_at", "stream_rank", "id"])


def downgrade() -> None:
    """Takes them away; what a backfill brought in stays."""
    op.drop_table("backfill_items")
    op.drop_table("backfills")
    op.drop_column("sources", "sweep")
    op.drop_column("sources", "swept_at")
