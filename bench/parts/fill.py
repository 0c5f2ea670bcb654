"""A ledger with millions of mapping rows of a believable mix, filled in bulk: for measuring what size costs.

40 sources with four streams each and up to three numberings a stream, their messages interleaved in time; fingerprints
and claims are hashes behind their day; 8 % were skipped; the others were sent, each to one of a tenth as many
participants.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sync.ledger import Ledger
from sync.ledger.ledger import utc_now
from sync.settings import LedgerSettings

SOURCES = 40
STREAMS = 4
PIECE_ROWS = 500_000
PARTICIPANTS_SHARE = 10
"""Messages for each participant."""
TABLES = ("participants", "conversations", "messages", "deliveries")

_PARTICIPANTS = """
INSERT INTO participants (id, inbox, kind, value, name, contact_id, conversation_id, resolved_at)
SELECT i, 'main', 'email', 'c' || i || '@old' || (i % 977) || '.example', 'Customer ' || i,
       {guid}, 'conversation-' || i, {old} FROM {series}
"""
_CONVERSATIONS = """
INSERT INTO conversations (inbox, conversation_id, last_sequence, last_arrived_at, last_subject_key)
SELECT 'main', 'conversation-' || i, i, {old}, 'order ' || (i % 997) FROM {series}
"""
_MESSAGES = """
INSERT INTO messages (id, source_id, stream_id, epoch, external_id, arrived_at, written_at, size_bytes, fingerprint,
                      occurrence, claim, state, reason, seen_at, updated_at)
SELECT i, 1 + (i % 40), 1 + (i % 40) * 4 + (i / 40) % 4, '1:' || (1600000000 + i % 40 + (i / 4000000)), CAST(i AS TEXT),
       {moment}, {moment}, 4000 + i % 20000, {hash}, 1, CASE WHEN i % 25 < 2 THEN NULL ELSE {hash} END,
       CASE WHEN i % 25 < 2 THEN 'skipped' ELSE 'loaded' END, CASE WHEN i % 25 < 2 THEN 'before_horizon' ELSE '' END,
       {moment}, {moment}
FROM {series}
"""
_DELIVERIES = """
INSERT INTO deliveries (id, message_id, participant_id, inbox, source_id, arrived_at, direction, state, seen_at,
                        release_at, attempt, contact_id, conversation_id, request_hash, subject_key, intent_at,
                        answer_due_at, holder, fence, inbox_message_id, sequence, request_id, sent_at, updated_at)
SELECT i, i, {person}, 'main', 1 + (i % 40), {moment}, 'PARTICIPANT_TO_BUSINESS', 'sent', {moment}, {moment}, 1,
       {guid}, 'conversation-' || {person}, {hex}, 'order ' || (i % 997), {moment}, {moment}, 'f00dcafe00000000', 1,
       CAST(1700000000000 + i AS TEXT), 1700000000000 + i, {guid}, {moment}, {moment}
FROM {series} WHERE i % 25 >= 2
"""

_SQLITE = {
    "series": "(WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) SELECT i FROM n)",
    "hash": "key(i)",
    "hex": "lower(hex(randomblob(32)))",
    "guid": "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4000-8000-' || hex(randomblob(6)))",
    "moment": "(1600000000 + i * 20) * 1000000",
    "old": "1600000000000000",
    "person": "(1 + (i * 7919) % {people})",
}
_POSTGRES = {
    "series": "generate_series({first}::bigint, {last}::bigint) AS n(i)",
    "hash": "decode(lpad(to_hex((i / 4320) % 65536), 4, '0') || substr(md5(random()::text), 1, 28), 'hex')",
    "hex": "md5(i::text) || md5((-i)::text)",
    "guid": "gen_random_uuid()::text",
    "moment": "to_timestamp(1600000000 + i * 20)",
    "old": "to_timestamp(1600000000)",
    "person": "(1 + (i * 7919) % {people})",
}


def make_ledger(url: str) -> None:
    """A ledger at head with the sources and streams that the rows belong to."""
    ledger = Ledger.open(LedgerSettings(url=url))
    try:
        now = utc_now()
        ledger.inboxes.load("main", "site", now)
        for number in range(SOURCES):
            name = f"old{number}"
            ledger.sources.load(name, inbox="main", connector="imap", account=name, horizon=None, now=now)
            ledger.streams.load(name, [(f"folder{k}", "received", k) for k in range(STREAMS)], now)
    finally:
        ledger.close()


def fill_sqlite(path: Path, rows: int) -> None:
    """Makes and fills a ledger file."""
    make_ledger(f"sqlite:///{path}")
    with sqlite3.connect(path, isolation_level=None) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-400000", "foreign_keys=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        connection.create_function("key", 1, _key)
        query = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN (?, ?, ?, ?)"
        )
        indexes = connection.execute(query, TABLES).fetchall()
        _fill(connection.execute, _SQLITE, rows, indexes)
        connection.execute("ANALYZE")
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def _key(number: int) -> bytes:
    """As fingerprints and claims are: the day in front (4,320 messages each), the rest a hash."""
    return (number // 4320 % 65536).to_bytes(2, "big") + random.randbytes(14)


def fill_postgres(url: str, rows: int) -> None:
    """Makes and fills a ledger in an empty database."""
    import psycopg  # noqa: PLC0415  an extra

    make_ledger(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET maintenance_work_mem = '512MB'")
        query = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s) AND indexname NOT IN"
            " (SELECT conname FROM pg_constraint)"
        )
        indexes = connection.execute(query, [list(TABLES)]).fetchall()
        _fill(lambda statement: connection.execute(statement.encode()), _POSTGRES, rows, indexes)
        for table in TABLES[:1] + TABLES[2:]:
            connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))".encode()
            )
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _fill(execute: Callable[[str], object], words: dict[str, str], rows: int, indexes: list[tuple[str, str]]) -> None:
    """Random keys go into their indexes sorted, after the rows: one by one they would take hours."""
    for name, _ in indexes:
        execute(f"DROP INDEX {name}")
    people = max(1, rows // PARTICIPANTS_SHARE)
    for template, count in ((_PARTICIPANTS, people), (_CONVERSATIONS, people), (_MESSAGES, rows), (_DELIVERIES, rows)):
        for first in range(1, count + 1, PIECE_ROWS):
            last = min(count, first + PIECE_ROWS - 1)
            statement = template.format(**words).format(first=first, last=last, people=people)
            execute("BEGIN")
            execute(statement)
            execute("COMMIT")
    for _, definition in indexes:
        execute(definition)
