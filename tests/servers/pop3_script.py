"""A small POP3 server that answers as a test wants: it models one maildrop, and every answer can be replaced.

with ScriptedPop3() as server:
    server.add(b"Subject: hi\\r\\n\\r\\nhello")
    server.on("TOP", "-ERR no such command")        # instead of the model
    server.on("RETR", Drop)                         # closes the connection; Silence: never answers
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CAPABILITIES = ("TOP", "UIDL", "USER", "PIPELINING")


class Drop(Exception):
    """As an answer: the connection ends here."""


class Silence(Exception):
    """As an answer: nothing comes, the connection stays open."""


@dataclass
class Mail:
    """A message of the maildrop; `size` may lie."""

    uidl: str
    raw: bytes
    size: int


class ScriptedPop3:
    """The server. One thread a connection; loopback, free port."""

    def __init__(self, *, capabilities: tuple[str, ...] | None = CAPABILITIES, greeting: str = "+OK ready") -> None:
        self.capabilities = capabilities
        self.greeting = greeting
        self.mails: list[Mail] = []
        self.commands: list[str] = []
        self.connections = 0
        self._answers: dict[str, str | type[Exception]] = {}
        self._live: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name="pop3-script").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for live in list(self._live):
            live.close()

    def add(self, raw: bytes, *, uidl: str | None = None, size: int | None = None) -> Mail:
        """A new message at the end of the maildrop."""
        mail = Mail(f"u{len(self.mails) + 1}" if uidl is None else uidl, raw, len(raw) if size is None else size)
        self.mails.append(mail)
        return mail

    def on(self, command: str, answer: str | type[Exception]) -> None:
        """Answers commands that begin so, instead of the model."""
        self._answers[command.upper()] = answer

    def calm(self) -> None:
        """Forgets every rule of `on`."""
        self._answers.clear()

    # -- connections

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self._listener.accept()
                self.connections += 1
                self._live.add(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, Drop), connection, connection.makefile("rb") as lines:
            connection.sendall(self.greeting.encode() + b"\r\n")
            for line in lines:
                command = line.decode("utf-8", "replace").strip()
                self.commands.append(command)
                try:
                    connection.sendall(self._answer(command))
                except Silence:
                    for _ignored in lines:  # nothing behind it is answered either
                        pass
                if command.upper() == "QUIT":
                    return
        self._live.discard(connection)

    def _answer(self, command: str) -> bytes:
        for begin, answer in self._answers.items():
            if command.upper().startswith(begin):
                if isinstance(answer, str):
                    return answer.encode() + b"\r\n"
                raise answer
        word, _, rest = command.upper().partition(" ")
        if word == "CAPA":
            return b"-ERR\r\n" if self.capabilities is None else _lines([one.encode() for one in self.capabilities])
        if word == "UIDL":
            return _lines([f"{number} {mail.uidl}".encode() for number, mail in enumerate(self.mails, 1) if mail.uidl])
        if word == "LIST":
            return _lines([f"{number} {mail.size}".encode() for number, mail in enumerate(self.mails, 1)])
        if word == "RETR":
            return _lines(self.mails[int(rest) - 1].raw.split(b"\r\n"))
        if word == "TOP":
            number, _, count = rest.partition(" ")
            header, _, body = self.mails[int(number) - 1].raw.partition(b"\r\n\r\n")
            return _lines([*header.split(b"\r\n"), b"", *body.split(b"\r\n")[: int(count)]])
        return b"+OK\r\n"


def _lines(lines: list[bytes]) -> bytes:
    return b"+OK\r\n" + b"".join((b"." + one if one.startswith(b".") else one) + b"\r\n" for one in lines) + b".\r\n"
