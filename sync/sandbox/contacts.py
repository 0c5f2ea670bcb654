"""Contacts of one site: storing, finding by filter, duplicates, and what is left of merged ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sync.sandbox.errors import Refusal
from sync.sandbox.values import JsonObject, as_list, as_object, as_text, at_path, iso_time


@dataclass(slots=True)
class Contact:
    """One contact as stored: `info` has the shape of the API."""

    id: str
    created: int
    """Epoch microseconds."""
    info: JsonObject
    revision: int = 1
    updated: int = 0
    queryable: int = 0
    """Queries find it from this moment (epoch microseconds) on."""

    def values(self, kind: str, item: str) -> list[str]:
        """Every address of a kind: `("emails", "email")` or `("phones", "phone")`."""
        return [as_text(as_object(each).get(item)) for each in as_list(at_path(self.info, f"{kind}.items"))]

    def primary(self, kind: str, item: str) -> str | None:
        """The address of a kind that is marked primary."""
        for each in as_list(at_path(self.info, f"{kind}.items")):
            if as_object(each).get("primary"):
                return as_text(as_object(each).get(item))
        return None

    @property
    def emails(self) -> list[str]:
        """Every e-mail address."""
        return self.values("emails", "email")

    @property
    def phones(self) -> list[str]:
        """Every phone number."""
        return self.values("phones", "phone")

    @property
    def name(self) -> str:
        """What the Inbox shows: the name, else an address, else a phone number, else 'Visitor'."""
        parts = [as_text(at_path(self.info, f"name.{part}")) for part in ("first", "last")]
        full = " ".join(part for part in parts if part)
        return full or next(iter(self.emails), "") or next(iter(self.phones), "") or "Visitor"

    def as_json(self) -> JsonObject:
        """The contact as the API gives it."""
        primary: JsonObject = {}
        if email := self.primary("emails", "email"):
            primary["email"] = email
        if phone := self.primary("phones", "phone"):
            primary["phone"] = phone
        return {
            "id": self.id,
            "revision": self.revision,
            "source": {"sourceType": "THIRD_PARTY"},
            "createdDate": iso_time(self.created),
            "updatedDate": iso_time(self.updated or self.created),
            "lastActivity": {"activityDate": iso_time(self.created), "activityType": "CONTACT_CREATED"},
            "primaryInfo": primary,
            "info": self.info,
        }


def with_primaries(info: JsonObject) -> JsonObject:
    """The info with exactly one primary e-mail and phone, as the service keeps it: the last one marked, else the first."""
    result = dict(info)
    for kind in ("emails", "phones"):
        items = [dict(as_object(each)) for each in as_list(at_path(info, f"{kind}.items"))]
        if not items:
            continue
        marked = [number for number, each in enumerate(items) if each.get("primary")]
        chosen = marked[-1] if marked else 0
        for number, each in enumerate(items):
            each["primary"] = number == chosen
            each.setdefault("tag", "UNTAGGED")
        result[kind] = {"items": items}
    return result


@dataclass(slots=True)
class Contacts:
    """All contacts of one site, with an index of their addresses."""

    by_id: dict[str, Contact] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)
    """Ids that were merged away, with the id they were merged into."""
    deleted: set[str] = field(default_factory=set)
    _index: dict[str, set[str]] = field(default_factory=dict)

    def put(self, contact: Contact) -> None:
        """Store or replace."""
        self._forget(contact.id)
        self.by_id[contact.id] = contact
        for address in (*contact.emails, *contact.phones):
            self._index.setdefault(address.casefold(), set()).add(contact.id)

    def remove(self, contact_id: str, merged_into: str | None = None) -> None:
        """Delete for ever, or merge away."""
        self._forget(contact_id)
        self.by_id.pop(contact_id, None)
        if merged_into is None:
            self.deleted.add(contact_id)
        else:
            self.merged[contact_id] = merged_into

    def survivor(self, contact_id: str) -> str:
        """Follow merges to the id which is left."""
        while contact_id in self.merged:
            contact_id = self.merged[contact_id]
        return contact_id

    def duplicate_of(self, info: JsonObject, except_id: str = "") -> Contact | None:
        """The oldest contact that shares an e-mail (in any case) or a phone with this info."""
        fresh = Contact("", 0, info)
        found = [
            contact
            for address in (*fresh.emails, *fresh.phones)
            for contact in self._with_address(address)
            if contact.id != except_id
        ]
        return min(found, key=lambda contact: (contact.created, contact.id), default=None)

    def find(self, conditions: object, *, now: int, case_sensitive: bool) -> list[Contact]:
        """Every contact that the filter matches and the index already holds, oldest first."""
        test = _Filter(conditions, case_sensitive=case_sensitive)
        candidates: Iterable[Contact] = self.by_id.values()
        if (addresses := test.addresses) is not None:
            found = {contact.id: contact for address in addresses for contact in self._with_address(address)}
            candidates = found.values()
        matching = [each for each in candidates if each.queryable <= now and test.matches(each)]
        return sorted(matching, key=lambda contact: (contact.created, contact.id))

    def _with_address(self, address: str) -> list[Contact]:
        return [self.by_id[each] for each in sorted(self._index.get(address.casefold(), ()))]

    def _forget(self, contact_id: str) -> None:
        if old := self.by_id.get(contact_id):
            for address in (*old.emails, *old.phones):
                self._index.get(address.casefold(), set()).discard(contact_id)


_ADDRESS_FIELDS = frozenset({"info.emails.email", "primaryInfo.email", "info.phones.phone", "primaryInfo.phone"})
_OPERATORS = frozenset({"$eq", "$ne", "$in", "$exists", "$startsWith"})


class _Filter:
    """A filter of Query Contacts: fields joined by *and*, each bare or with operators; `$and`, `$or`."""

    def __init__(self, conditions: object, *, case_sensitive: bool) -> None:
        if conditions is None:
            conditions = {}
        if not isinstance(conditions, dict):
            raise Refusal(400, "MALFORMED_FILTER", "the filter must be an object")
        self._conditions: JsonObject = conditions
        self._case_sensitive = case_sensitive
        self.matches(Contact("", 0, {}))  # a malformed filter is refused even where there is no contact

    @property
    def addresses(self) -> list[str] | None:
        """The addresses one of which a match must have, or None if the filter does not say."""
        for name, condition in self._conditions.items():
            if name not in _ADDRESS_FIELDS:
                continue
            operators = condition if isinstance(condition, dict) else {"$eq": condition}
            wanted = as_list(operators["$in"]) if "$in" in operators else [operators.get("$eq")]
            if wanted and all(isinstance(each, str) for each in wanted):
                return [as_text(each) for each in wanted]
        return None

    def matches(self, contact: Contact) -> bool:
        """Whether every condition holds."""
        held = [self._holds(contact, name, condition) for name, condition in self._conditions.items()]
        return all(held)  # not lazily: a malformed condition is refused even after one that fails

    def _holds(self, contact: Contact, name: str, condition: object) -> bool:
        if name in {"$and", "$or"}:
            parts = [_Filter(each, case_sensitive=self._case_sensitive).matches(contact) for each in as_list(condition)]
            return all(parts) if name == "$and" else any(parts)
        operators = condition if isinstance(condition, dict) else {"$eq": condition}
        actual = self._values(contact, name)
        held = [self._compare(actual, operator, wanted) for operator, wanted in operators.items()]
        return all(held)

    def _values(self, contact: Contact, name: str) -> list[str]:
        match name:
            case "info.emails.email" | "info.emails.items.email":
                return [self._fold(each) for each in contact.emails]
            case "primaryInfo.email":
                return [self._fold(each) for each in [contact.primary("emails", "email")] if each]
            case "info.phones.phone" | "info.phones.items.phone":
                return [self._fold(each) for each in contact.phones]
            case "primaryInfo.phone":
                return [self._fold(each) for each in [contact.primary("phones", "phone")] if each]
            case "id":
                return [contact.id]
            case _:
                value = at_path({"info": contact.info}, name)
                return [self._fold(value)] if isinstance(value, str) else []

    def _compare(self, actual: list[str], operator: str, wanted: object) -> bool:
        if operator not in _OPERATORS:
            raise Refusal(400, "MALFORMED_FILTER", f"unsupported operator {operator}")
        if operator == "$exists":
            return bool(actual) is bool(wanted)
        if operator == "$in":
            if not isinstance(wanted, list):
                raise Refusal(400, "MALFORMED_FILTER", "$in takes a list")
            return bool({self._fold(as_text(each)) for each in wanted} & set(actual))
        if not isinstance(wanted, str):
            raise Refusal(400, "MALFORMED_FILTER", f"{operator} takes a string here")
        text = self._fold(wanted)
        if operator == "$startsWith":
            return any(each.startswith(text) for each in actual)
        return (text in actual) is (operator == "$eq")

    def _fold(self, text: str) -> str:
        return text if self._case_sensitive else text.casefold()
