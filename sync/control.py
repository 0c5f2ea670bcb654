"""What typed commands ask of a running daemon: a unix socket that speaks JSON lines.

One request a connection: `{"command": "status", "args": {}}`. The daemon answers with frames, a line each: any number
of `{"progress": {…}}`, then `{"result": …}` or `{"error": {code, sentence, next_step, exit_code}}`. The socket's mode
is 0600: who may open it is the operator. systemd's credentials exist only inside the unit; this is how typed commands
work with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import structlog

from sync.answers import Progress
from sync.errors import ConfigError, InboxSyncError, LedgerError
from sync.message import Json
from sync.operations import Operations, perform
from sync.settings import Settings

log = structlog.get_logger()

MAX_REQUEST_BYTES = 1024 * 1024
MAX_FRAME_BYTES = 64 * 1024 * 1024
MAX_CONNECTIONS = 16
REQUEST_SECONDS = 10.0
"""How long a client may take to say what it wants."""
CONNECT_SECONDS = 2.0
AGAIN = "type the command again once it is back"
SYSTEM_RUNTIME = Path("/run/inbox-sync")
"""systemd makes it for the unit (RuntimeDirectory=)."""
MAX_PATH_BYTES = 100
"""A unix socket's path holds 107 bytes (unix(7))."""


def socket_path(settings: Settings) -> Path:
    """Where the daemon of this configuration listens: the setting, else beside the SQLite file, else in the runtime
    directory under a name made from the database's URL."""
    if settings.daemon.control_socket is not None:
        return Path(settings.daemon.control_socket)
    url = settings.ledger.url
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///")).absolute()
        beside = path.with_name(path.name + ".sock")
        if len(os.fsencode(beside)) <= MAX_PATH_BYTES:
            return beside
    name = f"inbox-sync-{hashlib.sha256(url.encode()).hexdigest()[:16]}.sock"
    return _runtime_directory() / name


def _private_directory() -> Path:
    return Path("/tmp") / f"inbox-sync-{os.getuid()}"  # noqa: S108  made private, and checked to be ours, before use


def _runtime_directory() -> Path:
    if SYSTEM_RUNTIME.is_dir():
        return SYSTEM_RUNTIME
    mine = os.environ.get("XDG_RUNTIME_DIR")
    if mine and Path(mine).is_dir():
        return Path(mine)
    private = _private_directory()
    private.mkdir(mode=0o700, exist_ok=True)
    found = private.lstat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077 or not stat.S_ISDIR(found.st_mode):
        raise ConfigError(
            f"{private} is not a private directory of this user",
            code="config.control_socket",
            next_step="set control_socket under [daemon] to a path in a directory of your own",
        )
    return private


# ---------------------------------------------------------------------------------------------------- the asking side


def daemon_answers(path: Path) -> bool:
    """Whether a daemon listens there. A socket file left behind by a dead one does not."""
    try:
        with _connected(path):
            return True
    except OSError:
        return False


def request(path: Path, command: str, args: Mapping[str, Json]) -> Iterator[dict[str, Json]]:
    """Asks the daemon and yields its frames as they come. Raises LedgerError (`daemon.unreachable`) when the daemon
    goes away before it has answered."""
    try:
        with _connected(path) as connection:
            connection.settimeout(None)
            connection.sendall(json.dumps({"command": command, "args": dict(args)}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                while line := lines.readline(MAX_FRAME_BYTES):
                    frame = json.loads(line)
                    yield frame
                    if "result" in frame or "error" in frame:
                        return
    except OSError as error:
        raise _gone(f"the daemon could not be asked: {error.strerror or error}") from None
    except ValueError:
        raise _gone("the daemon's answer could not be read") from None
    raise _gone("the daemon stopped before it had answered")


def _gone(sentence: str) -> LedgerError:
    return LedgerError(sentence, code="daemon.unreachable", next_step="see its log, then type the command again")


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connection.settimeout(CONNECT_SECONDS)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


# ---------------------------------------------------------------------------------------------------- the daemon's side


class ControlServer:
    """Answers typed commands with the operations of the running daemon."""

    def __init__(self, path: Path, operations: Operations) -> None:
        self._path = path
        self._operations = operations
        self._server: asyncio.Server | None = None
        self._busy: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens. A socket file whose daemon is dead is replaced; a living one is an error (`daemon.running`)."""
        if daemon_answers(self._path):
            raise LedgerError(
                f"another daemon answers at {self._path}",
                code="daemon.running",
                next_step="stop it first, or give this one its own ledger and control_socket",
            )
        self._make_room()
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._connected, self._path, limit=MAX_REQUEST_BYTES)
        except OSError as error:
            raise self._cannot_listen(error.strerror or str(error)) from None
        finally:
            os.umask(before)

    def _make_room(self) -> None:
        """Removes the socket of a dead daemon, and nothing else."""
        try:
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise self._cannot_listen("there is a file that is no socket")
            self._path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._cannot_listen(error.strerror or str(error)) from None

    def _cannot_listen(self, reason: str) -> ConfigError:
        return ConfigError(
            f"cannot listen at {self._path}: {reason}",
            code="config.control_socket",
            next_step="set control_socket under [daemon] to a path the daemon may write",
        )

    async def stop(self) -> None:
        """Listens no more; commands at work are cancelled and told so."""
        if self._server is None:
            return
        self._server.close()
        for task in self._busy:
            task.cancel()
        if self._busy:
            await asyncio.wait(self._busy, timeout=2.0)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._busy.add(task)
        try:
            asked = await _asked(reader)
            if asked is None:
                return
            if len(self._busy) > MAX_CONNECTIONS:
                raise _refused("too many commands at the same time", "daemon.busy", 75, "type it again in a moment")
            await self._serve(asked, reader, writer)
        except InboxSyncError as error:
            _write(writer, {"error": _error_frame(error)})
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            log.debug("control.connection_ended")
        finally:
            self._busy.discard(task)
            writer.close()

    async def _serve(
        self, asked: tuple[str, dict[str, Json]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        work = asyncio.create_task(self._perform(*asked, writer))
        hung_up = asyncio.create_task(_until_hung_up(reader))
        try:
            await asyncio.wait({work, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Either it is done, or the operator pressed Ctrl-C, or the daemon stops. What is on the wire goes on.
            hung_up.cancel()
            work.cancel()
            await asyncio.wait({work, hung_up})
        with contextlib.suppress(ConnectionError):
            await writer.drain()

    async def _perform(self, command: str, args: dict[str, Json], writer: asyncio.StreamWriter) -> None:
        log.info("control.command", command=command)

        def on_progress(progress: Progress) -> None:
            _write(writer, {"progress": dict(progress)})

        try:
            answer = await perform(self._operations, command, args, on_progress)
        except InboxSyncError as error:
            _write(writer, {"error": _error_frame(error)})
        except asyncio.CancelledError:
            _write(writer, {"error": _error_frame(_refused("the daemon is stopping", "daemon.stopping", 75, AGAIN))})
            raise
        except Exception:
            log.exception("control.bug", command=command)
            bug = _refused("the daemon failed at this command", "internal.error", 1, "report it with what its log says")
            _write(writer, {"error": _error_frame(bug)})
        else:
            _write(writer, {"result": answer})


async def _asked(reader: asyncio.StreamReader) -> tuple[str, dict[str, Json]] | None:
    """The command and its arguments; None when the client hung up without a word. Raises InboxSyncError for what is no
    request, TimeoutError for a client that takes too long."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            line = await reader.readline()
    except ValueError:
        sentence = f"the request is longer than {MAX_REQUEST_BYTES} bytes"
        raise _refused(sentence, "command.arguments", 2, "name fewer messages at a time, or use a filter") from None
    if not line:
        return None
    try:
        asked = json.loads(line)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict) or not isinstance(asked.get("args") or {}, dict):
        raise _refused(
            "the request is no JSON line with a command and its args", "command.arguments", 2, "use inbox-sync itself"
        )
    return str(asked.get("command", "")), asked.get("args") or {}


async def _until_hung_up(reader: asyncio.StreamReader) -> None:
    """Whatever more a client says counts for nothing; its end does."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(MAX_REQUEST_BYTES):
            pass


def _refused(sentence: str, code: str, exit_code: int, next_step: str) -> InboxSyncError:
    error = InboxSyncError(sentence, code=code, next_step=next_step)
    error.exit_code = exit_code
    return error


def _error_frame(error: InboxSyncError) -> dict[str, Json]:
    frame: dict[str, Json] = {
        "code": error.code,
        "sentence": error.sentence,
        "next_step": error.next_step,
        "exit_code": error.exit_code,
    }
    if isinstance(error, ConfigError):
        frame["problems"] = list(error.problems)
    return frame


def _write(writer: asyncio.StreamWriter, frame: Mapping[str, object]) -> None:
    if not writer.is_closing():
        writer.write(json.dumps(frame).encode() + b"\n")
