"""The ledger: one database, its nouns, and the few threads in which their methods run."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import ParamSpec, Self, TypeVar

from sync.ledger import copying, migrate
from sync.ledger.attachments import Attachments
from sync.ledger.audits import Audits
from sync.ledger.backfills import Backfills
from sync.ledger.deliveries import Deliveries
from sync.ledger.engine import Database, check_sqlite_file
from sync.ledger.erasure import Erasure
from sync.ledger.events import Events
from sync.ledger.inboxes import Inboxes
from sync.ledger.leases import Leases
from sync.ledger.lockfile import WriterLock
from sync.ledger.messages import Messages
from sync.ledger.notes import Notes
from sync.ledger.overview import Overview
from sync.ledger.participants import Participants
from sync.ledger.retention import Retention
from sync.ledger.sources import Sources
from sync.ledger.streams import Streams
from sync.ledger.tokens import Tokens
from sync.meter import LEDGER, meter
from sync.settings import LedgerSettings

P = ParamSpec("P")
T = TypeVar("T")


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Ledger:
    """The SQL database. Every method of its nouns is one transaction and blocks: in the event loop use `call`.

    ledger = Ledger.open(settings)
    row = await ledger.call(ledger.sources.get, "support")
    ledger.close()
    """

    def __init__(self, database: Database, lock: WriterLock | None, now: Callable[[], datetime]) -> None:
        settings = database.settings
        self._database = database
        self._lock = lock
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="ledger")
        self.url = database.label
        self.inboxes = Inboxes(database)
        self.sources = Sources(database)
        self.streams = Streams(database)
        self.tokens = Tokens(database)
        self.messages = Messages(database, settings.raw_max_bytes)
        self.deliveries = Deliveries(database, settings.raw_max_bytes)
        self.attachments = Attachments(database)
        self.audits = Audits(database)
        self.backfills = Backfills(database, settings.raw_max_bytes)
        self.participants = Participants(database)
        self.leases = Leases(database, now)
        self.events = Events(database)
        self.overview = Overview(database)
        self.notes = Notes(database)
        self.erasure = Erasure(database)
        self.retention = Retention(database)

    @classmethod
    def open(cls, settings: LedgerSettings, *, writer: bool = True, now: Callable[[], datetime] = utc_now) -> Self:
        """Opens the ledger of `[ledger]`.

        A writer of a SQLite file holds its lock until `close`, creates the file if there is none, and brings it to the
        present revision after a backup copy; of PostgreSQL only an empty database is brought there. A reader changes
        nothing. `now` reads the clock that counts for leases on SQLite. Raises ConfigError for a URL that cannot be
        meant, LedgerError for everything that keeps the database from being used.
        """
        database = Database(settings)
        lock = None
        try:
            if database.path is not None:
                check_sqlite_file(database.path, writer=writer)
                if writer:
                    lock = WriterLock(database.path)
                    lock.take(now())
            if writer:
                migrate.prepare(database, now())
                copying.refuse_moved(database)
            else:
                migrate.require_current(database)
        except BaseException:
            database.close()
            if lock is not None:
                lock.release()
            raise
        return cls(database, lock, now)

    @property
    def exclusive(self) -> bool:
        """Whether a kernel lock proves that no other process writes this ledger (SQLite, opened for writing)."""
        return self._lock is not None

    def schema_state(self) -> migrate.SchemaState:
        """Which revision the database has, and which one this program brings."""
        return migrate.look(self._database)

    async def call(self, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs one of the ledger's methods in its threads. A caller that is cancelled does not stop the transaction:
        it is committed (or not) all the same, and only its answer is lost."""
        context = contextvars.copy_context()
        work = functools.partial(context.run, functools.partial(method, *args, **kwargs))
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            return await loop.run_in_executor(self._threads, work)
        finally:
            meter.observe(LEDGER, loop.time() - began)

    def close(self) -> None:
        """Waits for running transactions, closes the connections, gives the lock back."""
        self._threads.shutdown(wait=True)
        self._database.close()
        if self._lock is not None:
            self._lock.release()
