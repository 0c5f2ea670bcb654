"""Which mails are to be looked at: what changed since a state, or everything in a mailbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sync.connector import PassContext
from sync.mail import recognise
from sync.message import Found, Json

from .client import Client
from .faults import MethodRefused, refused_oddly
from .shapes import Changes, Email, Emails, Query

IDS_AT_ONCE = 1000
"""Ids asked for in one call."""
PAGE_OVERLAP = 20
"""By how many ids a page repeats the one before: mails that vanish meanwhile move the others up. Where more vanished, the
page before is asked for again."""
MAX_PAGES = 100_000
TOO_MANY = "requestTooLarge"
"""RFC 8620 §5.1: more ids than the server gives at once, whatever its session says."""
CHANGES_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class News:
    """The ids to look at, oldest change first, and the state of the account up to which they reach."""

    ids: tuple[str, ...]
    state: str


async def state_now(client: Client, ctx: PassContext) -> str:
    """The state of the account's mail."""
    return (await client.call(ctx, "Email/get", {"ids": []}, Emails)).state


async def changes_since(client: Client, ctx: PassContext, state: str) -> News | None:
    """What was created or changed since a state; None when the server cannot tell (RFC 8620 §5.2), or when its answer
    makes no sense: another state although nothing changed."""
    ids: dict[str, None] = {}
    asked, moved = state, False
    for _page in range(MAX_PAGES):
        arguments: dict[str, Json] = {"sinceState": state, "maxChanges": CHANGES_AT_ONCE}
        try:
            changes = await client.call(ctx, "Email/changes", arguments, Changes)
        except MethodRefused as refused:
            if refused.kind in {"cannotCalculateChanges", "invalidArguments"}:
                return None
            raise refused_oddly(refused) from refused
        ids.update(dict.fromkeys((*changes.created, *changes.updated)))
        moved = moved or bool(changes.created or changes.updated or changes.destroyed)
        stands = changes.new_state == state
        state = changes.new_state
        if not changes.has_more or stands:
            break
    return News(tuple(ids), state) if moved or state == asked else None


async def everything(client: Client, ctx: PassContext, mailbox_id: str, since: datetime | None) -> News:
    """Every mail of a mailbox that was received at `since` or later (None: every one), the oldest first. The state is
    from before the listing: what comes meanwhile is a change since then."""
    state = await state_now(client, ctx)
    where: dict[str, Json] = {"inMailbox": mailbox_id}
    if since is not None:
        where["after"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ids: dict[str, None] = {}
    position = longest = 0
    for _page in range(MAX_PAGES):
        page = await _page_at(client, ctx, where, position)
        if position and (not page or page[0] not in ids):  # so many vanished that others moved past: look behind
            position = max(0, position - IDS_AT_ONCE)
            continue
        before = len(ids)
        ids.update(dict.fromkeys(page))
        nothing_new = len(ids) == before and position >= len(ids)
        if len(page) < max(longest, 2) or nothing_new:
            break
        longest = len(page)
        position += len(page) - min(PAGE_OVERLAP, len(page) // 2)
    return News(tuple(ids), state)


async def _page_at(client: Client, ctx: PassContext, where: dict[str, Json], position: int) -> tuple[str, ...]:
    arguments: dict[str, Json] = {
        "filter": where,
        "sort": [{"property": "receivedAt", "isAscending": True}],
        "position": position,
        "limit": IDS_AT_ONCE,
    }
    try:
        return (await client.call(ctx, "Email/query", arguments, Query)).ids
    except MethodRefused as refused:
        raise refused_oddly(refused) from refused


async def emails(
    client: Client, ctx: PassContext, ids: Sequence[str], properties: Sequence[str], **more: Json
) -> tuple[Email, ...]:
    """Those of these mails that the server has, with these properties; asked for in as many calls as the server wants."""
    size = (await client.session(ctx)).capabilities.core.max_objects_in_get
    found: list[Email] = []
    start = 0
    while start < len(ids):
        some = ids[start : start + size]
        arguments: dict[str, Json] = {"ids": list(some), "properties": list(properties), **more}
        try:
            found += (await client.call(ctx, "Email/get", arguments, Emails)).list
        except MethodRefused as refused:
            if refused.kind != TOO_MANY or len(some) == 1:
                raise refused_oddly(refused) from refused
            size = len(some) // 2
            continue
        start += len(some)
    return tuple(found)


def found_of(email: Email, looked_at: datetime) -> Found:
    """A mail as the core wants it; its fingerprint is the same as that of the same mail over IMAP."""
    fields = (
        ("Message-ID", email.message_id),
        ("Date", email.date),
        ("From", email.author),
        ("Subject", email.subject),
    )
    raw = "".join(f"{name}:{value.rstrip()}\r\n" for name, values in fields for value in values)
    headers = recognise(raw.encode("utf-8", "surrogateescape") + b"\r\n")
    arrived_at = email.received_at.astimezone(UTC) if email.received_at is not None else looked_at
    return Found(
        external_id=email.id,
        arrived_at=min(arrived_at, looked_at),
        written_at=headers.written_at,
        size=email.size,
        fingerprint=headers.fingerprint,
    )
