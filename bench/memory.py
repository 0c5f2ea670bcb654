"""The most memory a daemon takes: many ordinary mails, one as large as allowed, and one far beyond."""

from __future__ import annotations

import base64
import os
import random
from pathlib import Path

from bench.harness import Missing, Options, Section, Table, Target, resident_mib
from bench.parts import stub
from bench.parts.daemon import Daemon, imap_source
from bench.parts.mails import fill_maildir
from tests.servers.dovecot import PROGRAM, Dovecot

NAME = "memory"
TITLE = "Peak memory"
MANY_MIB = 160.0
LIMIT_BYTES = 25 * 2**20
"""The default of size_limit_bytes."""
HUGE_BYTES = 2**30
NOISE_MIB = 8.0
"""What two runs of the same may differ by."""
NOTES = """Before its first mail a daemon takes some 75 MiB, 20 of them code of libraries that the system shares between
processes; the migrations of a first start add 9. The rest is the window of 2,000 waiting deliveries, the page caches of
SQLite's connections, a batch of 200 mails, and statements that are kept. Threads share one arena of malloc
(`sync/heap.py`): with arenas of their own the peak was 30 MiB higher."""
SENT = "SELECT count(*) FROM deliveries WHERE state = 'sent'"


def run(options: Options) -> Section:
    if not PROGRAM.exists():
        raise Missing("needs Dovecot: apt-get install dovecot-imapd")
    count, huge = options.pick((20_000, HUGE_BYTES), (20, 2**25))
    with stub.running() as url:
        many = _peak(options.folder / "many", url, count, [])
        limit = _peak(options.folder / "limit", url, count, [LIMIT_BYTES - 4096])
        beyond = _peak(options.folder / "beyond", url, count, [LIMIT_BYTES - 4096, huge])
    limit_mib = LIMIT_BYTES / 2**20
    return Section(
        method=f"One daemon, Dovecot over TLS, SQLite ledger, a stub of the Inbox on loopback, no budget: {count:,} mails "
        "of up to 60 KB until all are sent; the same and one mail at the size limit "
        f"({limit_mib:g} MiB, most of it one attachment); the same and one mail of {huge / 2**20:,.0f} MiB besides. "
        "The figure is the peak of the resident set (VmHWM), which counts everything the process ever held at a time, "
        "migrations at the start included.",
        tables=[
            Table(
                ("mailbox", "peak MiB"),
                [
                    [f"{count:,} mails of up to 60 KB", f"{many:.0f}"],
                    [f"and one of {limit_mib:g} MiB", f"{limit:.0f}"],
                    [f"and one of {huge / 2**20:,.0f} MiB", f"{beyond:.0f}"],
                ],
            )
        ],
        targets=[
            Target(f"{count:,} mails", many, MANY_MIB, unit=" MiB"),
            Target("and one at the size limit", limit, MANY_MIB + 3 * limit_mib, unit=" MiB"),
            Target("and one far beyond it: more than without it", beyond - limit, NOISE_MIB, unit=" MiB"),
        ],
        notes=NOTES,
    )


def _peak(folder: Path, url: str, count: int, large: list[int]) -> float:
    with Dovecot(rawlog=False) as server:
        place = server.maildir("alice")
        stat = place.stat()
        fill_maildir(place, count, owner=(stat.st_uid, stat.st_gid))
        for number, size in enumerate(large):
            path = place / "cur" / f"{2_000_000_000 + number}.M{number}P2.bench:2,"
            _write_large(path, number, size)
            os.chown(path, stat.st_uid, stat.st_gid)
        server.doveadm("index", "-u", "alice", "INBOX")
        source = imap_source(
            "mail",
            server,
            "alice",
            'start = "all"\nmax_age_days = 36500\nfolders = ["INBOX"]\npush = false\nread_timeout_seconds = 300',
        )
        with Daemon(folder, url, "site", source).running() as daemon:
            daemon.wait_for(lambda: daemon.asked(SENT) >= count + len(large), "everything is sent", 900)
            return resident_mib(daemon.pid, peak=True)


def _write_large(path: Path, number: int, size: int) -> None:
    """A mail whose attachment makes up its size."""
    line = base64.b64encode(random.Random(number).randbytes(57)) + b"\r\n"
    block = line * 10_000
    with path.open("wb") as file:
        file.write(
            b"From: large%d@example.com\r\nTo: support@shop.example\r\nSubject: large\r\n"
            b"Message-ID: <large%d@example.com>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n"
            b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            b"--b\r\nContent-Type: text/plain\r\n\r\nSee the film.\r\n--b\r\nContent-Type: video/mp4; name=film.mp4\r\n"
            b"Content-Disposition: attachment; filename=film.mp4\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            % (number, number)
        )
        while file.tell() + len(block) < size:
            file.write(block)
        while file.tell() + len(line) + 16 < size:
            file.write(line)
        file.write(b"--b--\r\n")
