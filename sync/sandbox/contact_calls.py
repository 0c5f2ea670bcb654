"""The calls of the Contacts V4 API."""

from __future__ import annotations

from sync.sandbox import shapes
from sync.sandbox.contacts import Contact, with_primaries
from sync.sandbox.context import Context
from sync.sandbox.errors import Refusal, not_found
from sync.sandbox.values import JsonObject, as_list, as_object, as_text, at_path

CONTACTS_PAGE_DEFAULT = 50


def query_contacts(context: Context) -> JsonObject:
    """Contacts that a filter matches."""
    query = as_object(context.body(shapes.QUERY_CONTACTS).get("query"))
    switches = context.world.switches
    found = context.site.contacts.find(
        query.get("filter"), now=context.world.now, case_sensitive=switches.email_case_sensitive
    )
    for each in reversed(as_list(query.get("sort"))):
        _sort(found, as_object(each))
    limit = at_path(query, "paging.limit")
    offset = at_path(query, "paging.offset")
    start = offset if isinstance(offset, int) else 0
    page = found[start : start + (limit if isinstance(limit, int) else CONTACTS_PAGE_DEFAULT)]
    return {
        "contacts": [contact.as_json() for contact in page],
        "pagingMetadata": {
            "count": len(page),
            "offset": start,
            "total": len(found),
            "tooManyToCount": False,
            "hasNext": start + len(page) < len(found),
        },
    }


def _sort(contacts: list[Contact], by: JsonObject) -> None:
    name = as_text(by.get("fieldName"))
    if name not in {"createdDate", "lastActivity.activityDate", "primaryInfo.email", "info.name.first"}:
        raise Refusal(400, "UNSUPPORTED_SORT_FIELD", f"cannot sort by {name}")
    contacts.sort(key=lambda contact: as_text(at_path(contact.as_json(), name)), reverse=by.get("order") == "DESC")


def create_contact(context: Context) -> JsonObject:
    """A new contact; 409 with the id of a contact that has the same e-mail or phone."""
    body = context.body(shapes.CREATE_CONTACT)
    info = as_object(body["info"])
    _need_contact_data(info)
    if not body.get("allowDuplicates"):
        _refuse_duplicate(context, info)
    lag = context.lag_seconds + context.world.switches.query_lag_seconds
    contact = context.world.create_contact(context.site, info, lag_seconds=lag)
    context.ids["contact"] = contact.id
    return {"contact": contact.as_json()}


def get_contact(context: Context) -> JsonObject:
    """One contact; for a merged-away id the survivor, marked MERGED."""
    contact_id = context.path_id
    context.ids["contact"] = contact_id
    survivor = context.site.contacts.survivor(contact_id)
    contact = context.site.contacts.by_id.get(survivor)
    if contact is None:
        raise not_found("CONTACT_NOT_FOUND", f"contact {contact_id}")
    kind = "REGULAR" if survivor == contact_id else "MERGED"
    return {"contact": contact.as_json(), "responseType": kind}


def update_contact(context: Context) -> JsonObject:
    """Replace the given parts of a contact's info."""
    contact = _contact(context)
    body = context.body(shapes.UPDATE_CONTACT)
    if body["revision"] != contact.revision:
        raise Refusal(409, "CONTACT_ALREADY_CHANGED", f"the revision is {contact.revision}")
    info = with_primaries({**contact.info, **as_object(body["info"])})
    if not body.get("allowDuplicates"):
        _refuse_duplicate(context, info, except_id=contact.id)
    contact.revision += 1
    contact.updated = context.world.sequence.next()
    changed = Contact(contact.id, contact.created, info, contact.revision, contact.updated, contact.queryable)
    context.world.put_contact(context.site, changed)
    return {"contact": changed.as_json()}


def delete_contact(context: Context) -> JsonObject:
    """Delete for ever."""
    context.ids["contact"] = context.path_id
    context.world.delete_contact(context.site, context.path_id)
    return {}


def merge_contacts(context: Context) -> JsonObject:
    """Merge contacts into this one."""
    contact = _contact(context)
    body = context.body(shapes.MERGE_CONTACTS)
    sources = [as_text(each) for each in as_list(body["sourceContactIds"])]
    if contact.id in sources:
        raise Refusal(400, "ILLEGAL_MERGE", "a contact cannot be merged into itself")
    return {"contact": context.world.merge_contacts(context.site, contact.id, sources).as_json()}


def _contact(context: Context) -> Contact:
    context.ids["contact"] = context.path_id
    contact = context.site.contacts.by_id.get(context.path_id)
    if contact is None:
        raise not_found("CONTACT_NOT_FOUND", f"contact {context.path_id}")
    return contact


def _need_contact_data(info: JsonObject) -> None:
    fresh = Contact("", 0, info)
    if fresh.name == "Visitor":
        raise Refusal(400, "INSUFFICIENT_CONTACT_DATA", "a name, a phone or an e-mail address is needed")


def _refuse_duplicate(context: Context, info: JsonObject, except_id: str = "") -> None:
    duplicate = context.site.contacts.duplicate_of(info, except_id)
    if duplicate is None:
        return
    context.ids["contact"] = duplicate.id
    short = context.world.switches.duplicate_code_without_s
    raise Refusal(
        409,
        "DUPLICATE_CONTACT_EXIST" if short else "DUPLICATE_CONTACT_EXISTS",
        "a contact with the same e-mail or phone exists",
        data={"duplicateContactId": duplicate.id},
    )
