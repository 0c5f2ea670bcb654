"""The `imap` connector against a real Dovecot: TLS, names, numbering, bulk, and what it does not ask for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from connectors.imap import ImapConfig, ImapConnector
from sync.connector import Severity, Stream, StreamRole
from sync.errors import AuthError, ConfigError, TemporaryError
from sync.message import Found, Message
from sync.testing import Arrived, Reader
from tests.servers.dovecot import PASSWORD, Dovecot, needs_dovecot
from tests.servers.proxy import Fault, FaultProxy

pytestmark = pytest.mark.dovecot


def mail(number: int, body: str = "", *, date: datetime | None = None) -> bytes:
    written = date or datetime(2026, 11, 20, 12, 0, number % 60, tzinfo=UTC)
    return (
        f"From: Customer <c{number % 7}@example.net>\r\nTo: support@example.com\r\nMessage-ID: <{number}@example.net>\r\n"
        f"Date: {written:%a, %d %b %Y %H:%M:%S} +0000\r\nSubject: mail {number}\r\n\r\n{body or f'text {number}'}\r\n"
    ).encode()


def texts(arrived: Sequence[Arrived]) -> list[str]:
    return [one.text for one in arrived]


@pytest.fixture(scope="module")
def shared() -> Iterator[Dovecot]:
    needs_dovecot()
    with Dovecot() as running:
        yield running


@pytest.fixture
def server(shared: Dovecot) -> Dovecot:
    shared.empty("alice")
    shared.forget_commands("alice")
    return shared


def config_for(server: Dovecot, **more: object) -> ImapConfig:
    values = {
        "host": "localhost",
        "port": server.imaps_port,
        "ca_file": server.ca_file,
        "username": "alice",
        "password": PASSWORD,
        "read_timeout_seconds": 20,
        **more,
    }
    return ImapConfig.model_validate(values)


@pytest.fixture
async def reader(server: Dovecot) -> AsyncIterator[Reader]:
    made = Reader(ImapConnector(config_for(server)))
    yield made
    await made.connector.aclose()


class TestTls:
    @pytest.mark.parametrize("tls", ["implicit", "starttls"])
    async def test_a_certificate_of_a_configured_authority_is_accepted(self, server: Dovecot, tls: str) -> None:
        port = server.imaps_port if tls == "implicit" else server.imap_port
        server.deliver("alice", "INBOX", mail(1))
        for host in ("localhost", "127.0.0.1"):
            reader = Reader(ImapConnector(config_for(server, tls=tls, port=port, host=host)))
            assert texts(await reader.run_pass()) == ["text 1"]
            await reader.connector.aclose()

    @pytest.mark.parametrize("tls", ["implicit", "starttls"])
    async def test_an_unknown_authority_is_refused_before_the_password(self, server: Dovecot, tls: str) -> None:
        port = server.imaps_port if tls == "implicit" else server.imap_port
        await refused(ImapConnector(config_for(server, tls=tls, port=port, ca_file=None)))
        assert server.commands("alice") == []

    @pytest.mark.parametrize("tls", ["implicit", "starttls"])
    async def test_a_certificate_for_another_name_is_refused_with_the_reason(self, tls: str) -> None:
        needs_dovecot()
        with Dovecot(certificate_names=("mail.example.net",)) as server:
            port = server.imaps_port if tls == "implicit" else server.imap_port
            sentence = await refused(ImapConnector(config_for(server, tls=tls, port=port)))
            assert "localhost" in sentence

    async def test_an_expired_certificate_is_refused_with_the_reason(self) -> None:
        needs_dovecot()
        with Dovecot(certificate_days=-1) as server:
            assert "expired" in await refused(ImapConnector(config_for(server)))

    async def test_plain_text_against_the_tls_port_says_what_to_check(self, server: Dovecot) -> None:
        connector = ImapConnector(config_for(server, tls="none", read_timeout_seconds=0.3))
        with pytest.raises(TemporaryError) as caught:
            await connector.streams(Reader(connector).context())
        assert "tls" in caught.value.next_step
        await connector.aclose()


async def refused(connector: ImapConnector) -> str:
    """The certificate is refused, by `streams` and in `check`; returns the sentence."""
    with pytest.raises(ConfigError) as caught:
        await connector.streams(Reader(connector).context())
    assert caught.value.code == "imap.certificate"
    (finding,) = await connector.check(Reader(connector).context())
    assert (finding.severity, finding.sentence) == (Severity.ERROR, str(caught.value))
    await connector.aclose()
    return finding.sentence


class TestFolders:
    async def test_special_uses_are_resolved_and_sent_is_a_sent_stream(self, server: Dovecot) -> None:
        server.deliver("alice", "Sent", mail(1))
        reader = Reader(ImapConnector(config_for(server, folders=["\\Junk", "INBOX", "\\Sent"])))
        streams = await reader.connector.streams(reader.context())
        assert list(streams) == [Stream("Junk"), Stream("INBOX"), Stream("Sent", StreamRole.SENT)]
        assert texts(await reader.run_pass()) == ["text 1"]
        await reader.connector.aclose()

    async def test_a_localised_sent_folder_is_found_by_what_the_server_says(self) -> None:
        needs_dovecot()
        with Dovecot(special_use={"Postausgang": "\\Sent"}) as server:
            reader = Reader(ImapConnector(config_for(server)))
            streams = await reader.connector.streams(reader.context())
            assert list(streams) == [Stream("INBOX"), Stream("Postausgang", StreamRole.SENT)]
            await reader.connector.aclose()

    @pytest.mark.parametrize(
        "name",
        ["Entwürfe", "Kunden & Partner", "日本語/受信", "with spaces/and more", 'quo"ted', "naïve ☃ 🎉", "back\\slash"],
    )
    async def test_names_of_any_kind_are_read(self, server: Dovecot, name: str) -> None:
        server.create("alice", name)
        server.save("alice", name, mail(1))
        reader = Reader(ImapConnector(config_for(server, folders=[name])))
        (arrived,) = await reader.run_pass()
        assert (arrived.stream.key, arrived.text) == (name, "text 1")
        assert await reader.run_pass() == []
        await reader.connector.aclose()

    async def test_more_sent_folders_can_be_named(self, server: Dovecot) -> None:
        server.deliver("alice", "Answers", mail(1))
        reader = Reader(ImapConnector(config_for(server, sent_folders=["Answers"])))
        (arrived,) = await reader.run_pass()
        assert arrived.stream == Stream("Answers", StreamRole.SENT)
        await reader.connector.aclose()

    async def test_a_missing_folder_names_its_neighbours_and_the_others_are_read(self, server: Dovecot) -> None:
        server.deliver("alice", "INBOX", mail(1))
        server.create("alice", "Support")
        reader = Reader(ImapConnector(config_for(server, folders=["Suport", "INBOX"])))
        inbox, missing = await reader.connector.streams(reader.context())
        assert texts(await reader.poll(inbox)) == ["text 1"]
        with pytest.raises(ConfigError) as caught:
            await reader.poll(missing)
        assert '"Support"' in caught.value.next_step
        findings = await reader.connector.check(reader.context())
        assert [finding.code for finding in findings] == ["imap.signed_in", "imap.folder", "imap.folder_missing"]
        await reader.connector.aclose()


class TestMailboxes:
    async def test_two_thousand_mails_in_two_folders_arrive_once_and_fast(
        self, server: Dovecot, reader: Reader
    ) -> None:
        base = time.time() - 5000
        for number in range(2000):
            server.deliver("alice", "Sent" if number % 3 == 0 else "INBOX", mail(number), mtime=base + number)
        started = time.perf_counter()
        arrived = await reader.run_pass()
        seconds = time.perf_counter() - started
        assert sorted(texts(arrived)) == sorted(f"text {number}" for number in range(2000))
        in_order = sorted(arrived, key=lambda one: one.found.arrived_at)
        assert texts(in_order) == [f"text {number}" for number in range(2000)]
        assert seconds < 20, f"{seconds:.1f} s"
        assert await reader.run_pass() == []
        for number in range(2000, 2050):
            server.deliver("alice", "INBOX", mail(number))
        assert len(await reader.run_pass()) == 50

    async def test_an_idle_pass_asks_for_numbers_only(self, server: Dovecot, reader: Reader) -> None:
        for number in range(20):
            server.deliver("alice", "INBOX", mail(number))
        await reader.run_pass()
        await reader.run_pass()
        server.forget_commands("alice")
        for _pass in range(20):
            assert await reader.run_pass() == []
        commands = server.commands("alice")
        assert len(commands) == 40
        assert all(command.split()[1] == "STATUS" for command in commands)

    async def test_an_idle_pass_moves_next_to_no_bytes(self, server: Dovecot) -> None:
        for number in range(50):
            server.deliver("alice", "INBOX", mail(number, "x" * 10_000))
        with FaultProxy(("127.0.0.1", server.imaps_port)) as proxy:
            reader = Reader(ImapConnector(config_for(server, port=proxy.port)))
            assert len(await reader.run_pass()) == 50
            await reader.run_pass()
            before = proxy.down_bytes
            for _pass in range(10):
                await reader.run_pass()
            assert proxy.down_bytes - before < 10 * 2 * 300
            await reader.connector.aclose()

    async def test_a_new_numbering_lists_headers_under_a_new_epoch_with_the_same_fingerprints(
        self, server: Dovecot, reader: Reader
    ) -> None:
        for number in range(10):
            server.deliver("alice", "INBOX", mail(number))
        before = {one.found.fingerprint for one in await reader.run_pass()}
        server.renumber("alice")
        server.deliver("alice", "INBOX", mail(99))
        server.forget_commands("alice")
        found: list[Found] = []
        connector = reader.connector
        inbox = Stream("INBOX")
        async for batch in connector.poll(inbox, reader.cursor(inbox), reader.context(inbox)):
            found += batch.found
        assert {one.fingerprint for one in found} > before
        assert len(found) == 11
        assert not any("BODY.PEEK[]" in command for command in server.commands("alice"))

    async def test_a_lower_numbering_is_waited_out(self, server: Dovecot, reader: Reader) -> None:
        server.deliver("alice", "INBOX", mail(1))
        await reader.run_pass()
        server.set_uidvalidity("alice", "INBOX", 5)
        for _pass in range(2):
            assert await reader.run_pass() == []
        assert {one.epoch for one in await reader.run_pass()} == {"5"}

    async def test_a_late_mail_with_an_old_arrival_is_found(self, server: Dovecot, reader: Reader) -> None:
        for number in range(5):
            server.deliver("alice", "INBOX", mail(number))
        await reader.run_pass()
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        server.deliver("alice", "INBOX", mail(50), mtime=long_ago)
        server.append("alice", "INBOX", mail(51), at=long_ago)
        arrived = await reader.run_pass()
        assert sorted(texts(arrived)) == ["text 50", "text 51"]
        assert {one.found.arrived_at for one in arrived} == {long_ago}

    async def test_a_start_in_the_middle_leaves_the_older_out_and_counts_them(self, server: Dovecot) -> None:
        now = datetime.now(UTC)
        for number in range(20):
            at = now - timedelta(days=20 - number)
            server.deliver("alice", "INBOX", mail(number, date=at), mtime=at)
        reader = Reader(ImapConnector(config_for(server)), since=now - timedelta(days=5, hours=1))
        assert texts(await reader.run_pass()) == [f"text {number}" for number in range(15, 20)]
        assert sum(batch.before_horizon for _stream, batch in reader.batches) == 15
        await reader.connector.aclose()

    async def test_flags_stay_as_they_are(self, server: Dovecot, reader: Reader) -> None:
        server.append("alice", "INBOX", mail(1))
        server.append("alice", "INBOX", mail(2), flags="(\\Seen \\Flagged)")
        before = server.flags("alice")
        assert len(await reader.run_pass()) == 2
        await reader.connector.check(reader.context())
        assert server.flags("alice") == before
        assert not any("SELECT" in command and "UNSELECT" not in command for command in server.commands("alice"))

    async def test_a_mail_over_the_limit_is_never_loaded_whole(self, server: Dovecot) -> None:
        server.deliver("alice", "INBOX", mail(1, "the start " + "x" * 60 + "\r\n" + ("y" * 70 + "\r\n") * 60_000))
        with FaultProxy(("127.0.0.1", server.imaps_port)) as proxy:
            reader = Reader(ImapConnector(config_for(server, port=proxy.port)), size_limit_bytes=100_000)
            (arrived,) = await reader.run_pass()
            assert isinstance(arrived.content, Message)
            assert arrived.text.startswith("the start")
            assert arrived.content.notes
            assert proxy.down_bytes < 150_000
            await reader.connector.aclose()

    async def test_expunges_between_passes_and_batches_lose_nothing(self, server: Dovecot) -> None:
        for number in range(30):
            server.deliver("alice", "INBOX", mail(number))
        reader = Reader(ImapConnector(config_for(server, batch_messages=5)))
        inbox = Stream("INBOX")
        arrived = []
        batches = 0
        async for batch in reader.connector.poll(inbox, None, reader.context(inbox)):
            arrived += await reader.take(inbox, batch)
            batches += 1
            if batches == 2:
                server.expunge("alice", "INBOX", "uid", "1,3,12,22")
                server.deliver("alice", "INBOX", mail(77))
        arrived += await reader.run_pass()
        left_out = {"text 11", "text 21"}
        assert set(texts(arrived)) == {f"text {number}" for number in (*range(30), 77)} - left_out
        assert len(arrived) == 29
        await reader.connector.aclose()

    async def test_a_wrong_password_and_an_unknown_user_are_the_operators_to_mend(self, server: Dovecot) -> None:
        for wrong in ({"password": "nope-4711"}, {"username": "nobody@example.com"}):
            connector = ImapConnector(config_for(server, **wrong))
            with pytest.raises(AuthError) as caught:
                await connector.streams(Reader(connector).context())
            assert "nope-4711" not in str(caught.value)
            await connector.aclose()

    async def test_strange_passwords_work(self) -> None:
        needs_dovecot()
        passwords = {"quoted": 'a"b\\c d', "foreign": "pässwörd €", "plain": "x" * 100}
        with Dovecot(users=passwords) as server:
            for user, password in passwords.items():
                server.deliver(user, "INBOX", mail(1))
                reader = Reader(ImapConnector(config_for(server, username=user, password=password)))
                assert texts(await reader.run_pass()) == ["text 1"]
                await reader.connector.aclose()


class TestBreakage:
    @pytest.mark.parametrize("how", ["rst", "fin"])
    @pytest.mark.parametrize("cut", [10, 700, 2500, 9000, 20_000])
    async def test_a_connection_cut_anywhere_loses_nothing(self, server: Dovecot, cut: int, how: str) -> None:
        for number in range(40):
            server.deliver("alice", "INBOX", mail(number, f"text {number} " + "x" * 500))
        with FaultProxy(("127.0.0.1", server.imap_port)) as proxy:
            config = config_for(server, port=proxy.port, tls="none", folders=["INBOX"], batch_messages=6)
            reader = Reader(ImapConnector(config))
            proxy.fault(Fault(cut_down_bytes=cut, how="rst" if how == "rst" else "fin"))
            with contextlib.suppress(TemporaryError):  # a connection that was kept is replaced once without a word
                await reader.run_pass()
            assert proxy.connections > 1 or cut <= 700
            proxy.fault()
            reader.seen.clear()
            reader.cursors.clear()
            assert len(await reader.run_pass()) == 40
            await reader.connector.aclose()

    async def test_bytes_in_small_pieces_change_nothing(self, server: Dovecot) -> None:
        for number in range(10):
            server.deliver("alice", "INBOX", mail(number))
        with FaultProxy(("127.0.0.1", server.imap_port)) as proxy:
            proxy.fault(Fault(piece_bytes=3))
            reader = Reader(ImapConnector(config_for(server, port=proxy.port, tls="none")))
            assert texts(await reader.run_pass()) == [f"text {number}" for number in range(10)]
            await reader.connector.aclose()

    async def test_a_server_restart_between_passes_is_not_even_noticed(self) -> None:
        needs_dovecot()
        with Dovecot() as server:
            server.deliver("alice", "INBOX", mail(1))
            reader = Reader(ImapConnector(config_for(server)))
            await reader.run_pass()
            server.stop()
            with pytest.raises(TemporaryError) as caught:
                await reader.run_pass()
            assert caught.value.code == "imap.refused"
            server.start()
            server.deliver("alice", "INBOX", mail(2))
            assert texts(await reader.run_pass()) == ["text 2"]
            await reader.connector.aclose()

    async def test_one_connection_serves_a_source_however_often_it_is_polled(self, server: Dovecot) -> None:
        with FaultProxy(("127.0.0.1", server.imaps_port)) as proxy:
            reader = Reader(ImapConnector(config_for(server, port=proxy.port)))
            for number in range(10):
                server.deliver("alice", "INBOX", mail(number))
                assert len(await reader.run_pass()) == 1
            assert proxy.connections == 1
            await reader.connector.aclose()
