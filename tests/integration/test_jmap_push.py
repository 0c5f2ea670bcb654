"""Waiting for news over JMAP: a stream of events, what it misses, and servers that have none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from connectors.jmap import JmapConfig, JmapConnector
from sync.connector import Waits
from sync.errors import TemporaryError
from sync.testing.reader import Reader
from tests.servers.cyrus import PASSWORD, Cyrus, needs_cyrus
from tests.servers.jmap_script import ScriptedJmap

PATIENCE_SECONDS = 20.0
PING = b'event: ping\ndata: {"interval": 60}\n\n'


def mail(number: int) -> bytes:
    return f"From: jo@example.net\r\nSubject: mail {number}\r\n\r\ntext {number}".encode()


@pytest.fixture
def server() -> Iterator[ScriptedJmap]:
    with ScriptedJmap() as running:
        running.has_events = True
        yield running


@pytest.fixture
async def reader(server: ScriptedJmap) -> AsyncIterator[Reader]:
    made = Reader(JmapConnector(JmapConfig.model_validate({"url": server.url, "token": "token-4711"})))
    await made.run_pass()
    yield made
    await made.connector.aclose()


def waiting(reader: Reader) -> asyncio.Future[frozenset[str] | None]:
    connector = reader.connector
    assert isinstance(connector, Waits)
    return asyncio.ensure_future(connector.wait(reader.context()))


async def listens(server: ScriptedJmap, *, calls: int) -> None:
    """Until somebody listens, and has asked whether all is as it was."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not server.listeners or server.calls.count("Email/get") < calls:  # noqa: ASYNC110  it runs in a thread
            await asyncio.sleep(0.005)


async def test_a_mail_that_comes_while_it_waits_is_told(server: ScriptedJmap, reader: Reader) -> None:
    asked = server.calls.count("Email/get")
    news = waiting(reader)
    await listens(server, calls=asked + 1)
    server.tell(b": a comment\r\n\r\n" + PING)
    server.add(mail(1))
    assert await asyncio.wait_for(news, PATIENCE_SECONDS) == frozenset()
    assert [one.text for one in await reader.run_pass()] == ["text 1"]


async def test_what_is_no_news_of_this_account_is_passed_over(server: ScriptedJmap, reader: Reader) -> None:
    asked = server.calls.count("Email/get")
    news = waiting(reader)
    await listens(server, calls=asked + 1)
    server.announce("somebody-else", "77")
    server.announce(state=str(server.state))  # what the pass has seen
    server.tell(b"event: state\ndata: {not json\n\n" + PING)
    server.tell(None)
    with pytest.raises(TemporaryError):  # that the stream has ended is the first thing it says
        await asyncio.wait_for(news, PATIENCE_SECONDS)


async def test_what_came_between_two_calls_is_told_at_once(server: ScriptedJmap, reader: Reader) -> None:
    server.add(mail(1))
    assert await asyncio.wait_for(waiting(reader), PATIENCE_SECONDS) == frozenset()
    await reader.run_pass()
    asked = server.calls.count("Email/get")
    news = waiting(reader)
    await listens(server, calls=asked + 1)
    assert not news.done(), "and once only"
    news.cancel()


async def test_waiting_can_be_given_up_and_leaves_no_connection(server: ScriptedJmap, reader: Reader) -> None:
    asked = server.calls.count("Email/get")
    news = waiting(reader)
    await listens(server, calls=asked + 1)
    news.cancel()
    with pytest.raises(asyncio.CancelledError):
        await news
    async with asyncio.timeout(PATIENCE_SECONDS):
        while server.listeners:
            server.tell(PING)  # a server notices at its next word
            await asyncio.sleep(0.01)


async def test_a_stream_that_ends_or_falls_silent_is_an_error_to_wait_out(
    server: ScriptedJmap, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = server.calls.count("Email/get")
    news = waiting(reader)
    await listens(server, calls=asked + 1)
    server.tell(None)
    with pytest.raises(TemporaryError) as caught:
        await asyncio.wait_for(news, PATIENCE_SECONDS)
    assert caught.value.code == "jmap.push_lost"
    monkeypatch.setattr("connectors.jmap.events.SILENCE_SECONDS", 0.1)
    with pytest.raises(TemporaryError) as caught:
        await asyncio.wait_for(waiting(reader), PATIENCE_SECONDS)
    assert caught.value.code == "http.timeout"


async def test_a_server_that_talks_without_end_is_not_listened_to(
    server: ScriptedJmap, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.jmap.events.MAX_EVENT_BYTES", 1000)
    asked = server.calls.count("Email/get")
    news = waiting(reader)
    await listens(server, calls=asked + 1)
    server.tell(b"data: " + b"x" * 2000)
    with pytest.raises(TemporaryError) as caught:
        await asyncio.wait_for(news, PATIENCE_SECONDS)
    assert "push = false" in caught.value.next_step


async def test_the_sign_in_is_not_sent_to_a_foreign_host_for_events(server: ScriptedJmap, reader: Reader) -> None:
    with ScriptedJmap() as other:
        server.session_changes = {"eventSourceUrl": f"{other.url}/events"}
        await reader.connector.aclose()
        with pytest.raises(Exception, match="another host"):
            await asyncio.wait_for(waiting(reader), PATIENCE_SECONDS)
        assert not other.requests


async def test_there_is_nothing_to_wait_for_where_it_is_off_or_not_offered(server: ScriptedJmap) -> None:
    values = {"url": server.url, "token": "token-4711"}
    off = Reader(JmapConnector(JmapConfig.model_validate({**values, "push": False})))
    assert await waiting(off) is None
    server.has_events = False
    assert await waiting(Reader(JmapConnector(JmapConfig.model_validate(values)))) is None
    server.session_changes = {"eventSourceUrl": "/events"}
    assert await waiting(Reader(JmapConnector(JmapConfig.model_validate(values)))) is None


@pytest.mark.cyrus
async def test_a_cyrus_has_none() -> None:
    needs_cyrus()
    with Cyrus() as cyrus:
        values = {"url": cyrus.url, "username": "alice", "password": PASSWORD}
        reader = Reader(JmapConnector(JmapConfig.model_validate(values)))
        await reader.run_pass()
        assert await asyncio.wait_for(waiting(reader), PATIENCE_SECONDS) is None
