"""A send cannot ask for delivery to the customer, or for anything else that is not listed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from sync.inbox.body import check_request
from sync.message import Direction, Json, Message
from sync.render import RenderContext, render
from tests.unit.inbox_stub import Stub, message_body, send


def objects_in(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            yield from objects_in(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from objects_in(inner, (*path, number))


def with_key(body: Json, path: tuple[str | int, ...], key: str, value: Json) -> Json:
    changed = copy.deepcopy(body)
    place: Json = changed
    for step in path:
        place = place[step]  # type: ignore[index]
    place[key] = value  # type: ignore[index,call-overload]
    return changed


@pytest.mark.parametrize("direction", list(Direction))
def test_what_rendering_makes_is_allowed(direction: Direction) -> None:
    context = RenderContext(direction=direction, badge_text="Mail", delivered_at=datetime(2026, 3, 12, tzinfo=UTC))
    rendered = render(Message(text="Hello", subject="Hi"), context)
    assert isinstance(rendered.body, dict)
    assert check_request({"conversationId": "c-1", **rendered.body}) == "c-1"


@pytest.mark.parametrize("key", ["targetChannels", "targetChannelIds", "sourceChannel", "createdDate", "id", "silent2"])
@pytest.mark.parametrize("value", [["EMAIL"], [], None, "x", {}])
def test_an_unknown_key_anywhere_is_a_bug(key: str, value: Json) -> None:
    body = message_body()
    for path in objects_in(body):
        with pytest.raises(ValueError, match=key):
            check_request(with_key(body, path, key, value))


@pytest.mark.parametrize(
    "change",
    [
        {"conversationId": None},
        {"conversationId": ""},
        {"conversationId": "../contacts"},
        {"conversationId": "a b"},
        {"message": None},
        {"message": {}},
        {"message": {"content": {}, "direction": "PARTICIPANT_TO_BUSINESS", "visibility": "BUSINESS"}},
        {"sendAs": "NOBODY"},
        {"sendAs": {"targetChannels": ["EMAIL"]}},
    ],
)
def test_a_malformed_request_is_a_bug(change: dict[str, Json]) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_request({**message_body(), **change})


@pytest.mark.parametrize(("key", "value"), [("direction", "TO_NOBODY"), ("visibility", "EVERYBODY"), ("content", None)])
def test_unknown_values_of_the_flags_are_a_bug(key: str, value: Json) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_request(with_key(message_body(), ("message",), key, value))


def test_two_kinds_of_content_are_a_bug() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        check_request(with_key(message_body(), ("message", "content"), "minimal", {"text": "x"}))


@pytest.mark.parametrize("body", [None, [], "x", 5, [message_body()]])
def test_what_is_no_object_is_a_bug(body: Json) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_request(body)


async def test_the_client_refuses_it_before_anything_is_written() -> None:
    stub = Stub(lambda *_: (200, {}))
    with pytest.raises(ValueError, match="targetChannels"):
        await send(stub.client, with_key(message_body(), ("message",), "targetChannels", ["EMAIL"]))
    assert stub.transport.calls == []
