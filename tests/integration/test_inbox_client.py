"""The Inbox client against the sandbox over real sockets: every way a send can end, told truly and found again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from pydantic import SecretStr

from sync.budget import Budget
from sync.clock import SystemClock
from sync.errors import AuthError, TemporaryError
from sync.http import HttpClient
from sync.inbox import InboxClient, InboxMessage, Mapping, match, outcome
from sync.message import Json, Participant, ParticipantKind
from sync.render import canonical_hash
from sync.sandbox import ManualClock, Sandbox
from sync.settings import InboxSettings
from tests.servers.ports import free_port
from tests.unit.inbox_stub import send

JO = Participant(ParticipantKind.EMAIL, "jo@example.com", "Jo Doe")


class Bench:
    """A sandbox and a client of it."""

    def __init__(self, sandbox: Sandbox, http: HttpClient) -> None:
        self.sandbox = sandbox
        self.http = http
        self.clock = SystemClock()
        self.client = self.make()

    def make(self, **changes: object) -> InboxClient:
        settings = InboxSettings.model_validate(
            {
                "site_id": self.sandbox.site_id,
                "api_key": SecretStr(self.sandbox.api_key),
                "base_url": self.sandbox.url,
                "connect_timeout_seconds": 1.0,
                "answer_timeout_seconds": 20.0,
                **changes,
            }
        )
        budget = Budget(1_000_000, 1000, clock=self.clock)
        return InboxClient("main", settings, http=self.http, budget=budget, clock=self.clock)

    def app(self) -> InboxClient:
        return self.make(
            auth="app",
            api_key=None,
            app_id=self.sandbox.app_id,
            app_secret=SecretStr(self.sandbox.app_secret),
            instance_id=self.sandbox.instance_id,
        )

    async def send(self, mapping: Mapping, text: str) -> outcome.SendOutcome:
        return await send(self.client, body_for(mapping, text))

    async def send_hurriedly(self, mapping: Mapping, text: str) -> outcome.SendOutcome:
        """By a client that waits half a second for the answer."""
        return await send(self.make(answer_timeout_seconds=0.5), body_for(mapping, text))

    async def matches(self, mapping: Mapping, text: str, since: datetime, mark: int = 0) -> list[InboxMessage]:
        body = body_for(mapping, text)
        return match(
            await self.client.look(mapping.conversation_id, after_sequence=mark, not_before=since),
            request_body=body,
            request_hash=canonical_hash(body),
            app_id=self.client.app_id,
            not_before=since,
            held_ids=(),
        )


def body_for(mapping: Mapping, text: str) -> dict[str, Json]:
    return {
        "conversationId": mapping.conversation_id,
        "message": {
            "direction": "PARTICIPANT_TO_BUSINESS",
            "visibility": "BUSINESS",
            "silent": False,
            "badges": [{"text": "Mail"}],
            "content": {"previewText": text[:200], "basic": {"items": [{"text": text}]}},
        },
        "sendNotifications": False,
        "sendAs": "PARTICIPANT",
    }


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    with Sandbox(port=free_port()) as sandbox:
        http = HttpClient(connections=32)
        try:
            yield Bench(sandbox, http)
        finally:
            await http.aclose()


async def test_a_new_address_gets_one_contact_and_one_conversation(bench: Bench) -> None:
    first = await bench.client.resolve(JO)
    assert await bench.client.resolve(JO) == first
    assert await bench.client.resolve(JO, first) == first
    assert len(bench.sandbox.contacts()) == 1
    accepted = await bench.send(first, "Hello")
    assert isinstance(accepted, outcome.Accepted)
    assert not accepted.text_changed
    assert bench.sandbox.texts("jo@example.com") == ["Hello"]
    assert bench.sandbox.targets() == []


async def test_many_at_once_make_one_contact_each_although_the_query_lags(bench: Bench) -> None:
    bench.sandbox.switch(query_lag_seconds=60)
    people = [Participant(ParticipantKind.EMAIL, f"p{n % 8}@example.com") for n in range(32)]
    mappings = await asyncio.gather(*(bench.client.resolve(person) for person in people))
    assert len({mapping.conversation_id for mapping in mappings}) == 8
    assert len(bench.sandbox.contacts()) == 8


async def test_several_contacts_with_one_address_are_chosen_the_same_way_every_time(bench: Bench) -> None:
    bench.sandbox.seed_contact(["other@example.com", "jo@example.com"])
    primary = bench.sandbox.seed_contact("Jo@Example.com")
    bench.sandbox.switch(email_case_sensitive=False)
    assert (await bench.client.resolve(JO)).contact_id == primary


async def test_a_phone_number_finds_its_contact(bench: Bench) -> None:
    seeded = bench.sandbox.seed_contact([], name="Jo", phone=("+49301234567",))
    participant = Participant(ParticipantKind.PHONE, "+49301234567")
    assert (await bench.client.resolve(participant)).contact_id == seeded


async def test_a_merged_contact_and_a_deleted_one_are_followed(bench: Bench) -> None:
    known = await bench.client.resolve(JO)
    survivor = bench.sandbox.seed_contact("new@example.com")
    bench.sandbox.merge_contacts(survivor, known.contact_id)
    moved = await bench.client.resolve(JO, known)
    assert moved.contact_id == survivor
    bench.sandbox.delete_contact(survivor)
    again = await bench.client.resolve(JO, moved)
    assert again.contact_id not in (survivor, known.contact_id)
    assert isinstance(await bench.send(again, "Hello"), outcome.Accepted)


@pytest.mark.parametrize(
    ("action", "conditions"),
    [("drop_after_store", {}), ("reset_after_store", {}), ("hang_after_store", {"seconds": 60}), ("truncate", {})],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_stored_message_whose_answer_is_lost_is_unclear_and_found(
    bench: Bench, action: str, conditions: dict[str, float]
) -> None:
    since = bench.clock.now()
    mapping = await bench.client.resolve(JO)
    before = await bench.send(mapping, "before")
    assert isinstance(before, outcome.Accepted)
    bench.sandbox.fault(action, call="messages.send", **conditions)
    assert isinstance(await bench.send_hurriedly(mapping, "Hello"), outcome.Unclear)
    found = await bench.matches(mapping, "Hello", since, before.sequence)
    assert len(found) == 1
    assert bench.sandbox.texts("jo@example.com") == ["before", "Hello"]


@pytest.mark.parametrize(
    ("action", "conditions"),
    [
        ("drop_before_store", {}),
        ("reset_before_store", {}),
        ("hang_before_store", {"seconds": 60}),
        ("early_close", {}),
        ("early_reset", {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_message_that_was_not_stored_is_unclear_and_not_found(
    bench: Bench, action: str, conditions: dict[str, float]
) -> None:
    since = bench.clock.now()
    mapping = await bench.client.resolve(JO)
    bench.sandbox.fault(action, call="messages.send", **conditions)
    assert isinstance(await bench.send_hurriedly(mapping, "Hello"), outcome.Unclear)
    assert await bench.matches(mapping, "Hello", since) == []
    assert bench.sandbox.stats()["calls"]["messages.send"] == 1


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_5xx_is_unclear_whether_it_was_stored_or_not(bench: Bench, status: int, stored: bool) -> None:
    since = bench.clock.now()
    mapping = await bench.client.resolve(JO)
    bench.sandbox.fault("status", call="messages.send", status=status, stored=stored)
    result = await bench.send(mapping, "Hello")
    assert isinstance(result, outcome.Unclear)
    assert result.status == status
    assert len(await bench.matches(mapping, "Hello", since)) == int(stored)


async def test_a_late_commit_is_found_by_a_later_look(bench: Bench) -> None:
    since = bench.clock.now()
    mapping = await bench.client.resolve(JO)
    bench.sandbox.fault("late_commit", call="messages.send", seconds=600)
    assert isinstance(await bench.send(mapping, "Hello"), outcome.Unclear)
    assert await bench.matches(mapping, "Hello", since) == []
    bench.sandbox.settle()
    assert len(await bench.matches(mapping, "Hello", since)) == 1


async def test_a_reader_finds_a_send_of_its_own_among_many(bench: Bench) -> None:
    since = bench.clock.now()
    mapping = await bench.client.resolve(JO)
    first = await bench.send(mapping, "Hello")
    assert isinstance(first, outcome.Accepted)
    for number in range(230):
        bench.sandbox.seed_message(f"filler {number}", contact_id=mapping.contact_id)
    bench.sandbox.visitor_message("Hello", contact_id=mapping.contact_id)
    assert [message.id for message in await bench.matches(mapping, "Hello", since)] == [first.message_id]
    assert await bench.matches(mapping, "Hello", since, first.sequence) == []


async def test_a_refusal_tells_its_code_and_a_missing_conversation_is_told_apart(bench: Bench) -> None:
    mapping = await bench.client.resolve(JO)
    result = await bench.send(mapping, "x" * 16_385)
    assert isinstance(result, outcome.Refused)
    assert result.status == 400
    gone = await bench.send(Mapping(mapping.contact_id, "00000000-0000-4000-8000-00000000dead"), "Hello")
    assert isinstance(gone, outcome.Refused)
    assert gone.conversation_gone


@pytest.mark.parametrize("retry_after", [True, False])
async def test_429_is_throttled(bench: Bench, retry_after: bool) -> None:
    mapping = await bench.client.resolve(JO)
    bench.sandbox.switch(requests_per_minute=1, send_retry_after=retry_after)
    results = [await bench.send(mapping, "Hello") for _ in range(3)]
    throttled = results[-1]
    assert isinstance(throttled, outcome.Throttled)
    assert (throttled.retry_after_seconds is not None) is retry_after


async def test_texts_the_inbox_changes_are_a_visible_fault(bench: Bench) -> None:
    mapping = await bench.client.resolve(JO)
    bench.sandbox.switch(normalise=["quotes"])
    result = await bench.send(mapping, 'she said "hello" and \u201cbye\u201d, it\'s so')
    assert isinstance(result, outcome.Accepted)
    assert result.text_changed
    bench.sandbox.switch(normalise=["trim", "crlf"])
    harmless = await bench.send(mapping, "one\ntwo ")
    assert isinstance(harmless, outcome.Accepted)
    assert not harmless.text_changed


async def test_a_stopped_inbox_gets_nothing_written_and_a_restarted_one_everything(bench: Bench) -> None:
    mapping = await bench.client.resolve(JO)
    bench.sandbox.stop()
    results = [await bench.send(mapping, "Hello") for _ in range(3)]
    assert all(isinstance(result, outcome.NotWritten) for result in results)
    with pytest.raises(TemporaryError):
        await bench.client.probe()
    bench.sandbox.start()
    await bench.client.probe()
    assert isinstance(await bench.send(mapping, "Hello"), outcome.Accepted)
    assert bench.sandbox.texts("jo@example.com") == ["Hello"]


async def test_a_connection_the_inbox_closes_after_an_answer_never_doubles_a_message(bench: Bench) -> None:
    """The close may cross the next request on its way: then nobody knows, and nobody sends it again unasked."""
    mapping = await bench.client.resolve(JO)
    bench.sandbox.fault("close_after", call="messages.send", times=None)
    accepted = []
    for number in range(20):
        result = await bench.send(mapping, f"Hello {number}")
        assert isinstance(result, outcome.Accepted | outcome.Unclear)
        accepted += [f"Hello {number}"] * isinstance(result, outcome.Accepted)
    texts = bench.sandbox.texts("jo@example.com")
    assert len(texts) == len(set(texts))
    assert set(accepted) <= set(texts)


async def test_a_slow_list_shows_the_message_only_later() -> None:
    clock = ManualClock(time.time())
    with Sandbox(clock=clock, list_lag_seconds=60) as sandbox:
        http = HttpClient()
        slow = Bench(sandbox, http)
        since = slow.clock.now()
        mapping = await slow.client.resolve(JO)
        assert isinstance(await slow.send(mapping, "Hello"), outcome.Accepted)
        assert await slow.matches(mapping, "Hello", since) == []
        clock.advance(61)
        assert len(await slow.matches(mapping, "Hello", since)) == 1
        await http.aclose()


async def test_a_revoked_token_is_replaced_and_the_send_not_repeated(bench: Bench) -> None:
    client = bench.app()
    mapping = await client.resolve(JO)
    body = body_for(mapping, "Hello")
    assert isinstance(await send(client, body), outcome.Accepted)
    bench.sandbox.revoke_tokens()
    refused = await send(client, body)
    assert isinstance(refused, outcome.Unauthorised)
    assert refused.renewed
    assert isinstance(await send(client, body), outcome.Accepted)
    bench.sandbox.revoke_tokens()
    assert await client.resolve(JO, mapping) == mapping
    assert bench.sandbox.texts("jo@example.com") == ["Hello", "Hello"]
    await client.aclose()


async def test_many_requests_with_a_revoked_token_ask_for_one_new_one(bench: Bench) -> None:
    client = bench.app()
    mapping = await client.resolve(JO)
    bench.sandbox.revoke_tokens()
    before = bench.sandbox.stats()["tokensIssued"]
    await asyncio.gather(*(client.resolve(JO, mapping) for _ in range(20)))
    assert bench.sandbox.stats()["tokensIssued"] == before + 1
    await client.aclose()


async def test_cancelling_a_send_leaves_the_connection_unused(bench: Bench) -> None:
    mapping = await bench.client.resolve(JO)
    bench.sandbox.fault("hang_after_store", call="messages.send", seconds=60)
    task = asyncio.create_task(bench.send(mapping, "Hello"))
    await asyncio.to_thread(bench.sandbox.wait_messages, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(await bench.send(mapping, "next"), outcome.Accepted)
    assert bench.sandbox.texts("jo@example.com") == ["Hello", "next"]


async def test_check_finds_each_fault_and_says_how_to_mend_it(bench: Bench) -> None:
    assert [finding.severity for finding in await bench.client.check()] == ["ok", "ok", "ok"]
    faults = {
        "inbox.credentials_refused": bench.make(api_key=SecretStr("wrong")),
        "inbox.not_permitted": bench.make(site_id="22222222-2222-4222-8222-222222222222"),
        "inbox.foreign_answer": bench.make(base_url=f"{bench.sandbox.url}/elsewhere"),
        "inbox.network_refused": bench.make(base_url="http://127.0.0.1:1"),
    }
    for code, client in faults.items():
        findings = await client.check()
        assert findings[0].code == code
        assert findings[0].next_step
        with pytest.raises((AuthError, TemporaryError)):
            await client.probe()
    bench.sandbox.switch(no_inbox_instance=True)
    assert [finding.code for finding in await bench.client.check()] == ["inbox.no_instance", ""]
