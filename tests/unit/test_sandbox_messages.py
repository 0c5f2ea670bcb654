"""The emulated Inbox API: conversations, sending, listing, limits of content."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from sync.sandbox import DEFAULT_SITE_ID, ManualClock, Sandbox
from sync.sandbox.values import as_list, as_object, as_text
from tests.unit.sandbox_wire import Wire, send_body, texts

OTHER_SITE = "5a9d0b00-0000-4000-8000-000000000002"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(sites=(DEFAULT_SITE_ID, OTHER_SITE)) as running:
        yield running


@pytest.fixture
def wire(sandbox: Sandbox) -> Wire:
    return Wire(sandbox)


def test_conversation_of_a_contact_is_always_the_same(wire: Wire) -> None:
    contact = wire.contact()
    first, second = wire.open(contact), wire.open(contact)
    assert first.at("newConversation") is True
    assert second.at("newConversation") is False
    assert first.at("conversation.id") == second.at("conversation.id")
    got = wire.call("GET", f"/inbox/v2/conversations/{first.at('conversation.id')}")
    assert got.at("conversation.participant.contactId") == contact


def test_get_or_create_takes_exactly_one_participant(wire: Wire) -> None:
    contact = wire.contact()
    both = {"participantId": {"contactId": contact, "memberId": contact}}
    assert wire.call("POST", "/inbox/v2/conversations", both).violations == [("participantId", "ONE_OF_ALIGNMENT")]
    none: object = {"participantId": {}}
    assert wire.call("POST", "/inbox/v2/conversations", none).violations == [("participantId", "REQUIRED_ONE_OF_FIELD")]


def test_message_ids_are_the_sequence_and_rise_even_when_the_clock_stands() -> None:
    clock = ManualClock(1_800_000_000.25)
    with Sandbox(clock=clock) as sandbox:
        wire = Wire(sandbox)
        conversation = wire.conversation()
        sent = [wire.send(conversation, f"number {n}") for n in range(5)]
    ids = [int(as_text(answer.at("message.id"))) for answer in sent]
    assert ids == list(range(ids[0], ids[0] + 5))
    assert [answer.at("message.sequence") for answer in sent] == [str(each) for each in ids]
    assert sent[0].at("message.createdDate") == "2027-01-15T08:00:00.250Z"


def test_what_the_server_decides_is_not_taken_from_the_client(sandbox: Sandbox, wire: Wire) -> None:
    conversation = wire.conversation()
    answer = wire.send(
        conversation,
        id="7",
        sequence="7",
        sender={"appId": OTHER_SITE},
        appId=OTHER_SITE,
        createdDate="2001-01-01T00:00:00.000Z",
        somethingNew={"deep": 1},
    )
    assert answer.status == 200
    message = sandbox.messages()[0]
    assert message["id"] == message["sequence"] == answer.at("message.id") != "7"
    assert message["sender"] == sandbox.conversations()[0]["participant"]
    assert message["appId"] not in (None, OTHER_SITE)
    assert not message["createdDate"].startswith("2001")
    assert "somethingNew" not in as_object(answer.at("message"))


def test_created_date_is_kept_when_switched_on(sandbox: Sandbox, wire: Wire) -> None:
    sandbox.switch(keep_created_date=True)
    answer = wire.send(wire.conversation(), createdDate="2001-01-01T00:00:00.000Z")
    assert answer.at("message.createdDate") == "2001-01-01T00:00:00.000Z"


def test_sender_follows_send_as(wire: Wire) -> None:
    body = send_body(wire.conversation())
    body["sendAs"] = "CALLER"
    assert list(as_object(wire.call("POST", "/inbox/v2/messages", body).at("message.sender"))) == ["appId"]
    body["sendAs"] = "BUSINESS_USER"
    assert list(as_object(wire.call("POST", "/inbox/v2/messages", body).at("message.sender"))) == ["wixUserId"]


@pytest.mark.parametrize(
    ("message", "violation"),
    [
        ({"direction": "SIDEWAYS"}, ("message.direction", "INVALID_ENUM_VALUE")),
        ({"direction": None}, ("message.direction", "REQUIRED_FIELD")),
        ({"visibility": "PARTICIPANT"}, ("message.visibility", "INVALID_ENUM_VALUE")),
        ({"badges": [{"text": "a"}, {"text": "b"}]}, ("message.badges", "MAX_SIZE")),
        ({"silent": "yes"}, ("message.silent", "FORMAT")),
        ({"content": {}}, ("message.content", "REQUIRED_ONE_OF_FIELD")),
        ({"content": {"system": {"text": "x"}}}, ("message.content", "REQUIRED_ONE_OF_FIELD")),
        ({"content": {"basic": {"items": []}}}, ("message.content.basic.items", "MIN_SIZE")),
        ({"content": {"basic": {"items": [{"text": ""}]}}}, ("message.content.basic.items[0].text", "MIN_LENGTH")),
        (
            {"content": {"basic": {"items": [{"text": "x", "file": {"id": "y"}}]}}},
            ("message.content.basic.items[0]", "ONE_OF_ALIGNMENT"),
        ),
        (
            {"content": {"basic": {"items": [{"file": {"filename": "a.pdf"}}]}}},
            ("message.content.basic.items[0].file", "REQUIRED_ONE_OF_FIELD"),
        ),
        (
            {"content": {"basic": {"items": [{"image": {"url": "ftp://x/y"}}]}}},
            ("message.content.basic.items[0].image.url", "FORMAT"),
        ),
        (
            {"content": {"basic": {"items": [{"text": "\ud83d"}]}}},
            ("message.content.basic.items[0].text", "FORMAT"),
        ),
        (
            {"content": {"minimal": {"text": "x"}, "basic": {"items": [{"text": "x"}]}}},
            ("message.content", "ONE_OF_ALIGNMENT"),
        ),
        (
            {"content": {"previewText": "x" * 257, "minimal": {"text": "x"}}},
            ("message.content.previewText", "MAX_LENGTH"),
        ),
        (
            {"content": {"minimal": {"text": "x", "url": "https://e.example/" + "x" * 2000}}},
            ("message.content.minimal.url", "MAX_LENGTH"),
        ),
        (
            {"content": {"form": {"fields": [{"name": "n", "value": "v"}] * 16}}},
            ("message.content.form.fields", "MAX_SIZE"),
        ),
        (
            {"content": {"template": {"textLines": ["x" * 513]}}},
            ("message.content.template.textLines[0]", "MAX_LENGTH"),
        ),
    ],
)
def test_content_beyond_the_documented_limits_is_refused(
    sandbox: Sandbox, wire: Wire, message: dict[str, object], violation: tuple[str, str]
) -> None:
    answer = wire.send(wire.conversation(), "Hello", **message)
    assert answer.status == 400
    assert answer.violations == [violation]
    assert sandbox.messages() == []


@pytest.mark.parametrize(("unit", "fits"), [("utf16", False), ("codepoints", True), ("bytes", False)])
def test_length_limit_counts_in_the_switched_unit(wire: Wire, sandbox: Sandbox, unit: str, *, fits: bool) -> None:
    sandbox.switch(length_unit=unit)
    conversation = wire.conversation()
    assert wire.send(conversation, "x" * 16_384).status == 200
    assert (wire.send(conversation, "😀" * 8_193).status == 200) is fits


def test_violations_are_reported_together(wire: Wire) -> None:
    answer = wire.call("POST", "/inbox/v2/messages", {"message": {"direction": "X"}, "sendAs": "ME"})
    assert {field for field, _ in answer.violations} == {
        "conversationId",
        "message.content",
        "message.direction",
        "message.visibility",
        "sendAs",
    }


def test_pages_lead_from_the_newest_to_the_oldest(wire: Wire) -> None:
    conversation = wire.conversation()
    for number in range(5):
        wire.send(conversation, str(number))
    first = wire.page(conversation, "&paging.limit=2")
    assert texts(first) == ["4", "3"]
    cursor = first.at("pagingMetadata.cursors.next")
    second = wire.page(conversation, f"&paging.limit=2&paging.cursor={cursor}")
    assert texts(second) == ["2", "1"]
    wire.send(conversation, "5")  # a message that arrives between pages does not move them
    last = wire.page(conversation, f"&paging.limit=2&paging.cursor={second.at('pagingMetadata.cursors.next')}")
    assert texts(last) == ["0"]
    assert last.at("pagingMetadata.cursors") is None
    back = wire.page(conversation, f"&paging.limit=1&paging.cursor={second.at('pagingMetadata.cursors.prev')}")
    assert texts(back) == ["3"]


def test_list_defaults_to_thirty_and_refuses_more_than_a_hundred(wire: Wire) -> None:
    conversation = wire.conversation()
    for number in range(31):
        wire.send(conversation, str(number))
    assert len(wire.listed(conversation)) == 30
    assert wire.listed(conversation, "&paging.limit=100&sorting.order=ASC") == [str(n) for n in range(31)]
    assert wire.page(conversation, "&paging.limit=101").violations == [("paging.limit", "MAX")]
    assert wire.page(conversation, "&paging.cursor=rubbish").violations == [("paging.cursor", "VALIDATION")]


def test_both_encodings_of_parameters_mean_the_same(wire: Wire) -> None:
    conversation = wire.conversation()
    for number in range(3):
        wire.send(conversation, str(number))
    asked = {
        "conversationId": conversation,
        "visibility": "BUSINESS",
        "paging": {"limit": 2},
        "sorting": {"order": "ASC"},
    }
    packed = base64.urlsafe_b64encode(json.dumps(asked).encode()).decode().rstrip("=")
    dotted = wire.page(conversation, "&paging.limit=2&sorting.order=ASC")
    assert wire.call("GET", f"/inbox/v2/messages?.r={packed}").body == dotted.body
    assert texts(dotted) == ["0", "1"]
    assert wire.call("GET", "/inbox/v2/messages?.r=%21").status == 400


def test_visibility_hides_what_only_the_business_sees(sandbox: Sandbox, wire: Wire) -> None:
    contact = wire.contact()
    conversation = as_text(wire.open(contact).at("conversation.id"))
    wire.send(conversation, "imported")
    sandbox.visitor_message("typed in the chat", contact_id=contact)
    query = f"/inbox/v2/messages?conversationId={conversation}&visibility=BUSINESS_AND_PARTICIPANT"
    answer = wire.call("GET", query)
    assert texts(answer) == ["typed in the chat"]
    assert "appId" not in as_object(as_list(answer.body["messages"])[0])
    assert wire.listed(conversation) == ["typed in the chat", "imported"]


def test_list_leaves_badges_out_unless_switched(sandbox: Sandbox, wire: Wire) -> None:
    conversation = wire.conversation()
    sent = wire.send(conversation, badges=[{"text": "Mailbox"}])
    assert sent.at("message.badges") == [{"text": "Mailbox"}]
    assert "badges" not in as_object(as_list(wire.page(conversation).body["messages"])[0])
    assert sandbox.messages()[0]["badges"] == [{"text": "Mailbox"}]
    sandbox.switch(list_drops_badges=False)
    assert as_object(as_list(wire.page(conversation).body["messages"])[0])["badges"] == [{"text": "Mailbox"}]


def test_unknown_conversations_are_told_apart(sandbox: Sandbox, wire: Wire) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    assert wire.send(unknown).code == "CONVERSATION_NOT_FOUND"
    assert wire.page(unknown).status == 404
    elsewhere = Wire(sandbox, **{"wix-site-id": OTHER_SITE}).conversation()
    assert wire.call("GET", f"/inbox/v2/conversations/{elsewhere}").code == "NOT_OWNED_BY_BUSINESS"


def test_merged_conversation_lives_on_in_its_target(sandbox: Sandbox, wire: Wire) -> None:
    old, target = wire.conversation("old@example.com"), wire.conversation("new@example.com")
    wire.send(old, "first")
    wire.send(target, "second")
    wire.send(old, "third")
    sandbox.merge_conversations(target, old)
    assert wire.listed(target) == ["third", "second", "first"]
    assert wire.send(old).code == "CONVERSATION_NOT_FOUND"
    old_contact = wire.found({"info.emails.email": "old@example.com"})[0]
    assert wire.open(old_contact).at("conversation.id") == target
    sandbox.switch(merged_conversation="target")
    assert wire.send(old, "fourth").status == 200
    assert wire.listed(target)[0] == "fourth"


def test_target_channels_are_recorded(sandbox: Sandbox, wire: Wire) -> None:
    conversation = wire.conversation()
    wire.send(conversation)
    assert sandbox.targets() == []
    wire.send(conversation, targetChannels=["EMAIL"])
    wire.send(conversation, targetChannelIds=["mail"])
    assert [as_list(each.get("targetChannels")) for each in sandbox.targets()] == [["EMAIL"], []]
    assert sandbox.stats()["targets"] == 2
    assert sandbox.messages()[1]["request"]["targetChannels"] == ["EMAIL"]


def test_texts_are_changed_as_switched(sandbox: Sandbox, wire: Wire) -> None:
    conversation = wire.conversation()
    sandbox.switch(normalise=["trim", "collapse", "nfc", "quotes"])
    answer = wire.send(conversation, ' A  "cafe\u0301" \n')
    assert as_list(answer.at("message.content.basic.items"))[0] == {"text": "A \u201ccaf\u00e9\u201d"}
    assert wire.listed(conversation) == ["A \u201ccaf\u00e9\u201d"]


def test_site_without_an_inbox_answers_as_documented(sandbox: Sandbox, wire: Wire) -> None:
    conversation = wire.conversation()
    sandbox.switch(no_inbox_instance=True)
    assert (wire.page(conversation).status, wire.page(conversation).code) == (401, "NO_INBOX_INSTANCE")
    sandbox.switch(no_inbox_instance=False, inbox_instance_not_found=True)
    assert (wire.send(conversation).status, wire.send(conversation).code) == (404, "INBOX_INSTANCE_NOT_FOUND")


def test_lists_lag_behind_when_switched(sandbox: Sandbox) -> None:
    clock = ManualClock()
    with Sandbox(clock=clock, list_lag_seconds=3) as lagging:
        wire = Wire(lagging)
        conversation = wire.conversation()
        assert wire.send(conversation, "slow").status == 200
        assert wire.listed(conversation) == []
        assert lagging.texts() == ["slow"]
        clock.advance(3)
        assert wire.listed(conversation) == ["slow"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'"x"', b"[" * 100_000])
def test_body_that_is_no_json_object_is_refused(wire: Wire, body: bytes) -> None:
    assert wire.call("POST", "/inbox/v2/messages", body).status == 400


def test_unknown_paths_and_methods_are_refused(wire: Wire) -> None:
    assert wire.call("GET", "/inbox/v2/conversations").status == 405
    assert wire.call("GET", "/inbox/v3/messages").status == 404
    assert wire.call("DELETE", "/inbox/v2/messages").status == 405


def test_sites_do_not_see_each_other(sandbox: Sandbox, wire: Wire) -> None:
    other = Wire(sandbox, **{"wix-site-id": OTHER_SITE})
    wire.send(wire.conversation(), "here")
    other.send(other.conversation(), "there")
    assert sandbox.texts(site_id=DEFAULT_SITE_ID) == ["here"]
    assert sandbox.texts(site_id=OTHER_SITE) == ["there"]
    assert sandbox.texts() == ["here", "there"]
