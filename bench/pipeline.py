"""The whole way, IMAP to Inbox, beside two hand-written loops over the same mailbox and the same server."""

from __future__ import annotations

import itertools
import re
import shutil
import sys
from functools import partial
from pathlib import Path

from bench.harness import (
    Missing,
    Options,
    Ran,
    Sample,
    Section,
    Table,
    Target,
    cpu_microseconds,
    median,
    per_second,
    ratio,
    run_program,
    speed_table,
    take_turns,
)
from bench.parts import stub
from bench.parts.mails import customers_of
from bench.parts.site import LANES, Site, site

NAME = "pipeline"
TITLE = "The whole way: IMAP → ledger → Inbox"
NOTES = """
Where the program's CPU goes (threads' own clocks and a profile, a run of 6,000 mails on a quiet machine, 1,870 µs each):
understanding contents 24 %, which the first loop pays, too; the ledger 28 %: committing intents and results 13, of which
half is SQLite writing pages, recording 6, reading contents and small files back 4.5, the window and progress 4.5; listing
headers 3; starting up 9 % (3 % of a run of 20,000); the event loop without that 36 %: HTTP exchanges, 1.9 for each mail,
12; rendering, hashing and checking what is sent and reading the answer 10, half of which the first loop pays, too; rules
about senders and files 3; the rest is some ten callbacks for each mail: tasks, futures, and handing work to threads. All
threads share one interpreter lock, so that wall time follows CPU.

What would come closer: frozen requests in a table of their own, so that the pages of deliveries are not split and filled
again for each (a third of what SQLite writes); contents passed on in memory as long as the spool allows, the ledger's copy
being read only after a start; a lane as one long task instead of a task, and four futures, for each delivery; answers
read without httpx's objects around them. Together these are some 300 µs, and the CPU would still be 1.8 times that of
the loop: the rest is what the promise costs, two durable commits, an order and a proof of each send. Understanding one half
of each batch in a process beside was built and measured (`bench fetch`: 10 % faster, at 15 % more CPU and 22 MiB), and not
kept. An Inbox takes 200 requests a minute: at that rate the program uses less than one part in a hundred of a core.
"""
PROGRAM = "`inbox-sync sync` (SQLite, FULL)"
UNDERSTANDING = "loop with the program's understanding, keeps nothing"
DURABLE = "reference loop: compat32, durable, sends only"
FSYNCS = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(fsync|fdatasync)$", re.MULTILINE)
_turns = itertools.count()


def _sample(count: int, ran: Ran) -> Sample:
    return Sample(count, ran.seconds, ran.cpu_seconds, {"peak_mib": ran.peak_mib})


def program(where: Site, count: int) -> Sample:
    ledger = where.folder / f"program-{next(_turns)}.db"
    config = where.configure("program", f"sqlite:///{ledger}")
    sample = _sample(count, where.sync(config, expected=count))
    for file in ledger.parent.glob(f"{ledger.name}*"):
        file.unlink()
    return sample


def hand_written(where: Site, count: int, kind: str) -> Sample:
    database = where.folder / f"{kind}-{next(_turns)}.db"
    stub.take_counts(where.inbox_url)
    ran = run_program(
        [sys.executable, "-m", "bench.parts.loops", kind, "--port", str(where.server.imap_port),
         "--url", where.inbox_url, "--database", database],
        env=where.environ(),
    )  # fmt: skip
    if (arrived := stub.take_counts(where.inbox_url)[stub.MESSAGES]) != count:
        raise RuntimeError(f"{count} messages were to arrive, {arrived} did")
    database.unlink(missing_ok=True)
    return _sample(count, ran)


def fsyncs(where: Site, count: int) -> float:
    """fsync and fdatasync calls for each delivered message, counted by strace (which stops at nothing else)."""
    strace = shutil.which("strace")
    if strace is None:
        raise Missing("needs strace: apt-get install strace")
    ledger, report = where.folder / "traced.db", where.folder / "traced.txt"
    config = where.configure("traced", f"sqlite:///{ledger}")
    before = (strace, "-f", "-c", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o", str(report))
    where.sync(config, expected=count, before=before)
    return sum(int(calls) for calls, _ in FSYNCS.findall(Path(report).read_text())) / count


def run(options: Options) -> Section:
    count = options.count(20_000, 300)
    rounds = options.turns(3)
    with site(options.folder) as where:
        size = where.fill("alice", count)
        where.warm_up("alice")
        hand_written(where, count, "understanding")  # the server reads every mail once before it is measured
        samples = take_turns(
            {
                PROGRAM: partial(program, where, count),
                UNDERSTANDING: partial(hand_written, where, count, "understanding"),
                DURABLE: partial(hand_written, where, count, "durable"),
            },
            rounds,
        )
        syncs = fsyncs(where, count)
    peaks = [[name, f"{median(turns, lambda turn: turn.more['peak_mib']):.0f}"] for name, turns in samples.items()]
    cold = customers_of(count) / count
    return Section(
        f"{count:,} mails, {size / count / 1000:.1f} kB each in the mean, a fifth with files, in a Dovecot on loopback; the"
        f" Inbox is a stub in a process of its own that answers at once. {LANES} lanes, the budget lifted. {cold:.0%} of the"
        " mails are the first of their customer, which costs three calls more (look for the contact, create it, open the"
        " conversation). Each figure is of a whole process, its start included, to the last recorded answer; medians of"
        f" {rounds} interleaved rounds. The first loop makes the same calls, uploads of files among them, with"
        " the program's own understanding of mail but keeps no ledger, no order and reads nothing back; the second uploads"
        " nothing, understands mail as the standard library does,"
        " commits intents and results in groups to SQLite (synchronous=FULL), and makes no calls but sends. Both fetch in"
        f" batches of 200 with imaplib and keep {LANES} requests in flight over hand-written HTTP (bench/parts/loops.py)."
        " fsyncs were counted with strace in a run apart.",
        [
            speed_table(samples, baseline=UNDERSTANDING),
            Table(("", "peak MiB"), peaks),
            Table(("", "each message"), [["fsync and fdatasync calls of the program", f"{syncs:.3f}"]]),
        ],
        [
            Target(
                "speed against the loop that keeps nothing",
                ratio(samples, PROGRAM, UNDERSTANDING, per_second),
                0.6,
                at_least=True,
            ),
            Target("CPU against it", ratio(samples, PROGRAM, UNDERSTANDING, cpu_microseconds), 1.6),
            Target(
                "speed against the reference loop", ratio(samples, PROGRAM, DURABLE, per_second), 0.5, at_least=True
            ),
            Target("fsyncs for each delivered message", syncs, 0.2),
        ],
        NOTES,
    )
