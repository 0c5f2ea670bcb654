"""Every well-formed way of answering is understood, and connections are used again only when that is safe."""

from __future__ import annotations

import pytest

from sync.http import Answered, Exchange, HttpClient
from tests.fidelity.test_evidence import BIG_BODY, post
from tests.servers import misbehaving as bad
from tests.servers.misbehaving import MisbehavingServer, Peer

WELL_FORMED = {
    "length": b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"ok":true}',
    "chunked": b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"ok"\r\n6\r\n:true}\r\n0\r\n\r\n',
    "until close": b'HTTP/1.1 200 OK\r\n\r\n{"ok":true}',
    "http/1.0": b'HTTP/1.0 200 OK\r\n\r\n{"ok":true}',
    "interim": b'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"ok":true}',
    "connection: close": b'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 11\r\n\r\n{"ok":true}',
}


def answered(result: Exchange) -> Answered:
    assert isinstance(result, Answered), result
    return result


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("answer", WELL_FORMED.values(), ids=WELL_FORMED.keys())
async def test_answer_is_read_whole(http: HttpClient, answer: bytes, tls: bool) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        for at in range(0, len(answer), 7):
            peer.send(answer[at : at + 7])
        peer.close()

    with MisbehavingServer(script, certificate=bad.LOOPBACK_CERTIFICATE if tls else None) as server:
        result = answered(await post(http, server.url))
        assert (result.status, result.json()) == (200, {"ok": True})


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_one_connection_carries_many_requests(http: HttpClient, tls: bool) -> None:
    with MisbehavingServer(bad.ok, certificate=bad.LOOPBACK_CERTIFICATE if tls else None) as server:
        for number in range(20):
            answered(await post(http, server.url, f"n{number}"))
        assert len(server.peers) == 1
        assert all(server.requests_with(f"n{number}") == 1 for number in range(20))


async def test_statuses_are_told_as_they_are_and_no_redirect_is_followed(http: HttpClient) -> None:
    def script(peer: Peer) -> None:
        while request := peer.request():
            status = request.split(b" ")[1][1:]
            peer.send(b"HTTP/1.1 " + status + b" X\r\nlocation: /200\r\ncontent-length: 0\r\n\r\n")

    with MisbehavingServer(script) as server:
        for status in (200, 201, 301, 302, 307, 308, 400, 401, 404, 408, 429, 500, 503):
            assert answered(await post(http, server.url, str(status))).status == status


async def test_answer_before_the_body_was_read_is_taken(http: HttpClient) -> None:
    def early(peer: Peer) -> None:
        peer.take(100)
        peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        peer.hang()

    with MisbehavingServer(early) as server:
        result = await post(http, server.url, body=BIG_BODY)
        if isinstance(result, Answered):
            assert result.status == 413
        else:
            assert result.written is True


async def test_big_body_arrives_unchanged(http: HttpClient) -> None:
    received: list[bytes] = []

    def script(peer: Peer) -> None:
        received.append(peer.request())
        peer.send(bad.OK)

    body = bytes(range(256)) * 8192
    with MisbehavingServer(script) as server:
        answered(await post(http, server.url, body=body))
    assert received[0].endswith(b"\r\n\r\n" + body)


async def test_proxies_in_the_environment_are_not_used(http: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with MisbehavingServer(bad.ok) as server:
        answered(await post(http, server.url))
