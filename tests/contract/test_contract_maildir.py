"""The contract suite on the three formats of the `maildir` connector."""

from __future__ import annotations

import mailbox
import os
import time
from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from itertools import count
from pathlib import Path

import pytest

from connectors.maildir import MaildirConfig, MaildirConnector
from sync.connector import Connector
from sync.testing.contract import ConnectorContract, World


def mail(text: str, number: int) -> bytes:
    made = EmailMessage()
    made["From"] = "Customer <customer@example.net>"
    made["To"] = "support@example.com"
    made["Subject"] = "a question"
    made["Date"] = "Thu, 12 Mar 2026 14:03:00 +0000"
    del number  # equal texts make equal mails, byte for byte
    made.set_content(text, cte="base64" if not text.isascii() else None)
    return made.as_bytes()


class _Files:
    secrets: Sequence[str] = ()
    grain_seconds = 0.01

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbers = count(1)
        self._base = time.time() - 60

    def put(self, text: str) -> None:
        number = next(self._numbers)
        self._write(text, number, self._base + number * self.grain_seconds)

    def put_at(self, text: str, at: datetime) -> None:
        self._write(text, next(self._numbers), at.timestamp())

    def _write(self, text: str, number: int, at: float) -> None:
        raise NotImplementedError

    def _config(self, **more: object) -> MaildirConfig:
        values = {"path": self.path, "batch_messages": 7, "settle_seconds": 0, **more}
        return MaildirConfig.model_validate(values)

    def connector(self) -> Connector:
        return MaildirConnector(self._config())

    def state(self) -> object:
        paths = [self.path, *self.path.rglob("*")] if self.path.is_dir() else [self.path]
        stats = ((path, path.stat()) for path in paths)
        return {str(path): (found.st_mode, found.st_size, found.st_mtime_ns) for path, found in stats}

    def with_wrong_secret(self) -> Connector | None:
        return None

    def with_wrong_host(self) -> Connector | None:
        return MaildirConnector(self._config(path=self.path.parent / "nowhere"))

    def with_missing_stream(self) -> Connector | None:
        return MaildirConnector(self._config(sent=("Snet",)))


class MaildirWorld(_Files):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        mailbox.Maildir(path, create=True).close()

    def _write(self, text: str, number: int, at: float) -> None:
        name = f"{int(at)}.M{int(at % 1 * 1e6):06d}P1Q{number}.test"
        path = self.path / "tmp" / name
        path.write_bytes(mail(text, number))
        os.utime(path, (at, at))
        path.rename(self.path / "new" / name)


class MboxWorld(_Files):
    grain_seconds = 1.0

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        path.touch()

    def _write(self, text: str, number: int, at: float) -> None:
        raw = mail(text, number).replace(b"\nFrom ", b"\n>From ")
        stamp = time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(at))
        with self.path.open("ab") as file:
            file.write(f"From customer@example.net {stamp}\n".encode() + raw + b"\n")


class EmlWorld(_Files):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        path.mkdir()

    def _write(self, text: str, number: int, at: float) -> None:
        path = self.path / f"{number:04d}.eml"
        path.write_bytes(mail(text, number).replace(b"Thu, 12 Mar 2026 14:03:00 +0000", b"nonsense"))
        os.utime(path, (at, at))


class TestMaildir(ConnectorContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        return MaildirWorld(tmp_path / "Maildir")


class TestMbox(ConnectorContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        return MboxWorld(tmp_path / "mail.mbox")


class TestEml(ConnectorContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        return EmlWorld(tmp_path / "mails")
