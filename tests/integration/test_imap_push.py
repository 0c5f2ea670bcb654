"""IDLE in the `imap` connector: against a real Dovecot, and against servers that do it oddly or not at all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from connectors.imap import ImapConfig, ImapConnector
from connectors.imap.watch import Watch
from sync.connector import Waits
from sync.errors import InboxSyncError, TemporaryError
from sync.testing import Reader
from tests.servers.dovecot import PASSWORD, Dovecot, needs_dovecot
from tests.servers.imap_script import Drop, ScriptedImap, Silence
from tests.unit.loop_desk import until


def mail(number: int) -> bytes:
    return (
        f"From: c{number}@example.net\r\nMessage-ID: <{number}@example.net>\r\n"
        f"Date: Fri, 20 Nov 2026 12:00:00 +0000\r\nSubject: mail {number}\r\n\r\ntext {number}\r\n"
    ).encode()


def config_for(port: int, **more: object) -> ImapConfig:
    values = {
        "host": "localhost",
        "port": port,
        "tls": "none",
        "username": "alice",
        "password": PASSWORD,
        "folders": ["INBOX"],
        "read_timeout_seconds": 5,
        **more,
    }
    return ImapConfig.model_validate(values)


@asynccontextmanager
async def polled(config: ImapConfig) -> AsyncIterator[tuple[ImapConnector, Reader]]:
    """A connector after its first pass."""
    connector = ImapConnector(config)
    assert isinstance(connector, Waits)
    reader = Reader(connector)
    await reader.run_pass()
    try:
        yield connector, reader
    finally:
        await connector.aclose()


async def hint(connector: ImapConnector, reader: Reader, *, within_seconds: float = 30.0) -> set[str] | None:
    async with asyncio.timeout(within_seconds):
        news = await connector.wait(reader.context())
        return None if news is None else set(news)


async def error_of(connector: ImapConnector, reader: Reader) -> InboxSyncError:
    with pytest.raises(TemporaryError) as caught:
        await hint(connector, reader)
    return caught.value


@pytest.fixture
def server() -> Iterator[ScriptedImap]:
    with ScriptedImap() as running:
        yield running


@pytest.fixture(scope="module")
def real() -> Iterator[Dovecot]:
    needs_dovecot()
    with Dovecot() as running:
        yield running


class TestScripted:
    async def test_news_ends_the_wait_and_waiting_takes_no_thread(self, server: ScriptedImap) -> None:
        async with polled(config_for(server.port)) as (connector, reader):
            waiting = asyncio.create_task(hint(connector, reader))
            await until(server.idling, "it is in IDLE")
            ours = {thread.name for thread in threading.enumerate() if thread.name.startswith("imap-watch")}
            assert ours == set()
            server.folder("INBOX").add(mail(1))
            server.announce(b"* 1 EXISTS")
            assert await waiting == {"INBOX"}
            assert [one.text for one in await reader.run_pass()] == ["text 1"]

    async def test_after_a_hint_its_folder_is_looked_at_without_asking_whether_there_is_anything(
        self, server: ScriptedImap
    ) -> None:
        server.folder("Sent", "\\Sent")
        async with polled(config_for(server.port, folders=["INBOX", "Sent"])) as (connector, reader):
            waiting = asyncio.create_task(hint(connector, reader))
            await until(server.idling, "it is in IDLE")
            server.folder("INBOX").add(mail(1))
            server.announce(b"* 1 EXISTS")
            assert await waiting == {"INBOX"}
            server.commands.clear()
            assert [one.text for one in await reader.run_pass()] == ["text 1"]
            assert [command.partition(" (")[0] for command in server.commands] == [
                'EXAMINE "INBOX"',
                "UID SEARCH RETURN",
                "UID FETCH 1",
                "UID FETCH 1",
                'STATUS "Sent"',
            ]

    async def test_the_connection_stays_and_keeps_what_comes_between_two_waits(self, server: ScriptedImap) -> None:
        async with polled(config_for(server.port)) as (connector, reader):
            for number in (1, 2, 3):
                if number == 1:
                    waiting = asyncio.create_task(hint(connector, reader))
                    await until(server.idling, "it is in IDLE")
                    waiting.cancel()
                    await asyncio.wait({waiting})
                server.folder("INBOX").add(mail(number))
                server.announce(b"* %d EXISTS" % number)
                assert await hint(connector, reader) == {"INBOX"}
            assert server.connections == 2

    async def test_mail_that_came_after_the_pass_and_before_idle_is_hinted_at(self, server: ScriptedImap) -> None:
        async with polled(config_for(server.port)) as (connector, reader):
            server.folder("INBOX").add(mail(1))
            assert await hint(connector, reader) == {"INBOX"}

    async def test_a_server_without_idle_is_just_polled(self) -> None:
        with ScriptedImap(capabilities="IMAP4rev1 LITERAL+") as server:
            async with polled(config_for(server.port)) as (connector, reader):
                assert await hint(connector, reader) is None
                assert "imap.no_idle" in reader.log.names()
                await until(lambda: server.open_connections() == 1, "the second connection is given up")
                findings = await connector.check(reader.context())
                assert "imap.no_idle" in [one.code for one in findings]

    @pytest.mark.parametrize("settings", [{"push": False}, {"max_connections": 1}])
    async def test_push_can_be_switched_off(self, server: ScriptedImap, settings: dict[str, object]) -> None:
        async with polled(config_for(server.port, **settings)) as (connector, reader):
            assert await hint(connector, reader) is None
            assert server.connections == 1

    @pytest.mark.parametrize("answer", ["NO not for you", "BAD what is IDLE?"])
    async def test_a_refused_idle_is_an_error_that_harms_no_pass(self, server: ScriptedImap, answer: str) -> None:
        server.on("IDLE", lambda _command: answer)
        async with polled(config_for(server.port)) as (connector, reader):
            assert (await error_of(connector, reader)).code == "imap.push_refused"
            server.folder("INBOX").add(mail(1))
            assert [one.text for one in await reader.run_pass()] == ["text 1"]

    async def test_too_many_connections_is_an_error_that_says_so(self, server: ScriptedImap) -> None:
        async with polled(config_for(server.port)) as (connector, reader):
            server.on("LOGIN", lambda _command: "NO [LIMIT] Too many simultaneous connections")
            assert (await error_of(connector, reader)).code == "imap.throttled"
            server.folder("INBOX").add(mail(1))
            assert [one.text for one in await reader.run_pass()] == ["text 1"]

    async def test_a_server_that_never_answers_idle_is_given_up(self, server: ScriptedImap) -> None:
        server.on("IDLE", Silence)
        async with polled(config_for(server.port, read_timeout_seconds=0.6)) as (connector, reader):
            assert (await error_of(connector, reader)).code == "imap.push_silent"

    async def test_a_half_open_connection_is_noticed_at_the_renewal(self, server: ScriptedImap) -> None:
        async with polled(config_for(server.port, read_timeout_seconds=0.6, idle_renew_seconds=0.2)) as (
            connector,
            reader,
        ):
            server.deaf = True
            assert (await error_of(connector, reader)).code == "imap.push_silent"
            server.deaf = False
            server.folder("INBOX").add(mail(1))
            assert await hint(connector, reader) == {"INBOX"}, "the next wait has a new connection"

    async def test_idle_is_renewed_on_the_same_connection(self, server: ScriptedImap) -> None:
        async with polled(config_for(server.port, idle_renew_seconds=0.1)) as (connector, reader):
            waiting = asyncio.create_task(hint(connector, reader))
            await until(lambda: server.commands.count("DONE") >= 3, "IDLE is renewed, and again")
            assert server.connections == 2
            await until(server.idling, "it is in IDLE")
            server.announce(b"* 1 EXISTS")
            assert await waiting == {"INBOX"}

    async def test_a_good_bye_during_idle_is_an_error_and_the_next_wait_connects_anew(
        self, server: ScriptedImap
    ) -> None:
        async with polled(config_for(server.port)) as (connector, reader):
            waiting = asyncio.create_task(error_of(connector, reader))
            await until(server.idling, "it is in IDLE")
            server.announce(b"* BYE autologout; idle for too long")
            assert (await waiting).code == "imap.push_lost"
            await until(lambda: server.idling() == 0, "the old connection is closed")
            waiting_again = asyncio.create_task(hint(connector, reader))
            await until(server.idling, "it is in IDLE again")
            server.announce(b"* 1 EXISTS")
            assert await waiting_again == {"INBOX"}

    async def test_a_connection_that_breaks_is_an_error(self, server: ScriptedImap) -> None:
        server.on("IDLE", Drop)
        async with polled(config_for(server.port)) as (connector, reader):
            assert (await error_of(connector, reader)).code == "imap.push_lost"

    async def test_expunges_do_not_end_the_wait(self, server: ScriptedImap) -> None:
        for number in range(50):
            server.folder("INBOX").add(mail(number))
        async with polled(config_for(server.port)) as (connector, reader):
            waiting = asyncio.create_task(hint(connector, reader))
            await until(server.idling, "it is in IDLE")
            for left in range(49, -1, -1):
                server.announce(b"* 1 EXPUNGE\r\n* %d EXISTS" % left)
            server.announce(b"* 1 EXISTS")
            assert await waiting == {"INBOX"}
            again = asyncio.create_task(hint(connector, reader))
            await asyncio.wait({again}, timeout=0.1)
            assert not again.done(), "fifty removals and one mail are one hint"
            again.cancel()
            await asyncio.wait({again})

    async def test_a_frozen_view_is_noticed_by_the_poll_beside_it(self, server: ScriptedImap) -> None:
        async with polled(config_for(server.port)) as (connector, reader):
            connector._watch = Watch(connector._config, connector._identity, announce_seconds=0.1)
            waiting = asyncio.create_task(error_of(connector, reader))
            await until(server.idling, "it is in IDLE")
            server.folder("INBOX").add(mail(1))
            assert [one.text for one in await reader.run_pass()] == ["text 1"]
            assert (await waiting).code == "imap.push_missed"
            await until(lambda: server.idling() == 0, "the old connection is closed")
            waiting_again = asyncio.create_task(hint(connector, reader))
            await until(server.idling, "a new connection is in IDLE")
            assert server.connections == 3
            server.announce(b"* 2 EXISTS")
            assert await waiting_again == {"INBOX"}

    async def test_several_folders_are_watched_and_the_one_with_news_is_named(self, server: ScriptedImap) -> None:
        server.folder("Support")
        server.folder("Sales")
        watched = {"folders": ["INBOX", "Support", "Sales"], "push_folders": ["INBOX", "Support", "Sales"]}
        async with polled(config_for(server.port, **watched)) as (connector, reader):
            waiting = asyncio.create_task(hint(connector, reader))
            await until(lambda: server.idling("INBOX") and server.idling("Support"), "two folders are watched")
            assert server.idling("Sales") == 0, "max_connections leaves two for waiting"
            server.announce(b"* 1 EXISTS", "Support")
            assert await waiting == {"Support"}

    async def test_a_folder_that_cannot_be_watched_does_not_keep_others_from_it(self, server: ScriptedImap) -> None:
        server.folder("Support")
        watched = {"folders": ["INBOX", "Support"], "push_folders": ["Support", "INBOX"], "idle_renew_seconds": 0.3}
        async with polled(config_for(server.port, **watched)) as (connector, reader):
            server.on('EXAMINE "Support"', lambda _command: "NO [NOPERM] not yours")
            waiting = asyncio.create_task(hint(connector, reader))
            await until(lambda: server.idling("INBOX"), "the other one is watched")
            assert "imap.push_failed" in reader.log.names()
            server.announce(b"* 1 EXISTS", "INBOX")
            assert await waiting == {"INBOX"}
            waiting = asyncio.create_task(hint(connector, reader))
            server.calm()
            await until(lambda: server.idling("Support"), "its turn comes again")
            server.announce(b"* 1 EXISTS", "Support")
            assert await waiting == {"Support"}

    async def test_a_wait_that_is_given_up_while_it_connects_leaves_no_connection(self, server: ScriptedImap) -> None:
        async with polled(config_for(server.port)) as (connector, reader):
            for command in ("LOGIN", "EXAMINE"):
                asked = threading.Event()

                def hang(_command: str, asked: threading.Event = asked) -> str:
                    asked.set()
                    raise Silence

                server.on(command, hang)
                waiting = asyncio.create_task(hint(connector, reader))
                await until(asked.is_set, "it hangs while it connects")
                waiting.cancel()
                await asyncio.wait({waiting})
                await until(lambda: server.open_connections() == 1, "only the connection that polls is left")
                server.calm()

    async def test_closing_ends_a_wait_and_makes_no_new_connection(self, server: ScriptedImap) -> None:
        async with polled(config_for(server.port)) as (connector, reader):
            waiting = asyncio.create_task(error_of(connector, reader))
            await until(server.idling, "it is in IDLE")
            await connector.aclose()
            assert (await waiting).code == "imap.push_lost"
            assert server.connections == 2

    async def test_closing_leaves_no_connection_and_the_connector_can_be_used_again(self, server: ScriptedImap) -> None:
        async with polled(config_for(server.port)) as (connector, reader):
            for _time in range(2):
                waiting = asyncio.create_task(hint(connector, reader))
                await until(server.idling, "it is in IDLE")
                waiting.cancel()
                await asyncio.wait({waiting})
                await connector.aclose()
                await until(lambda: server.open_connections() == 0, "every connection is closed")


@pytest.mark.dovecot
class TestDovecot:
    @pytest.mark.parametrize("tls", ["implicit", "starttls"])
    async def test_mail_is_announced_over_tls(self, real: Dovecot, tls: str) -> None:
        port = real.imaps_port if tls == "implicit" else real.imap_port
        real.empty("alice")
        real.forget_commands("alice")
        async with polled(config_for(port, tls=tls, ca_file=real.ca_file)) as (connector, reader):
            waiting = asyncio.create_task(hint(connector, reader))
            await until(lambda: "I1 IDLE" in real.commands("alice"), "it is in IDLE")
            for number in (1, 2):
                real.deliver("alice", "INBOX", mail(number))
                assert await waiting == {"INBOX"}
                assert [one.text for one in await reader.run_pass()] == [f"text {number}"]
                waiting = asyncio.create_task(hint(connector, reader))
            real.stop()
            with pytest.raises(TemporaryError):
                await waiting
            real.start()

    async def test_idle_is_renewed_over_tls(self, real: Dovecot) -> None:
        real.empty("alice")
        real.forget_commands("alice")
        watched = config_for(real.imaps_port, tls="implicit", ca_file=real.ca_file, idle_renew_seconds=0.1)
        async with polled(watched) as (connector, reader):
            waiting = asyncio.create_task(hint(connector, reader))
            await until(lambda: real.commands("alice").count("DONE") >= 3, "IDLE is renewed")
            real.deliver("alice", "INBOX", mail(1))
            assert await waiting == {"INBOX"}
