"""Fetching, understanding and recording alone, beside programs that only fetch."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.harness import (
    Missing,
    Options,
    Sample,
    Section,
    Target,
    per_second,
    ratio,
    run_program,
    speed_table,
    take_turns,
)
from bench.parts.mails import fill_maildir
from tests.servers.dovecot import PASSWORD, PROGRAM, Dovecot

NAME = "fetch"
TITLE = "Fetching, understanding and recording"
OURS = "inbox-sync"
PACKAGES = {"mbsync": "isync", "fetchmail": "fetchmail", "getmail": "getmail6"}
SLOW_ONES_MESSAGES = 2_000
"""What fetchmail and getmail take of the mailbox in one turn; mbsync and inbox-sync take all of it."""

NOTES = (
    "Of inbox-sync's CPU about half goes into understanding mails, a quarter into the ledger's rows, a tenth into reading "
    "and parsing IMAP's answers; starting (imports, migrations) is a second of each turn. All of it shares one "
    "interpreter lock, so a second core only serves Dovecot. mbsync understands nothing: it writes what comes to files, "
    "and how long that takes is the disk's affair (its turns differ by a factor of two). A process beside that "
    "understands one half of each batch was built: 10 % faster, at 15 % more CPU and 22 MiB, and not kept, since an Inbox "
    "takes 200 requests a minute. Understanding all mails in two such processes, with the next batch fetched meanwhile, "
    "is the design that would pass mbsync."
)


def run(options: Options) -> Section:
    if not PROGRAM.exists():
        raise Missing("needs Dovecot: apt-get install dovecot-imapd")
    count = options.count(20_000, 200)
    with Dovecot(rawlog=False) as server:
        stat = server.maildir("alice").stat()
        size = fill_maildir(server.maildir("alice"), count, owner=(stat.st_uid, stat.st_gid))
        server.doveadm("index", "-u", "alice", "INBOX")
        turns = _Turns(options.folder, server.imap_port, count)
        contestants: dict[str, Callable[[], Sample]] = {OURS: turns.ours}
        contestants |= {name: turn for name, turn in turns.others().items() if shutil.which(name)}
        samples = take_turns(contestants, options.turns(3))
    others = [name for name in contestants if name != OURS]
    missing = [f"{name} (apt-get install {package})" for name, package in PACKAGES.items() if name not in others]
    targets = [
        Target(f"messages/s against {name} as it comes", ratio(samples, OURS, name, per_second), 1.0, at_least=True)
        for name in others
    ]
    return Section(
        method=f"The same Dovecot mailbox of {count:,} mails ({size / 2**20:.0f} MiB, the mix of `bench/parts/mails.py`), "
        "plain IMAP on loopback. inbox-sync makes one pass into an empty ledger (SQLite, synchronous=FULL): headers, "
        "bodies, understanding, rows, one delivery a message; nothing is sent. mbsync writes a Maildir, getmail too, "
        "fetchmail gives each mail to `cat` (kinder to it than a delivery agent); each as it comes, so "
        f"mbsync and getmail sync files to disk. fetchmail and getmail take {SLOW_ONES_MESSAGES:,} of the mails at a turn. "
        "Starting the program counts.",
        tables=[speed_table(samples, baseline=others[0] if others else OURS)],
        targets=targets,
        notes=NOTES + (f" Missing here: {', '.join(missing)}." if missing else ""),
    )


class _Turns:
    """One turn of each contestant, everything fresh."""

    def __init__(self, folder: Path, port: int, count: int) -> None:
        self._folder = folder
        self._port = port
        self._count = count
        self._turn = 0

    def others(self) -> Mapping[str, Callable[[], Sample]]:
        return {"mbsync": self._mbsync, "fetchmail": self._fetchmail, "getmail": self._getmail}

    def ours(self) -> Sample:
        folder = self._fresh()
        command = [sys.executable, "-m", "bench.parts.one_pass", "--port", str(self._port)]
        ran = run_program([*command, "--database", folder / "ledger.db"], env={**os.environ, "MAIL_PASSWORD": PASSWORD})
        return self._sample(folder, ran.seconds, ran.cpu_seconds, int(ran.output.split()[-1]), self._count)

    def _mbsync(self) -> Sample:
        folder = self._fresh()
        (folder / "rc").write_text(
            f"IMAPStore far\nHost 127.0.0.1\nPort {self._port}\nUser alice\nPass {PASSWORD}\nSSLType None\n"
            f"AuthMechs LOGIN\n\nMaildirStore near\nInbox {folder}/Maildir\n\n"
            f"Channel all\nFar :far:\nNear :near:\nSync Pull\nSyncState {folder}/state\n"
        )
        ran = run_program(["mbsync", "-c", folder / "rc", "-q", "all"])
        got = sum(1 for part in ("new", "cur") for _ in (folder / "Maildir" / part).iterdir())
        return self._sample(folder, ran.seconds, ran.cpu_seconds, got, self._count)

    def _fetchmail(self) -> Sample:
        folder = self._fresh()
        wanted = min(self._count, SLOW_ONES_MESSAGES)
        rc = folder / "rc"
        rc.write_text(
            f'set no bouncemail\npoll 127.0.0.1 protocol IMAP port {self._port} auth password\n  user "alice" password '
            f'"{PASSWORD}" fetchall keep sslproto "" fetchlimit {wanted} mda "cat >> {folder}/mails"\n'
        )
        rc.chmod(0o600)
        # 13: the fetchlimit was reached
        ran = run_program(
            ["fetchmail", "-f", rc, "-i", folder / "ids", "--pidfile", folder / "pid", "-s"], codes=(0, 13)
        )
        return self._sample(folder, ran.seconds, ran.cpu_seconds, wanted, wanted)

    def _getmail(self) -> Sample:
        folder = self._fresh()
        wanted = min(self._count, SLOW_ONES_MESSAGES)
        for part in ("new", "cur", "tmp"):
            (folder / "Maildir" / part).mkdir(parents=True)
        as_root = os.geteuid() == 0  # it does not deliver as root
        if as_root:
            for part in ("", "new", "cur", "tmp"):
                shutil.chown(folder / "Maildir" / part, "nobody")
        (folder / "getmailrc").write_text(
            f"[retriever]\ntype = SimpleIMAPRetriever\nserver = 127.0.0.1\nport = {self._port}\nusername = alice\n"
            f"password = {PASSWORD}\n[destination]\ntype = Maildir\npath = {folder}/Maildir/\n"
            f"{'user = nobody' if as_root else ''}\n"
            f"[options]\nread_all = true\ndelete = false\nverbose = 0\nmax_messages_per_session = {wanted}\n"
        )
        ran = run_program(["getmail", "--getmaildir", folder, "--rcfile", "getmailrc"])
        got = sum(1 for _ in (folder / "Maildir" / "new").iterdir())
        return self._sample(folder, ran.seconds, ran.cpu_seconds, got, wanted)

    def _fresh(self) -> Path:
        self._turn += 1
        folder = self._folder / f"turn{self._turn}"
        folder.mkdir()
        return folder

    @staticmethod
    def _sample(folder: Path, seconds: float, cpu_seconds: float, got: int, wanted: int) -> Sample:
        shutil.rmtree(folder)
        if got != wanted:
            raise RuntimeError(f"{got} of {wanted} mails")
        return Sample(wanted, seconds, cpu_seconds)
