"""The client around the transport: what connectors get, what is logged, and what random answers do."""

from __future__ import annotations

import logging
import random

import pytest

from sync.connector import Http
from sync.errors import Scope, TemporaryError
from sync.http import Answered, Failed, HttpClient, default_ssl_context
from tests.fidelity.test_evidence import BODY, post
from tests.servers import misbehaving as bad
from tests.servers.misbehaving import MisbehavingServer, Peer


async def test_connectors_get_answers_and_temporary_errors(http: HttpClient) -> None:
    client: Http = http
    with MisbehavingServer(bad.ok) as server, MisbehavingServer(bad.close_after_request) as closing:
        answer = await client.request("GET", f"{server.url}/ok", params={"page": "2"}, headers={"x-key": "1"})
        assert (answer.status_code, answer.json(), answer.text) == (200, {"ok": True}, '{"ok":true}')
        assert answer.headers["Content-Type"] == "application/json"
        sent = bytes(server.peers[0].read)
        assert sent.startswith(b"GET /ok?page=2 HTTP/1.1\r\n")
        assert b"x-key: 1\r\n" in sent
        with pytest.raises(TemporaryError) as caught:
            await client.request("POST", f"{closing.url}/?key=geheim", json={"a": 1})
        assert (caught.value.code, caught.value.scope) == ("http.closed", Scope.SOURCE)
        assert "geheim" not in repr(caught.value)


async def test_an_answer_that_is_no_json_is_a_temporary_error(http: HttpClient) -> None:
    def page(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>")

    with MisbehavingServer(page) as server:
        answer = await http.request("GET", server.url)
        with pytest.raises(TemporaryError):
            answer.json()


async def test_neither_addresses_nor_bodies_are_logged(http: HttpClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    with MisbehavingServer(bad.ok) as server:
        url = server.url.replace("127.0.0.1", "user:geheim@127.0.0.1")
        await http.exchange("POST", f"{url}/?key=geheim", content=b"geheim", headers={"authorization": "geheim"})
    assert "geheim" not in caplog.text


async def test_answers_cut_or_changed_anywhere_never_raise_and_never_deny_the_writing(http: HttpClient) -> None:
    chance = random.Random(20260312)
    whole = b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx: y\r\n\r\n5\r\n{"ok"\r\n6\r\n:true}\r\n0\r\n\r\n'

    def script(peer: Peer) -> None:
        peer.request()
        answer = bytearray(whole[: chance.randint(0, len(whole))])
        for _ in range(chance.randint(0, 4)):
            if answer:
                answer[chance.randrange(len(answer))] = chance.randrange(256)
        peer.send(bytes(answer))
        peer.reset() if chance.random() < 0.3 else peer.close()

    with MisbehavingServer(script) as server:
        for number in range(300):
            result = await post(http, server.url, f"r{number}", BODY)
            assert isinstance(result, Answered | Failed)
            if server.requests_with(f"r{number}"):
                assert isinstance(result, Answered) or result.written
            assert server.requests_with(f"r{number}") <= 1


async def test_an_authority_of_ones_own_is_trusted_besides_the_public_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    public = default_ssl_context.__wrapped__().cert_store_stats()["x509"]
    monkeypatch.setenv("SSL_CERT_FILE", str(bad.ELSEWHERE_CERTIFICATE))
    assert public > 50
    assert default_ssl_context.__wrapped__().cert_store_stats()["x509"] == public + 1


async def test_a_certificate_that_is_not_trusted_comes_with_what_to_do(http: HttpClient) -> None:
    client: Http = http
    with (
        MisbehavingServer(bad.ok, certificate=bad.ELSEWHERE_CERTIFICATE) as server,
        pytest.raises(TemporaryError) as caught,
    ):
        await client.request("GET", f"{server.url}/ok")
    assert caught.value.code == "http.certificate"
    assert "SSL_CERT_FILE" in caught.value.next_step
