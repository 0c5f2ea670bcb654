"""The calls of the Inbox API, and the table of all calls: each gives the body of the answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType

from sync.sandbox import contact_calls, media_calls, shapes
from sync.sandbox.context import Context
from sync.sandbox.conversations import BadCursorError, Conversation, Who, list_page
from sync.sandbox.errors import Refusal, not_found
from sync.sandbox.requests import query_parameters
from sync.sandbox.texts import changed_content
from sync.sandbox.values import JsonObject, as_list, as_object, as_text, at_path

PAGE_DEFAULT = 30


# --- messages -------------------------------------------------------------------------------------


def send_message(context: Context) -> JsonObject:
    """Store a message."""
    _need_inbox(context)
    body = context.body(shapes.SEND)
    conversation = _conversation(context, as_text(body["conversationId"]))
    given = as_object(body["message"])
    targets = {name: given.pop(name) for name in ("targetChannels", "targetChannelIds") if given.get(name)}
    created = as_text(given.pop("createdDate", ""))
    content = _content(context, as_object(given.pop("content")))
    silent = given.pop("silent", body.get("silent", False))
    send_as = as_text(body.get("sendAs")) or "CALLER"
    message = context.world.add_message(
        context.site,
        conversation,
        {
            "content": content,
            "sender": _sender(context, conversation, send_as),
            "appId": context.caller.app_id,
            **given,
            "silent": silent,
        },
        request={"sendAs": send_as, "sendNotifications": bool(body.get("sendNotifications")), **targets},
        at=context.at,
        lag_seconds=context.lag_seconds + context.world.switches.list_lag_seconds,
        created=_kept_date(context, created),
    )
    context.ids["message"] = message.id
    if targets:
        context.targets.append(
            {"siteId": context.site.id, "conversationId": conversation.id, "messageId": message.id, **targets}
        )
    return {"message": message.as_json()}


def list_messages(context: Context) -> JsonObject:
    """One page of a conversation."""
    _need_inbox(context)
    asked = context.checked(query_parameters(context.request.query), shapes.LIST)
    conversation = _conversation(context, as_text(asked["conversationId"]))
    limit = at_path(asked, "paging.limit")
    try:
        page = list_page(
            conversation,
            both_sides=asked["visibility"] == "BUSINESS_AND_PARTICIPANT",
            ascending=at_path(asked, "sorting.order") == "ASC",
            limit=limit if isinstance(limit, int) else PAGE_DEFAULT,
            cursor=as_text(at_path(asked, "paging.cursor")) or None,
            now=context.world.now,
        )
    except BadCursorError as problem:
        raise Refusal(
            400,
            violations=[{"field": "paging.cursor", "description": str(problem), "violatedRule": "VALIDATION"}],
        ) from problem
    badges = not context.world.switches.list_drops_badges
    answer: JsonObject = {"messages": [message.as_json(badges=badges) for message in page.messages]}
    if page.next:
        cursors = {"next": page.next, **({"prev": page.previous} if page.previous else {})}
        answer["pagingMetadata"] = {"count": len(page.messages), "cursors": cursors}
    elif context.world.switches.last_page_metadata:
        answer["pagingMetadata"] = {"count": len(page.messages)}
    return answer


def _need_inbox(context: Context) -> None:
    if context.world.switches.no_inbox_instance:
        raise Refusal(401, "NO_INBOX_INSTANCE", "the site has no Inbox")
    if context.world.switches.inbox_instance_not_found:
        raise not_found("INBOX_INSTANCE_NOT_FOUND", "the site's Inbox was")


def _content(context: Context, content: JsonObject) -> JsonObject:
    for item in (
        *as_list(at_path(content, "basic.items")),
        *as_list(at_path(content, "form.media")),
    ):
        for kind in ("image", "file"):
            media = as_object(as_object(item).get(kind))
            if media:
                _fill_media(context, media)
    forms = (*context.world.switches.normalise, *context.forms)
    kind = next(each for each in shapes.CONTENT_TYPES if each in content)
    return {**(changed_content(content, forms) if forms else content), "contentType": kind.upper()}


def _fill_media(context: Context, media: JsonObject) -> None:
    file_id = as_text(media.get("id"))
    url = as_text(media.get("url"))
    own = f"{context.request.base_url}/_media/file/"
    if not file_id and url.startswith(own):
        file_id = url.removeprefix(own).split("/")[0]
    if not file_id:
        return
    file = context.site.media.get(file_id)
    if file is None or (file.known_until is not None and file.known_until <= context.world.clock.now()):
        raise Refusal(400, "INVALID_MEDIA_URL", f"no file {file_id} on this site")
    file.known_until = None
    media.setdefault("url", media_calls.file_url(context, file))
    media.setdefault("filename", file.filename)


def _sender(context: Context, conversation: Conversation, send_as: str) -> JsonObject:
    if send_as == "PARTICIPANT":
        return {conversation.who.kind: conversation.who.id}
    if send_as == "BUSINESS_USER":
        return {"wixUserId": str(uuid.uuid5(uuid.NAMESPACE_OID, f"owner of {context.site.id}"))}
    return {"appId": context.caller.app_id}


def _kept_date(context: Context, created: str) -> str:
    if not created or not context.world.switches.keep_created_date:
        return ""
    try:
        datetime.fromisoformat(created)
    except ValueError as problem:
        raise Refusal(
            400,
            violations=[{"field": "message.createdDate", "description": "must be a date", "violatedRule": "FORMAT"}],
        ) from problem
    return created


# --- conversations --------------------------------------------------------------------------------


def get_or_create_conversation(context: Context) -> JsonObject:
    """The conversation of a participant, made if there was none."""
    asked = as_object(context.body(shapes.GET_OR_CREATE)["participantId"])
    kind = next(name for name in shapes.PARTICIPANTS if name in asked)
    who = Who(kind, as_text(asked[kind]))
    context.ids["participant"] = who.id
    if (
        kind == "contactId"
        and who.id not in context.site.contacts.by_id
        and context.world.switches.unknown_contact == "not_found"
    ):
        raise not_found("CONTACT_NOT_FOUND", f"contact {who.id}")
    conversation, made = context.world.conversation_of(context.site, who)
    context.ids["conversation"] = conversation.id
    return {"conversation": _conversation_json(context, conversation), "newConversation": made}


def get_conversation(context: Context) -> JsonObject:
    """One conversation."""
    return {"conversation": _conversation_json(context, _conversation(context, context.path_id))}


def _conversation(context: Context, conversation_id: str) -> Conversation:
    site = context.site
    context.ids["conversation"] = conversation_id
    if context.world.switches.merged_conversation == "target":
        conversation_id = site.target(conversation_id)
    conversation = site.conversations.get(conversation_id)
    if conversation is None:
        owned_elsewhere = any(conversation_id in other.conversations for other in context.world.sites.values())
        code = "NOT_OWNED_BY_BUSINESS" if owned_elsewhere else "CONVERSATION_NOT_FOUND"
        raise not_found(code, f"conversation {conversation_id}")
    return conversation


def _conversation_json(context: Context, conversation: Conversation) -> JsonObject:
    return {
        "id": conversation.id,
        "participant": {conversation.who.kind: conversation.who.id},
        "businessDisplayData": {"name": "Sandbox business"},
        "participantDisplayData": {"name": context.site.name_of(conversation.who)},
        "channels": [],
    }


CALL_FUNCTIONS: Mapping[str, Callable[[Context], JsonObject]] = MappingProxyType(
    {
        "messages.send": send_message,
        "messages.list": list_messages,
        "conversations.get_or_create": get_or_create_conversation,
        "conversations.get": get_conversation,
        "contacts.query": contact_calls.query_contacts,
        "contacts.create": contact_calls.create_contact,
        "contacts.get": contact_calls.get_contact,
        "contacts.update": contact_calls.update_contact,
        "contacts.delete": contact_calls.delete_contact,
        "contacts.merge": contact_calls.merge_contacts,
        "media.upload_url": media_calls.upload_url,
        "media.upload": media_calls.upload,
        "media.import_file": media_calls.import_file,
        "media.download_url": media_calls.download_url,
        "media.storage_quota": media_calls.storage_quota,
    }
)
"""Every call that needs a site, by its name."""
