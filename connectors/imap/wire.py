"""The one module that speaks IMAP: a typed, blocking connection on the standard library's imaplib.

imaplib reads literals several times faster than the packages built around it; `client.py` adds what it lacks.

Every method blocks, for one thread at a time; `abort` alone may be called from any thread at any time. Errors come
out as they are (OSError, ssl.SSLError, imaplib's, LiteralTooLong and Refused): `faults.translate` gives them their meaning.
"""

from __future__ import annotations

import contextlib
import imaplib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence

from sync.errors import ConfigError
from sync.kit.oauth import TOKEN_MECHANISMS, Credential, sasl_response
from sync.kit.tls import Tls, tls_context

from .answers import Fetched, Part, read_esearch, read_fetch, read_list, read_search, read_status
from .bookmark import Look
from .client import MAX_ANSWER_LITERAL_BYTES, Client
from .config import ImapConfig
from .folders import Folder
from .uids import UidRanges

LOGOUT_TIMEOUT_SECONDS = 5.0


class Refused(Exception):
    """The server answered NO or BAD: the connection is sound, this command was not done."""

    def __init__(self, command: str, kind: str, text: str) -> None:
        super().__init__(f"{command}: {kind} {text}")
        self.command = command
        self.kind = kind
        self.text = text


class Wire:
    """One connection to the server. `connect`, `log_in`, then commands; `close` when it is not needed any more."""

    def __init__(self, config: ImapConfig) -> None:
        self._config = config
        self._guard = threading.Lock()
        self._socket: socket.socket | None = None
        self._client: Client | None = None
        self._busy = False
        self._aborted = False
        self.capabilities: frozenset[str] = frozenset()
        self.protected = False
        self.listed = False
        """Whether folders were listed on this connection."""
        self.selected: bytes | None = None
        self.opened: Look | None = None

    # -- life cycle

    def connect(self) -> None:
        """Opens the connection and reads the greeting; after it the connection is protected as configured."""
        config = self._config
        context = tls_context(config.ca_file, code="imap.ca_file") if config.tls is not Tls.NONE else None
        self._client = Client(lambda: self._dial(context if config.tls is Tls.IMPLICIT else None))
        self.capabilities = frozenset(name.upper() for name in self._client.capabilities)
        if config.tls is Tls.STARTTLS and context is not None:
            self._start_tls(context)
        self.protected = config.tls is not Tls.NONE

    def _dial(self, context: ssl.SSLContext | None) -> socket.socket:
        config = self._config
        failure: OSError | None = None
        found = socket.getaddrinfo(config.host, config.effective_port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _name, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                self._hold(sock)
                sock.settimeout(config.connect_timeout_seconds)
                sock.connect(address)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                if context is not None:
                    sock = self._protect(sock, context)
            except ssl.SSLError:
                sock.close()
                raise
            except OSError as error:
                sock.close()
                failure = error
            else:
                sock.settimeout(config.read_timeout_seconds)
                return sock
        raise failure or OSError("the name has no address")

    def _protect(self, sock: socket.socket, context: ssl.SSLContext) -> socket.socket:
        protected = context.wrap_socket(sock, server_hostname=self._config.host, do_handshake_on_connect=False)
        try:
            self._hold(protected)
            protected.do_handshake()
        except BaseException:
            protected.close()
            raise
        return protected

    def _hold(self, sock: socket.socket) -> None:
        with self._guard:
            self._socket = sock
            if self._aborted:
                raise ConnectionAbortedError("the connection was given up")

    def _start_tls(self, context: ssl.SSLContext) -> None:
        client = self._live()
        if "STARTTLS" not in self.capabilities or client.state != "NONAUTH":
            raise ConfigError(
                f"{self._config.host} offers no STARTTLS on port {self._config.effective_port}.",
                code="imap.starttls_missing",
                next_step='Use tls = "implicit" with port 993; ask the provider which of the two it has.',
            )
        self._done("STARTTLS", self._call(client, "STARTTLS"))
        plain = client.sock
        plain.settimeout(self._config.connect_timeout_seconds)
        client.use(self._protect(plain, context))
        client.sock.settimeout(self._config.read_timeout_seconds)
        self._read_capabilities()

    def abort(self) -> None:
        """Makes whatever blocks on this connection fail now. From any thread."""
        with self._guard:
            self._aborted = True
            sock, busy = self._socket, self._busy
            if sock is None:
                return
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not SSLSocket's: it would drop the TLS layer first
        if not busy:
            self.close()

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Around the work of a thread: an `abort` meanwhile leaves closing to the thread."""
        with self._guard:
            self._busy = True
        try:
            yield
        finally:
            with self._guard:
                self._busy = False
                aborted = self._aborted
            if aborted:
                self.close()

    @property
    def aborted(self) -> bool:
        """Whether `abort` was called."""
        return self._aborted

    @property
    def closed(self) -> bool:
        """Whether nothing can be asked on it any more."""
        return self._client is None or self._aborted

    def hand_over(self) -> tuple[socket.socket, bytes]:
        """Gives the socket away, non-blocking, with what was read ahead on it; nothing can be asked here any more. Until
        `let_go` it is still closed with this."""
        client = self._live()
        self._client = None
        return client.hand_over()

    def let_go(self) -> None:
        """The socket is somebody else's now."""
        with self._guard:
            self._socket = None

    def log_out(self) -> None:
        """Says good-bye and closes."""
        client = self._client
        if client is not None and not self._aborted:
            with contextlib.suppress(OSError, imaplib.IMAP4.error):
                client.sock.settimeout(LOGOUT_TIMEOUT_SECONDS)
                client.logout()
        self.close()

    def close(self) -> None:
        """Closes without a word. May be called again."""
        with self._guard:
            client, self._client = self._client, None
            sock, self._socket = self._socket, None
        if client is not None:
            client.shutdown()
        if sock is not None:
            sock.close()

    # -- commands

    def log_in(self, credential: Credential) -> None:
        """With a token XOAUTH2 or OAUTHBEARER; with a password LOGIN, or AUTHENTICATE PLAIN where LOGIN is disabled or
        the password is not ASCII (RFC 4616)."""
        client = self._live()
        if client.state != "NONAUTH":
            return
        if credential.is_token:
            self._present_token(client, credential)
        else:
            self._present_password(client, credential.username, credential.secret)
        self._read_capabilities()
        if "ID" in self.capabilities:  # some providers open no folder for programs that do not say who they are
            with contextlib.suppress(Refused):
                self._done("ID", self._call(client, "ID", b'("name" "inbox-sync")'))

    def _present_token(self, client: Client, credential: Credential) -> None:
        mechanism = next((name for name in TOKEN_MECHANISMS if f"AUTH={name}" in self.capabilities), None)
        if mechanism is None:
            raise Refused("AUTHENTICATE", "DISABLED", self._offered())
        answer = sasl_response(mechanism, credential, self._config.host, self._config.effective_port)
        with _refusals("AUTHENTICATE"):
            client.authenticate(mechanism, answer)

    def _offered(self) -> str:
        return " ".join(sorted(name for name in self.capabilities if name.startswith("AUTH=")))

    def _present_password(self, client: Client, username: str, password: str) -> None:
        plain_offered = "AUTH=PLAIN" in self.capabilities
        if plain_offered and ("LOGINDISABLED" in self.capabilities or not (username + password).isascii()):
            with _refusals("LOGIN"):
                client.authenticate("PLAIN", lambda _challenge: f"\0{username}\0{password}".encode())
        elif "LOGINDISABLED" in self.capabilities:
            raise Refused("LOGIN", "DISABLED", self._offered())
        else:
            self._done("LOGIN", self._call(client, "LOGIN", _quoted(username.encode()), _quoted(password.encode())))
            client.state = "AUTH"

    def list_folders(self) -> list[Folder]:
        """All folders, with their special uses where the server knows them (RFC 6154, or Gmail's XLIST)."""
        self.unselect()
        folders = self._list("LIST", b"")
        if not any(folder.has_use("\\Sent") for folder in folders):
            with contextlib.suppress(Refused):
                if "SPECIAL-USE" in self.capabilities and "LIST-EXTENDED" in self.capabilities:
                    return self._list("LIST", b"RETURN (SPECIAL-USE)") or folders
                if "XLIST" in self.capabilities:
                    return self._list("XLIST", b"") or folders
        return folders

    def _list(self, command: str, options: bytes) -> list[Folder]:
        client = self._live()
        self.listed = True
        arguments = (b'""', b'"*"', options) if options else (b'""', b'"*"')
        self._done(command, self._call(client, command, *arguments))
        return list(read_list(self._untagged(client, command)))

    def status(self, folder: bytes) -> Look:
        """What the server says about a folder without opening it. Not for the folder that is open: some servers
        answer from a frozen view (RFC 3501 §6.3.10)."""
        if self.selected == folder:
            self.unselect()
        client = self._live()
        self._done("STATUS", self._call(client, "STATUS", _quoted(folder), b"(UIDVALIDITY UIDNEXT MESSAGES)"))
        numbers = read_status(self._untagged(client, "STATUS"))
        return Look(numbers.get("UIDVALIDITY", 0), numbers.get("UIDNEXT"), numbers.get("MESSAGES"))

    def examine(self, folder: bytes) -> Look:
        """Opens a folder read-only: nothing that is done in it changes a flag."""
        client = self._live()
        self.selected = self.opened = None
        with _refusals("EXAMINE"):
            kind, data = client.select(_quoted(folder), readonly=True)  # type: ignore[arg-type]  # as in _call
        exists = self._number(data)
        if kind != "OK":
            raise Refused("EXAMINE", kind, _text(data))
        self.selected = folder
        self.opened = Look(
            uidvalidity=self._number(self._untagged(client, "UIDVALIDITY")) or 0,
            uidnext=self._number(self._untagged(client, "UIDNEXT")),
            messages=exists,
        )
        return self.opened

    def unselect(self) -> None:
        """Leaves the open folder. CLOSE removes nothing from a folder opened with EXAMINE (RFC 3501 §6.4.2)."""
        if self.selected is not None:
            client = self._live()
            with _refusals("CLOSE"):
                self._done("CLOSE", client.unselect() if "UNSELECT" in self.capabilities else client.close())
            self.selected = self.opened = None

    def search(self, criteria: str) -> UidRanges:
        """UIDs in the open folder; as ranges from servers that can say it so (ESEARCH, RFC 4731)."""
        client = self._live()
        if "ESEARCH" in self.capabilities:
            self._done("SEARCH", self._uid(client, "SEARCH", f"RETURN (ALL) {criteria}"))
            ranges = read_esearch(_lines(self._untagged(client, "ESEARCH")))
            if ranges is not None:
                return ranges
        else:
            self._done("SEARCH", self._uid(client, "SEARCH", criteria))
        return read_search(_lines(self._untagged(client, "SEARCH")))

    def highest_uid(self) -> int:
        """The highest UID in the open folder, 0 when it is empty."""
        return self.search("UID *").highest

    def fetch(self, uids: str, items: str, *, literal_limit_bytes: int = MAX_ANSWER_LITERAL_BYTES) -> list[Fetched]:
        """`UID FETCH` in the open folder. Some of what was asked for may be missing from the answer."""
        client = self._live()
        client.literal_limit_bytes = literal_limit_bytes
        try:
            self._done("FETCH", self._uid(client, "FETCH", f"{uids} ({items})"))
        finally:
            client.literal_limit_bytes = MAX_ANSWER_LITERAL_BYTES
        return list(read_fetch(self._untagged(client, "FETCH")))

    # -- imaplib's untyped side

    def _live(self) -> Client:
        if self._client is None or self._aborted:
            raise ConnectionAbortedError("the connection is closed")
        return self._client

    def _read_capabilities(self) -> None:
        client = self._live()
        self._done("CAPABILITY", self._call(client, "CAPABILITY"))
        lines = _lines(self._untagged(client, "CAPABILITY"))
        words = b" ".join(line for line in lines if line).decode("ascii", "replace").upper().split()
        self.capabilities = frozenset(words)

    @staticmethod
    def _call(client: Client, command: str, *arguments: bytes) -> tuple[str, Sequence[Part]]:
        client.untagged_responses.clear()
        with _refusals(command):
            kind, data = client.xatom(command, *arguments)  # type: ignore[arg-type]  # bytes are sent as given
        return kind, data

    @staticmethod
    def _uid(client: Client, command: str, arguments: str) -> tuple[str, Sequence[Part]]:
        client.untagged_responses.clear()
        with _refusals(command):
            kind, data = client.xatom("UID", f"{command} {arguments}")
        return kind, data

    @staticmethod
    def _untagged(client: Client, name: str) -> list[Part]:
        _name, data = client.response(name)
        return list(data)

    @staticmethod
    def _done(command: str, answer: tuple[str, Sequence[Part]]) -> None:
        kind, data = answer
        if kind != "OK":
            raise Refused(command, kind, _text(data))

    @staticmethod
    def _number(data: Sequence[Part]) -> int | None:
        for part in reversed(data):
            if isinstance(part, bytes) and part.isdigit():
                return int(part)
        return None


@contextlib.contextmanager
def _refusals(command: str) -> Iterator[None]:
    """imaplib raises for BAD what it returns for NO; both are the server's answer on a sound connection."""
    try:
        yield
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error as error:
        raise Refused(command, "BAD", str(error)) from None


def _quoted(octets: bytes) -> bytes:
    return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _text(data: Sequence[Part]) -> str:
    return b" ".join(part for part in data if isinstance(part, bytes)).decode("utf-8", "replace")


def _lines(data: Sequence[Part]) -> list[bytes]:
    return [part for part in data if isinstance(part, bytes)]
