"""One writer per SQLite file: a kernel lock beside it, gone the moment its holder is, however it died."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from datetime import datetime
from pathlib import Path

from sync.errors import LedgerError
from sync.ledger.engine import OWNER_ONLY, sqlite_os_problem

NOTE_MAX_BYTES = 4096


class WriterLock:
    """flock(2) on `<database>.lock`, which holds the holder's pid, host and start for the operator who wonders."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.path = database.with_name(database.name + ".lock")
        self._fd: int | None = None

    def take(self, now: datetime) -> None:
        """Takes the lock or raises LedgerError `ledger.locked`, naming who holds it."""
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        except OSError as error:
            raise sqlite_os_problem(self.path, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note = _read_note(fd)
            os.close(fd)
            raise self._locked(note) from None
        except OSError as error:
            os.close(fd)
            raise sqlite_os_problem(self.path, error) from error
        holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started_at": now.isoformat()})
        try:
            give_to_owner(fd, self._database)
            os.ftruncate(fd, 0)
            os.pwrite(fd, holder.encode(), 0)
        except OSError as error:
            os.close(fd)
            raise sqlite_os_problem(self.path, error) from error
        self._fd = fd

    def release(self) -> None:
        """Gives the lock back. The file stays: removing it would let two processes lock two files of one name."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None

    def _locked(self, note: dict[str, object]) -> LedgerError:
        pid = note.get("pid")
        who = "another process"
        if isinstance(pid, int):
            who = f"process {pid} on {note.get('host')}, started {note.get('started_at')}"
        return LedgerError(
            f"the ledger {self._database} is in use by {who}",
            code="ledger.locked",
            next_step="stop that daemon first; commands that need it go through its control socket",
            **({"pid": pid} if isinstance(pid, int) else {}),
        )


def give_to_owner(fd: int, database: Path) -> None:
    """What root makes beside the database belongs to the database's owner, or the daemon could not open it later."""
    if os.geteuid() == 0 and database.exists():
        owner = database.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)


def _read_note(fd: int) -> dict[str, object]:
    try:
        note = json.loads(os.pread(fd, NOTE_MAX_BYTES, 0))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}
