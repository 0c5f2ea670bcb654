"""The `pop3` connector against servers that answer oddly (tests/servers/pop3_script.py)."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from connectors.pop3 import Pop3Config, Pop3Connector
from connectors.pop3.connector import INBOX
from sync.connector import Severity
from sync.errors import AuthError, ConfigError, InboxSyncError, TemporaryError
from sync.message import Message
from sync.testing.reader import Reader
from tests.servers.pop3_script import Drop, ScriptedPop3, Silence

DEADLINE_SECONDS = 20.0


def mail(text: str, *, received: str = "Fri, 13 Mar 2026 08:00:00 +0100", size: int = 0) -> bytes:
    lines = [
        f"Received: from a by b; {received}",
        "Received: from z by a; Thu, 12 Mar 2026 14:03:05 +0000",
        "From: customer@example.net",
        "To: support@example.com",
        "Subject: a question",
        "Date: Thu, 12 Mar 2026 14:03:00 +0000",
        "",
        text,
        *["and more, " * 8] * (size // 80),
    ]
    return "\r\n".join(lines).encode()


@pytest.fixture
def server() -> Iterator[ScriptedPop3]:
    with ScriptedPop3() as running:
        yield running


def connector(server: ScriptedPop3, **more: object) -> Pop3Connector:
    values = {"host": "127.0.0.1", "port": server.port, "tls": "none", "username": "alice", "password": "pass-4711"}
    return Pop3Connector(Pop3Config.model_validate({**values, "read_timeout_seconds": 5.0, **more}))


def reader(server: ScriptedPop3, **more: object) -> Reader:
    return Reader(connector(server, **more))


async def texts(reading: Reader) -> list[str]:
    return [one.text for one in await reading.run_pass()]


async def test_arrival_is_what_the_last_server_wrote_down(server: ScriptedPop3) -> None:
    server.add(mail("hello"))
    (arrived,) = await reader(server).run_pass()
    assert arrived.found.arrived_at == datetime(2026, 3, 13, 7, 0, tzinfo=UTC)
    assert arrived.found.written_at == datetime(2026, 3, 12, 14, 3, tzinfo=UTC)


async def test_an_arrival_in_the_future_counts_as_now(server: ScriptedPop3) -> None:
    server.add(mail("hello", received="Fri, 13 Mar 2099 08:00:00 +0100"))
    (arrived,) = await reader(server).run_pass()
    assert arrived.found.arrived_at <= datetime.now(UTC)


async def test_without_received_the_date_counts(server: ScriptedPop3) -> None:
    server.add(mail("hello").split(b"\r\n", 2)[2])
    (arrived,) = await reader(server).run_pass()
    assert arrived.found.arrived_at == datetime(2026, 3, 12, 14, 3, tzinfo=UTC)


async def test_a_session_ends_with_the_pass_and_deletes_nothing(server: ScriptedPop3) -> None:
    server.add(mail("hello"))
    assert await texts(reader(server)) == ["hello"]
    assert server.connections == 1
    assert server.commands[-2:] == ["RSET", "QUIT"]
    assert not any(command.startswith("DELE") for command in server.commands)


async def test_an_unchanged_maildrop_costs_its_listing_alone(server: ScriptedPop3) -> None:
    server.add(mail("hello"))
    reading = reader(server)
    await reading.run_pass()
    server.commands.clear()
    assert await texts(reading) == []
    assert not any(command.startswith(("TOP", "RETR")) for command in server.commands)


async def test_headers_are_asked_for_in_one_go_only_where_the_server_says_so() -> None:
    with ScriptedPop3(capabilities=("TOP", "UIDL", "USER")) as plain:
        for number in range(5):
            plain.add(mail(f"mail {number}"))
        assert await texts(reader(plain)) == [f"mail {number}" for number in range(5)]


async def test_a_server_without_capa_works() -> None:
    with ScriptedPop3(capabilities=None) as old:
        old.add(mail("hello"))
        assert await texts(reader(old)) == ["hello"]


async def test_a_server_without_user_is_signed_in_to_by_sasl() -> None:
    with ScriptedPop3(capabilities=("UIDL", "TOP", "SASL PLAIN")) as server:
        server.on("AUTH", "+ ")
        server.add(mail("hello"))
        assert await texts(reader(server)) == ["hello"]
        assert "USER alice" not in server.commands


async def test_equal_uidls_of_equal_messages_are_as_many_messages(server: ScriptedPop3) -> None:
    for _copy in range(3):
        server.add(mail("the same"), uidl="hash")
    reading = reader(server)
    assert await texts(reading) == ["the same"] * 3
    assert await texts(reading) == []
    del server.mails[0]
    assert await texts(reading) == []


async def test_a_message_deleted_by_another_program_shifts_nothing(server: ScriptedPop3) -> None:
    for number in range(3):
        server.add(mail(f"mail {number}"), uidl=f"id{number}")
    reading = reader(server)
    await reading.run_pass()
    del server.mails[0]
    server.add(mail("new"), uidl="id9")
    assert await texts(reading) == ["new"]


async def test_a_server_that_lists_the_newest_first_is_read_all_the_same(server: ScriptedPop3) -> None:
    server.add(mail("old"), uidl="a")
    reading = reader(server)
    await reading.run_pass()
    server.add(mail("new", received="Sat, 14 Mar 2026 08:00:00 +0100"), uidl="b")
    server.mails.reverse()
    assert await texts(reading) == ["new"]


async def test_dots_and_endless_lines_arrive_whole(server: ScriptedPop3) -> None:
    server.add(mail("one\r\n.\r\n..two\r\n" + "x" * 200_000))
    (text,) = await texts(reader(server))
    assert text.splitlines()[1:3] == [".", "..two"]
    assert text.count("x") == 200_000


async def test_no_uidl_is_a_matter_for_the_operator(server: ScriptedPop3) -> None:
    server.on("UIDL", "-ERR unknown command")
    with pytest.raises(ConfigError, match="UIDL") as caught:
        await reader(server).run_pass()
    assert "imap" in caught.value.next_step


async def test_trouble_with_uidl_is_not_taken_for_having_none(server: ScriptedPop3) -> None:
    server.on("UIDL", "-ERR [SYS/TEMP] index is locked")
    with pytest.raises(TemporaryError) as caught:
        await reader(server).run_pass()
    assert caught.value.code == "pop3.unavailable"


async def test_messages_without_a_uidl_are_told_apart_by_their_headers(server: ScriptedPop3) -> None:
    for number in range(3):
        server.add(mail(f"mail {number}", received=f"Fri, 13 Mar 2026 08:0{number}:00 +0100"), uidl="")
    server.add(mail("named"))
    reading = reader(server)
    assert sorted(await texts(reading)) == ["mail 0", "mail 1", "mail 2", "named"]
    del server.mails[0]
    server.add(mail("new", received="Fri, 13 Mar 2026 08:30:00 +0100"), uidl="")
    assert await texts(reading) == ["new"]


async def test_a_server_that_names_none_of_its_messages_has_no_uidl(
    server: ScriptedPop3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.pop3.wire.MAX_NAMELESS", 2)
    for number in range(3):
        server.add(mail(f"mail {number}"), uidl="")
    with pytest.raises(ConfigError, match="UIDL"):
        await reader(server).run_pass()


async def test_a_pause_between_sign_ins_is_kept_and_told_beforehand() -> None:
    with ScriptedPop3(capabilities=("TOP", "UIDL", "USER", "LOGIN-DELAY 900", "EXPIRE 0")) as server:
        one = connector(server)
        codes = {finding.code: finding for finding in await one.check(Reader(one).context())}
        assert "900 seconds" in codes["pop3.login_delay"].sentence
        assert codes["pop3.expires"].severity is Severity.WARNING
        server.on("PASS", "-ERR [LOGIN-DELAY] not so often")
        with pytest.raises(TemporaryError) as caught:
            await reader(server).run_pass()
        assert caught.value.retry_after_seconds == 900


@pytest.mark.parametrize("trouble", [Drop, Silence])
async def test_a_message_at_whose_header_the_connection_always_breaks_costs_itself_only(
    server: ScriptedPop3, trouble: type[Exception]
) -> None:
    for number in range(4):
        server.add(mail(f"mail {number}"), uidl=f"id{number}")
    server.on("TOP 2 ", trouble)
    reading = reader(server, read_timeout_seconds=0.6)
    for _pass in range(2):
        with pytest.raises(TemporaryError):
            await asyncio.wait_for(reading.run_pass(), DEADLINE_SECONDS)
    arrived = await reading.run_pass()
    assert sorted(one.text for one in arrived) == [f"mail {number}" for number in range(4)]
    bare = {one.found.external_id for one in arrived if one.found.fingerprint is None}
    assert bare == {"id1"}


@pytest.mark.parametrize("mails", [1, 3])
async def test_an_outage_is_held_against_no_message(server: ScriptedPop3, mails: int) -> None:
    for number in range(mails):
        server.add(mail(f"mail {number}"))
    reading = reader(server)
    server.on("TOP", Drop)
    for _pass in range(8):
        with pytest.raises(TemporaryError):
            await reading.run_pass()
    server.calm()
    arrived = await reading.run_pass()
    assert len(arrived) == mails
    assert all(one.found.fingerprint is not None for one in arrived)


async def test_a_single_new_message_that_breaks_the_connection_is_found_out_by_an_old_one(server: ScriptedPop3) -> None:
    server.add(mail("old"))
    reading = reader(server)
    await reading.run_pass()
    server.add(mail("new"))
    server.on("TOP 2 ", Drop)
    for _pass in range(2):
        with pytest.raises(TemporaryError):
            await reading.run_pass()
    (arrived,) = await reading.run_pass()
    assert (arrived.text, arrived.found.fingerprint) == ("new", None)


async def test_a_header_of_megabytes_is_cut_and_holds_up_no_other(server: ScriptedPop3) -> None:
    server.add(b"X-Filler: " + b"x" * 3_000_000 + b"\r\n" + mail("hostile"), uidl="a")
    server.add(mail("honest"), uidl="b")
    arrived = await reader(server).run_pass()
    assert {one.found.external_id for one in arrived} == {"a", "b"}
    assert "honest" in [one.text for one in arrived]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        ("-ERR [IN-USE] maildrop is locked", TemporaryError, "pop3.in_use"),
        ("-ERR [LOGIN-DELAY] not so often", TemporaryError, "pop3.unavailable"),
        ("-ERR [SYS/TEMP] disk trouble", TemporaryError, "pop3.unavailable"),
        ("-ERR [SYS/PERM] maildrop is damaged", TemporaryError, "pop3.server_fault"),
        ("-ERR unable to lock maildrop, try again", TemporaryError, "pop3.unavailable"),
        ("-ERR [AUTH] wrong", AuthError, "pop3.auth_refused"),
        ("-ERR authentication failed", AuthError, "pop3.auth_refused"),
        ("-ERR pass-4711 is not alice's", AuthError, "pop3.auth_refused"),
    ],
)
async def test_a_refused_sign_in_says_whose_turn_it_is(
    server: ScriptedPop3, answer: str, kind: type[InboxSyncError], code: str
) -> None:
    server.on("PASS", answer)
    with pytest.raises(kind) as caught:
        await reader(server).run_pass()
    assert caught.value.code == code
    assert caught.value.next_step
    assert "pass-4711" not in "".join(traceback.format_exception(caught.value))


async def test_a_service_that_is_no_pop3_server_is_named() -> None:
    with ScriptedPop3(greeting="SSH-2.0-OpenSSH_9.2") as other:
        with pytest.raises(TemporaryError) as caught:
            await reader(other).run_pass()
        assert caught.value.code == "pop3.not_pop3"


async def test_starttls_that_is_not_offered_is_not_done_without(server: ScriptedPop3) -> None:
    with pytest.raises(ConfigError) as caught:
        await reader(server, tls="starttls").run_pass()
    assert caught.value.code == "pop3.starttls_missing"
    assert not any(command.startswith(("USER", "PASS")) for command in server.commands)


async def test_a_message_whose_header_is_refused_is_listed_without(server: ScriptedPop3) -> None:
    server.add(mail("one"))
    server.add(mail("two"))
    server.on("TOP 1 ", "-ERR damaged")
    assert sorted(await texts(reader(server))) == ["one", "two"]


async def test_a_message_that_is_refused_costs_itself_only(server: ScriptedPop3) -> None:
    for number in range(3):
        server.add(mail(f"mail {number}"), uidl=f"id{number}")
    server.on("RETR 2", "-ERR damaged")
    reading = reader(server)
    arrived = await reading.run_pass()
    assert [one.text for one in arrived if one.content is not None] == ["mail 0", "mail 2"]
    assert "pop3.not_returned" in reading.log.names()


async def test_a_message_that_vanished_is_gone(server: ScriptedPop3) -> None:
    one = connector(server)
    content = await one.fetch(INBOX, "uidl", ["nobody"], Reader(one).context())
    assert type(content["nobody"]).__name__ == "Gone"
    assert server.commands[-1] == "QUIT"


async def test_a_message_over_the_limit_comes_with_its_beginning_and_a_note(server: ScriptedPop3) -> None:
    server.add(mail("the beginning", size=400_000))
    (arrived,) = await reader(server, max_message_bytes=100_000).run_pass()
    assert isinstance(arrived.content, Message)
    assert arrived.text.startswith("the beginning")
    assert any("size" in note for note in arrived.content.notes)
    assert not any(command.startswith("RETR") for command in server.commands)


async def test_a_message_longer_than_it_claims_is_cut_and_the_next_one_comes(server: ScriptedPop3) -> None:
    server.add(mail("liar", size=400_000), size=1000)
    server.add(mail("honest"))
    arrived = await reader(server, max_message_bytes=100_000).run_pass()
    assert [one.text.split("\n")[0] for one in arrived] == ["liar", "honest"]
    assert isinstance(arrived[0].content, Message)
    assert any("size" in note for note in arrived[0].content.notes)


@pytest.mark.parametrize("command", ["RSET", "QUIT"])
async def test_a_server_that_says_no_good_bye_is_left_all_the_same(
    server: ScriptedPop3, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("connectors.pop3.wire.LOGOUT_TIMEOUT_SECONDS", 0.1)
    server.add(mail("hello"))
    server.on(command, Silence)
    assert await asyncio.wait_for(texts(reader(server)), DEADLINE_SECONDS) == ["hello"]


@pytest.mark.parametrize("command", ["CAPA", "USER", "PASS", "UIDL", "LIST", "TOP", "RETR"])
async def test_a_connection_that_falls_silent_ends_at_its_time_limit(server: ScriptedPop3, command: str) -> None:
    server.add(mail("hello"))
    server.on(command, Silence)
    reading = reader(server, read_timeout_seconds=0.6)
    with pytest.raises(TemporaryError) as caught:
        await asyncio.wait_for(reading.run_pass(), DEADLINE_SECONDS)
    assert caught.value.code == "pop3.timeout"
    server.calm()
    reading.cursors.clear()
    reading.seen.clear()
    assert await texts(reading) == ["hello"]


@pytest.mark.parametrize("command", ["CAPA", "PASS", "UIDL", "TOP", "RETR"])
async def test_a_connection_that_breaks_is_told_and_the_next_pass_works(server: ScriptedPop3, command: str) -> None:
    server.add(mail("hello"))
    server.on(command, Drop)
    reading = reader(server)
    with pytest.raises(TemporaryError) as caught:
        await reading.run_pass()
    assert caught.value.code == "pop3.connection_lost"
    server.calm()
    reading.cursors.clear()
    reading.seen.clear()
    assert await texts(reading) == ["hello"]


async def test_check_says_what_pop3_cannot_show(server: ScriptedPop3) -> None:
    server.add(mail("hello"))
    one = connector(server)
    findings = await one.check(Reader(one).context())
    assert findings[0].severity is Severity.OK
    assert "1 message." in findings[0].sentence
    assert any(finding.code == "pop3.inbox_only" for finding in findings)
    assert server.commands[-1] == "QUIT"
