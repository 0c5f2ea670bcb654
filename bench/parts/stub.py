"""The Inbox's calls on loopback, as fast as asyncio allows: raw protocol, a process of its own, nothing kept but counts.

    python -m bench.parts.stub        prints its port; ends when its standard input closes

It answers a send with the message as the Inbox does (id, sequence, date, app), a query for a contact with none, a create
with the contact, and get-or-create with the contact's conversation. It checks nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from email.utils import formatdate
from http.client import HTTPConnection

CREATED = "2026-11-23T10:00:00.000Z"
MESSAGES = "/inbox/v2/messages"
CONVERSATIONS = "/inbox/v2/conversations"
CONTACTS = "/contacts/v4/contacts"
STATS = "/stats"


def guid(seed: str) -> str:
    """An id that looks like the Inbox's, always the same for the same seed."""
    digits = hashlib.md5(seed.encode(), usedforsecurity=False).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Server:
    """The counts and the answers."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.date = ""
        self.sequence = 1_000_000

    async def tick(self) -> None:
        while True:
            self.date = formatdate(usegmt=True)
            await asyncio.sleep(0.5)

    def answer(self, path: str, body: bytes) -> object:
        self.counts[path] += 1
        if path == MESSAGES:
            self.sequence += 1
            message = json.loads(body)["message"]
            message |= {
                "id": str(self.sequence),
                "sequence": str(self.sequence),
                "createdDate": CREATED,
                "appId": "app",
            }
            return {"message": message}
        if path == f"{CONTACTS}/query":
            return {"contacts": [], "pagingMetadata": {"count": 0, "offset": 0, "hasNext": False}}
        if path == CONTACTS:
            info = json.loads(body)["info"]
            return {"contact": {"id": guid(json.dumps(info["emails"])), "createdDate": CREATED, "info": info}}
        if path == CONVERSATIONS:
            contact = json.loads(body)["participantId"]["contactId"]
            return {"conversation": {"id": guid(contact), "participant": {"contactId": contact}}}
        if path == STATS:
            counted, self.counts = dict(self.counts), Counter()
            return counted
        return {}


class Link(asyncio.Protocol):
    """One connection: requests with Content-Length, one after the other."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        while (head_end := received.find(b"\r\n\r\n")) >= 0:
            head = received[:head_end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            end = head_end + 4 + length
            if len(received) < end:
                break
            path = head.split(b" ", 2)[1].decode()
            body = json.dumps(self._server.answer(path, received[head_end + 4 : end])).encode()
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ndate: %b\r\nx-wix-request-id: %d.0\r\n"
                b"content-length: %d\r\n\r\n%b" % (self._server.date.encode(), self._server.sequence, len(body), body)
            )
            received = received[end:]
        self._received = received


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The server as a process of its own; its base URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.parts.stub"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            process.wait(20)


def take_counts(base_url: str) -> dict[str, int]:
    """How many calls of each kind came since the last time."""
    connection = HTTPConnection(base_url.removeprefix("http://"), timeout=20)
    try:
        connection.request("POST", STATS)
        counts = json.loads(connection.getresponse().read())
        return {str(path): int(count) for path, count in counts.items() if path != STATS}
    finally:
        connection.close()


async def serve() -> None:
    """Until standard input closes."""
    server = Server()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Link(server), "127.0.0.1", 0, backlog=512)
    print(listening.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    ticking = asyncio.create_task(server.tick())
    await ended.wait()
    ticking.cancel()


if __name__ == "__main__":
    asyncio.run(serve())
