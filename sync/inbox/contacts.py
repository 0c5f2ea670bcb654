"""Contacts (V4): find by address or number, choose among several, create, follow merges.

Source: Contacts API, `/contacts/v4/contacts`. Queries may lag behind creates and their case sensitivity is not
documented: so results are compared here, and the answer of a create is trusted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sync.errors import MessageError, Scope, TemporaryError
from sync.inbox.calls import Answer, Calls
from sync.inbox.errors import refusal, unreadable
from sync.inbox.ids import checked_id, id_in
from sync.message import Json, Participant, ParticipantKind
from sync.text import cut_units

PATH: Final = "/contacts/v4/contacts"
MAX_EMAIL_CHARS: Final = 320
MAX_NAME_UNITS: Final = 100
"""Not documented; long enough for a name, short enough for every form it is shown in."""
PAGE_SIZE: Final = 100
MAX_PAGES: Final = 5
"""More than 500 contacts with one address are not looked through."""
_FIELDS: Final = {ParticipantKind.EMAIL: "info.emails.email", ParticipantKind.PHONE: "info.phones.phone"}


@dataclass(frozen=True, slots=True)
class Contact:
    """As much of a contact as choosing needs. `values`: its addresses and numbers; `primary`: the first-named ones."""

    id: str
    created: str
    values: frozenset[str]
    primary: frozenset[str]


async def find_or_create(calls: Calls, participant: Participant) -> str:
    """The id of the participant's contact. Raises AuthError, TemporaryError, MessageError."""
    if participant.kind is ParticipantKind.EXTERNAL:
        return await _create(calls, participant)
    if len(participant.value) > MAX_EMAIL_CHARS:
        raise MessageError("the participant's address is longer than a contact may have", code="inbox.address_too_long")
    found = await find(calls, participant)
    return found if found is not None else await _create(calls, participant)


async def find(calls: Calls, participant: Participant) -> str | None:
    """The contact with that address or number, chosen by `choose`; None when the query shows none."""
    wanted = sorted({participant.value, participant.value.lower()})
    contacts: list[Contact] = []
    for page in range(MAX_PAGES):
        paging: Json = {"limit": PAGE_SIZE, "offset": page * PAGE_SIZE}
        query: Json = {"filter": {_FIELDS[participant.kind]: {"$in": list[Json](wanted)}}, "paging": paging}
        answer = await calls.call("look for a contact", "POST", f"{PATH}/query", json={"query": query})
        items = answer.data.get("contacts")
        if not isinstance(items, list):
            raise unreadable("look for a contact")
        contacts += [contact for item in items if (contact := contact_in(item)) is not None]
        if len(items) < PAGE_SIZE:
            break
    chosen = choose(contacts, participant)
    return chosen.id if chosen else None


async def current(calls: Calls, contact_id: str) -> str | None:
    """The id under which that contact lives now: its own, or the one it was merged into. None when it was deleted."""
    answer = await calls.call(
        "read a contact", "GET", f"{PATH}/{checked_id(contact_id, 'contact')}", tolerate=frozenset({404})
    )
    if answer.fault is not None:
        return None
    contact = contact_in(answer.data.get("contact"))
    if contact is None:
        raise unreadable("read a contact")
    return contact.id


async def _create(calls: Calls, participant: Participant) -> str:
    answer = await _post_contact(calls, participant, participant.name)
    named_by_choice = participant.name and participant.kind is not ParticipantKind.EXTERNAL
    if answer.fault is not None and answer.fault.status == 400 and named_by_choice:
        answer = await _post_contact(calls, participant, "")  # perhaps it was the name that was not liked
    fault = answer.fault
    if fault is None:
        contact = contact_in(answer.data.get("contact"))
        if contact is None:
            raise unreadable("create a contact")
        return contact.id
    if fault.status != 409:
        raise refusal(fault, "create a contact")
    duplicate = id_in(fault.data.get("duplicateContactId"))
    if duplicate is None and participant.kind is not ParticipantKind.EXTERNAL:
        duplicate = await find(calls, participant)
    if duplicate is None:
        raise TemporaryError(
            "the Inbox says that the contact exists, but not which one it is",
            code="inbox.contact_hidden",
            next_step="look for the participant among the site's contacts, also the deleted ones",
            scope=Scope.MESSAGE,
        )
    return duplicate


async def _post_contact(calls: Calls, participant: Participant, name: str) -> Answer:
    return await calls.call(
        "create a contact",
        "POST",
        PATH,
        json={"info": info_of(participant, name), "allowDuplicates": False},
        tolerate=frozenset({400, 409}),
        # Repeating a create that may have happened is safe where the answer is then 409: not for a mere name.
        repeat=participant.kind is not ParticipantKind.EXTERNAL,
    )


def info_of(participant: Participant, name: str) -> dict[str, Json]:
    """`info` of a new contact: the address or number, and the name as the writer gives it."""
    info: dict[str, Json] = {}
    if participant.kind is ParticipantKind.EXTERNAL:
        name = name or participant.value
    if participant.kind is ParticipantKind.EMAIL:
        info["emails"] = {"items": [{"tag": "MAIN", "email": participant.value, "primary": True}]}
        name = "" if name.casefold() == participant.value.casefold() else name
    elif participant.kind is ParticipantKind.PHONE:
        info["phones"] = {"items": [{"tag": "MAIN", "phone": participant.value, "primary": True}]}
    first, _, last = " ".join(name.split()).partition(" ")
    if first:
        parts: dict[str, Json] = {"first": cut_units(first, MAX_NAME_UNITS)}
        if last:
            parts["last"] = cut_units(last, MAX_NAME_UNITS)
        info["name"] = parts
    return info


def choose(contacts: Iterable[Contact], participant: Participant) -> Contact | None:
    """The one to use of several with the same address: whose primary address it is, then the oldest, then the smallest
    id. Contacts that do not have the address, whatever the query gave, are left out. Pure."""
    wanted = _comparable(participant.value)
    matching = [contact for contact in contacts if wanted in contact.values]
    return min(matching, key=lambda c: (wanted not in c.primary, c.created or "9999", c.id), default=None)


def contact_in(value: Json) -> Contact | None:
    """A contact out of an answer, None when it has no id. Pure."""
    contact = _object(value)
    contact_id = id_in(contact.get("id"))
    if contact_id is None:
        return None
    info = _object(contact.get("info"))
    primary = _object(contact.get("primaryInfo"))
    values: set[str] = set()
    first: set[str] = set()
    for group, keys in (("emails", ("email",)), ("phones", ("phone", "e164Phone"))):
        items = _object(info.get(group)).get("items")
        for item in items if isinstance(items, list) else []:
            entry = _object(item)
            named = {_comparable(text) for key in keys if isinstance(text := entry.get(key), str) and text}
            values |= named
            if entry.get("primary") is True:
                first |= named
    first |= {_comparable(text) for key in ("email", "phone") if isinstance(text := primary.get(key), str) and text}
    created = contact.get("createdDate")
    return Contact(contact_id, created if isinstance(created, str) else "", frozenset(values | first), frozenset(first))


def _comparable(value: str) -> str:
    """Addresses without regard to case, numbers without regard to their writing."""
    if "@" in value:
        return value.strip().casefold()
    digits = "".join(character for character in value if character.isdigit())
    return digits or value.strip().casefold()


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}
