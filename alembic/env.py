"""Alembic's environment: runs the migrations on the connection (or engine) that the caller gives as an attribute."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, Engine

from sync.ledger.schema import metadata


def _migrate(connection: Connection) -> None:
    sqlite = connection.dialect.name == "sqlite"
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=sqlite,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    if sqlite:
        # Migrations run with foreign keys off: a table that is made anew must not delete what points at it.
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise RuntimeError(f"the migration left {len(broken)} rows that point at nothing: {broken[:5]}")


def _run() -> None:
    given = context.config.attributes["connection"]
    if isinstance(given, Engine):
        with given.connect() as connection:
            _migrate(connection)
            connection.commit()
    elif isinstance(given, Connection):
        _migrate(given)
    else:
        raise TypeError('give an engine or a connection as the attribute "connection"')


_run()
