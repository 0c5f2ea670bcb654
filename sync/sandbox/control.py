"""The verbs of the admin API, run on an emulator."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

from pydantic import TypeAdapter, ValidationError

from sync.sandbox.conversations import Conversation, Message, Who
from sync.sandbox.emulator import Emulator
from sync.sandbox.errors import Refusal, SandboxError
from sync.sandbox.faults import Fault
from sync.sandbox.journal import Journal
from sync.sandbox.limits import API_KEY_APP_ID
from sync.sandbox.operations import ConversationDump, Dump, MessageDump, SiteDump, Stats
from sync.sandbox.settings import DEFAULT_API_KEY, ApiKey, Switches
from sync.sandbox.values import JsonObject, as_list, as_object, as_text, at_path, is_guid
from sync.sandbox.webhooks import Subscription
from sync.sandbox.world import Site, new_id


class Control:
    """Runs verbs under the emulator's lock."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._verbs: dict[str, Callable[[JsonObject], object]] = {
            "dump": self._dump,
            "stats": self._stats,
            "journal": self._journal,
            "targets": lambda _: list(emulator.targets),
            "faults": lambda _: emulator.faults.as_json(),
            "fault": lambda given: emulator.faults.add(Fault.from_json(given)),
            "clear_faults": lambda given: emulator.faults.remove(as_text(given.get("id")) or None),
            "switch": self._switch,
            "reset": self._reset,
            "add_site": self._add_site,
            "seed_contact": self._seed_contact,
            "seed_message": self._seed_message,
            "visitor_message": self._visitor_message,
            "merge_contacts": self._merge_contacts,
            "merge_conversations": self._merge_conversations,
            "delete_contact": self._delete_contact,
            "revoke_tokens": lambda _: emulator.access.revoke_all(),
            "settle": lambda _: emulator.settle(everything=True),
            "subscribe": self._subscribe,
            "unsubscribe": lambda _: emulator.webhooks.unsubscribe(),
            "webhooks": lambda _: emulator.webhooks.journal(),
        }

    @property
    def verbs(self) -> tuple[str, ...]:
        """The names of all verbs."""
        return tuple(self._verbs)

    def do(self, verb: str, arguments: JsonObject) -> object:
        """Run a verb and give its result as JSON can hold it; raises `SandboxError`."""
        function = self._verbs.get(verb)
        if function is None:
            raise SandboxError(f"unknown verb {verb!r}; known: {', '.join(self._verbs)}")
        with self._emulator.lock:
            self._emulator.settle()
            try:
                return function(arguments)
            except Refusal as problem:
                raise SandboxError(f"{verb}: {problem.description or problem}") from problem
            finally:
                self._emulator.changed.notify_all()

    def _subscribe(self, given: JsonObject) -> str:
        try:
            return self._emulator.webhooks.subscribe(TypeAdapter(Subscription).validate_python(given))
        except ValidationError as problem:
            raise SandboxError(f"subscribe: {problem.errors()[0]['loc']} {problem.errors()[0]['msg']}") from problem

    # --- looking ----------------------------------------------------------------------------------

    def _dump(self, _: JsonObject) -> Dump:
        sites = self._emulator.world.sites.values()
        return {"sites": [_site_dump(site) for site in sites], "targets": list(self._emulator.targets)}

    def _stats(self, _: JsonObject) -> Stats:
        journal = self._emulator.journal
        return {
            "requests": journal.counts["requests"],
            "messages": sum(
                len(conversation.messages)
                for site in self._emulator.world.sites.values()
                for conversation in site.conversations.values()
            ),
            "messagesStored": journal.counts["messages_stored"],
            "tokensIssued": journal.counts["tokens_issued"],
            "allowed": journal.counts["limit:allowed"],
            "refused": journal.counts["limit:refused"],
            "late": self._emulator.late,
            "targets": len(self._emulator.targets),
            "calls": dict(journal.by_prefix("call:")),
            "statuses": dict(journal.by_prefix("status:")),
            "faults": dict(journal.by_prefix("fault:")),
        }

    def _journal(self, given: JsonObject) -> list[JsonObject]:
        pattern = as_text(given.get("call")) or "*"
        return [entry.as_json() for entry in self._emulator.journal.entries if fnmatchcase(entry.call, pattern)]

    # --- changing ---------------------------------------------------------------------------------

    def _switch(self, given: JsonObject) -> JsonObject:
        self._emulator.switches = self._emulator.switches.changed(given)
        return self._emulator.switches.as_json()

    def _reset(self, _: JsonObject) -> None:
        emulator = self._emulator
        emulator.forget_late()
        emulator.reset_limits()
        emulator.world.clear()
        emulator.faults.remove()
        emulator.targets.clear()
        emulator.access.revoke_all()
        emulator.journal = Journal(number=emulator.journal.number)
        emulator.switches = Switches()

    def _add_site(self, given: JsonObject) -> str:
        site_id = as_text(given.get("siteId")) or new_id()
        if not is_guid(site_id):
            raise SandboxError(f"a site id is a GUID, not {site_id!r}")
        self._emulator.world.add_site(site_id)
        for key in {DEFAULT_API_KEY, as_text(given.get("apiKey"))} - {""}:
            self.permit(key, site_id)
        return site_id

    def permit(self, key: str, site_id: str) -> None:
        """Let an API key be used for a site."""
        keys = self._emulator.access.keys
        held = keys[key].site_ids if key in keys else frozenset()
        keys[key] = ApiKey(key, held | {site_id})

    def _seed_contact(self, given: JsonObject) -> str:
        first, _, last = as_text(given.get("name")).partition(" ")
        info: JsonObject = {}
        if first:
            info["name"] = {"first": first, **({"last": last} if last else {})}
        for kind, item in (("emails", "email"), ("phones", "phone")):
            if values := as_list(given.get(kind)):
                info[kind] = {"items": [{item: as_text(each)} for each in values]}
        contact_id = as_text(given.get("contactId"))
        return self._emulator.world.create_contact(self._site(given), info, contact_id=contact_id).id

    def _seed_message(self, given: JsonObject) -> str:
        conversation = self._conversation(given)
        body = _text_message(as_text(given.get("text")))
        body["direction"] = as_text(given.get("direction")) or "PARTICIPANT_TO_BUSINESS"
        body["visibility"] = as_text(given.get("visibility")) or "BUSINESS"
        body["appId"] = API_KEY_APP_ID
        body["sender"] = {"appId": API_KEY_APP_ID}
        return self._emulator.world.add_message(self._site(given), conversation, body).id

    def _visitor_message(self, given: JsonObject) -> str:
        conversation = self._conversation(given)
        body = _text_message(as_text(given.get("text")))
        body["direction"] = "PARTICIPANT_TO_BUSINESS"
        body["visibility"] = "BUSINESS_AND_PARTICIPANT"
        body["sender"] = {conversation.who.kind: conversation.who.id}
        return self._emulator.world.add_message(self._site(given), conversation, body).id

    def _conversation(self, given: JsonObject) -> Conversation:
        site = self._site(given)
        contact_id = as_text(given.get("contactId"))
        if contact_id and contact_id not in site.contacts.by_id:
            raise SandboxError(f"no contact {contact_id} on site {site.id}")
        who = (
            Who("contactId", contact_id)
            if contact_id
            else Who("anonymousVisitorId", as_text(given.get("visitorId")) or new_id())
        )
        return self._emulator.world.conversation_of(site, who)[0]

    def _merge_contacts(self, given: JsonObject) -> None:
        sources = [as_text(each) for each in as_list(given.get("sourceIds"))]
        self._emulator.world.merge_contacts(self._site(given), as_text(given.get("targetId")), sources)

    def _merge_conversations(self, given: JsonObject) -> None:
        old = [as_text(each) for each in as_list(given.get("oldIds"))]
        self._emulator.world.merge_conversations(self._site(given), as_text(given.get("targetId")), old)

    def _delete_contact(self, given: JsonObject) -> None:
        self._emulator.world.delete_contact(self._site(given), as_text(given.get("contactId")))

    def _site(self, given: JsonObject) -> Site:
        world = self._emulator.world
        return world.site(as_text(given.get("siteId")) or next(iter(world.sites)))


def _text_message(text: str) -> JsonObject:
    return {"content": {"basic": {"items": [{"text": text}]}, "contentType": "BASIC"}, "silent": False}


def _site_dump(site: Site) -> SiteDump:
    contacts = sorted(site.contacts.by_id.values(), key=lambda each: (each.created, each.id))
    conversations = sorted(site.conversations.values(), key=lambda each: (each.created, each.id))
    return {
        "siteId": site.id,
        "contacts": [contact.as_json() for contact in contacts],
        "conversations": [_conversation_dump(site, conversation) for conversation in conversations],
        "mergedContacts": dict(site.contacts.merged),
        "deletedContacts": sorted(site.contacts.deleted),
        "files": [
            {
                "id": file.id,
                "filename": file.filename,
                "mimeType": file.mime_type,
                "sizeInBytes": len(file.data or b""),
            }
            for file in site.media.values()
        ],
    }


def _conversation_dump(site: Site, conversation: Conversation) -> ConversationDump:
    contact = site.contacts.by_id.get(conversation.who.id)
    return {
        "id": conversation.id,
        "siteId": site.id,
        "participant": {conversation.who.kind: conversation.who.id},
        "name": site.name_of(conversation.who),
        "emails": contact.emails if contact else [],
        "mergedFrom": list(conversation.merged_from),
        "messages": [message_dump(message) for message in conversation.messages],
    }


def message_dump(message: Message) -> MessageDump:
    """A stored message with its texts joined."""
    shown = message.as_json()
    content = as_object(shown["content"])
    texts = [as_text(as_object(item).get("text")) for item in as_list(at_path(content, "basic.items"))]
    texts += [as_text(at_path(content, "minimal.text"))]
    return {
        "id": message.id,
        "conversationId": message.conversation_id,
        "text": "\n".join(text for text in texts if text),
        "direction": as_text(shown.get("direction")),
        "visibility": as_text(shown.get("visibility")),
        "silent": bool(shown.get("silent")),
        "content": content,
        "badges": [as_object(each) for each in as_list(shown.get("badges"))],
        "sender": as_object(shown.get("sender")),
        "appId": as_text(shown.get("appId")) or None,
        "sequence": message.id,
        "createdDate": as_text(shown["createdDate"]),
        "request": message.request,
    }
