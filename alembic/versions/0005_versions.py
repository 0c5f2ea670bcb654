"""Versions: in which version of a message, as its service counts them, the ledger has it.

Revision: 0005, after 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a column. Both databases do it without touching the rows."""
    op.add_column("messages", sa.Column("version", sa.Text(), server_default=sa.text("''"), nullable=False))


def downgrade() -> None:
    """Takes it away."""
    op.drop_column("messages", "version")
