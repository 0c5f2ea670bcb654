"""An HTTP server on loopback for which nothing is ever new: 200 with an ETag, then 304. A process of its own.

python -m bench.parts.not_modified        prints its port; ends when its standard input closes
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator

FRESH = b'HTTP/1.1 200 OK\r\netag: "1"\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]'
SAME = b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\ncontent-length: 0\r\n\r\n'


class Link(asyncio.Protocol):
    """One connection: requests without a body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._transport.write(SAME if b'if-none-match: "1"' in head.lower() else FRESH)


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The server; its base URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.parts.not_modified"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            process.wait(20)


async def serve() -> None:
    """Until standard input closes."""
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(Link, "127.0.0.1", 0, backlog=1024)
    print(listening.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve())
