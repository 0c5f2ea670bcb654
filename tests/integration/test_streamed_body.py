"""A request body that is made while it is written: how much of it is held, and what is said of a wrong length."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from sync.http import Answered, Failed, HttpClient, Why

PIECE = bytes(1_000_000)


class Discarding:
    """A server that reads a body of `content-length` and keeps none of it."""

    def __init__(self) -> None:
        self.received = 0
        self.done = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = (line.partition(b":") for line in head.split(b"\r\n"))
            length = next(int(value) for name, _, value in lines if name == b"content-length")
            while self.received < length and (data := await reader.read(65_536)):
                self.received += len(data)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self.done.set()


async def body(pieces: int) -> AsyncIterator[bytes]:
    for _ in range(pieces):
        yield PIECE


async def put(pieces: int, announced: int) -> tuple[Answered | Failed, int, int]:
    """What came of it, bytes received, and the peak of memory."""
    discarding = Discarding()
    server = await asyncio.start_server(discarding, "127.0.0.1", 0)
    client = HttpClient()
    try:
        port = server.sockets[0].getsockname()[1]
        tracemalloc.start()
        headers = {"content-length": str(announced), "content-type": "application/pdf"}
        done = await client.exchange("PUT", f"http://127.0.0.1:{port}/a", headers=headers, content=body(pieces))
        return done, discarding.received, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        await client.aclose()
        await discarding.done.wait()
        server.close()
        await server.wait_closed()


async def test_20_mb_are_sent_and_pieces_of_them_held() -> None:
    done, received, peak = await put(20, 20_000_000)
    assert isinstance(done, Answered)
    assert (done.status, received) == (200, 20_000_000)
    assert peak < 6_000_000


@pytest.mark.parametrize("announced", [1_500_000, 2_500_000])
async def test_a_body_of_another_length_than_announced_is_no_valid_request(announced: int) -> None:
    done, _, _ = await put(2, announced)
    assert isinstance(done, Failed)
    assert done.why is Why.MALFORMED
