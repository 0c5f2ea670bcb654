"""Queries stay flat: whatever runs for a batch, a window or a look finds its rows by an index, so that a mapping table of
ten million rows costs what an empty one does."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.dialects import sqlite as dialect

from sync.ledger import Ledger, Mapped, MessageFilter, PassEnd
from sync.ledger.deliveries import window_query
from sync.settings import LedgerSettings
from sync.states import MessageState
from tests.ledger.desk import NOON, Desk, loaded

SMALL = frozenset({"sources", "streams", "inboxes", "tallies", "leases", "sqlite_schema", "sqlite_master"})
"""Tables that grow with the configuration, not with the mail."""

BOUNDED = frozenset({"payloads", "raws"})
"""Tables whose size is a setting. An index must do, so that no contents are read."""

PARTIAL = frozenset(
    {
        "ix_messages_found",
        "ix_messages_failed",
        "ix_deliveries_failed",
        "ix_deliveries_pending",
        "ix_deliveries_pending_source",
        "ix_deliveries_recheck",
        "uq_deliveries_on_the_wire",
    }
)
"""Indexes that hold only what is open or failed."""


def flat(step: str) -> bool:
    """Whether a step of a plan costs the same on a big table."""
    if re.match(r"SCAN (\d+ CONSTANT ROW|CONSTANT ROW|json_each|SUBQUERY)", step):
        return True
    scan = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)
    if scan is None:
        return True
    table, index = scan.groups()
    if table in SMALL or index in PARTIAL:
        return True
    return table in BOUNDED and index is not None


def everyday(desk: Desk) -> None:
    """What passes, the deliverer and the reconciler do."""
    ledger = desk.ledger
    found = desk.record(*(desk.seen(n, loaded("anna", "ben"), fingerprint=f"m{n}") for n in range(5)), finished=True)
    ledger.messages.judge(desk.view(), [desk.seen(3, fingerprint="m3"), desk.seen(77, fingerprint="m77")])
    ledger.messages.known(desk.inbox.id, "1:1", ["1", "2"])
    later = desk.record(desk.seen(90), desk.seen(91, fingerprint="x"), view=desk.view(epoch="2"), finished=True)
    desk.record(desk.seen(92, fingerprint="x"), view=desk.view(desk.sent), finished=True)
    due = ledger.messages.to_fetch("support", desk.now, 10)
    ledger.messages.spooled_around(due[0])
    ledger.deliveries.releases("main")
    ledger.sources.pass_ended("support", desk.now, PassEnd(ok=False, state="failing", loads=False), desk.now)
    ledger.messages.load_contents({later.new_message_ids[0]: loaded()}, desk.now, desk.now)
    ledger.messages.fetch_failed([row.message_id for row in due], desk.now, desk.now, 1)
    ledger.messages.spooled_bytes()
    ledger.messages.contents(found.new_message_ids)
    ledger.deliveries.releases("main")
    rows = desk.window()
    desk.send(rows[0], rows[1])
    ledger.deliveries.conversations("main", ["conversation-1"])
    ledger.deliveries.on_the_wire("main")
    ledger.deliveries.rechecks("main", desk.now)
    ledger.deliveries.held_ids("main", ["wix-1", "wix-2"])
    ledger.deliveries.take_over("main", desk.lease, desk.now, at_once=True)
    ledger.participants.remember([Mapped(1, "contact", "conversation-1")], desk.now)


def operator(desk: Desk) -> None:
    """What an operator asks."""
    ledger = desk.ledger
    ledger.messages.list(MessageFilter(failed=True))
    ledger.messages.story(1)
    ledger.messages.retry([1, 2], desk.now)
    ledger.messages.drop([1, 2], desk.now)
    ledger.messages.list(MessageFilter(state=MessageState.LOADED, limit=5))
    ledger.overview.status()
    ledger.events.recent(10)


@pytest.mark.parametrize("work", [everyday, operator])
def test_no_statement_reads_a_whole_table(tmp_path: Path, work: Callable[[Desk], None]) -> None:
    ledger = Ledger.open(LedgerSettings(url=f"sqlite:///{tmp_path / 'ledger.db'}"))
    desk = Desk(ledger, NOON)
    if work is operator:
        everyday(desk)
    statements: dict[str, object] = {}

    def note(_conn: object, _cursor: object, sql: str, parameters: object, _context: object, many: bool) -> None:
        statements[sql] = parameters[0] if many and isinstance(parameters, list) else parameters

    event.listen(ledger._database.engine, "before_cursor_execute", note)
    work(desk)
    ledger.close()
    looked = [sql for sql in statements if sql.startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"))]
    assert len(looked) > 15
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        for sql in looked:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", statements[sql]).fetchall()  # type: ignore[arg-type]
            steps = [str(row[3]) for row in plan]
            # `message list` without a filter walks backwards by id and stops at its limit
            if work is operator and "LIMIT" in sql and steps[0] in ("SCAN messages", "SCAN events"):
                assert "ORDER BY messages.id DESC" in sql or "ORDER BY events.id DESC" in sql
                continue
            assert all(flat(step) for step in steps), (steps, sql)
            assert not any(
                "TEMP B-TREE FOR ORDER BY" in step and "RIGHT PART" not in step
                for step in steps
                if "deliveries" in sql and "LIMIT" in sql
            ), (steps, sql)
    connection.close()


def test_the_window_is_read_in_the_order_of_its_index(tmp_path: Path) -> None:
    ledger = Ledger.open(LedgerSettings(url=f"sqlite:///{tmp_path / 'ledger.db'}"))
    sql = str(window_query("main", 10).compile(dialect=dialect.dialect(), compile_kwargs={"literal_binds": True}))
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        steps = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
    connection.close()
    assert steps[0] == "SEARCH deliveries USING INDEX ix_deliveries_pending (inbox=?)"
    assert "USE TEMP B-TREE FOR RIGHT PART OF ORDER BY" in " ".join(steps) or "LAST" in " ".join(steps), steps
