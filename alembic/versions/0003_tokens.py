"""Tokens of sources that sign in by OAuth.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Adds a table."""
    op.create_table(
        "tokens",
        sa.Column("source_id", ID, autoincrement=False, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_tokens_source_id_sources"),
        sa.PrimaryKeyConstraint("source_id", name="pk_tokens"),
    )


def downgrade() -> None:
    """Takes it away, and every sign-in with it."""
    op.drop_table("tokens")
