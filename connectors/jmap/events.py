"""News at once: the server's stream of events says that the account's mail has changed (RFC 8620 §7.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from pydantic import ValidationError

from sync.connector import PassContext
from sync.errors import TemporaryError

from .client import Client
from .listing import state_now
from .shapes import StateChange

PING_SECONDS = 60
"""How often the server is asked to say that it is still there; it may choose another interval."""
SILENCE_SECONDS = 300.0
"""After so long without a word the connection counts as dead."""
MAX_EVENT_BYTES = 256 * 1024
_TYPE = "Email"


async def wait_for_news(client: Client, ctx: PassContext, states: Mapping[str, str]) -> bool:
    """Returns True when the account's mail has, or may have, changed since `states` (of each stream, as last polled).
    False where the server tells of nothing. Raises what the connection raises."""
    account_id = await client.account_id(ctx)
    async with client.event_stream(ctx, _TYPE, ping_seconds=PING_SECONDS, silence_seconds=SILENCE_SECONDS) as answer:
        if answer is None:
            return False
        now = await state_now(client, ctx)  # what came before the connection stood is in no event
        if any(state != now for state in states.values()):
            return True
        async for change in _changes(answer.pieces(1)):
            state = change.changed.get(account_id, {}).get(_TYPE)
            if state is not None and any(state != known for known in states.values() or ("",)):
                return True
    raise TemporaryError(
        "The server closed its stream of events.",
        code="jmap.push_lost",
        next_step="Nothing: it is waited again after a while, and the mailboxes are polled meanwhile.",
    )


async def _changes(octets: AsyncIterator[bytes]) -> AsyncIterator[StateChange]:
    """The state events of the stream; pings and whatever else comes are passed over (HTML, "Server-sent events")."""
    name, data, line, size = "", b"", bytearray(), 0
    async for octet in octets:
        size += 1
        if size > MAX_EVENT_BYTES:
            raise TemporaryError(
                "The server's stream of events makes no sense.",
                code="jmap.push_lost",
                next_step="Nothing: the mailboxes are polled meanwhile. push = false leaves it off.",
            )
        if octet != b"\n":
            line += octet
            continue
        field, _, value = bytes(line).rstrip(b"\r").partition(b":")
        line.clear()
        if field == b"event":
            name = value.strip().decode("utf-8", "replace")
        elif field == b"data":
            data += value
        elif not field and not value:
            if name == "state" and (change := _change(data)) is not None:
                yield change
            name, data, size = "", b"", 0


def _change(data: bytes) -> StateChange | None:
    try:
        return StateChange.model_validate_json(data)
    except ValidationError:
        return None
