"""The client's calls, one by one, against an Inbox in a function."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import timedelta

import httpx
import pytest
import structlog

from sync.errors import AuthError, InboxSyncError, MessageError, Scope, TemporaryError
from sync.inbox import Mapping, outcome
from sync.message import Json, Participant, ParticipantKind
from sync.testing.clock import START
from tests.unit.inbox_stub import API_KEY, APP_SECRET, SITE, TOKEN, Handler, Stub, message_body, refused, send, stored

JO = Participant(ParticipantKind.EMAIL, "jo@example.com", "Jo Doe")
EXTERNAL = Participant(ParticipantKind.EXTERNAL, "zendesk:4711", "Jo Doe")
QUERY = ("POST", "/contacts/v4/contacts/query")
CREATE = ("POST", "/contacts/v4/contacts")
OPEN = ("POST", "/inbox/v2/conversations")
SEND = ("POST", "/inbox/v2/messages")
LIST = ("GET", "/inbox/v2/messages")
TOKENS = ("POST", "/oauth2/token")


def contact(id_: str, email: str = "jo@example.com") -> dict[str, Json]:
    return {
        "id": id_,
        "createdDate": "2026-01-01T00:00:00Z",
        "primaryInfo": {"email": email},
        "info": {"emails": {"items": [{"email": email, "primary": True}]}},
    }


def scripted(answers: dict[tuple[str, str], list[tuple[int, Json] | httpx.Response | Exception]]) -> Handler:
    """Each call gets its next answer; the last one is repeated."""

    def handler(method: str, path: str, _data: dict[str, Json]) -> tuple[int, Json] | httpx.Response | Exception:
        waiting = answers[method, path]
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return handler


def opened(conversation: str = "conversation-1", contact_id: str = "contact-1") -> tuple[int, Json]:
    return 200, {
        "conversation": {"id": conversation, "participant": {"contactId": contact_id}},
        "newConversation": True,
    }


# Resolving


async def test_a_known_address_is_found_and_its_conversation_opened() -> None:
    stub = Stub(scripted({QUERY: [(200, {"contacts": [contact("contact-1")]})], OPEN: [opened()]}))
    assert await stub.client.resolve(JO) == Mapping("contact-1", "conversation-1")
    assert stub.transport.calls == [QUERY, OPEN]
    signed = stub.transport.requests[0].headers
    assert (signed["authorization"], signed["wix-site-id"]) == (API_KEY, SITE)


async def test_an_unknown_address_is_created_and_the_answer_trusted() -> None:
    stub = Stub(
        scripted({QUERY: [(200, {"contacts": []})], CREATE: [(200, {"contact": contact("new")})], OPEN: [opened()]})
    )
    assert (await stub.client.resolve(JO)).conversation_id == "conversation-1"
    assert stub.transport.calls == [QUERY, CREATE, OPEN]


@pytest.mark.parametrize("code", ["DUPLICATE_CONTACT_EXISTS", "DUPLICATE_CONTACT_EXIST"])
async def test_a_contact_the_query_did_not_show_yet_is_taken_from_the_409(code: str) -> None:
    duplicate = (409, refused(code, {"duplicateContactId": "hidden"}))
    stub = Stub(scripted({QUERY: [(200, {"contacts": []})], CREATE: [duplicate], OPEN: [opened(contact_id="hidden")]}))
    assert (await stub.client.resolve(JO)).contact_id == "hidden"


async def test_a_409_without_an_id_asks_once_more_and_then_waits() -> None:
    stub = Stub(
        scripted(
            {
                QUERY: [(200, {"contacts": []}), (200, {"contacts": [contact("late")]})],
                CREATE: [(409, refused("DUPLICATE_CONTACT_EXISTS"))],
                OPEN: [opened(contact_id="late")],
            }
        )
    )
    assert (await stub.client.resolve(JO)).contact_id == "late"
    never = Stub(scripted({QUERY: [(200, {"contacts": []})], CREATE: [(409, refused("DUPLICATE_CONTACT_EXISTS"))]}))
    with pytest.raises(TemporaryError) as caught:
        await never.client.resolve(JO)
    assert caught.value.scope is Scope.MESSAGE


async def test_contacts_with_other_addresses_are_not_taken_even_if_the_filter_is_ignored() -> None:
    stub = Stub(
        scripted(
            {
                QUERY: [(200, {"contacts": [contact("other", "someone@example.com")]})],
                CREATE: [(200, {"contact": contact("new")})],
                OPEN: [opened(contact_id="new")],
            }
        )
    )
    assert (await stub.client.resolve(JO)).contact_id == "new"


async def test_a_name_the_inbox_does_not_like_is_left_out() -> None:
    stub = Stub(
        scripted(
            {
                QUERY: [(200, {"contacts": []})],
                CREATE: [(400, refused("INVALID_NAME")), (200, {"contact": contact("new")})],
                OPEN: [opened(contact_id="new")],
            }
        )
    )
    assert (await stub.client.resolve(JO)).contact_id == "new"
    assert b"name" not in stub.transport.requests[2].content


async def test_an_address_the_inbox_refuses_concerns_one_message() -> None:
    stub = Stub(scripted({QUERY: [(200, {"contacts": []})], CREATE: [(400, refused("INVALID_EMAIL"))]}))
    with pytest.raises(MessageError) as caught:
        await stub.client.resolve(JO)
    assert "jo@" not in str(caught.value)


async def test_a_remembered_mapping_is_renewed() -> None:
    stub = Stub(
        scripted(
            {("GET", "/contacts/v4/contacts/contact-1"): [(200, {"contact": contact("contact-1")})], OPEN: [opened()]}
        )
    )
    known = Mapping("contact-1", "conversation-0")
    assert await stub.client.resolve(JO, known) == Mapping("contact-1", "conversation-1")


async def test_a_merged_contact_leads_to_the_survivor() -> None:
    merged: tuple[int, Json] = (200, {"contact": contact("survivor"), "responseType": "MERGED"})
    stub = Stub(
        scripted(
            {
                ("GET", "/contacts/v4/contacts/contact-1"): [merged],
                OPEN: [opened("conversation-2", "survivor")],
            }
        )
    )
    assert await stub.client.resolve(JO, Mapping("contact-1", "c")) == Mapping("survivor", "conversation-2")


async def test_a_deleted_contact_is_found_or_made_again() -> None:
    stub = Stub(
        scripted(
            {
                ("GET", "/contacts/v4/contacts/contact-1"): [(404, refused("CONTACT_NOT_FOUND"))],
                QUERY: [(200, {"contacts": []})],
                CREATE: [(200, {"contact": contact("contact-2")})],
                OPEN: [opened("conversation-2", "contact-2")],
            }
        )
    )
    assert await stub.client.resolve(JO, Mapping("contact-1", "c")) == Mapping("contact-2", "conversation-2")


async def test_a_contact_merged_between_finding_and_opening_is_followed() -> None:
    stub = Stub(
        scripted(
            {
                QUERY: [(200, {"contacts": [contact("contact-1")]})],
                ("GET", "/contacts/v4/contacts/contact-1"): [
                    (200, {"contact": contact("survivor"), "responseType": "MERGED"})
                ],
                OPEN: [(404, refused("CONTACT_NOT_FOUND")), opened("conversation-2", "survivor")],
            }
        )
    )
    assert await stub.client.resolve(JO) == Mapping("survivor", "conversation-2")


@pytest.mark.parametrize(
    ("status", "kind"), [(404, TemporaryError), (409, TemporaryError), (428, TemporaryError), (400, MessageError)]
)
async def test_a_contact_that_cannot_be_opened_concerns_one_message(status: int, kind: type[InboxSyncError]) -> None:
    stub = Stub(
        scripted(
            {
                QUERY: [(200, {"contacts": [contact("contact-1")]})],
                ("GET", "/contacts/v4/contacts/contact-1"): [(200, {"contact": contact("contact-1")})],
                OPEN: [(status, refused("NOT_READY"))],
            }
        )
    )
    with pytest.raises(kind) as caught:
        await stub.client.resolve(JO)
    if isinstance(caught.value, TemporaryError):
        assert caught.value.scope is Scope.MESSAGE


async def test_an_external_participant_is_created_once_and_never_repeated() -> None:
    stub = Stub(scripted({CREATE: [httpx.ReadError("reset")]}))
    with pytest.raises(TemporaryError):
        await stub.client.resolve(EXTERNAL)
    assert stub.transport.calls == [CREATE]


async def test_an_address_longer_than_a_contact_may_have_is_not_even_asked_for() -> None:
    stub = Stub(scripted({}))
    with pytest.raises(MessageError):
        await stub.client.resolve(Participant(ParticipantKind.EMAIL, "x" * 320 + "@example.com"))
    assert stub.transport.calls == []


async def test_an_id_out_of_the_ledger_that_is_none_never_becomes_a_path() -> None:
    stub = Stub(scripted({}))
    with pytest.raises(ValueError, match="contact"):
        await stub.client.resolve(JO, Mapping("../../admin", "c"))
    assert stub.transport.calls == []


# What is repeated, and what is not


@pytest.mark.parametrize(
    "failure", [httpx.ReadError("reset"), httpx.RemoteProtocolError("?"), httpx.ConnectError("no")]
)
async def test_a_call_that_can_be_repeated_is_repeated_once_after_a_broken_connection(failure: Exception) -> None:
    stub = Stub(scripted({QUERY: [failure, (200, {"contacts": [contact("contact-1")]})], OPEN: [failure, opened()]}))
    if isinstance(failure, httpx.ConnectError):
        failure.__cause__ = ConnectionRefusedError()
    assert (await stub.client.resolve(JO)).contact_id == "contact-1"
    broken = Stub(scripted({QUERY: [failure]}))
    with pytest.raises(TemporaryError) as caught:
        await broken.client.resolve(JO)
    assert caught.value.scope is Scope.INBOX
    assert broken.transport.calls == [QUERY, QUERY]


async def test_a_time_out_is_not_repeated_in_place() -> None:
    stub = Stub(scripted({QUERY: [httpx.ReadTimeout("late")]}))
    with pytest.raises(TemporaryError):
        await stub.client.resolve(JO)
    assert stub.transport.calls == [QUERY]


@pytest.mark.parametrize(
    "answer",
    [
        (500, None),
        (503, None),
        (429, refused("TOO_MANY")),
        (400, refused("BAD")),
        (302, None),
        (200, {}),
        httpx.ReadError("reset"),
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("?"),
    ],
)
async def test_a_send_is_never_repeated(answer: tuple[int, Json] | Exception) -> None:
    stub = Stub(scripted({SEND: [answer]}))
    result = await send(stub.client, message_body())
    assert not isinstance(result, outcome.Accepted | outcome.NotWritten)
    assert stub.transport.calls == [SEND]


async def test_a_send_that_failed_before_its_first_byte_is_not_written() -> None:
    stub = Stub(scripted({}))
    stub.transport.fail_unwritten = httpx.ConnectTimeout("no")
    result = await send(stub.client, message_body())
    assert isinstance(result, outcome.NotWritten)
    assert result.code == "inbox.network_timeout"


async def test_a_send_whose_right_has_ended_is_not_written() -> None:
    stub = Stub(scripted({}))
    result = await send(stub.client, message_body(), may_write=lambda: False)
    assert result == outcome.NotWritten("inbox.not_allowed_to_write", "the right to send ended before the first byte")
    assert stub.transport.requests == []


async def test_a_throttled_read_waits_and_goes_on() -> None:
    throttled = httpx.Response(429, headers={"retry-after": "5"})
    stub = Stub(scripted({QUERY: [throttled, (200, {"contacts": [contact("contact-1")]})], OPEN: [opened()]}))
    task = asyncio.create_task(stub.client.resolve(JO))
    await stub.clock.advance(4.9)
    assert not task.done()
    await stub.clock.advance(1.0)
    assert (await task).contact_id == "contact-1"


async def test_a_read_that_goes_on_being_throttled_is_given_up_for_now() -> None:
    stub = Stub(scripted({QUERY: [(429, refused("TOO_MANY"))]}))
    task = asyncio.create_task(stub.client.resolve(JO))
    await stub.clock.advance(60.0)
    with pytest.raises(TemporaryError) as caught:
        await task
    assert (caught.value.code, caught.value.scope) == ("inbox.throttled", Scope.INBOX)
    assert len(stub.transport.calls) == 3


async def test_a_long_retry_after_is_not_waited_for_in_place() -> None:
    stub = Stub(scripted({QUERY: [httpx.Response(429, headers={"retry-after": "600"})]}))
    with pytest.raises(TemporaryError) as caught:
        await stub.client.resolve(JO)
    assert caught.value.retry_after_seconds == 600


# Credentials


def app_handler(*statuses: int, call: tuple[str, str] = SEND, body: Json = None) -> Handler:
    waiting = list(statuses)
    tokens = iter(range(1, 100))

    def handler(method: str, path: str, data: dict[str, Json]) -> tuple[int, Json]:
        if (method, path) == TOKENS:
            assert data["client_secret"] == APP_SECRET
            return 200, {"access_token": f"{TOKEN}-{next(tokens)}", "expires_in": 14_400}
        assert (method, path) == call
        status = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return status, body if status == 200 else refused("UNAUTHENTICATED")

    return handler


async def test_a_401_on_a_send_renews_the_token_once_and_does_not_send_again() -> None:
    stub = Stub(app_handler(401, 200, body={"message": stored(message_body())}), auth="app")
    first = await send(stub.client, message_body())
    assert isinstance(first, outcome.Unauthorised)
    assert first.renewed
    assert stub.transport.calls == [TOKENS, SEND, TOKENS]
    assert isinstance(await send(stub.client, message_body()), outcome.Accepted)
    assert stub.transport.requests[-1].headers["authorization"] == f"{TOKEN}-2"


async def test_a_401_with_a_token_that_never_worked_asks_for_an_operator() -> None:
    stub = Stub(app_handler(401), auth="app")
    results = [await send(stub.client, message_body()) for _ in range(3)]
    assert [getattr(result, "renewed", None) for result in results] == [True, False, False]


async def test_a_401_for_a_missing_inbox_asks_for_no_token() -> None:
    stub = Stub(
        lambda method, path, _data: (
            (200, {"access_token": TOKEN}) if (method, path) == TOKENS else (401, refused("NO_INBOX_INSTANCE"))
        ),
        auth="app",
    )
    result = await send(stub.client, message_body())
    assert isinstance(result, outcome.Unauthorised)
    assert (result.code, result.renewed) == ("inbox.no_instance", False)
    assert stub.transport.calls == [TOKENS, SEND]


async def test_a_refused_app_secret_sends_nothing() -> None:
    stub = Stub(lambda *_: (401, refused("INVALID_CLIENT")), auth="app")
    result = await send(stub.client, message_body())
    assert isinstance(result, outcome.Unauthorised)
    assert not result.renewed
    assert stub.transport.calls == [TOKENS]


async def test_a_read_is_repeated_once_with_a_new_token() -> None:
    stub = Stub(app_handler(401, 200, call=QUERY, body={"contacts": []}), auth="app")
    with pytest.raises(AssertionError):
        await stub.client.resolve(JO)  # the handler knows no call after the query
    assert stub.transport.calls[:4] == [TOKENS, QUERY, TOKENS, QUERY]


async def test_a_wrong_key_is_an_auth_error_at_once() -> None:
    stub = Stub(lambda *_: (401, refused("UNAUTHENTICATED")))
    with pytest.raises(AuthError) as caught:
        await stub.client.resolve(JO)
    assert caught.value.next_step
    assert stub.transport.calls == [QUERY]


async def test_the_apps_id_is_learnt_from_an_answer() -> None:
    stub = Stub(scripted({SEND: [(200, {"message": stored(message_body(), appId="app-9")})]}))
    assert stub.client.app_id == ""
    await send(stub.client, message_body())
    assert stub.client.app_id == "app-9"


async def test_what_the_inbox_calls_our_app_counts_not_what_the_settings_call_it() -> None:
    answer: Json = {"message": stored(message_body(), appId="APP-1")}
    stub = Stub(app_handler(200, body=answer), auth="app")
    assert stub.client.app_id == "", "nothing is known of it before the first answer"
    await send(stub.client, message_body())
    assert stub.client.app_id == "APP-1"


# Reading back


def page(numbers: Iterable[int], following: str | None = None, more: dict[str, Json] | None = None) -> tuple[int, Json]:
    messages: list[Json] = [stored(message_body(), number) for number in numbers]
    body: dict[str, Json] = {"messages": messages, **(more or {})}
    if following is not None:
        body["pagingMetadata"] = {"cursors": {"next": following}}
    return 200, body


async def look(stub: Stub, mark: int) -> list[int]:
    found = await stub.client.look("conversation-1", after_sequence=mark, not_before=START)
    return [message.sequence for message in found]


async def test_a_look_reads_back_to_the_mark_and_no_further() -> None:
    stub = Stub(
        scripted({LIST: [page(range(300, 200, -1), "a"), page(range(200, 100, -1), "b"), page(range(100, 0, -1))]})
    )
    assert await look(stub, 150) == list(range(300, 150, -1))
    assert len(stub.transport.calls) == 2
    first, second = (dict(request.url.params) for request in stub.transport.requests)
    assert first == {
        "conversationId": "conversation-1",
        "visibility": "BUSINESS",
        "paging.limit": "100",
        "sorting.order": "DESC",
    }
    assert second["paging.cursor"] == "a"


@pytest.mark.parametrize("metadata", [{}, {"pagingMetadata": None}, {"pagingMetadata": {"cursors": {}}}])
async def test_a_short_page_without_a_cursor_is_the_last(metadata: dict[str, Json]) -> None:
    stub = Stub(scripted({LIST: [page([3, 2], more=metadata)]}))
    assert await look(stub, 1) == [3, 2]


async def test_a_full_page_without_a_cursor_that_does_not_reach_the_mark_decides_nothing() -> None:
    stub = Stub(scripted({LIST: [page(range(200, 100, -1))]}))
    with pytest.raises(TemporaryError) as caught:
        await look(stub, 50)
    assert (caught.value.code, caught.value.scope) == ("inbox.look_incomplete", Scope.MESSAGE)


async def test_cursors_that_go_in_circles_decide_nothing() -> None:
    stub = Stub(scripted({LIST: [page([200, 199], "a"), page([198], "a")]}))
    with pytest.raises(TemporaryError):
        await look(stub, 50)
    assert len(stub.transport.calls) == 2


async def test_a_look_has_an_end() -> None:
    numbers = iter(range(10_000, 0, -1))
    stub = Stub(lambda *_: page([next(numbers)], f"cursor-{next(numbers)}"))
    with pytest.raises(TemporaryError):
        await look(stub, 1)
    assert len(stub.transport.calls) == 20


async def test_an_oldest_first_list_is_read_to_its_end() -> None:
    stub = Stub(scripted({LIST: [page([1, 2, 3], "a"), page([4, 5])]}))
    assert await look(stub, 2) == [5, 4, 3]


async def test_without_a_mark_the_time_decides() -> None:
    early = stored(message_body(), 1, createdDate="2026-03-12T13:00:00Z")
    late = stored(message_body(), 2, createdDate="2026-03-12T14:03:01Z")
    stub = Stub(scripted({LIST: [(200, {"messages": [late, early], "pagingMetadata": {"cursors": {"next": "a"}}})]}))
    assert await look(stub, 0) == [2]


async def test_a_clock_that_is_an_hour_off_hides_nothing() -> None:
    """The Inbox's clock is behind; its Date header says so."""
    behind = httpx.Response(
        200,
        json={"messages": [stored(message_body(), 2, createdDate="2026-03-12T13:03:00Z")]},
        headers={"date": "Thu, 12 Mar 2026 13:03:00 GMT"},
    )
    stub = Stub(scripted({LIST: [behind]}))
    found = await stub.client.look("conversation-1", after_sequence=0, not_before=START - timedelta(seconds=5))
    assert [message.created_at for message in found] == [START]


@pytest.mark.parametrize("body", [{}, {"messages": None}, {"messages": [{"text": "no id"}]}, {"messages": [None]}, []])
async def test_a_list_that_cannot_be_read_is_never_taken_for_an_empty_one(body: Json) -> None:
    stub = Stub(scripted({LIST: [(200, body)]}))
    with pytest.raises(TemporaryError) as caught:
        await look(stub, 1)
    assert caught.value.code == "inbox.unreadable_answer"


async def test_a_conversation_that_is_gone_shows_nothing() -> None:
    stub = Stub(scripted({LIST: [(404, refused("CONVERSATION_NOT_FOUND"))]}))
    assert await look(stub, 1) == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [(refused("INBOX_INSTANCE_NOT_FOUND"), AuthError), (refused("OTHER"), MessageError), (None, TemporaryError)],
)
async def test_another_404_is_never_taken_for_an_empty_conversation(body: Json, kind: type[InboxSyncError]) -> None:
    with pytest.raises(kind):
        await look(Stub(scripted({LIST: [(404, body)]})), 1)


# Probing and checking


async def test_a_probe_is_content_with_a_refusal_in_the_inboxs_own_words() -> None:
    await Stub(lambda *_: (404, refused("CONVERSATION_NOT_FOUND"))).client.probe()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((500, None), TemporaryError),
        ((404, None), TemporaryError),
        ((200, []), TemporaryError),
        ((401, refused("UNAUTHENTICATED")), AuthError),
        ((401, refused("NO_INBOX_INSTANCE")), AuthError),
        ((404, refused("INBOX_INSTANCE_NOT_FOUND")), AuthError),
        ((403, refused("PERMISSION_DENIED")), AuthError),
        (httpx.ConnectError("no"), TemporaryError),
    ],
)
async def test_a_probe_fails_while_the_inbox_does_not_work(
    answer: tuple[int, Json] | Exception, kind: type[InboxSyncError]
) -> None:
    with pytest.raises(kind):
        await Stub(lambda *_: answer).client.probe()


async def test_check_tells_of_a_clock_that_is_wrong() -> None:
    headers = {"date": "Thu, 12 Mar 2026 13:03:00 GMT"}
    stub = Stub(
        lambda method, _path, _data: (
            httpx.Response(404, json=refused("CONVERSATION_NOT_FOUND"), headers=headers)
            if method == "GET"
            else httpx.Response(200, json={"contacts": [], "uploadUrl": "https://a.example/1"}, headers=headers)
        )
    )
    findings = await stub.client.check()
    assert [finding.severity.value for finding in findings] == ["ok", "ok", "ok", "warning"]
    assert findings[-1].code == "inbox.clock_skew"
    assert "3600 seconds" in findings[-1].sentence


async def test_check_tells_a_missing_permission_of_contacts_from_one_of_the_inbox() -> None:
    stub = Stub(
        lambda method, _path, _data: (
            (404, refused("CONVERSATION_NOT_FOUND")) if method == "GET" else (403, refused("PERMISSION_DENIED"))
        )
    )
    findings = await stub.client.check()
    assert [finding.code for finding in findings] == ["", "inbox.not_permitted", "inbox.not_permitted"]
    assert "contact" in findings[1].sentence
    assert findings[1].next_step
    assert "without their files" in findings[2].next_step


# Secrets


@pytest.mark.parametrize("auth", ["api_key", "app"])
async def test_no_secret_address_or_text_is_in_any_error_or_log(auth: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret_text = "Mein geheimer Text"

    def answers(status: int) -> Handler:
        def handler(method: str, path: str, data: dict[str, Json]) -> tuple[int, Json]:
            if (method, path) == TOKENS and status != 401:
                return 200, {"access_token": TOKEN}
            echo: Json = {"message": f"{data} {API_KEY}", "details": {"applicationError": {"code": f"{data}"}}}
            return status, echo

        return handler

    said: list[str] = []
    with structlog.testing.capture_logs() as logs:
        for status in (200, 302, 400, 401, 403, 404, 409, 413, 428, 500, 503):
            stub = Stub(answers(status), auth=auth)
            said.append(repr(await send(stub.client, message_body(secret_text))))
            said.append(repr(await stub.client.check()))
            for attempt in (
                stub.client.resolve(JO),
                stub.client.resolve(JO, Mapping("contact-1", "c")),
                stub.client.look("conversation-1", after_sequence=1, not_before=START),
                stub.client.probe(),
            ):
                try:
                    await attempt
                except InboxSyncError as error:
                    said += [repr(error), str(error), error.next_step, repr(error.__cause__), repr(error.__context__)]
    everything = "\n".join([*said, repr(logs), caplog.text])
    for secret in (API_KEY, APP_SECRET, TOKEN, secret_text, "jo@example.com"):
        assert secret not in everything
