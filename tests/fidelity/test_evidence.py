"""What a transport says it has written must be true: `written` False only when the server read nothing.

One wrong False is a doubled message; a needless True is only a look into the conversation. So True is always allowed
except where nothing can have been written at all, and no request may ever be on the wire twice.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sync.http import Answered, Evidence, Exchange, Failed, HttpClient, Phase, Why
from tests.fidelity.conftest import LIMITS, Connect
from tests.servers import misbehaving as bad
from tests.servers.misbehaving import MisbehavingServer, Peer, Script
from tests.servers.ports import free_port

BODY = b'{"message":"' + b"x" * 600 + b'"}'
BIG_BODY = b"x" * 30_000_000


async def post(http: HttpClient, url: str, token: str = "", body: bytes = BODY) -> Exchange:
    return await http.exchange("POST", f"{url}/{token or uuid.uuid4().hex}", content=body)


def failed(result: Exchange) -> Failed:
    assert isinstance(result, Failed), result
    return result


async def drained(server: MisbehavingServer, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  the condition lives in another thread
            await asyncio.sleep(0.005)


@pytest.fixture(name="free_port")
def a_free_port() -> int:
    return free_port()


@pytest.fixture
def full_backlog() -> Iterator[str]:
    """A listener whose queue is full: connections to it are neither accepted nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for filler in fillers:
            filler.close()


# Nothing can have been written: anything but False is wrong


async def test_refused_connection_is_not_written(http: HttpClient, free_port: int) -> None:
    result = failed(await post(http, f"http://127.0.0.1:{free_port}"))
    assert (result.written, result.phase, result.why) == (False, Phase.CONNECT, Why.REFUSED)


async def test_unknown_name_is_not_written(http: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_kw: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    result = failed(await post(http, "http://inbox.invalid"))
    assert (result.written, result.phase, result.why) == (False, Phase.CONNECT, Why.NAME)


@pytest.mark.parametrize("url", ["http://" + "a" * 70 + ".invalid", "http://a..b.invalid", "ftp://x", "http://", "::"])
async def test_impossible_address_is_not_written_and_raises_nothing(http: HttpClient, url: str) -> None:
    result = failed(await post(http, url))
    assert result.written is False


async def test_connection_that_is_never_accepted_is_not_written(http: HttpClient, full_backlog: str) -> None:
    result = failed(await post(http, full_backlog))
    assert (result.written, result.phase, result.why) == (False, Phase.CONNECT, Why.TIMEOUT)


@pytest.mark.parametrize("certificate", [bad.ELSEWHERE_CERTIFICATE], ids=["untrusted"])
async def test_untrusted_certificate_is_not_written(http: HttpClient, certificate: Path) -> None:
    with MisbehavingServer(bad.ok, certificate=certificate) as server:
        result = failed(await post(http, server.url))
        assert (result.written, result.phase, result.why) == (False, Phase.CONNECT, Why.CERTIFICATE)
        assert server.bytes_read == 0


async def test_certificate_of_another_name_is_not_written(http: HttpClient) -> None:
    with MisbehavingServer(bad.ok, certificate=bad.LOOPBACK_CERTIFICATE) as server:
        result = failed(await post(http, server.url.replace("127.0.0.1", "ip6-localhost.localhost")))
        assert result.written is False
        assert server.bytes_read == 0


async def test_plain_answer_to_a_tls_greeting_is_not_written(http: HttpClient) -> None:
    def plain(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.wait_for_close()

    with MisbehavingServer(plain) as server:
        result = failed(await post(http, server.url.replace("http", "https")))
        assert (result.written, result.phase) == (False, Phase.CONNECT)


@pytest.mark.parametrize("script", [bad.close_on_accept, bad.reset_on_accept, bad.never_read, bad.close_after_part])
async def test_failed_tls_handshake_is_not_written(http: HttpClient, script: Script) -> None:
    with MisbehavingServer(script) as server:
        result = failed(await post(http, server.url.replace("http", "https")))
        assert (result.written, result.phase) == (False, Phase.CONNECT)


async def test_waiting_for_a_free_connection_is_not_written(connect: Connect) -> None:
    http = connect(1)
    with MisbehavingServer(bad.hang_after_request) as server:
        first = asyncio.create_task(post(http, server.url, "first"))
        await drained(server, lambda: server.requests_with("first") == 1)
        second = failed(await post(http, server.url, "second"))
        assert (second.written, second.phase, second.why) == (False, Phase.POOL, Why.TIMEOUT)
        assert failed(await first).written is True
        assert server.requests_with("second") == 0


async def test_a_no_at_the_last_moment_is_not_written(http: HttpClient) -> None:
    with MisbehavingServer(bad.ok) as server:
        assert isinstance(await post(http, server.url, "before"), Answered)
        result = failed(await http.exchange("POST", f"{server.url}/never", content=BODY, may_write=lambda: False))
        assert (result.written, result.why) == (False, Why.FORBIDDEN)
        assert isinstance(await post(http, server.url, "after"), Answered)
        assert server.requests_with("never") == 0


async def test_permission_is_asked_when_the_connection_is_there(http: HttpClient) -> None:
    asked: list[int] = []
    with MisbehavingServer(bad.ok) as server:

        def may_write() -> bool:
            asked.append(server.bytes_read)
            return True

        result = await http.exchange("POST", f"{server.url}/x", content=BIG_BODY, may_write=may_write)
        assert isinstance(result, Answered)
    assert asked == [0]


async def test_request_that_is_no_http_is_not_written_and_its_header_is_not_quoted(http: HttpClient) -> None:
    with MisbehavingServer(bad.ok) as server:
        result = failed(
            await http.exchange("POST", f"{server.url}/x", content=BODY, headers={"authorization": "geheim\r\nx: y"})
        )
        assert (result.written, result.why) == (False, Why.MALFORMED)
        assert "geheim" not in repr(result)
        assert server.bytes_read == 0


# The server may or may not have read it: False only when it did not


SOMETHING_READ = [
    bad.close_after_request,
    bad.reset_after_request,
    bad.hang_after_request,
    bad.close_after_part,
    bad.reset_after_part,
    bad.hang_after_part,
    bad.half_head,
    bad.half_body,
    bad.half_body_then_reset,
    bad.half_chunk,
    bad.stalled_body,
    bad.garbage,
    bad.switching_protocols,
    bad.endless_interim,
    bad.endless_header,
    bad.dripping,
]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("script", SOMETHING_READ, ids=lambda script: script.__name__)
async def test_request_that_was_read_is_written(http: HttpClient, script: Script, tls: bool) -> None:
    with MisbehavingServer(script, certificate=bad.LOOPBACK_CERTIFICATE if tls else None) as server:
        result = failed(await post(http, server.url, "once"))
        assert result.written is True
        assert server.requests_with("once") <= 1
        assert len(server.peers) == 1


@pytest.mark.parametrize("script", [bad.close_on_accept, bad.reset_on_accept], ids=lambda script: script.__name__)
async def test_close_on_accept_is_told_truly(http: HttpClient, script: Script) -> None:
    with MisbehavingServer(script) as server:
        results = [failed(await post(http, server.url)) for _ in range(20)]
        assert server.bytes_read == 0
        assert {result.phase for result in results} <= {Phase.CONNECT, Phase.WRITE, Phase.ANSWER}


async def test_server_that_stops_reading_a_big_body_ends_in_time(http: HttpClient) -> None:
    with MisbehavingServer(bad.never_read) as server:
        result = failed(await post(http, server.url, body=BIG_BODY))
        assert (result.written, result.phase, result.why) == (True, Phase.WRITE, Why.TIMEOUT)


async def test_close_in_the_middle_of_a_big_body_is_written(http: HttpClient) -> None:
    def some(peer: Peer) -> None:
        peer.take(1000)
        peer.reset()

    with MisbehavingServer(some) as server:
        assert failed(await post(http, server.url, body=BIG_BODY)).written is True


async def test_dripping_answer_ends_at_the_total_time_out(http: HttpClient) -> None:
    with MisbehavingServer(bad.dripping) as server:
        limits = replace(LIMITS, total_seconds=0.6)
        result = failed(await http.exchange("POST", f"{server.url}/x", content=BODY, limits=limits))
        assert (result.written, result.why, result.status) == (True, Why.TIMEOUT, 200)


async def test_answer_above_the_limit_is_refused_with_its_status(http: HttpClient) -> None:
    def large(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000)
        peer.close()

    with MisbehavingServer(large) as server:
        result = failed(await post(http, server.url))
        assert (result.written, result.why, result.status) == (True, Why.TOO_LARGE, 200)


# Connections that are used again


def answer_once_then(then: Script) -> Script:
    """Answers the first request, then behaves as told on the same connection; other connections answer."""
    first = iter([True])

    def script(peer: Peer) -> None:
        if not next(first, False):
            bad.ok(peer)
            return
        peer.request()
        peer.send(bad.OK)
        then(peer)

    return script


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("then", [bad.close_on_accept, bad.reset_on_accept], ids=["closed", "reset"])
async def test_connection_closed_while_idle_costs_nothing_or_is_told_truly(
    http: HttpClient, then: Script, tls: bool
) -> None:
    answered = threading.Event()

    def leave(peer: Peer) -> None:
        answered.wait(bad.PATIENCE_SECONDS)
        then(peer)

    with MisbehavingServer(answer_once_then(leave), certificate=bad.LOOPBACK_CERTIFICATE if tls else None) as server:
        assert isinstance(await post(http, server.url, "first"), Answered)
        answered.set()
        result = await post(http, server.url, "second")
        reads = server.requests_with("second")
        if isinstance(result, Answered):
            assert reads == 1
        else:
            assert reads == 0


async def test_connection_seen_closed_is_not_used_again(http: HttpClient) -> None:
    with MisbehavingServer(answer_once_then(bad.close_on_accept)) as server:
        assert isinstance(await post(http, server.url, "first"), Answered)
        await drained(server, lambda: server.peers[0].sock.fileno() == -1)
        assert isinstance(await post(http, server.url, "second"), Answered)
        assert len(server.peers) == 2


@pytest.mark.parametrize(
    "then",
    [bad.close_after_request, bad.reset_after_request, bad.hang_after_request, bad.close_after_part, bad.half_body],
    ids=lambda script: script.__name__,
)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_request_read_on_a_used_connection_is_written_and_never_repeated(
    http: HttpClient, then: Script, tls: bool
) -> None:
    with MisbehavingServer(answer_once_then(then), certificate=bad.LOOPBACK_CERTIFICATE if tls else None) as server:
        assert isinstance(await post(http, server.url, "first"), Answered)
        result = failed(await post(http, server.url, "second"))
        assert result.written is True
        assert server.requests_with("second") <= 1
        assert len(server.peers) == 1, "the second request did not use the first one's connection"


async def test_answer_to_nobody_is_never_taken_for_the_next_answer(http: HttpClient) -> None:
    def twice(peer: Peer) -> None:
        peer.request()
        peer.send(bad.OK + bad.OK.replace(b"true", b"liar"))
        bad.ok(peer)

    with MisbehavingServer(twice) as server:
        first = await post(http, server.url, "first")
        second = await post(http, server.url, "second")
        assert isinstance(first, Answered)
        assert first.body == b'{"ok":true}'
        assert isinstance(second, Answered)
        assert second.body == b'{"ok":true}'


async def test_late_answer_of_a_timed_out_request_reaches_nobody(http: HttpClient) -> None:
    def late(peer: Peer) -> None:
        path = peer.request().split(b" ")[1]
        if path == b"/first":
            peer._stopping.wait(0.6)
        peer.send(bad.OK.replace(b"true", b"path").replace(b"path", path[1:5]))
        peer.wait_for_close()

    with MisbehavingServer(late) as server:
        assert failed(await post(http, server.url, "first")).written is True
        second = await post(http, server.url, "second")
        assert isinstance(second, Answered)
        assert second.body == b'{"ok":seco}'


# Cancelled


async def cancel_when(http: HttpClient, url: str, ready: Callable[[], bool], server: MisbehavingServer) -> Evidence:
    evidence = Evidence()
    task = asyncio.create_task(http.exchange("POST", f"{url}/cancelled", content=BODY, evidence=evidence))
    await drained(server, ready)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return evidence


async def test_cancelled_after_writing_is_written_and_its_connection_is_closed(http: HttpClient) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.wait_for_close()

    with MisbehavingServer(script) as server:
        evidence = await cancel_when(http, server.url, lambda: server.requests_with("cancelled") == 1, server)
        assert evidence.written is True
        await drained(server, lambda: server.peers[0].sock.fileno() == -1)


async def test_cancelled_while_connecting_is_not_written(http: HttpClient, full_backlog: str) -> None:
    evidence = Evidence()
    task = asyncio.create_task(http.exchange("POST", f"{full_backlog}/x", content=BODY, evidence=evidence))
    while evidence.phase is Phase.POOL:  # noqa: ASYNC110  nothing tells
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert evidence.written is False


async def test_cancelled_while_waiting_for_a_connection_leaves_the_pool_whole(connect: Connect) -> None:
    http = connect(1)
    with MisbehavingServer(bad.by_path({"hang": bad.hang_after_request, "ok": bad.ok})) as server:
        first = asyncio.create_task(http.exchange("POST", f"{server.url}/hang/1", content=BODY))
        await drained(server, lambda: server.requests_with("hang/1") == 1)
        evidence = Evidence()
        second = asyncio.create_task(http.exchange("POST", f"{server.url}/ok/2", content=BODY, evidence=evidence))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert evidence.written is False
        assert failed(await first).written is True
        assert isinstance(await http.exchange("POST", f"{server.url}/ok/3", content=BODY), Answered)
        assert server.requests_with("ok/2") == 0


# Many at once


async def test_each_of_many_concurrent_requests_is_told_truly(http: HttpClient, free_port: int) -> None:
    scripts = {
        "ok": bad.ok,
        "close": bad.close_after_request,
        "reset": bad.reset_after_request,
        "hang": bad.hang_after_request,
        "part": bad.reset_after_part,
        "half": bad.half_body,
        "garbage": bad.garbage,
    }
    with MisbehavingServer(bad.by_path(scripts)) as server:

        async def one(name: str, number: int) -> tuple[str, str, Exchange]:
            token = f"{name}/{number}"
            url = server.url if name in scripts else f"http://127.0.0.1:{free_port}"
            return name, token, await http.exchange("POST", f"{url}/{token}", content=BODY)

        names = [*scripts, "refused"]
        results = await asyncio.gather(*(one(names[n % len(names)], n) for n in range(48)))
        for name, token, result in results:
            if name == "ok":
                assert isinstance(result, Answered), token
            else:
                assert failed(result).written is (name != "refused"), token
            assert server.requests_with(token) <= 1, token
