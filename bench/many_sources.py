"""What hundreds of sources with nothing new cost one daemon."""

from __future__ import annotations

from pathlib import Path

from bench.harness import Missing, Options, Section, Table, Target
from bench.parts import not_modified
from bench.parts.daemon import MANY_CLIENTS, Cost, Daemon, imap_source
from bench.parts.quiet_rest import ENTRY_POINT
from sync.sandbox import Sandbox
from tests.servers.dovecot import PASSWORD, PROGRAM, Dovecot

NAME = "many_sources"
TITLE = "Hundreds of sources with nothing new"
CORE_SHARE = 0.20
MEMORY_MIB = 250.0
THREADS = 24
"""What a daemon may have at a moment: the SQL pool, the passes that run at that moment, and some to spare."""


NOTES = """A thousand sources at 60 s are 17 passes a second, 13 ms of CPU each. An empty pass over one folder by itself is 4
(`empty_pass`): 2.8 of them are the ledger's five transactions, 0.9 the event loop, the rest TLS and IMAP. What hundreds of
sources add to that (a second folder, leases, the schedule, caches that hold another source) was not taken apart. The
design that comes next: one transaction where a pass begins (its source, its streams, what is due) and one where it ends
(its marks and how it went), instead of five, which is some 1.5 ms of each."""


def run(options: Options) -> Section:
    if not PROGRAM.exists():
        raise Missing("needs Dovecot: apt-get install dovecot-imapd")
    imap, rest, idling = options.pick((500, 500, 200), (10, 10, 5))
    seconds, every = options.pick((120.0, "60s"), (1.0, "1s"))
    users = {f"user{number}": PASSWORD for number in range(imap)}
    with Dovecot(users=users, rawlog=False, extra=MANY_CLIENTS) as server, Sandbox() as sandbox:
        polled = _polled(options.folder / "polled", server, sandbox, imap, rest, seconds, every)
        waiting = _waiting(options.folder / "waiting", server, sandbox, idling, seconds, every)
    rows = {f"{imap} IMAP and {rest} REST sources": polled, f"{idling} IMAP sources in IDLE": waiting}
    targets = []
    for what, cost in rows.items():
        targets += [
            Target(f"{what}: share of a core", cost.core_share * 100, CORE_SHARE * 100, unit=" %"),
            Target(f"{what}: resident memory", cost.resident_mib, MEMORY_MIB, unit=" MiB"),
            Target(f"{what}: threads", cost.threads, THREADS),
        ]
    return Section(
        method=f"One daemon, SQLite ledger, every source polled at 60 s, over {seconds:.0f} s after each had its first "
        f"pass. {imap} Dovecot mailboxes over TLS, connections kept, two folders each, no push, and {rest} REST sources "
        "(a connector of `bench/parts/quiet_rest.py` that makes conditional GETs). Apart from it, another daemon with "
        f"{idling} mailboxes in IDLE, polled at 60 s all the same. Folder lists (every hour) and full looks "
        "(every 15) fall outside of the time measured.",
        tables=[
            Table(
                ("", "share of a core", "resident MiB", "threads at most"),
                [
                    [what, f"{cost.core_share:.1%}", f"{cost.resident_mib:.0f}", str(cost.threads)]
                    for what, cost in rows.items()
                ],
            )
        ],
        targets=targets,
        notes=NOTES,
    )


def _polled(folder: Path, server: Dovecot, sandbox: Sandbox, imap: int, rest: int, seconds: float, every: str) -> Cost:
    plugins = folder / "plugins"
    offered = plugins / "quiet_rest-1.0.dist-info"
    offered.mkdir(parents=True)
    (offered / "METADATA").write_text("Metadata-Version: 2.1\nName: quiet-rest\nVersion: 1.0\n")
    (offered / "entry_points.txt").write_text(f"[inbox_sync.connectors]\n{ENTRY_POINT}\n")
    with not_modified.running() as url:
        sources = "".join(imap_source(f"mail{n}", server, f"user{n}", "push = false", every=every) for n in range(imap))
        sources += "".join(
            f'[sources.rest{n}]\nconnector = "quiet_rest"\nevery = "{every}"\nurl = "{url}/{n}"\n\n'
            for n in range(rest)
        )
        with Daemon(folder, sandbox.url, sandbox.site_id, sources, plugins=plugins).running() as daemon:
            daemon.wait_for(lambda: daemon.sources_polled() == imap + rest, "every source has been polled")
            return daemon.cost(seconds)


def _waiting(folder: Path, server: Dovecot, sandbox: Sandbox, idling: int, seconds: float, every: str) -> Cost:
    sources = "".join(imap_source(f"mail{n}", server, f"user{n}", every=every) for n in range(idling))
    with Daemon(folder, sandbox.url, sandbox.site_id, sources).running() as daemon:
        daemon.wait_for(lambda: daemon.sources_polled() == idling, "every source has been polled")
        daemon.wait_for(lambda: _connections(server) == 2 * idling, "every source waits")
        return daemon.cost(seconds)


def _connections(server: Dovecot) -> int:
    return len(server.doveadm("who", "-1").splitlines()) - 1
