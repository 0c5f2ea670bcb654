"""Which mails are to be looked at: what changed since a state, or everything in a mailbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sync.connector import Http
from sync.errors import TemporaryError
from sync.mail import understand_headers
from sync.message import Found, Json

from .client import Client, MethodRefused
from .shapes import Changes, Email, Emails, Query

IDS_AT_ONCE = 1000
"""Ids asked for in one call."""
PAGE_OVERLAP = 20
"""By how many ids a page repeats the one before: mails that vanish meanwhile move the others up."""
MAX_LISTINGS = 4
"""How often a mailbox is listed again because it changed while it was listed. The union of all is taken."""
MAX_PAGES = 100_000
CHANGES_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class News:
    """The ids to look at, oldest change first, and the state of the account up to which they reach."""

    ids: tuple[str, ...]
    state: str


async def state_now(client: Client, http: Http) -> str:
    """The state of the account's mail."""
    return (await client.call(http, "Email/get", {"ids": []}, Emails)).state


async def changes_since(client: Client, http: Http, state: str) -> News | None:
    """What was created or changed since a state; None when the server cannot tell (RFC 8620 §5.2), or when its answer
    makes no sense: another state although nothing changed."""
    ids: dict[str, None] = {}
    asked, moved = state, False
    for _page in range(MAX_PAGES):
        arguments: dict[str, Json] = {"sinceState": state, "maxChanges": CHANGES_AT_ONCE}
        try:
            changes = await client.call(http, "Email/changes", arguments, Changes)
        except MethodRefused as refused:
            if refused.kind in {"cannotCalculateChanges", "invalidArguments"}:
                return None
            raise _odd(refused) from refused
        ids.update(dict.fromkeys((*changes.created, *changes.updated)))
        moved = moved or bool(changes.created or changes.updated or changes.destroyed)
        stands = changes.new_state == state
        state = changes.new_state
        if not changes.has_more or stands:
            break
    return News(tuple(ids), state) if moved or state == asked else None


async def everything(client: Client, http: Http, mailbox_id: str, since: datetime | None) -> News:
    """Every mail of a mailbox that was received after `since`. The state is from before the listing: what comes
    meanwhile is a change since then."""
    state = await state_now(client, http)
    ids: dict[str, None] = {}
    for _listing in range(MAX_LISTINGS):
        found, steady = await _list(client, http, mailbox_id, since)
        ids.update(dict.fromkeys(found))
        if steady:
            break
    return News(tuple(ids), state)


async def _list(client: Client, http: Http, mailbox_id: str, since: datetime | None) -> tuple[list[str], bool]:
    """The ids page by page, and whether the mailbox stayed the same meanwhile."""
    where: dict[str, Json] = {"inMailbox": mailbox_id}
    if since is not None:
        where["after"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ids: list[str] = []
    states: set[str] = set()
    position = 0
    for _page in range(MAX_PAGES):
        arguments: dict[str, Json] = {
            "filter": where,
            "sort": [{"property": "receivedAt", "isAscending": True}],
            "position": position,
            "limit": IDS_AT_ONCE,
        }
        try:
            page = await client.call(http, "Email/query", arguments, Query)
        except MethodRefused as refused:
            raise _odd(refused) from refused
        ids += page.ids
        states.add(page.query_state)
        if len(page.ids) <= PAGE_OVERLAP:
            break
        position += len(page.ids) - PAGE_OVERLAP
    return ids, len(states) == 1


async def emails(client: Client, http: Http, ids: Sequence[str], properties: Sequence[str], **more: Json) -> Emails:
    """These mails with these properties."""
    arguments: dict[str, Json] = {"ids": list(ids), "properties": list(properties), **more}
    try:
        return await client.call(http, "Email/get", arguments, Emails)
    except MethodRefused as refused:
        raise _odd(refused) from refused


def found_of(email: Email, looked_at: datetime) -> Found:
    """A mail as the core wants it; its fingerprint is the same as that of the same mail over IMAP."""
    fields = (
        ("Message-ID", email.message_id),
        ("Date", email.date),
        ("From", email.author),
        ("Subject", email.subject),
    )
    raw = "".join(f"{name}:{value.rstrip()}\r\n" for name, values in fields for value in values)
    headers = understand_headers(raw.encode("utf-8", "surrogateescape") + b"\r\n")
    arrived_at = email.received_at.astimezone(UTC) if email.received_at is not None else looked_at
    return Found(
        external_id=email.id,
        arrived_at=min(arrived_at, looked_at),
        written_at=headers.written_at,
        size=email.size,
        fingerprint=headers.fingerprint,
    )


def _odd(refused: MethodRefused) -> TemporaryError:
    return TemporaryError(
        f"The server did not do {refused.method} ({refused.kind or 'no reason given'}).",
        code="jmap.refused",
        next_step="It is tried again; if it stays, the server's log says more.",
    )
