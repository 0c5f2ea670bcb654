"""Which of several contacts it is, and what a new one is made of."""

from __future__ import annotations

from itertools import permutations

import pytest

from sync.inbox.contacts import Contact, choose, contact_in, info_of
from sync.message import Json, Participant, ParticipantKind

JO = Participant(ParticipantKind.EMAIL, "jo@example.com", "Jo van Doe")
PHONE = Participant(ParticipantKind.PHONE, "+49301234567")


def contact(
    id_: str, created: str = "2026-01-01T00:00:00Z", *, primary: str = "", others: tuple[str, ...] = ()
) -> Contact:
    items: list[Json] = [{"email": value} for value in (primary, *others) if value]
    found = contact_in(
        {"id": id_, "createdDate": created, "primaryInfo": {"email": primary}, "info": {"emails": {"items": items}}}
    )
    assert found is not None
    return found


def chosen(*contacts: Contact) -> str | None:
    ids = {found.id if (found := choose(order, JO)) else None for order in permutations(contacts)}
    assert len(ids) == 1, "the choice depends on the order of the answer"
    return ids.pop()


def test_the_primary_address_wins_over_the_older_contact() -> None:
    old = contact("a", "2020-01-01T00:00:00Z", primary="x@example.com", others=("jo@example.com",))
    assert chosen(old, contact("b", primary="jo@example.com")) == "b"


def test_the_oldest_wins_among_equals_then_the_smallest_id() -> None:
    newer = contact("a", "2026-02-01T00:00:00Z", primary="jo@example.com")
    older = contact("z", "2026-01-01T00:00:00Z", primary="jo@example.com")
    twin = contact("y", "2026-01-01T00:00:00Z", primary="jo@example.com")
    assert chosen(newer, older) == "z"
    assert chosen(newer, older, twin) == "y"


def test_a_contact_of_unknown_age_counts_as_the_newest() -> None:
    assert chosen(contact("a", "", primary="jo@example.com"), contact("b", primary="jo@example.com")) == "b"


def test_case_does_not_count_and_other_addresses_do_not_match() -> None:
    assert chosen(contact("a", primary="Jo@Example.COM")) == "a"
    assert chosen(contact("a", primary="joe@example.com"), contact("b", primary="jo@example.com.evil")) is None
    assert choose([], JO) is None


@pytest.mark.parametrize("written", ["+49 30 1234567", "+49-30-1234567", "+49301234567"])
def test_numbers_are_compared_without_their_writing(written: str) -> None:
    found = contact_in({"id": "p", "info": {"phones": {"items": [{"phone": written}]}}})
    assert found is not None
    assert choose([found], PHONE) == found


@pytest.mark.parametrize(
    "value",
    [None, 5, "x", [], {}, {"id": 5}, {"id": "a/b"}, {"id": "../x"}, {"id": ""}, {"id": "x" * 500}],
)
def test_what_has_no_id_is_no_contact(value: Json) -> None:
    assert contact_in(value) is None


@pytest.mark.parametrize(
    "info", [None, [], {"emails": None}, {"emails": {"items": "x"}}, {"emails": {"items": [None, 5, {"email": 7}]}}]
)
def test_odd_contacts_are_read_leniently(info: Json) -> None:
    assert contact_in({"id": "a", "info": info, "primaryInfo": "?", "createdDate": 5}) == Contact(
        "a", "", frozenset(), frozenset()
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Jo van Doe", {"first": "Jo", "last": "van Doe"}),
        ("Jo", {"first": "Jo"}),
        ("  Jo \n Doe ", {"first": "Jo", "last": "Doe"}),
        ("", None),
        ("JO@example.com", None),
        ("x" * 300, {"first": "x" * 100}),
    ],
)
def test_a_new_contact_has_the_address_and_the_name_as_far_as_there_is_one(name: str, expected: Json) -> None:
    info = info_of(JO, name)
    assert info.get("name") == expected
    assert info["emails"] == {"items": [{"tag": "MAIN", "email": "jo@example.com", "primary": True}]}


def test_an_external_participant_becomes_a_contact_with_a_name_only() -> None:
    external = Participant(ParticipantKind.EXTERNAL, "zendesk:4711")
    assert info_of(external, "Jo Doe") == {"name": {"first": "Jo", "last": "Doe"}}
    assert info_of(external, "") == {"name": {"first": "zendesk:4711"}}


def test_a_number_becomes_a_phone() -> None:
    assert info_of(PHONE, "") == {"phones": {"items": [{"tag": "MAIN", "phone": "+49301234567", "primary": True}]}}
