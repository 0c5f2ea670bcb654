"""The `jmap` connector against servers that answer oddly (tests/servers/jmap_script.py)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from connectors.jmap import JmapConfig, JmapConnector
from sync.errors import AuthError, ConfigError, InboxSyncError, TemporaryError
from sync.mail import understand_headers
from sync.message import Message
from sync.testing.reader import Reader
from tests.servers.jmap_script import ScriptedJmap


def mail(text: str) -> bytes:
    return (
        "From: =?utf-8?q?J=C3=B6?= <jo@example.net>\r\nTo: support@example.com\r\n"
        f"Subject: a question\r\nMessage-ID: <{text[:20].replace(' ', '.')}@example.net>\r\n"
        f"Date: Thu, 12 Mar 2026 14:03:00 +0000\r\n\r\n{text}"
    ).encode()


@pytest.fixture
def server() -> Iterator[ScriptedJmap]:
    with ScriptedJmap() as running:
        yield running


def reader(server: ScriptedJmap, **more: object) -> Reader:
    return Reader(JmapConnector(JmapConfig.model_validate({"url": server.url, "token": "token-4711", **more})))


async def texts(reading: Reader) -> list[str]:
    return [one.text for one in await reading.run_pass()]


async def test_a_second_pass_asks_what_changed_and_nothing_else(server: ScriptedJmap) -> None:
    server.add(mail("hello"))
    reading = reader(server)
    assert await texts(reading) == ["hello"]
    server.calls.clear()
    assert await texts(reading) == []
    assert server.calls == ["Mailbox/get", "Email/changes", "Email/changes"]


async def test_the_token_is_sent_as_a_bearer_token(server: ScriptedJmap) -> None:
    await texts(reader(server))
    assert {authorization for _method, _path, authorization in server.requests} == {"Bearer token-4711"}


async def test_a_mail_that_is_new_since_the_state_is_found_whatever_its_date(server: ScriptedJmap) -> None:
    reading = reader(server)
    await texts(reading)
    server.add(mail("late, with an old date"), minutes=-500_000)
    assert await texts(reading) == ["late, with an old date"]


async def test_more_changes_than_fit_into_one_answer_all_come() -> None:
    with ScriptedJmap(page=3) as server:
        reading = reader(server)
        await texts(reading)
        for number in range(10):
            server.add(mail(f"mail {number}"))
        assert sorted(await texts(reading)) == [f"mail {number}" for number in range(10)]


async def test_a_server_that_promises_more_changes_without_end_is_left_alone(server: ScriptedJmap) -> None:
    server.add(mail("old"))
    reading = reader(server)
    await texts(reading)
    server.add(mail("new"))
    server.says_more = True
    assert await texts(reading) == ["new"]
    assert len(server.calls) < 30


async def test_a_mail_that_moves_into_a_mailbox_is_found_there(server: ScriptedJmap) -> None:
    elsewhere = server.add(mail("moved"), mailbox="C")
    reading = reader(server)
    assert await texts(reading) == []
    elsewhere.mailboxes = {"A"}
    server.touch(elsewhere.id)
    assert await texts(reading) == ["moved"]


@pytest.mark.parametrize("kind", ["cannotCalculateChanges", "invalidArguments"])
async def test_where_the_server_cannot_tell_changes_the_mailbox_is_listed_again(
    server: ScriptedJmap, kind: str
) -> None:
    server.add(mail("old"))
    reading = reader(server)
    await texts(reading)
    server.add(mail("new"))
    server.on("Email/changes", {"type": kind})
    fetched = len(reading.fetched)
    assert await texts(reading) == ["new"]
    assert len(reading.fetched) == fetched + 1
    assert "jmap.listed_again" in reading.log.names()


async def test_a_state_from_the_future_is_noticed_although_the_server_says_nothing_of_it(server: ScriptedJmap) -> None:
    reading = reader(server)
    await texts(reading)
    for stream in await reading.connector.streams(reading.context()):
        reading.cursors[stream.key] = '{"v": 1, "account": "acc", "state": "99999"}'
    server.add(mail("restored from a backup"))
    assert await texts(reading) == ["restored from a backup"]


async def test_a_mailbox_that_shrinks_while_it_is_listed_hides_nothing() -> None:
    with ScriptedJmap(page=30) as server:
        for number in range(1, 101):
            server.add(mail(f"mail {number:03d}"))

        def shrink() -> None:
            def again() -> None:
                for number in range(1, 30):
                    server.remove(f"m{number}")

            server.before["Email/query"] = again

        server.before["Email/query"] = shrink
        found = await texts(reader(server))
        assert set(found) >= {f"mail {number:03d}" for number in range(30, 101)}


async def test_ten_thousand_mails_are_listed_page_by_page(server: ScriptedJmap) -> None:
    for number in range(10_000):
        server.add(mail(f"mail {number}"))
    reading = reader(server, batch_messages=500)
    found = 0
    for stream in await reading.connector.streams(reading.context()):
        async for batch in reading.connector.poll(stream, None, reading.context(stream)):
            found += len(batch.found)
    assert found == 10_000
    assert max(map(len, server.asked)) == 50, "no more than the server gives in one answer"


async def test_the_fingerprint_is_that_of_the_same_mail_over_imap(server: ScriptedJmap) -> None:
    server.add(mail("hello"))
    (arrived,) = await reader(server).run_pass()
    assert arrived.found.fingerprint == understand_headers(mail("hello")).fingerprint
    assert arrived.found.arrived_at == datetime(2026, 3, 12, 14, 4, tzinfo=UTC)


async def test_a_mail_over_the_limit_comes_with_its_beginning_and_a_note(server: ScriptedJmap) -> None:
    server.add(mail("the beginning " + "x" * 5000), size=1_000_000_000)
    (arrived,) = await reader(server).run_pass()
    assert isinstance(arrived.content, Message)
    assert arrived.text.startswith("the beginning")
    assert arrived.content.author is not None
    assert arrived.content.author.name == "Jö"
    assert any("size" in note for note in arrived.content.notes)
    assert not any("/blob/" in path for _method, path, _authorization in server.requests)


async def test_a_blob_that_is_larger_than_it_claims_comes_with_its_beginning(server: ScriptedJmap) -> None:
    server.add(mail("liar " + "x" * 200_000), size=100)
    server.add(mail("honest"))
    arrived = await reader(server, max_message_bytes=50_000).run_pass()
    assert [one.text.split()[0] for one in arrived] == ["liar", "honest"]
    assert isinstance(arrived[0].content, Message)
    assert arrived[0].content.notes


async def test_a_mail_that_vanished_is_gone(server: ScriptedJmap) -> None:
    server.add(mail("hello"))
    reading = reader(server)
    (stream, *_) = await reading.connector.streams(reading.context())
    server.mails.clear()
    connector = reading.connector
    assert isinstance(connector, JmapConnector)
    content = await connector.fetch(stream, "acc", ["m1"], reading.context(stream))
    assert type(content["m1"]).__name__ == "Gone"


@pytest.mark.parametrize(
    ("status", "headers", "kind", "code"),
    [
        (401, {}, AuthError, "jmap.auth_refused"),
        (403, {}, AuthError, "jmap.forbidden"),
        (404, {}, ConfigError, "jmap.not_found"),
        (429, {"Retry-After": "7"}, TemporaryError, "jmap.throttled"),
        (503, {}, TemporaryError, "jmap.unavailable"),
        (200, {}, TemporaryError, "jmap.not_jmap"),
        (400, {}, TemporaryError, "jmap.refused"),
    ],
)
async def test_a_refusal_says_whose_turn_it_is(
    server: ScriptedJmap, status: int, headers: dict[str, str], kind: type[InboxSyncError], code: str
) -> None:
    server.status = (status, headers)
    with pytest.raises(kind) as caught:
        await reader(server).run_pass()
    assert caught.value.code == code
    assert caught.value.next_step
    if isinstance(caught.value, TemporaryError) and status == 429:
        assert caught.value.retry_after_seconds == 7


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ("serverFail", TemporaryError, "jmap.unavailable"),
        ("accountNotFound", ConfigError, "jmap.account_refused"),
        ("somethingNew", TemporaryError, "jmap.refused"),
    ],
)
async def test_a_refused_method_says_whose_turn_it_is(
    server: ScriptedJmap, error: str, kind: type[InboxSyncError], code: str
) -> None:
    server.on("Email/query", {"type": error})
    with pytest.raises(kind) as caught:
        await reader(server).run_pass()
    assert caught.value.code == code


async def test_a_redirect_on_the_host_is_followed(server: ScriptedJmap) -> None:
    server.add(mail("hello"))
    assert await texts(reader(server, url=f"{server.url}/session")) == ["hello"]
    server.status = (301, {"Location": "/elsewhere"})
    with pytest.raises(ConfigError, match="redirects without an end"):
        await texts(reader(server))


async def test_no_password_goes_where_a_redirect_leads(server: ScriptedJmap) -> None:
    with ScriptedJmap() as other:
        server.status = (302, {"Location": f"{other.url}/session"})
        with pytest.raises(ConfigError) as caught:
            await texts(reader(server))
        assert caught.value.code == "jmap.redirected"
        assert other.url in caught.value.next_step
        assert not other.requests


async def test_an_api_without_tls_is_not_called(server: ScriptedJmap) -> None:
    server.session_changes = {"apiUrl": "http://mail.example.com/api"}
    with pytest.raises(ConfigError) as caught:
        await texts(reader(server))
    assert caught.value.code == "jmap.no_tls"


async def test_a_sign_in_without_mail_is_named(server: ScriptedJmap) -> None:
    server.session_changes = {"primaryAccounts": {}}
    with pytest.raises(ConfigError) as caught:
        await texts(reader(server))
    assert caught.value.code == "jmap.no_mail"
    with pytest.raises(ConfigError, match="no account"):
        await texts(reader(server, account_id="other"))


async def test_check_names_each_mailbox_and_what_is_missing(server: ScriptedJmap) -> None:
    one = reader(server, mailboxes=("inbox", "sent", "Clients"))
    findings = await one.connector.check(one.context())
    assert [finding.code for finding in findings] == [
        "jmap.signed_in",
        "jmap.mailbox",
        "jmap.mailbox",
        "jmap.mailbox_missing",
    ]
    assert "Clients" in findings[-1].sentence


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"url": "https://a.example", "token": "t", "username": "u", "password": "p"}, "either token"),
        ({"url": "https://a.example"}, "either token"),
        ({"url": "https://a.example", "username": "u"}, "either token"),
        ({"url": "http://a.example", "token": "t"}, "https"),
        ({"url": "https://u:p@a.example", "token": "t"}, "no password"),
        ({"url": "a.example", "token": "t"}, "address"),
        ({"url": "https://a.example", "token": "t\n"}, "line breaks"),
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        JmapConfig.model_validate(values)
