"""A pass that finds nothing, on a kept connection, in folders of different sizes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.harness import Missing, Options, Section, Table, Target
from connectors.imap import ImapConfig, ImapConnector
from sync.clock import SystemClock
from sync.ledger import Ledger
from sync.logs import configure
from sync.mail.address import OwnAddresses
from sync.poll import Poller
from sync.settings import LedgerSettings, SourceSettings
from tests.servers.dovecot import PASSWORD, PROGRAM, Dovecot

NAME = "empty_pass"
TITLE = "A pass that finds nothing"
FLAT = 1.25
"""Passes over the largest folder may cost this much of those over the smallest: what is left for noise."""


LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
"""Before the sources' start, so that their first pass lists nothing."""
SETTLE_SECONDS = 2.5
"""Dovecot goes by the time of change of a Maildir's folder, in whole seconds: what it saw in the very second of a change
it looks through again each time. So it looks once more when that is over, as it would have in an old folder."""
LINKS_MAX = 50_000
"""Links to one file; file systems allow some 65,000."""


NOTES = """The program's own part is flat: its CPU differs by less than a millisecond. What is not CPU is waiting for
Dovecot, which takes some 3 ms longer to answer STATUS for 200,000 mails than for 200: it has to be asked something, and
there is no cheaper question that tells of new mail. As the program's part became shorter, the ratio grew."""


@dataclass(frozen=True, slots=True)
class Passes:
    """What `passes` passes cost: commands on the wire for each, wall and CPU of the median one."""

    commands: float
    milliseconds: float
    cpu_milliseconds: float


def run(options: Options) -> Section:
    if not PROGRAM.exists():
        raise Missing("needs Dovecot: apt-get install dovecot-imapd")
    configure("warning", "console")
    sizes = options.pick((200, 20_000, 200_000), (20, 200, 400))
    passes = options.pick(100, 5)
    users = {f"user{size}": PASSWORD for size in sizes}
    with Dovecot(users=users) as server:
        for size in sizes:
            _fill(server, f"user{size}", size)
        time.sleep(SETTLE_SECONDS)
        for size in sizes:
            server.doveadm("index", "-u", f"user{size}", "INBOX")
        costs = asyncio.run(_measure(server, options.folder, sizes, passes, options.turns(3)))
    smallest, largest = costs[sizes[0]], costs[sizes[-1]]
    return Section(
        method=f"Dovecot, one folder a source, connection kept; each source's first three passes are not counted, {passes} "
        "passes a turn are, sizes in turns. Commands are counted in Dovecot's own log of what it read. The pass is a whole "
        "one: lease aside, everything that a daemon does for it, its rows in the ledger (SQLite, synchronous=FULL) too.",
        tables=[
            Table(
                ("mails in the folder", "commands a pass", "ms a pass", "CPU ms a pass"),
                [
                    [f"{size:,}", f"{one.commands:g}", f"{one.milliseconds:.2f}", f"{one.cpu_milliseconds:.2f}"]
                    for size, one in costs.items()
                ],
            )
        ],
        targets=[
            Target(f"round trips, {sizes[-1]:,} mails", largest.commands, 1.0),
            Target(f"time against {sizes[0]:,} mails", largest.milliseconds / smallest.milliseconds, FLAT),
        ],
        notes=NOTES,
    )


def _fill(server: Dovecot, user: str, size: int) -> None:
    """Tiny mails, most of them links to others: a folder of 200,000 takes seconds. They lie in `cur`, as mail that some
    program has seen."""
    raw = b"From: c@example.com\r\nSubject: tiny\r\nDate: Thu, 01 Jan 2026 10:00:00 +0000\r\n\r\nhello\r\n"
    cur = server.maildir(user) / "cur"
    original = cur
    for number in range(size):
        path = cur / f"{number + 1}.M{number}P1.bench,S={len(raw)}:2,"
        if number % LINKS_MAX == 0:
            original = server.deliver(user, "INBOX", raw, mtime=LONG_AGO).rename(path)
        else:
            path.hardlink_to(original)


async def _measure(server: Dovecot, folder: Path, sizes: tuple[int, ...], passes: int, turns: int) -> dict[int, Passes]:
    ledger = Ledger.open(LedgerSettings(url=f"sqlite:///{folder}/ledger.db"), writer=True)
    ledger.inboxes.load("main", "site", SystemClock().now())
    pollers = {size: _poller(server, ledger, f"user{size}") for size in sizes}
    samples: dict[int, list[Passes]] = {size: [] for size in sizes}
    try:
        for poller in pollers.values():
            for _ in range(3):  # after the first look the folder is left, and the connection is renewed once
                report = await poller.run_pass()
                if report.error is not None:
                    raise report.error
        for _ in range(turns):
            for size in sizes:
                samples[size].append(await _turn(server, pollers[size], passes))
    finally:
        for poller in pollers.values():
            await poller.connector.aclose()
        ledger.close()
    return {size: _middle(several) for size, several in samples.items()}


def _middle(samples: list[Passes]) -> Passes:
    return sorted(samples, key=lambda one: one.milliseconds)[len(samples) // 2]


async def _turn(server: Dovecot, poller: Poller, passes: int) -> Passes:
    server.forget_commands(poller.name)
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(passes):
        report = await poller.run_pass()
        assert report.error is None
        assert report.found == 0
    milliseconds, cpu_milliseconds = (time.perf_counter() - began) * 1e3, (time.process_time() - cpu) * 1e3
    commands = len(server.commands(poller.name))
    return Passes(commands / passes, milliseconds / passes, cpu_milliseconds / passes)


def _poller(server: Dovecot, ledger: Ledger, user: str) -> Poller:
    connector = ImapConnector(
        ImapConfig.model_validate(
            {
                "host": "localhost",
                "port": server.imaps_port,
                "ca_file": server.ca_file,
                "username": user,
                "password": PASSWORD,
                "folders": ["INBOX"],
                "push": False,
            }
        )
    )
    return Poller(
        user,
        SourceSettings(connector="imap"),
        inbox="main",
        connector=connector,
        own_addresses=OwnAddresses(()),
        ledger=ledger,
        spool_max_bytes=2**28,
        http=None,
        clock=SystemClock(),
    )
