"""The Inbox's calls on loopback, as fast as asyncio allows: raw protocol, a process of its own, nothing kept but counts.

    python -m bench.parts.stub        prints its port; ends when its standard input closes

It answers a send with the message as the Inbox does (id, sequence, date, app), a query for a contact with none, a create
with the contact, get-or-create with the contact's conversation, the wish for an address to upload to with one of its own,
and what is put there with a file's id. What it does not know it refuses, and counts, so that nobody waits for an answer
it does not have. It checks nothing else.
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
UPLOAD_URL = "/communication-channels-media/v1/upload-url"
UPLOADS = "/uploads/"
STATS = "/stats"
UNKNOWN = "unknown"
"""How calls that the stub does not speak are counted."""
NOT_FOUND = {"message": "", "details": {"applicationError": {"code": "NOT_IN_THIS_STUB"}}}


def guid(seed: str) -> str:
    """An id that looks like the Inbox's, always the same for the same seed."""
    digits = hashlib.md5(seed.encode(), usedforsecurity=False).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Server:
    """The counts and the answers."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.url = ""
        self.date = ""
        self.sequence = 1_000_000

    async def tick(self) -> None:
        while True:
            self.date = formatdate(usegmt=True)
            await asyncio.sleep(0.5)

    def answer(self, path: str, body: bytes) -> tuple[int, object]:
        """Status and body. The body of an upload is not kept, and not given."""
        known = self._known(path, body)
        self.counts[UPLOADS if path.startswith(UPLOADS) else UNKNOWN if known is None else path] += 1
        return (404, NOT_FOUND) if known is None else (200, known)

    def _known(self, path: str, body: bytes) -> object | None:
        if path == MESSAGES and body:  # without one it is a list, of a conversation that is not kept here
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
        if path == UPLOAD_URL:
            self.sequence += 1
            return {"uploadUrl": f"{self.url}{UPLOADS}{self.sequence}"}
        if path.startswith(UPLOADS):
            return {"file": {"id": f"file-{path.removeprefix(UPLOADS)}"}}
        if path == STATS:
            counted, self.counts = dict(self.counts), Counter()
            return counted
        return None


class Link(asyncio.Protocol):
    """One connection: requests with Content-Length, one after the other. Bodies of uploads are counted off, not kept."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = b""
        self._path = ""
        self._missing = 0
        """Bytes of an upload that are still to come."""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._missing:
            data = self._count_off(data)
        received = self._received + data if self._received else data
        while not self._missing and (head_end := received.find(b"\r\n\r\n")) >= 0:
            head = received[:head_end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            path = head.split(b" ", 2)[1].decode().partition("?")[0]
            if path.startswith(UPLOADS) and length:
                self._path, self._missing = path, length
                received = self._count_off(received[head_end + 4 :])
                continue
            end = head_end + 4 + length
            if len(received) < end:
                break
            self._answer(path, received[head_end + 4 : end])
            received = received[end:]
        self._received = received

    def _count_off(self, data: bytes) -> bytes:
        """Takes what belongs to the upload, and answers when it is whole; returns what comes after it."""
        taken = min(self._missing, len(data))
        self._missing -= taken
        if not self._missing:
            self._answer(self._path, b"")
        return data[taken:]

    def _answer(self, path: str, body: bytes) -> None:
        status, answer = self._server.answer(path, body)
        text = json.dumps(answer).encode()
        self._transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ndate: %b\r\nx-wix-request-id: %d.0\r\n"
            b"content-length: %d\r\n\r\n%b"
            % (
                status,
                b"OK" if status == 200 else b"Not Found",
                self._server.date.encode(),
                self._server.sequence,
                len(text),
                text,
            )
        )


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
    port = listening.sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{port}"
    print(port, flush=True)
    ended = asyncio.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    ticking = asyncio.create_task(server.tick())
    await ended.wait()
    ticking.cancel()


if __name__ == "__main__":
    asyncio.run(serve())
