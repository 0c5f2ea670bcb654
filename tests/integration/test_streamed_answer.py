"""An answer that is read piece by piece: how much of it is held, and what is said when it breaks off."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from sync.errors import TemporaryError
from sync.http import HttpClient

CHUNK = bytes(65_536)


class Sending:
    """A server that sends so many bytes, of the length that it announces."""

    def __init__(self, size: int, announced: int) -> None:
        self.size = size
        self.announced = announced
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {self.announced}\r\nx-kind: file\r\n\r\n".encode())
            left = self.size
            while left > 0:
                writer.write(CHUNK[:left])
                left -= len(CHUNK)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def sending(size: int, announced: int | None = None) -> AsyncIterator[tuple[HttpClient, str, Sending]]:
    service = Sending(size, size if announced is None else announced)
    server = await asyncio.start_server(service, "127.0.0.1", 0)
    client = HttpClient()
    try:
        yield client, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/file", service
    finally:
        await client.aclose()
        server.close()
        await server.wait_closed()


async def test_20_mb_come_in_pieces_and_one_of_them_is_held() -> None:
    async with sending(20_000_000) as (client, url, _):
        tracemalloc.start()
        try:
            async with client.stream(url) as answer:
                assert (answer.status_code, answer.headers["x-kind"]) == (200, "file")
                sizes = [len(piece) async for piece in answer.pieces(1_000_000)]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert sizes == [1_000_000] * 20
        assert peak < 6_000_000


async def test_a_reader_may_stop_early_and_the_client_goes_on() -> None:
    async with sending(20_000_000) as (client, url, service):
        for _time in range(2):
            async with client.stream(url) as answer:
                async for piece in answer.pieces(10):
                    assert len(piece) == 10
                    break
        assert service.connections == 2


async def test_an_answer_that_breaks_off_is_no_whole_file() -> None:
    async with sending(500_000, announced=1_000_000) as (client, url, _):
        async with client.stream(url) as answer:
            pieces = answer.pieces()
            with pytest.raises(TemporaryError) as caught:
                await anext(pieces)
        assert caught.value.code.startswith("http.")


async def test_nobody_there_is_told_before_the_first_piece() -> None:
    client = HttpClient()
    try:
        with pytest.raises(TemporaryError):
            async with client.stream("http://127.0.0.1:9/file"):
                pass
        with pytest.raises(TemporaryError) as caught:
            async with client.stream("file:///etc/passwd"):
                pass
        assert caught.value.code == "http.malformed"
    finally:
        await client.aclose()
