"""The emulated Contacts V4 API: duplicates, filters, lag, merges, deletion."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync.sandbox import ManualClock, Sandbox, SandboxError
from sync.sandbox.values import as_list, as_object, as_text
from tests.unit.sandbox_wire import Wire


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def wire(sandbox: Sandbox) -> Wire:
    return Wire(sandbox)


def test_creating_again_gives_the_id_of_the_first(wire: Wire) -> None:
    contact = wire.contact("jo@example.com")
    again = wire.create("jo@example.com")
    assert (again.status, again.code) == (409, "DUPLICATE_CONTACT_EXISTS")
    assert again.at("details.applicationError.data.duplicateContactId") == contact
    assert wire.create("JO@Example.com").at("details.applicationError.data.duplicateContactId") == contact
    assert wire.create("jo@example.com", duplicates=True).status == 200


def test_duplicate_code_loses_its_s_when_switched(sandbox: Sandbox, wire: Wire) -> None:
    contact = wire.contact()
    sandbox.switch(duplicate_code_without_s=True)
    again = wire.create("jo@example.com")
    assert again.code == "DUPLICATE_CONTACT_EXIST"
    assert again.at("details.applicationError.data.duplicateContactId") == contact


def test_contact_without_name_phone_or_email_is_refused(wire: Wire) -> None:
    answer = wire.call("POST", "/contacts/v4/contacts", {"info": {"company": "ACME"}})
    assert (answer.status, answer.code) == (400, "INSUFFICIENT_CONTACT_DATA")
    assert wire.create("x" * 321).violations == [("info.emails.items[0].email", "MAX_LENGTH")]


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        ({"info.emails.email": "jo@example.com"}, ["jo", "both"]),
        ({"info.emails.email": {"$eq": "jo@example.com"}}, ["jo", "both"]),
        ({"primaryInfo.email": "jo@example.com"}, ["jo"]),
        ({"info.emails.email": {"$in": ["jo@example.com", "ann@example.com"]}}, ["jo", "both"]),
        ({"info.emails.email": {"$ne": "jo@example.com"}}, ["upper", "phone"]),
        ({"info.emails.email": {"$exists": False}}, ["phone"]),
        ({"info.emails.email": {"$startsWith": "jo@"}}, ["jo", "both"]),
        ({"info.emails.email": "JO@EXAMPLE.COM"}, ["upper"]),
        ({"info.phones.phone": "+49 30 1"}, ["phone"]),
        ({"info.emails.email": "jo@example.com", "info.name.first": "both"}, ["both"]),
        ({"info.emails.email": "nobody@example.com"}, []),
        ({}, ["jo", "both", "upper", "phone"]),
    ],
)
def test_filters_find_what_they_say(sandbox: Sandbox, wire: Wire, conditions: object, names: list[str]) -> None:
    sandbox.seed_contact("jo@example.com", name="jo")
    sandbox.seed_contact(["ann@example.com", "jo@example.com"], name="both")
    sandbox.seed_contact("JO@EXAMPLE.COM", name="upper")
    sandbox.seed_contact(name="phone", phone="+49 30 1")
    contacts = [as_object(each) for each in as_list(wire.query(conditions).body["contacts"])]
    assert [as_object(as_object(each["info"])["name"])["first"] for each in contacts] == names


def test_filters_ignore_case_when_switched(sandbox: Sandbox, wire: Wire) -> None:
    contact = sandbox.seed_contact("Jo@Example.com")
    assert wire.found({"info.emails.email": "jo@example.com"}) == []
    sandbox.switch(email_case_sensitive=False)
    assert wire.found({"info.emails.email": "jo@example.com"}) == [contact]


@pytest.mark.parametrize("conditions", [[], {"info.emails.email": {"$like": "x"}}, {"info.emails.email": {"$in": "x"}}])
def test_malformed_filters_are_refused(wire: Wire, conditions: object) -> None:
    answer = wire.query(conditions)
    assert (answer.status, answer.code) == (400, "MALFORMED_FILTER")


def test_query_pages_by_offset(sandbox: Sandbox, wire: Wire) -> None:
    ids = [sandbox.seed_contact("same@example.com") for _ in range(3)]
    answer = wire.query({"info.emails.email": "same@example.com"}, limit=2, offset=1)
    assert [as_object(each)["id"] for each in as_list(answer.body["contacts"])] == ids[1:]
    assert answer.at("pagingMetadata.total") == 3
    assert wire.query({}, limit=1001).violations == [("query.paging.limit", "MAX")]


def test_query_lags_behind_a_create_which_still_finds_its_duplicate() -> None:
    clock = ManualClock()
    with Sandbox(clock=clock, query_lag_seconds=5) as sandbox:
        wire = Wire(sandbox)
        contact = wire.contact()
        assert wire.found({"info.emails.email": "jo@example.com"}) == []
        assert wire.create("jo@example.com").status == 409
        assert wire.call("GET", f"/contacts/v4/contacts/{contact}").status == 200
        clock.advance(5)
        assert wire.found({"info.emails.email": "jo@example.com"}) == [contact]


def test_merged_contact_is_found_by_get_only(sandbox: Sandbox, wire: Wire) -> None:
    source, target = wire.contact("old@example.com"), wire.contact("new@example.com")
    conversation = as_text(wire.open(source).at("conversation.id"))
    wire.send(conversation, "before the merge")
    sandbox.merge_contacts(target, source)
    got = wire.call("GET", f"/contacts/v4/contacts/{source}")
    assert (got.at("responseType"), got.at("contact.id")) == ("MERGED", target)
    assert wire.call("GET", f"/contacts/v4/contacts/{target}").at("responseType") == "REGULAR"
    assert wire.open(source).code == "CONTACT_NOT_FOUND"
    assert wire.call("DELETE", f"/contacts/v4/contacts/{source}").code == "CONTACT_NOT_FOUND"
    update = {"info": {"company": "ACME"}, "revision": 1}
    assert wire.call("PATCH", f"/contacts/v4/contacts/{source}", update).code == "CONTACT_NOT_FOUND"
    assert wire.found({"info.emails.email": "old@example.com"}) == [target]
    opened = wire.open(target)
    assert opened.at("conversation.id") != conversation
    assert sandbox.texts("new@example.com") == ["before the merge"]
    assert wire.send(conversation).code == "CONVERSATION_NOT_FOUND"


def test_contacts_merge_over_the_api(wire: Wire) -> None:
    source, target = wire.contact("old@example.com"), wire.contact("new@example.com")
    merge = f"/contacts/v4/contacts/{target}/merge"
    assert wire.call("POST", merge, {"sourceContactIds": [target]}).code == "ILLEGAL_MERGE"
    assert wire.call("POST", merge, {"sourceContactIds": [source]}).status == 200
    assert wire.call("GET", f"/contacts/v4/contacts/{source}").at("responseType") == "MERGED"


def test_deleted_contact_gets_a_new_conversation_when_created_again(sandbox: Sandbox, wire: Wire) -> None:
    contact = wire.contact()
    old = as_text(wire.open(contact).at("conversation.id"))
    wire.send(old, "kept")
    sandbox.delete_contact(contact)
    assert wire.call("GET", f"/contacts/v4/contacts/{contact}").code == "CONTACT_NOT_FOUND"
    assert wire.open(contact).status == 404
    again = wire.contact()
    assert again != contact
    assert wire.open(again).at("conversation.id") != old
    assert [message["text"] for message in sandbox.messages(conversation_id=old)] == ["kept"]


def test_get_or_create_accepts_unknown_contacts_when_switched(sandbox: Sandbox, wire: Wire) -> None:
    sandbox.switch(unknown_contact="accept")
    assert wire.open("00000000-0000-4000-8000-000000000000").status == 200


def test_update_needs_the_current_revision(wire: Wire) -> None:
    contact = wire.contact()
    path = f"/contacts/v4/contacts/{contact}"
    good = wire.call("PATCH", path, {"info": {"name": {"first": "Joan"}}, "revision": 1})
    assert good.at("contact.revision") == 2
    assert good.at("contact.primaryInfo.email") == "jo@example.com"
    late = wire.call("PATCH", path, {"info": {"name": {"first": "Ann"}}, "revision": 1})
    assert (late.status, late.code) == (409, "CONTACT_ALREADY_CHANGED")


def test_wrong_seeds_are_refused_with_a_reason(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="no contact"):
        sandbox.visitor_message("x", contact_id="nobody")
    with pytest.raises(SandboxError, match="not found"):
        sandbox.delete_contact("nobody")
    with pytest.raises(SandboxError, match="no site"):
        sandbox.seed_contact("x@example.com", site_id="nowhere")
