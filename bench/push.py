"""From the server's word that there is mail to its arrival in the Inbox."""

from __future__ import annotations

import asyncio
import contextlib
import re
import statistics
import threading
import time
from collections.abc import Iterator
from datetime import datetime

from bench.harness import Missing, Options, Section, Table, Target
from bench.parts.daemon import Daemon, imap_source
from sync.sandbox import Sandbox
from tests.servers.dovecot import PROGRAM, Dovecot

NAME = "push"
TITLE = "From EXISTS to the Inbox"
MEDIAN_SECONDS = 0.1
P99_SECONDS = 0.5
PER_SECOND = 2.0
CUSTOMERS = 50
_EXISTS = re.compile(rb"^\* (\d+) EXISTS\r\n", re.MULTILINE)


def run(options: Options) -> Section:
    if not PROGRAM.exists():
        raise Missing("needs Dovecot: apt-get install dovecot-imapd")
    count = options.pick(500, 5)
    with Dovecot(rawlog=False) as server, Sandbox() as sandbox, _Ear(server.imap_port).listening() as ear:
        source = imap_source("mail", server, "alice", 'tls = "none"').replace(
            f"port = {server.imaps_port}", f"port = {ear.port}"
        )
        with Daemon(options.folder / "daemon", sandbox.url, sandbox.site_id, source).running() as daemon:
            daemon.wait_for(lambda: ear.idling, "it waits in IDLE")
            _deliver(server, count)
            daemon.wait_for(lambda: len(_arrivals(sandbox)) == count, "every mail has arrived", 60)
            daemon.wait_for(lambda: ear.has_heard_of(count), "the server has told of it", 60)  # a poll may be faster
    arrivals = _arrivals(sandbox)
    waits = sorted(arrivals[number] - ear.told_at(number + 1) for number in range(count))
    median, p99 = statistics.median(waits), waits[min(len(waits) - 1, int(len(waits) * 0.99))]
    return Section(
        method=f"{count} mails from {CUSTOMERS} customers, {PER_SECOND:g} a second, dropped into a Dovecot Maildir. A proxy "
        "between the daemon and Dovecot notes when the EXISTS line that tells of a mail passes by on the connection in "
        "IDLE; the end is when the sandbox has stored the message. In between lie a pass over both folders, the ledger, "
        "contact and conversation for each customer's first mail, and the send. The source is polled every 60 s besides. "
        "The sandbox, the proxy and the one who delivers share a process, and the machine with the daemon.",
        tables=[
            Table(
                ("mails", "median ms", "99th percentile ms", "slowest ms"),
                [[str(count), f"{median * 1e3:.0f}", f"{p99 * 1e3:.0f}", f"{waits[-1] * 1e3:.0f}"]],
            )
        ],
        targets=[
            Target("median", median, MEDIAN_SECONDS, unit=" s"),
            Target("99th percentile", p99, P99_SECONDS, unit=" s"),
        ],
    )


def _deliver(server: Dovecot, count: int) -> None:
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
        server.deliver(
            "alice",
            "INBOX",
            f"From: c{number % CUSTOMERS}@example.com\r\nMessage-ID: <{number}@example.com>\r\nSubject: hello\r\n"
            f"Date: {datetime.now().astimezone():%a, %d %b %Y %H:%M:%S %z}\r\n\r\nnumber {number}.\r\n".encode(),
        )


def _arrivals(sandbox: Sandbox) -> dict[int, float]:
    """When the message of each number was stored."""
    found = {}
    for conversation in sandbox.conversations():
        for message in conversation["messages"]:
            if number := re.search(r"number (\d+)\.", str(message["text"])):
                at = datetime.fromisoformat(str(message["createdDate"]))
                found[int(number[1])] = at.timestamp()
    return found


class _Ear:
    """A proxy that remembers when it heard of how many messages on a connection that is in IDLE."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._heard: list[tuple[int, float]] = []
        self.idling = False
        self.port = 0

    def told_at(self, messages: int) -> float:
        """When the server said first that there are so many messages (or more)."""
        return min(at for number, at in self._heard if number >= messages)

    def has_heard_of(self, messages: int) -> bool:
        """Whether the server said that there are so many messages."""
        return any(number >= messages for number, _at in self._heard)

    @contextlib.contextmanager
    def listening(self) -> Iterator[_Ear]:
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(server.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        idling = False

        async def up() -> None:
            nonlocal idling
            while octets := await reader.read(65_536):
                if octets.endswith(b" IDLE\r\n"):
                    idling = self.idling = True
                far_writer.write(octets)
            far_writer.close()

        async def down() -> None:
            while octets := await far_reader.read(65_536):
                if idling:
                    self._heard += [(int(number), time.time()) for number in _EXISTS.findall(octets)]
                writer.write(octets)
            writer.close()

        with contextlib.suppress(OSError):
            await asyncio.gather(up(), down())
