"""What ten million mapping rows cost: the whole way into a full ledger and into an empty one, on both databases."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from bench.harness import (
    Missing,
    Options,
    Sample,
    Samples,
    Section,
    Table,
    Target,
    cpu_microseconds,
    cpu_seconds,
    median,
    per_second,
    ratio,
    take_turns,
)
from bench.parts.fill import fill_postgres, fill_sqlite, make_ledger
from bench.parts.mails import arrived_at, make_mails
from bench.parts.site import Site, site
from sync.addressing import address_message
from sync.connector import StreamRole
from sync.decide import Seen, SourceRules, see
from sync.ledger import Ledger, Mark, View
from sync.ledger.ledger import utc_now
from sync.mail import understand, understand_headers
from sync.message import Found, Message
from sync.settings import LedgerSettings
from tests.servers.postgres import Cluster

NAME = "scale"
TITLE = "Ten million mapping rows"
FULL, EMPTY = "full", "empty"
BATCH = 200
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "128MB"}
"""As PostgreSQL comes, where the servers of tests are told not to be durable."""


class Database:
    """One database with a full and an empty ledger. `server_cpu` is what its own processes used so far."""

    def __init__(self, name: str, urls: dict[str, str], server_cpu: Callable[[], float], mib: float) -> None:
        self.name = name
        self.urls = urls
        self.server_cpu = server_cpu
        self.mib = mib


@contextlib.contextmanager
def sqlite(options: Options, rows: int) -> Iterator[Database]:
    kept, full, empty = options.kept(f"ledger-{rows}.db"), options.folder / "full.db", options.folder / "empty.db"
    if not kept.exists():
        making = kept.with_suffix(".making")
        making.unlink(missing_ok=True)
        began = time.monotonic()
        fill_sqlite(making, rows)
        making.rename(kept)
        print(f"    filled {kept} in {time.monotonic() - began:.0f} s", flush=True)
    if options.cache is None:
        kept.rename(full)
    else:
        shutil.copyfile(kept, full)
    make_ledger(f"sqlite:///{empty}")
    yield Database(
        "SQLite", {FULL: f"sqlite:///{full}", EMPTY: f"sqlite:///{empty}"}, lambda: 0.0, full.stat().st_size / 2**20
    )
    full.unlink()


@contextlib.contextmanager
def postgres(_options: Options, rows: int) -> Iterator[Database]:
    cluster = Cluster(DURABLE)
    cluster.start()
    try:
        urls = {FULL: cluster.create_database(), EMPTY: cluster.create_database()}
        began = time.monotonic()
        fill_postgres(urls[FULL], rows)
        print(f"    filled PostgreSQL in {time.monotonic() - began:.0f} s", flush=True)
        make_ledger(urls[EMPTY])
        yield Database("PostgreSQL", urls, lambda: _cpu_of_server(cluster.pid), _mib(urls[FULL]))
    finally:
        cluster.stop()


def _mib(url: str) -> float:
    import psycopg  # noqa: PLC0415  an extra

    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    return float(row[0]) / 2**20


def _cpu_of_server(pid: int) -> float:
    """Of the server, the backends that have ended, and those that run."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = cpu_seconds(pid, children=True)
    for child in children:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += cpu_seconds(int(child))
    return total


# ---------------------------------------------------------------------------------------------------- the whole way


def whole_way(where: Site, database: Database, fullness: str, users: Iterator[str], count: int) -> Sample:
    """One `sync` of a mailbox that this ledger has not seen, less one that finds nothing: the start-up is no part."""
    user = next(users)
    config = where.configure(f"{database.name}-{fullness}", database.urls[fullness], user=user)
    spent: list[tuple[float, float]] = []
    for expected in (count, 0):
        server = database.server_cpu()
        ran = where.sync(config, expected=expected)
        spent.append((ran.seconds, ran.cpu_seconds + database.server_cpu() - server))
    (seconds, cpu), (idle_seconds, idle_cpu) = spent
    return Sample(count, max(1e-6, seconds - idle_seconds), max(1e-6, cpu - idle_cpu))


# ---------------------------------------------------------------------------------------------------- recording alone


class Recorder:
    """Records batches of mails that no ledger of this run has seen, one by one."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger = ledger
        now = utc_now()
        source = ledger.sources.load(name, inbox="main", connector="imap", account=name, horizon=None, now=now)
        stream = ledger.streams.load(name, [("INBOX", "received", 0)], now)[0]
        self._view = View(
            source=name, source_id=source.id, stream_id=stream.id, stream_rank=0, inbox="main",
            epoch=f"{source.generation}:1",
        )  # fmt: skip
        self._numbers = itertools.count()

    def record(self, batch: list[Seen]) -> Sample:
        now, number = utc_now(), next(self._numbers)
        mark = Mark(cursor={"next": number}, epoch="1", complete_until=None, before_horizon=0, finished=False)
        gc.collect()
        begun, cpu = time.perf_counter(), time.process_time()
        recorded = self._ledger.messages.record(self._view, batch, mark, now, now)
        sample = Sample(1, time.perf_counter() - begun, time.process_time() - cpu)
        if len(recorded.new_message_ids) != len(batch):
            raise RuntimeError("a batch was recorded before")
        return sample


def batches(count: int) -> list[list[Seen]]:
    """Batches of mails as a pass gives them to the ledger."""
    rules = SourceRules(
        inbox="main", source="bench", role=StreamRole.RECEIVED, horizon=None, horizon_slack=timedelta(0),
        known_until=None, max_age=timedelta(days=30), duplicates="once", is_own=lambda one: one.startswith("support@"),
    )  # fmt: skip
    now = utc_now()
    seen = []
    for number, raw in enumerate(make_mails(count * BATCH, seed=int.from_bytes(os.urandom(4), "big"))):
        headers = understand_headers(raw.partition(b"\r\n\r\n")[0])
        message = understand(raw)
        assert isinstance(message, Message)
        found = Found(str(number + 1), arrived_at(number), headers.written_at, len(raw), headers.fingerprint)
        one = see(found, "" if message.author is None else message.author.value, rules, now)
        seen.append(replace(one, content=address_message(message, rules)))
    return [seen[start : start + BATCH] for start in range(0, len(seen), BATCH)]


def recording(database: Database, rounds: int) -> Samples:
    """record() of a batch into the full and the empty ledger, in turns."""
    made = batches(rounds)
    ledgers = {fullness: Ledger.open(LedgerSettings(url=url)) for fullness, url in database.urls.items()}
    try:
        recorders = {fullness: Recorder(ledger, "recorder") for fullness, ledger in ledgers.items()}
        samples: Samples = {fullness: [] for fullness in recorders}
        for batch in made:
            for fullness, recorder in recorders.items():
                samples[fullness].append(recorder.record(batch))
        return samples
    finally:
        for ledger in ledgers.values():
            ledger.close()


# ---------------------------------------------------------------------------------------------------- the benchmark


def run(options: Options) -> Section:
    rows, count = options.count(10_000_000, 20_000), options.pick(4_000, 60)
    rounds = options.turns(3)
    users = tuple(f"user{number}" for number in range(rounds))
    whole: list[list[str]] = []
    alone: list[list[str]] = []
    sizes: list[list[str]] = []
    targets: list[Target] = []
    with site(options.folder, users) as where:
        for number, user in enumerate(users):
            where.fill(user, count, seed=100 + number)
        where.warm_up(users[0])
        for opened in (sqlite, postgres):
            try:
                with opened(options, rows) as database:
                    sizes.append([database.name, f"{database.mib:,.0f}"])
                    contestants = {
                        fullness: partial(whole_way, where, database, fullness, iter(users), count)
                        for fullness in (EMPTY, FULL)
                    }
                    samples = take_turns(contestants, rounds)
                    whole += _rows(database.name, samples, 1.0)
                    alone += _rows(database.name, recording(database, options.pick(15, 3)), 1000.0)
            except ModuleNotFoundError as error:
                raise Missing(f"needs {error.name}: pip install 'inbox-sync[postgres]'") from error
            for what, of in (("CPU", cpu_microseconds), ("wall time", _seconds)):
                targets.append(
                    Target(
                        f"{database.name}: {what} per message against an empty ledger",
                        ratio(samples, FULL, EMPTY, of),
                        1.25,
                    )
                )
    return Section(
        f"{rows:,} mapping rows (messages with their places, fingerprints and claims: hashes behind a day; of 160 streams"
        f" in up to three numberings), as many deliveries less the 8 % that were skipped, a tenth as many participants."
        f" `sync` of a mailbox with {count:,} mails from a Dovecot into the stub of the Inbox, less a `sync` that finds"
        f" nothing, so that the start-up does not dilute the ratio; {rounds} interleaved rounds, each with mails of its own."
        " CPU is that of the program and, on PostgreSQL, of the server's processes. PostgreSQL runs as it comes (durable,"
        f" shared_buffers 128 MB), SQLite with synchronous=FULL. Below: `record()` of {BATCH} loaded messages alone.",
        [
            Table(("ledger", "MiB"), sizes),
            Table(("the whole way", "messages/s", "CPU µs each", "wall µs each"), whole),
            Table((f"record() of {BATCH}", "batches/s", "CPU ms each", "wall ms each"), alone),
        ],
        targets,
    )


def _seconds(sample: Sample) -> float:
    return sample.seconds / sample.count


def _rows(name: str, samples: Samples, unit: float) -> list[list[str]]:
    return [
        [
            f"{name}, {fullness}",
            f"{median(turns, per_second):,.0f}",
            f"{median(turns, cpu_microseconds) / unit:,.1f}",
            f"{median(turns, _seconds) * 1e6 / unit:,.1f}",
        ]
        for fullness, turns in samples.items()
    ]
