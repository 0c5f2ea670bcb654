"""Which messages may be the send whose answer is missing."""

from __future__ import annotations

from datetime import timedelta

from sync.inbox.messages import InboxMessage, message_in
from sync.inbox.readback import match
from sync.message import Json
from sync.render import canonical_hash
from sync.testing.clock import START
from tests.unit.inbox_stub import message_body, stored

BODY = message_body("Hello\n\nworld")


def listed(number: int = 1, **changes: Json) -> InboxMessage:
    found = message_in(stored(BODY, number, **{"appId": "app-1", **changes}), timedelta())
    assert found is not None
    return found


def matching(*candidates: InboxMessage, app_id: str = "app-1", held: tuple[str, ...] = ()) -> list[str]:
    found = match(
        candidates,
        request_body=BODY,
        request_hash=canonical_hash(BODY),
        app_id=app_id,
        not_before=START,
        held_ids=held,
    )
    return [message.id for message in found]


def test_the_message_is_found_although_the_inbox_changed_its_form() -> None:
    content: Json = {"basic": {"items": [{"text": "Hello \r\n\r\nworld"}]}, "contentType": "BASIC"}
    assert matching(listed(1), listed(2, content=content, badges=[], silent=True)) == ["1", "2"]


def test_identical_messages_come_oldest_first() -> None:
    assert matching(listed(3), listed(1), listed(2)) == ["1", "2", "3"]


def test_what_another_delivery_holds_is_never_taken() -> None:
    assert matching(listed(1), listed(2), held=("1",)) == ["2"]


def test_other_directions_visibilities_and_texts_do_not_match() -> None:
    other: Json = {"basic": {"items": [{"text": "Hello\n\nWorld"}]}}
    assert matching(listed(1, direction="BUSINESS_TO_PARTICIPANT")) == []
    assert matching(listed(1, visibility="BUSINESS_AND_PARTICIPANT")) == []
    assert matching(listed(1, content=other)) == []
    assert matching(listed(1, content=None)) == []


def test_another_apps_message_does_not_match_where_both_are_known() -> None:
    assert matching(listed(1, appId="app-2")) == []
    assert matching(listed(1, appId="app-2"), app_id="") == ["1"]
    assert matching(listed(1, appId=None)) == ["1"]


def test_what_was_there_before_the_window_does_not_match() -> None:
    assert matching(listed(1, createdDate="2026-03-12T13:00:00Z")) == []
    assert matching(listed(1, createdDate="2026-03-12T14:02:00Z")) == ["1"], "clocks differ by a little"
    assert matching(listed(1, createdDate="not a time")) == ["1"]
