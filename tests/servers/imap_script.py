"""A small IMAP server that answers as a test wants: it models folders and messages, and every answer can be replaced.

    with ScriptedImap() as server:
        server.folder("INBOX").add(b"Subject: hi\\r\\n\\r\\nhello")
        server.on("UID FETCH", lambda command: "NO [SERVERBUG] no")      # tagged answer only
        server.on("LOGIN", Drop)                                        # closes the connection

Only what the connector asks for is modelled. What it was asked is in `commands`.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import BinaryIO, Self

from tests.servers.imap_parts import section_of, structure_of

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
CAPABILITIES = "IMAP4rev1 LITERAL+ IDLE UNSELECT SPECIAL-USE LIST-EXTENDED ESEARCH"


class Drop(Exception):
    """Raised by an answer: the connection ends here."""


class Silence(Exception):
    """Raised by an answer: nothing comes, the connection stays open."""


@dataclass
class Mail:
    """A message of a folder. `listed`: SEARCH names it; `shown`: FETCH returns it; `size` may lie."""

    uid: int
    raw: bytes
    arrived_at: datetime
    size: int
    listed: bool = True
    shown: bool = True


@dataclass
class Mailbox:
    """A folder. `uidnext` None: computed; `status_uidnext`, `status_messages`: what STATUS claims instead."""

    wire: bytes
    attributes: str = ""
    uidvalidity: int | None = 1000
    uidnext: int | None = None
    tell_uidnext: bool = True
    mails: list[Mail] = field(default_factory=list)

    def add(
        self, raw: bytes, *, uid: int | None = None, arrived_at: datetime | None = None, size: int | None = None
    ) -> Mail:
        """A new message; its UID is the next one unless the test says otherwise."""
        mail = Mail(uid or self.next, raw, arrived_at or datetime.now(UTC), size if size is not None else len(raw))
        self.mails.append(mail)
        return mail

    @property
    def next(self) -> int:
        """The UIDNEXT this folder claims."""
        return self.uidnext or max((mail.uid for mail in self.mails), default=0) + 1


Answer = Callable[[str], "str | bytes | Sequence[bytes]"]
"""From a command (without its tag) to the answer: a text is the tagged answer (`NO …`, `OK …`); bytes are lines to
send before `OK`."""


class ScriptedImap:
    """The server. One thread a connection; loopback, free port."""

    def __init__(
        self,
        *,
        greeting: bytes = b"* OK ready\r\n",
        capabilities: str = CAPABILITIES,
        delimiter: str = "/",
        password: str | None = None,
    ) -> None:
        self.greeting = greeting
        self.capabilities = capabilities
        self.delimiter = delimiter
        self.password = password
        self.folders: dict[bytes, Mailbox] = {}
        self.commands: list[str] = []
        self.connections = 0
        self.deaf = False
        """Whether what is said in IDLE gets no answer any more, as on a half-open connection."""
        self._answers: list[tuple[str, Answer | type[Exception]]] = []
        self._live: set[socket.socket] = set()
        self._idling: dict[socket.socket, bytes] = {}
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        self.folder("INBOX")
        threading.Thread(target=self._accept, daemon=True, name="imap-script").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def folder(self, wire: str, attributes: str = "") -> Mailbox:
        """The folder of this name (as on the wire), made if need be."""
        return self.folders.setdefault(wire.encode(), Mailbox(wire.encode(), attributes))

    def on(self, command: str, answer: Answer | type[Exception]) -> None:
        """Answers commands that begin so, instead of the model; the latest rule counts. See `Answer`."""
        self._answers.insert(0, (command.upper(), answer))

    def calm(self) -> None:
        """Forgets every rule of `on`."""
        self._answers.clear()

    def open_connections(self) -> int:
        """How many clients are connected."""
        with self._lock:
            return len(self._live)

    def idling(self, wire: str = "INBOX") -> int:
        """How many connections are in IDLE in this folder."""
        with self._lock:
            return sum(folder == wire.encode() for folder in self._idling.values())

    def announce(self, line: bytes, wire: str = "INBOX") -> None:
        """Says a line to every connection that is in IDLE in this folder."""
        with self._lock:
            told = [sock for sock, folder in self._idling.items() if folder == wire.encode()]
        for sock in told:
            sock.sendall(line + b"\r\n")

    def break_all(self) -> None:
        """Ends every open connection."""
        with self._lock:
            live = list(self._live)
        for sock in live:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Ends everything."""
        self._listener.close()
        self.break_all()

    # -- serving

    def _accept(self) -> None:
        while True:
            try:
                sock, _address = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with self._lock:
                self._live.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True, name="imap-script-serve").start()

    def _serve(self, sock: socket.socket) -> None:
        session = _Session(self)
        with sock, sock.makefile("rb") as lines, contextlib.suppress(OSError, Drop):
            sock.sendall(self.greeting)
            while line := lines.readline():
                tag, _space, command = line.decode("utf-8", "surrogateescape").strip().partition(" ")
                self.commands.append(re.sub(r"(?i)^(LOGIN \S+).*", r"\1", command))
                try:
                    if command.upper() == "IDLE" and self.scripted(command) is None:
                        self._idle(sock, lines, tag, session.opened)
                    else:
                        sock.sendall(session.answer(tag, command))
                except Silence:
                    lines.readline()
                    return self._gone(sock)
                if command.upper() == "LOGOUT":
                    break
        return self._gone(sock)

    def _idle(self, sock: socket.socket, lines: BinaryIO, tag: str, folder: bytes) -> None:
        sock.sendall(b"+ idling\r\n")
        with self._lock:
            self._idling[sock] = folder
        ended = lines.readline()
        with self._lock:
            del self._idling[sock]
        if not ended:
            raise Drop
        self.commands.append(ended.decode().strip())
        if self.deaf:
            lines.readline()
            raise Drop
        sock.sendall(f"{tag} OK idled\r\n".encode())

    def _gone(self, sock: socket.socket) -> None:
        with self._lock:
            self._live.discard(sock)

    def scripted(self, command: str) -> str | bytes | Sequence[bytes] | None:
        """What a rule of `on` says to this command."""
        for start, answer in self._answers:
            if command.upper().startswith(start):
                if isinstance(answer, type):
                    raise answer
                return answer(command)
        return None


class _Session:
    """One connection's state: the open folder."""

    def __init__(self, server: ScriptedImap) -> None:
        self._server = server
        self._open: Mailbox | None = None

    @property
    def opened(self) -> bytes:
        """The open folder's name."""
        return self._open.wire if self._open else b""

    def answer(self, tag: str, command: str) -> bytes:
        said = self._server.scripted(command)
        if said is None:
            said = self.model(command)
        if isinstance(said, str):
            return f"{tag} {said}\r\n".encode("utf-8", "surrogateescape")
        lines = [said] if isinstance(said, bytes) else said
        return b"".join(line + b"\r\n" for line in lines) + f"{tag} OK done\r\n".encode()

    def model(self, command: str) -> str | bytes | Sequence[bytes]:
        verb, _space, rest = command.partition(" ")
        verb = verb.upper()
        if verb == "UID":
            verb, _space, rest = rest.partition(" ")
            return self._search(rest) if verb.upper() == "SEARCH" else list(self._fetch(rest))
        handlers: dict[str, Callable[[str], str | bytes | Sequence[bytes]]] = {
            "CAPABILITY": lambda _rest: f"* CAPABILITY {self._server.capabilities}".encode(),
            "LOGIN": self._log_in,
            "LIST": lambda _rest: self._list(),
            "STATUS": self._status,
            "EXAMINE": self._examine,
            "LOGOUT": lambda _rest: b"* BYE see you",
        }
        handler = handlers.get(verb)
        return handler(rest) if handler else "OK done"

    def _log_in(self, rest: str) -> str:
        wanted = self._server.password
        if wanted is not None and f'"{wanted}"' not in rest:
            return "NO [AUTHENTICATIONFAILED] Authentication failed."
        return "OK signed in"

    def _list(self) -> Sequence[bytes]:
        delimiter = f'"{self._server.delimiter}"' if self._server.delimiter else "NIL"
        return [
            f"* LIST ({box.attributes}) {delimiter} ".encode() + b'"' + box.wire + b'"'
            for box in self._server.folders.values()
        ]

    def _named(self, rest: str) -> Mailbox | None:
        match = re.match(r'"((?:[^"\\]|\\.)*)"', rest)
        wire = re.sub(r"\\(.)", r"\1", match[1]) if match else rest.split(" ", maxsplit=1)[0]
        return self._server.folders.get(wire.encode("utf-8", "surrogateescape"))

    def _status(self, rest: str) -> str | bytes:
        box = self._named(rest)
        if box is None:
            return "NO [NONEXISTENT] no such folder"
        numbers = [f"MESSAGES {sum(mail.listed for mail in box.mails)}"]
        if box.tell_uidnext:
            numbers.append(f"UIDNEXT {box.next}")
        if box.uidvalidity is not None:
            numbers.append(f"UIDVALIDITY {box.uidvalidity}")
        return b'* STATUS "' + box.wire + f'" ({" ".join(numbers)})'.encode()

    def _examine(self, rest: str) -> str | Sequence[bytes]:
        box = self._open = self._named(rest)
        if box is None:
            return "NO [NONEXISTENT] no such folder"
        lines = [f"* {sum(mail.listed for mail in box.mails)} EXISTS".encode(), b"* 0 RECENT"]
        if box.uidvalidity is not None:
            lines.append(f"* OK [UIDVALIDITY {box.uidvalidity}] valid".encode())
        if box.tell_uidnext:
            lines.append(f"* OK [UIDNEXT {box.next}] next".encode())
        return lines

    def _mails(self) -> list[Mail]:
        return self._open.mails if self._open else []

    def _search(self, rest: str) -> bytes:
        listed = [mail for mail in self._mails() if mail.listed]
        if match := re.search(r"UID ([0-9:,*]+)", rest):
            wanted = _uid_set(match[1], [mail.uid for mail in listed])
            listed = [mail for mail in listed if mail.uid in wanted]
        if match := re.search(r"SINCE (\d+)-(\w+)-(\d+)", rest):
            day = datetime(int(match[3]), _MONTHS.index(match[2]) + 1, int(match[1]), tzinfo=UTC)
            listed = [mail for mail in listed if mail.arrived_at >= day]
        uids = " ".join(str(mail.uid) for mail in listed)
        if "RETURN" in rest:
            ranges = f" ALL {uids.replace(' ', ',')}" if uids else ""
            return f'* ESEARCH (TAG "X") UID{ranges}'.encode()
        return f"* SEARCH {uids}".encode()

    def _fetch(self, rest: str) -> Iterable[bytes]:
        uids, _space, items = rest.partition(" ")
        shown = [mail for mail in self._mails() if mail.shown]
        wanted = _uid_set(uids, [mail.uid for mail in shown])
        for number, mail in enumerate(shown, 1):
            if mail.uid in wanted:
                yield f"* {number} FETCH (".encode() + fetch_items(mail, items) + b")"


def fetch_items(mail: Mail, items: str) -> bytes:
    """What FETCH says of a mail for these items."""
    parts = [f"UID {mail.uid}".encode()]
    if "RFC822.SIZE" in items:
        parts.append(f"RFC822.SIZE {mail.size}".encode())
    if "INTERNALDATE" in items:
        at = mail.arrived_at
        parts.append(f'INTERNALDATE "{at.day:2d}-{_MONTHS[at.month - 1]}-{at:%Y %H:%M:%S} +0000"'.encode())
    if "BODYSTRUCTURE" in items and (structure := structure_of(mail.raw)) is not None:
        parts.append(b"BODYSTRUCTURE " + structure)
    for match in re.finditer(r"BODY\.PEEK(\[([^\]]*)\])(?:<(\d+)\.(\d+)>)?", items):
        octets = section_of(mail.raw, match[2])
        offset = ""
        if match[3]:
            octets = octets[int(match[3]) : int(match[3]) + int(match[4])]
            offset = f"<{match[3]}>"
        parts.append(f"BODY{match[1]}{offset} {{{len(octets)}}}\r\n".encode() + octets)
    return b" ".join(parts)


def _uid_set(text: str, existing: Sequence[int]) -> set[int]:
    highest = max(existing, default=0)
    wanted: set[int] = set()
    for piece in text.split(","):
        first, _colon, last = piece.partition(":")
        ends = sorted(highest if end == "*" else int(end) for end in (first, last or first))
        wanted.update(uid for uid in existing if ends[0] <= uid <= ends[1])
    return wanted
