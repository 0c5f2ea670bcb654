"""The `imap` connector against servers that answer oddly: scripted, on loopback."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connectors.imap import ImapConfig, ImapConnector
from connectors.imap.connector import LARGE_FOLDER_MESSAGES
from sync.connector import Severity, Stream, StreamRole
from sync.errors import AuthError, ConfigError, InboxSyncError, TemporaryError
from sync.message import Gone, Message
from sync.testing import Arrived, Reader
from tests.servers.imap_script import CAPABILITIES, Drop, ScriptedImap, Silence, fetch_items

WITHOUT_EXTENSIONS = "IMAP4rev1"
INBOX = Stream("INBOX")
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def mail(number: int, *, date: str = "Fri, 20 Nov 2026 12:00:00 +0000", body: str = "") -> bytes:
    return (
        f"From: Customer <c{number}@example.net>\r\nMessage-ID: <{number}@example.net>\r\nDate: {date}\r\n"
        f"Subject: mail {number}\r\n\r\n{body or f'text {number}'}\r\n"
    ).encode()


@pytest.fixture
def server() -> Iterator[ScriptedImap]:
    with ScriptedImap() as running:
        yield running


def connector_for(server: ScriptedImap, **more: object) -> ImapConnector:
    values = {
        "host": "127.0.0.1",
        "port": server.port,
        "tls": "none",
        "username": "alice",
        "password": "pass-word-1",
        "folders": ["INBOX"],
        "read_timeout_seconds": 5,
        **more,
    }
    return ImapConnector(ImapConfig.model_validate(values))


@pytest.fixture
async def reader(server: ScriptedImap) -> AsyncIterator[Reader]:
    made = Reader(connector_for(server))
    yield made
    await made.connector.aclose()


def texts(arrived: Sequence[Arrived]) -> list[str]:
    return [one.text for one in arrived]


class TestNumbers:
    async def test_far_apart_uids_in_two_folders_lose_nothing(self, server: ScriptedImap) -> None:
        server.folder("Support").add(mail(1), uid=4_000_000_000)
        server.folder("INBOX").add(mail(2), uid=3)
        reader = Reader(connector_for(server, folders=["Support", "INBOX"]))
        assert texts(await reader.run_pass()) == ["text 1", "text 2"]
        server.folder("INBOX").add(mail(3))
        server.folder("Support").add(mail(4))
        assert texts(await reader.run_pass()) == ["text 4", "text 3"]
        await reader.connector.aclose()

    async def test_an_idle_folder_costs_one_round_trip(self, server: ScriptedImap, reader: Reader) -> None:
        server.folder("INBOX").add(mail(1))
        await reader.run_pass()
        server.commands.clear()
        for _pass in range(100):
            assert await reader.run_pass() == []
        assert set(server.commands[1:]) == {'STATUS "INBOX" (UIDVALIDITY UIDNEXT MESSAGES)'}
        assert len(server.commands) == 101  # the open folder was left once
        assert server.connections == 1

    async def test_what_is_new_is_searched_for_once(self, server: ScriptedImap, reader: Reader) -> None:
        server.folder("INBOX").add(mail(1))
        await reader.run_pass()
        server.folder("INBOX").add(mail(2))
        server.commands.clear()
        assert texts(await reader.run_pass()) == ["text 2"]
        assert [command for command in server.commands if "SEARCH" in command] == ["UID SEARCH RETURN (ALL) UID 2:*"]

    @pytest.mark.parametrize("answer", [lambda _command: "BAD what?", lambda _command: b'* ESEARCH (TAG "X") UID'])
    async def test_a_server_that_takes_no_star_is_searched_otherwise(
        self, server: ScriptedImap, reader: Reader, answer: Callable[[str], str | bytes]
    ) -> None:
        server.folder("INBOX").add(mail(1))
        await reader.run_pass()
        server.folder("INBOX").add(mail(2))
        server.on("UID SEARCH RETURN (ALL) UID 2:*", answer)
        assert texts(await reader.run_pass()) == ["text 2"]
        assert await reader.run_pass() == []

    async def test_a_large_folder_is_not_polled_on_the_connection_that_listed_folders(
        self, server: ScriptedImap, reader: Reader
    ) -> None:
        for number in range(LARGE_FOLDER_MESSAGES):
            server.folder("INBOX").add(mail(number))
        await reader.run_pass()
        await reader.run_pass()
        assert server.connections == 2
        server.commands.clear()
        for _pass in range(5):
            assert await reader.run_pass() == []
        assert server.commands == ['STATUS "INBOX" (UIDVALIDITY UIDNEXT MESSAGES)'] * 5
        assert server.connections == 2

    @pytest.mark.parametrize("capabilities", [CAPABILITIES, WITHOUT_EXTENSIONS])
    async def test_a_server_without_uidnext_is_searched(self, capabilities: str) -> None:
        with ScriptedImap(capabilities=capabilities) as server:
            inbox = server.folder("INBOX")
            inbox.tell_uidnext = False
            inbox.add(mail(1))
            reader = Reader(connector_for(server))
            assert texts(await reader.run_pass()) == ["text 1"]
            server.commands.clear()
            assert await reader.run_pass() == []
            assert not any("FETCH" in command for command in server.commands)
            inbox.add(mail(2))
            assert texts(await reader.run_pass()) == ["text 2"]
            await reader.connector.aclose()

    async def test_a_uidnext_that_never_moves_is_not_believed(self, server: ScriptedImap, reader: Reader) -> None:
        inbox = server.folder("INBOX")
        inbox.uidnext = 1
        inbox.add(mail(1), uid=1)
        assert texts(await reader.run_pass()) == ["text 1"]
        inbox.add(mail(2), uid=2)
        assert texts(await reader.run_pass()) == ["text 2"]

    async def test_a_uidnext_that_is_too_high_skips_nothing(self, server: ScriptedImap, reader: Reader) -> None:
        inbox = server.folder("INBOX")
        inbox.uidnext = 900
        inbox.add(mail(1), uid=1)
        assert texts(await reader.run_pass()) == ["text 1"]
        inbox.add(mail(2), uid=2)
        assert texts(await reader.run_pass()) == ["text 2"]

    async def test_a_frozen_status_is_found_out_by_the_full_look(self, server: ScriptedImap) -> None:
        reader = Reader(connector_for(server, full_look_seconds=600), now=NOON)
        inbox = server.folder("INBOX")
        inbox.add(mail(1))
        await reader.run_pass()
        frozen = f'* STATUS "INBOX" (MESSAGES 1 UIDNEXT {inbox.next} UIDVALIDITY 1000)'.encode()
        server.on("STATUS", lambda _command: frozen)
        inbox.add(mail(2))
        assert await reader.run_pass() == []
        reader.now = NOON + timedelta(seconds=601)
        assert texts(await reader.run_pass()) == ["text 2"]
        await reader.connector.aclose()

    async def test_a_folder_without_uidvalidity_works_and_check_says_so(
        self, server: ScriptedImap, reader: Reader
    ) -> None:
        inbox = server.folder("INBOX")
        inbox.uidvalidity = None
        inbox.add(mail(1))
        (arrived,) = await reader.run_pass()
        assert (arrived.epoch, arrived.text) == ("0", "text 1")
        assert await reader.run_pass() == []
        findings = await reader.connector.check(reader.context())
        assert [finding.code for finding in findings if finding.severity is Severity.WARNING] == ["imap.no_uidvalidity"]

    async def test_a_new_numbering_lists_everything_under_a_new_epoch(
        self, server: ScriptedImap, reader: Reader
    ) -> None:
        inbox = server.folder("INBOX")
        inbox.add(mail(1))
        await reader.run_pass()
        inbox.uidvalidity = 1001
        inbox.add(mail(2))
        arrived = await reader.run_pass()
        assert {one.epoch for one in arrived} == {"1001"}
        assert texts(arrived) == ["text 1", "text 2"]

    async def test_a_lower_numbering_waits_two_passes_and_may_come_back(
        self, server: ScriptedImap, reader: Reader
    ) -> None:
        inbox = server.folder("INBOX")
        inbox.add(mail(1))
        await reader.run_pass()
        inbox.uidvalidity = 7
        for _pass in range(2):
            assert await reader.run_pass() == []
            assert reader.batches[-1][1].complete_until is None
            assert reader.batches[-1][1].epoch == "1000"
        inbox.uidvalidity = 1000
        assert await reader.run_pass() == []
        inbox.add(mail(2))
        assert texts(await reader.run_pass()) == ["text 2"]
        inbox.uidvalidity = 7
        for _pass in range(2):
            assert await reader.run_pass() == []
        arrived = await reader.run_pass()
        assert {one.epoch for one in arrived} == {"7"}
        assert texts(arrived) == ["text 1", "text 2"]

    async def test_a_renumbering_between_poll_and_fetch_gives_no_wrong_content(
        self, server: ScriptedImap, reader: Reader
    ) -> None:
        inbox = server.folder("INBOX")
        inbox.add(mail(1))
        connector = reader.connector
        assert isinstance(connector, ImapConnector)
        (stream,) = await connector.streams(reader.context())
        (batch,) = [batch async for batch in connector.poll(stream, None, reader.context())]
        server.break_all()
        inbox.uidvalidity = 2000
        inbox.mails.clear()
        inbox.add(mail(2))
        assert await connector.fetch(stream, batch.epoch, ["1"], reader.context()) == {}

    async def test_uids_given_away_anew_under_the_same_uidvalidity_hide_no_mail(
        self, server: ScriptedImap, reader: Reader
    ) -> None:
        inbox = server.folder("INBOX")
        for number in range(1, 6):
            inbox.add(mail(number))
        await reader.run_pass()
        before = inbox.mails[:2]
        inbox.mails.clear()  # a backup is played back: two mails, and the third UID goes to another mail
        for one in before:
            inbox.add(one.raw)
        inbox.add(mail(9))
        for _pass in range(2):
            assert await reader.run_pass() == []
            assert reader.batches[-1][1].complete_until is None
        arrived = await reader.run_pass()
        assert {one.epoch for one in arrived} == {"1000-1"}
        assert texts(arrived) == ["text 1", "text 2", "text 9"]
        inbox.add(mail(10))
        assert texts(await reader.run_pass()) == ["text 10"]
        connector = reader.connector
        assert isinstance(connector, ImapConnector)
        (stream,) = await connector.streams(reader.context())
        assert await connector.fetch(stream, "1000", ["3"], reader.context()) == {}, "that UID is another mail now"


class TestFirstSight:
    @pytest.mark.parametrize("capabilities", [CAPABILITIES, WITHOUT_EXTENSIONS])
    async def test_what_lies_before_the_horizon_is_counted_and_left_out(self, capabilities: str) -> None:
        with ScriptedImap(capabilities=capabilities) as server:
            inbox = server.folder("INBOX")
            old = "Mon, 02 Nov 2026 12:00:00 +0000"
            for number in range(50):
                inbox.add(mail(number, date=old), arrived_at=NOON - timedelta(days=18))
            inbox.add(mail(100, date=old), arrived_at=NOON - timedelta(hours=1))  # within the day of margin
            inbox.add(mail(101), arrived_at=NOON + timedelta(seconds=1))
            inbox.add(mail(102, date=old), arrived_at=NOON + timedelta(seconds=2))
            reader = Reader(connector_for(server), since=NOON)
            assert texts(await reader.run_pass()) == ["text 101", "text 102"]
            assert sum(batch.before_horizon for _stream, batch in reader.batches) == 51
            assert await reader.run_pass() == []
            inbox.add(mail(103, date=old), arrived_at=NOON - timedelta(days=18))
            assert texts(await reader.run_pass()) == ["text 103"], "later passes leave the horizon to the core"
            await reader.connector.aclose()

    async def test_start_now_on_a_full_mailbox_gives_nothing_then_only_what_is_new(self, server: ScriptedImap) -> None:
        inbox = server.folder("INBOX")
        for number in range(30):
            inbox.add(mail(number), arrived_at=NOON - timedelta(days=40))
        reader = Reader(connector_for(server), since=datetime.now(UTC))
        assert await reader.run_pass() == []
        assert not any("FETCH" in command for command in server.commands)
        inbox.add(mail(99))
        assert texts(await reader.run_pass()) == ["text 99"]
        await reader.connector.aclose()

    async def test_a_first_look_that_died_goes_on_with_the_horizon_and_counts_once(self, server: ScriptedImap) -> None:
        inbox = server.folder("INBOX")
        for number in range(10):
            inbox.add(mail(number, date="nonsense"), arrived_at=NOON - timedelta(days=18))
            inbox.add(mail(100 + number), arrived_at=NOON + timedelta(minutes=number))
        reader = Reader(connector_for(server, batch_messages=4), since=NOON)
        arrived = await reader.poll(INBOX, most_batches=1)
        assert len(arrived) == 4
        arrived += await reader.run_pass()
        assert texts(arrived) == [f"text {100 + number}" for number in range(10)]
        assert sum(batch.before_horizon for _stream, batch in reader.batches) == 10
        await reader.connector.aclose()

    async def test_a_server_that_cannot_search_by_sent_date_is_asked_more_simply(self, server: ScriptedImap) -> None:
        server.folder("INBOX").add(mail(1), arrived_at=NOON)
        server.on("UID SEARCH RETURN (ALL) UID 1:1 OR", lambda _command: "BAD what is SENTSINCE?")
        reader = Reader(connector_for(server), since=NOON - timedelta(days=1))
        assert texts(await reader.run_pass()) == ["text 1"]
        await reader.connector.aclose()

    async def test_half_a_million_uids_without_esearch_are_listed_in_batches(self) -> None:
        with ScriptedImap(capabilities=WITHOUT_EXTENSIONS) as server:
            inbox = server.folder("INBOX")
            line = b"* SEARCH " + b" ".join(b"%d" % uid for uid in range(1, 500_001))
            server.on("UID SEARCH UID 1:", lambda _command: line)
            server.on("UID SEARCH UID *", lambda _command: b"* SEARCH 500000")
            server.on("EXAMINE", lambda _command: [b"* 500000 EXISTS", b"* OK [UIDVALIDITY 1000] x"])
            inbox.uidvalidity = 1000
            reader = Reader(connector_for(server))
            await reader.poll(INBOX, most_batches=2)
            assert reader.cursor(INBOX) == {"v": 1, "uidvalidity": 1000, "next": 401, "first": True}
            await reader.connector.aclose()


class TestGhostsAndPoison:
    async def test_a_ghost_is_found_so_that_the_core_can_count_and_passes_on(
        self, server: ScriptedImap, reader: Reader
    ) -> None:
        inbox = server.folder("INBOX")
        inbox.add(mail(1))
        inbox.add(mail(2)).shown = False
        inbox.add(mail(3))
        arrived = await reader.run_pass()
        assert sorted((one.found.external_id, one.text) for one in arrived) == [
            ("1", "text 1"),
            ("2", ""),
            ("3", "text 3"),
        ]
        assert "imap.not_returned" in reader.log.names()
        assert await reader.run_pass() == []

    async def test_a_mail_that_vanishes_between_search_and_fetch_is_no_ghost(
        self, server: ScriptedImap, reader: Reader
    ) -> None:
        inbox = server.folder("INBOX")
        for number in range(3):
            inbox.add(mail(number))
        gone = inbox.mails[1]

        def vanish(_command: str) -> list[bytes]:
            inbox.mails.remove(gone)
            server.calm()
            return []

        server.on("UID FETCH", vanish)
        await reader.run_pass()
        assert [found.external_id for _stream, batch in reader.batches for found in batch.found] == ["1", "3"]

    async def test_headers_that_come_empty_for_several_mails_are_asked_for_one_by_one(
        self, server: ScriptedImap, reader: Reader
    ) -> None:
        inbox = server.folder("INBOX")
        for number in (1, 2, 3):
            inbox.add(mail(number))
        inbox.add(b"\r\n\r\nno headers at all\r\n")

        def muddle(command: str) -> list[bytes]:
            uids, _space, items = command.removeprefix("UID FETCH ").partition(" ")
            first, _colon, last = uids.partition(":")
            mails = inbox.mails[int(first) - 1 : int(last or first)]
            if "HEADER" in items:  # only the first one's headers are sent
                mails[1:] = [replace(one, raw=b"") for one in mails[1:]]
            return [b"* 1 FETCH (" + fetch_items(one, items) + b")" for one in mails]

        server.on("UID FETCH", muddle)
        await reader.run_pass()
        prints = [one.fingerprint for _stream, batch in reader.batches for one in batch.found]
        ids = [f"<{number}@example.net>" for number in (1, 2, 3)]
        assert [one and one.message_id for one in prints] == [*ids, None]

    async def test_a_mail_expunged_before_it_is_loaded_is_gone(self, server: ScriptedImap, reader: Reader) -> None:
        inbox = server.folder("INBOX")
        inbox.add(mail(1))
        connector = reader.connector
        assert isinstance(connector, ImapConnector)
        await reader.poll(INBOX)
        inbox.mails.clear()
        (content,) = (await connector.fetch(INBOX, "1000", ["1"], reader.context())).values()
        assert isinstance(content, Gone)

    async def test_a_mail_that_comes_empty_because_it_is_expunged_is_gone_and_not_unreadable(
        self, server: ScriptedImap, reader: Reader
    ) -> None:
        inbox = server.folder("INBOX")
        inbox.add(mail(1))
        inbox.add(mail(2))

        def expunged(command: str) -> Sequence[bytes]:
            inbox.mails[0].listed = False
            items = command.split(" ", 3)[3]
            return [b"* 1 FETCH (UID 1 BODY[] NIL)", b"* 2 FETCH (" + fetch_items(inbox.mails[1], items) + b")"]

        server.on("UID FETCH 1:2 (UID BODY.PEEK[])", expunged)
        arrived = await reader.run_pass()
        assert texts(arrived) == ["text 2"]

    @pytest.mark.parametrize("words", ["NO cannot read it", "NO [SERVERBUG] Internal error occurred.", "BAD what?"])
    @pytest.mark.parametrize("poison", [1, 2, 3])
    async def test_a_mail_the_server_refuses_costs_itself_only(
        self, server: ScriptedImap, reader: Reader, poison: int, words: str
    ) -> None:
        inbox = server.folder("INBOX")
        for number in (1, 2, 3):
            inbox.add(mail(number))

        def refuse(command: str) -> str | list[bytes]:
            uids, _space, items = command.removeprefix("UID FETCH ").partition(" ")
            first, _colon, last = uids.partition(":")
            wanted = range(int(first), int(last or first) + 1)
            if poison in wanted and "BODY" in items:
                return words
            return [b"* 1 FETCH (" + fetch_items(inbox.mails[uid - 1], items) + b")" for uid in wanted]

        server.on("UID FETCH", refuse)
        arrived = await reader.run_pass()
        assert sorted(one.text for one in arrived) == sorted(["", *(f"text {n}" for n in (1, 2, 3) if n != poison)])

    @pytest.mark.parametrize("how", [Drop, Silence])
    async def test_a_mail_that_breaks_the_connection_costs_itself_only(
        self, server: ScriptedImap, how: type[Exception]
    ) -> None:
        reader = Reader(connector_for(server, read_timeout_seconds=0.6))
        inbox = server.folder("INBOX")
        for number in (1, 2, 3):
            inbox.add(mail(number))

        def break_off(command: str) -> list[bytes]:
            uids, _space, items = command.removeprefix("UID FETCH ").partition(" ")
            first, _colon, last = uids.partition(":")
            wanted = range(int(first), int(last or first) + 1)
            if 2 in wanted and "BODY.PEEK[]" in items:
                raise how
            return [b"* 1 FETCH (" + fetch_items(inbox.mails[uid - 1], items) + b")" for uid in wanted]

        server.on("UID FETCH", break_off)
        with pytest.raises(TemporaryError):
            await reader.run_pass()
        reader.seen.clear()
        reader.cursors.clear()
        arrived = await reader.run_pass()
        assert [one.text for one in arrived] == ["text 1", "", "text 3"]
        await reader.connector.aclose()

    @pytest.mark.parametrize("answer", [lambda _command: "NO [SERVERBUG] Internal error", Drop])
    async def test_a_server_that_returns_no_content_at_all_makes_nothing_gone(
        self, server: ScriptedImap, reader: Reader, answer: type[Exception]
    ) -> None:
        connector = reader.connector
        assert isinstance(connector, ImapConnector)
        for number in (1, 2, 3):
            server.folder("INBOX").add(mail(number))
        await reader.run_pass()
        server.on("UID FETCH", answer)
        for _time in range(3):
            with pytest.raises(TemporaryError):
                await connector.fetch(INBOX, "1000", ["1", "2", "3"], reader.context())
        server.calm()
        assert set(await connector.fetch(INBOX, "1000", ["1", "2", "3"], reader.context())) == {"1", "2", "3"}

    async def test_equal_mails_without_any_id_are_as_many_mails(self, server: ScriptedImap, reader: Reader) -> None:
        inbox = server.folder("INBOX")
        for _time in range(10):
            inbox.add(b"From: a@example.net\r\nSubject: same\r\n\r\nsame\r\n", arrived_at=NOON)
        assert texts(await reader.run_pass()) == ["same"] * 10
        for _pass in range(3):
            assert await reader.run_pass() == []

    async def test_known_uids_are_never_asked_for_again(self, server: ScriptedImap, reader: Reader) -> None:
        inbox = server.folder("INBOX")
        for number in range(5):
            inbox.add(mail(number))
        await reader.run_pass()
        reader.cursors.clear()
        server.commands.clear()
        assert await reader.run_pass() == []
        assert not any("FETCH" in command for command in server.commands)


class TestSizes:
    async def test_a_mail_over_the_limit_comes_as_its_beginning_with_a_note(self, server: ScriptedImap) -> None:
        inbox = server.folder("INBOX")
        inbox.add(mail(1, body="the start " + "x" * 200_000))
        inbox.add(mail(2))
        reader = Reader(connector_for(server, max_message_bytes=10_000))
        large, small = await reader.run_pass()
        assert isinstance(large.content, Message)
        assert large.text.startswith("the start xxx")
        assert len(large.text) < 11_000
        assert large.content.notes
        assert (small.text, isinstance(small.content, Message) and small.content.notes) == ("text 2", ())
        assert not any(command.endswith("1 (UID BODY.PEEK[])") for command in server.commands)
        await reader.connector.aclose()

    async def test_bodies_are_asked_for_in_bounded_commands(
        self, server: ScriptedImap, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("connectors.imap.look.FETCH_BYTES", 3000)
        inbox = server.folder("INBOX")
        for number in range(5):
            inbox.add(mail(number, body="y" * 1000))
        reader = Reader(connector_for(server))
        assert len(await reader.run_pass()) == 5
        bodies = [command.split()[2] for command in server.commands if "BODY.PEEK[]" in command]
        assert bodies == ["1:2", "3:4", "5"]
        await reader.connector.aclose()

    async def test_a_size_that_lies_does_not_fill_the_memory(
        self, server: ScriptedImap, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("connectors.imap.look.FETCH_BYTES", 1000)
        inbox = server.folder("INBOX")
        inbox.add(mail(1, body="z" * 100_000), size=100)
        reader = Reader(connector_for(server, max_message_bytes=5000))
        with pytest.raises(TemporaryError) as caught:
            await reader.run_pass()
        assert caught.value.code == "imap.answer_too_long"
        reader.seen.clear()
        reader.cursors.clear()
        (arrived,) = await reader.run_pass()
        assert isinstance(arrived.content, Message)
        assert arrived.content.notes
        assert len(arrived.text) <= 5000
        await reader.connector.aclose()


class TestDialects:
    @pytest.mark.parametrize(
        "change",
        [
            (b"BODY[] {", b"RFC822 {"),
            (b"BODY[]<0> {", b"BODY[] {"),
            (b"BODY[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)]<0>", b"BODY[HEADER]"),
        ],
    )
    async def test_answers_under_other_names_are_understood(
        self, server: ScriptedImap, reader: Reader, change: tuple[bytes, bytes]
    ) -> None:
        inbox = server.folder("INBOX")
        inbox.add(mail(1))

        def other_words(command: str) -> list[bytes]:
            items = command.split(" ", 3)[3]
            answer = b"* 1 FETCH (" + fetch_items(inbox.mails[0], items) + b")"
            return [b"* 7 EXISTS", b"* 1 FETCH (FLAGS (\\Seen))", answer.replace(*change), b"* OK Still here"]

        server.on("UID FETCH", other_words)
        (arrived,) = await reader.run_pass()
        assert arrived.text == "text 1"
        assert arrived.found.fingerprint is not None
        assert arrived.found.fingerprint.message_id == "<1@example.net>"

    @pytest.mark.parametrize(
        ("delimiter", "wire", "name"),
        [
            (".", "INBOX.Entw&APw-rfe", "Entwürfe"),
            ("/", "Kunden/Gro&AN8- && klein", "Kunden/Groß && klein"),
            ("\\\\", "a\\\\b", "a\\b"),
            ("", 'we\\"ird', 'we"ird'),
        ],
    )
    async def test_folders_of_any_name_and_delimiter_are_read(self, delimiter: str, wire: str, name: str) -> None:
        with ScriptedImap(delimiter=delimiter) as server:
            raw_wire = wire.replace("&&", "&-&-").replace('\\"', '"').replace("\\\\", "\\")
            listed = wire.replace("&&", "&-&-")
            folder = server.folder(raw_wire)
            folder.add(mail(1))
            server.on(
                "LIST",
                lambda _command: (
                    f'* LIST () {f"{chr(34)}{delimiter}{chr(34)}" if delimiter else "NIL"} "{listed}"'.encode()
                ),
            )
            reader = Reader(connector_for(server, folders=[name]))
            assert texts(await reader.run_pass()) == ["text 1"]
            await reader.connector.aclose()

    async def test_xlist_tells_the_sent_folder(self) -> None:
        with ScriptedImap(capabilities="IMAP4rev1 XLIST") as server:
            server.folder("Postausgang").add(mail(1))
            server.on("XLIST", lambda _command: [b'* XLIST (\\Sent) "/" Postausgang', b'* XLIST () "/" INBOX'])
            reader = Reader(connector_for(server, folders=["INBOX", "\\Sent"]))
            streams = await reader.connector.streams(reader.context())
            assert list(streams) == [INBOX, Stream("Postausgang", StreamRole.SENT)]
            assert texts(await reader.run_pass()) == ["text 1"]
            await reader.connector.aclose()

    async def test_without_configured_folders_a_missing_sent_folder_is_a_note(self, server: ScriptedImap) -> None:
        config = ImapConfig.model_validate(
            {"host": "127.0.0.1", "port": server.port, "tls": "none", "username": "alice", "password": "p"}
        )
        reader = Reader(ImapConnector(config))
        assert list(await reader.connector.streams(reader.context())) == [INBOX]
        findings = await reader.connector.check(reader.context())
        assert [finding.code for finding in findings if finding.severity is Severity.NOTE] == ["imap.no_sent_folder"]
        await reader.connector.aclose()

    async def test_a_configured_sent_folder_that_is_missing_is_an_error(self, server: ScriptedImap) -> None:
        server.folder("Archive").add(mail(1))
        reader = Reader(connector_for(server, folders=["\\Sent", "Archive"]))
        streams = await reader.connector.streams(reader.context())
        assert [stream.key for stream in streams] == ["Archive", "\\Sent"]
        with pytest.raises(ConfigError) as caught:
            await reader.run_pass()
        assert caught.value.code == "imap.folder_missing"
        assert '"Archive"' in caught.value.next_step
        await reader.connector.aclose()

    async def test_a_folder_removed_while_the_daemon_runs_is_named(self, server: ScriptedImap) -> None:
        server.folder("Support").add(mail(1))
        reader = Reader(connector_for(server, folders=["Support"]))
        await reader.run_pass()
        del server.folders[b"Support"]
        with pytest.raises(ConfigError) as caught:
            await reader.run_pass()
        assert caught.value.code == "imap.folder_missing"
        await reader.connector.aclose()


class TestSigningIn:
    async def fails(
        self, server: ScriptedImap, kind: type[InboxSyncError], code: str, **more: object
    ) -> InboxSyncError:
        connector = connector_for(server, **more)
        with pytest.raises(kind) as caught:
            await connector.streams(Reader(connector).context())
        assert caught.value.code == code
        assert "pass-word-1" not in str(caught.value)
        (finding,) = await connector.check(Reader(connector).context())
        assert (finding.severity, finding.code) == (Severity.ERROR, code)
        await connector.aclose()
        return caught.value

    async def test_a_refused_password_is_not_a_refused_connection(self, server: ScriptedImap) -> None:
        server.on("LOGIN", lambda _command: "NO [AUTHENTICATIONFAILED] no pass-word-1 here")
        await self.fails(server, AuthError, "imap.auth_refused")
        server.on("LOGIN", lambda _command: "NO [UNAVAILABLE] try again in 2 minutes")
        error = await self.fails(server, TemporaryError, "imap.unavailable")
        assert isinstance(error, TemporaryError)
        assert error.retry_after_seconds == 120.0

    async def test_a_server_that_hangs_up_at_login_is_temporary(self, server: ScriptedImap) -> None:
        server.on("LOGIN", Drop)
        await self.fails(server, TemporaryError, "imap.connection_lost")

    async def test_a_full_server_says_good_bye_at_once(self) -> None:
        with ScriptedImap(greeting=b"* BYE Too many connections from your address\r\n") as server:
            await self.fails(server, TemporaryError, "imap.throttled")

    async def test_another_protocol_on_the_port_is_named(self) -> None:
        with ScriptedImap(greeting=b"220 mail.example.com ESMTP\r\n") as server:
            await self.fails(server, TemporaryError, "imap.not_imap")

    async def test_tls_against_a_plain_port_is_named(self, server: ScriptedImap) -> None:
        await self.fails(server, ConfigError, "imap.tls_mismatch", tls="implicit")

    async def test_a_missing_ca_file_is_named(self, server: ScriptedImap) -> None:
        await self.fails(server, ConfigError, "imap.ca_file", tls="implicit", ca_file="/does/not/exist.pem")

    async def test_starttls_that_is_not_offered_is_refused_before_the_password(self, server: ScriptedImap) -> None:
        await self.fails(server, ConfigError, "imap.starttls_missing", tls="starttls")
        assert not any(command.startswith("LOGIN") for command in server.commands)

    async def test_login_disabled_is_named_and_no_password_is_sent(self) -> None:
        with ScriptedImap(capabilities="IMAP4rev1 LOGINDISABLED AUTH=XOAUTH2") as server:
            error = await self.fails(server, AuthError, "imap.password_login_disabled")
            assert "AUTH=XOAUTH2" in str(error)
            assert not any(command.startswith("LOGIN") for command in server.commands)

    @pytest.mark.parametrize("password", ['a"b\\c d', "pass wörd €"])
    async def test_strange_passwords_reach_the_server_as_they_are(self, server: ScriptedImap, password: str) -> None:
        seen: list[str] = []

        def log_in(command: str) -> str:
            seen.append(command)
            return "OK welcome"

        server.on("LOGIN", log_in)
        connector = connector_for(server, password=password)
        await connector.streams(Reader(connector).context())
        escaped = password.replace("\\", "\\\\").replace('"', '\\"')
        assert seen == [f'LOGIN "alice" "{escaped}"']
        await connector.aclose()


class TestConnections:
    async def test_a_kept_connection_that_died_is_replaced_without_a_failed_pass(
        self, server: ScriptedImap, reader: Reader
    ) -> None:
        server.folder("INBOX").add(mail(1))
        await reader.run_pass()
        server.break_all()
        server.folder("INBOX").add(mail(2))
        assert texts(await reader.run_pass()) == ["text 2"]
        assert server.connections == 2

    @pytest.mark.parametrize(
        "command", ["CAPABILITY", "LOGIN", "LIST", "EXAMINE", "UID SEARCH", "UID FETCH", "STATUS", "UNSELECT"]
    )
    async def test_a_server_that_stops_answering_ends_the_pass_in_time_and_the_next_one_works(
        self, server: ScriptedImap, command: str
    ) -> None:
        reader = Reader(connector_for(server, read_timeout_seconds=0.6))
        server.folder("INBOX").add(mail(1))
        if command in {"STATUS", "UNSELECT"}:
            await reader.run_pass()
        server.on(command, Silence)
        with pytest.raises(TemporaryError) as caught:
            await asyncio.wait_for(reader.run_pass(), 30)
        assert caught.value.code == "imap.timeout"
        server.calm()
        server.folder("INBOX").add(mail(2))
        reader.seen.clear()
        reader.cursors.clear()
        assert texts(await reader.run_pass()) == ["text 1", "text 2"]
        await reader.connector.aclose()

    async def test_abort_ends_a_hanging_command_from_another_thread(self, server: ScriptedImap) -> None:
        reader = Reader(connector_for(server, read_timeout_seconds=60))
        connector = reader.connector
        assert isinstance(connector, ImapConnector)
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hang(_command: str) -> str:
            loop.call_soon_threadsafe(asked.set)
            raise Silence

        server.on("LIST", hang)
        running = asyncio.ensure_future(reader.run_pass())
        await asyncio.wait_for(asked.wait(), 30)
        await asyncio.to_thread(connector.abort)
        with pytest.raises(TemporaryError):
            await asyncio.wait_for(running, 30)
        await connector.aclose()

    async def test_a_cancelled_pass_closes_its_socket(self, server: ScriptedImap, reader: Reader) -> None:
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hang(_command: str) -> str:
            loop.call_soon_threadsafe(asked.set)
            raise Silence

        server.on("EXAMINE", hang)
        running = asyncio.ensure_future(reader.run_pass())
        await asyncio.wait_for(asked.wait(), 30)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: server.open_connections() == 0)
        server.calm()
        server.folder("INBOX").add(mail(1))
        assert texts(await reader.run_pass()) == ["text 1"]

    async def test_a_thousand_failures_leak_nothing(self, server: ScriptedImap) -> None:
        connector = connector_for(server)
        context = Reader(connector).context()
        server.on("LOGIN", lambda _command: "NO [UNAVAILABLE] not now")
        for number in range(1000):
            if number == 10:
                descriptors, threads = open_descriptors(), threading.active_count()
            with pytest.raises(TemporaryError):
                await connector.streams(context)
        await until(lambda: server.open_connections() == 0)
        await until(lambda: open_descriptors() <= descriptors + 2 and threading.active_count() <= threads + 2)
        await connector.aclose()

    async def test_closing_says_good_bye(self, server: ScriptedImap, reader: Reader) -> None:
        await reader.run_pass()
        await reader.connector.aclose()
        assert server.commands[-1] == "LOGOUT"
        await until(lambda: server.open_connections() == 0)


def open_descriptors() -> int:
    return sum(1 for _descriptor in Path("/proc/self/fd").iterdir())


async def until(holds: Callable[[], bool]) -> None:
    """Waits for what other threads are about to do."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  threads set no asyncio event
            await asyncio.sleep(0.01)
