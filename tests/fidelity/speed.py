"""Speed of the candidates: `python -m tests.fidelity.speed`. Ratios count, not the absolute numbers.

POST of a 600-byte JSON to a loopback server in a process of its own that is not the bottleneck; 1, 8, 32, 64 in
flight; rounds of the candidates alternate and medians are printed: requests per second (CPU microseconds each).
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import httpx

from sync.http import Answered, HttpClient, default_ssl_context
from tests.fidelity.candidates import CANDIDATES

ROUNDS = 3
SECONDS = 1.0
BODY = b'{"message":"' + b"x" * 586 + b'"}'
ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 28\r\n\r\n{"message":{"id":"1700000"}}'


class _Server(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.got = transport, b""

    def data_received(self, data: bytes) -> None:
        self.got += data
        while (end := self.got.find(b"\r\n\r\n")) >= 0 and len(self.got) >= end + 4 + len(BODY):
            self.got = self.got[end + 4 + len(BODY) :]
            self.transport.write(ANSWER)


def serve(listener: socket.socket) -> None:
    async def main() -> None:
        await (await asyncio.get_running_loop().create_server(_Server, sock=listener)).serve_forever()

    asyncio.run(main())


Post = Callable[[], Awaitable[bool]]


async def load(post: Post, in_flight: int) -> tuple[float, float]:
    count = 0
    end = time.monotonic() + SECONDS

    async def lane() -> None:
        nonlocal count
        while time.monotonic() < end:
            assert await post()
            count += 1

    cpu, wall = time.process_time(), time.monotonic()
    await asyncio.gather(*(lane() for _ in range(in_flight)))
    return count / (time.monotonic() - wall), (time.process_time() - cpu) / count * 1e6


async def measure(url: str) -> None:
    posts: dict[str, Post] = {}
    closers: list[Callable[[], Awaitable[None]]] = []
    for candidate in CANDIDATES:
        transport = candidate.make(default_ssl_context, 64)
        http = HttpClient(transport=transport)

        async def direct(http: HttpClient = http) -> bool:
            return isinstance(await http.exchange("POST", url, content=BODY), Answered)

        posts[candidate.name] = direct
        closers.append(http.aclose)
        if candidate.name == "wire":
            client = httpx.AsyncClient(transport=candidate.make(default_ssl_context, 64), trust_env=False)

            async def through(client: httpx.AsyncClient = client) -> bool:
                return (await client.post(url, content=BODY)).status_code == 200

            posts["wire under httpx.AsyncClient"] = through
            closers.append(client.aclose)
    results: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for in_flight in (1, 8, 32, 64):
            for name, post in posts.items():
                results.setdefault((name, in_flight), []).append(await load(post, in_flight))
    for name in posts:
        cells = []
        for in_flight in (1, 8, 32, 64):
            rates, costs = zip(*results[name, in_flight], strict=True)
            cells.append(f"{statistics.median(rates):,.0f} ({statistics.median(costs):,.0f})")
        sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")
    for close in closers:
        await close()


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        process = multiprocessing.get_context("fork").Process(target=serve, args=(listener,), daemon=True)
        process.start()
        asyncio.run(measure(f"http://127.0.0.1:{listener.getsockname()[1]}/inbox/v2/messages"))
        process.terminate()
