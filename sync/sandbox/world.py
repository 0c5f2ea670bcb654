"""All data of the sandbox: sites with contacts, conversations, messages and files; every change is told."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from sync.sandbox.clock import Clock, MicrosecondSequence
from sync.sandbox.contacts import Contact, Contacts, with_primaries
from sync.sandbox.conversations import Conversation, Message, Who, conversation_id
from sync.sandbox.errors import SandboxError, not_found
from sync.sandbox.settings import Switches
from sync.sandbox.values import MICROSECONDS, JsonObject, as_object, as_text


@dataclass(slots=True)
class MediaFile:
    """An uploaded or imported file. `data` is None where only an address was imported. `known_until` (by the sandbox's
    clock): messages cannot name it for the first time after that; None: for ever, as once one has named it."""

    id: str
    filename: str
    mime_type: str
    data: bytes | None
    source_url: str = ""
    known_until: float | None = None


@dataclass(slots=True)
class Site:
    """One site's Inbox."""

    id: str
    contacts: Contacts = field(default_factory=Contacts)
    conversations: dict[str, Conversation] = field(default_factory=dict)
    merged_conversations: dict[str, str] = field(default_factory=dict)
    media: dict[str, MediaFile] = field(default_factory=dict)

    def target(self, conversation: str) -> str:
        """Follow conversation merges to the id which is left."""
        while conversation in self.merged_conversations:
            conversation = self.merged_conversations[conversation]
        return conversation

    def name_of(self, who: Who) -> str:
        """The name the Inbox shows for a participant."""
        if who.kind == "contactId" and (contact := self.contacts.by_id.get(who.id)):
            return contact.name
        return "Deleted contact" if who.id in self.contacts.deleted else "Visitor"


def new_id() -> str:
    """A random GUID."""
    return str(uuid.uuid4())


class World:
    """The sites and everything in them. Not thread-safe: the emulator holds a lock around it.

    `on_change` is told each change as a record that `replay` understands.
    """

    def __init__(self, clock: Clock, *, make_id: Callable[[], str] = new_id) -> None:
        self.clock = clock
        self.sequence = MicrosecondSequence(clock)
        self.sites: dict[str, Site] = {}
        self.switches = Switches()
        self.version = 0
        self.on_change: Callable[[JsonObject], None] = lambda _record: None
        self._make_id = make_id

    @property
    def now(self) -> int:
        """Epoch microseconds."""
        return self.sequence.now()

    def site(self, site_id: str) -> Site:
        """A site by its id; raises `SandboxError`."""
        if site_id not in self.sites:
            raise SandboxError(f"no site {site_id} here; add it first (known: {', '.join(self.sites)})")
        return self.sites[site_id]

    def add_site(self, site_id: str) -> Site:
        """The site, made if it is new."""
        return self.sites.setdefault(site_id, Site(site_id))

    def clear(self) -> None:
        """Forget all data of all sites; the sites stay."""
        self._changed({"type": "clear"})
        for site_id in self.sites:
            self.sites[site_id] = Site(site_id)

    # --- contacts ---------------------------------------------------------------------------------

    def create_contact(
        self, site: Site, info: JsonObject, *, contact_id: str = "", lag_seconds: float = 0.0
    ) -> Contact:
        """Store a new contact, whatever else there is."""
        created = self.sequence.next()
        contact = Contact(
            contact_id or self._make_id(),
            created,
            with_primaries(info),
            queryable=self._later(self.now, lag_seconds),
        )
        self.put_contact(site, contact)
        return contact

    def put_contact(self, site: Site, contact: Contact) -> None:
        """Store a contact as it is."""
        site.contacts.put(contact)
        self._changed(
            {
                "type": "contact",
                "site": site.id,
                "id": contact.id,
                "created": contact.created,
                "updated": contact.updated,
                "revision": contact.revision,
                "queryable": contact.queryable,
                "info": contact.info,
            }
        )

    def delete_contact(self, site: Site, contact_id: str) -> None:
        """Delete for ever; its conversation stays, as it does in an Inbox."""
        if contact_id not in site.contacts.by_id:
            raise not_found("CONTACT_NOT_FOUND", f"contact {contact_id}")
        site.contacts.remove(contact_id)
        self._changed({"type": "contact_deleted", "site": site.id, "id": contact_id})

    def merge_contacts(self, site: Site, target_id: str, source_ids: list[str]) -> Contact:
        """Merge sources into the target: their addresses and their conversations move to it."""
        target = site.contacts.by_id.get(target_id)
        for contact_id in (target_id, *source_ids):
            if contact_id not in site.contacts.by_id:
                raise not_found("CONTACT_NOT_FOUND", f"contact {contact_id}")
        if target is None or target_id in source_ids:
            raise SandboxError("a contact cannot be merged into itself")
        info = dict(target.info)
        for source_id in source_ids:
            source = site.contacts.by_id[source_id]
            for kind, item in (("emails", "email"), ("phones", "phone")):
                held = as_object(info.get(kind)).get("items")
                items = list(held) if isinstance(held, list) else []
                known = {as_text(as_object(each).get(item)) for each in items}
                items += [
                    {"tag": "UNTAGGED", item: value, "primary": False}
                    for value in source.values(kind, item)
                    if value not in known
                ]
                if items:
                    info[kind] = {"items": items}
        for source_id in source_ids:
            site.contacts.remove(source_id, merged_into=target_id)
            self._changed({"type": "contact_merged", "site": site.id, "id": source_id, "into": target_id})
        target.info = with_primaries(info)
        target.revision += 1
        target.updated = self.sequence.next()
        self.put_contact(site, target)
        for source_id in source_ids:
            old = site.target(conversation_id(site.id, Who("contactId", source_id)))
            if old in site.conversations:
                kept, _ = self.conversation_of(site, Who("contactId", target_id))
                if kept.id != old:
                    self.merge_conversations(site, kept.id, [old])
        return target

    # --- conversations ----------------------------------------------------------------------------

    def conversation_of(self, site: Site, who: Who) -> tuple[Conversation, bool]:
        """The conversation of a participant, and whether it was made now."""
        own_id = site.target(conversation_id(site.id, who))
        if own_id in site.conversations:
            return site.conversations[own_id], False
        conversation = Conversation(own_id, who, self.sequence.next())
        site.conversations[own_id] = conversation
        self._changed(
            {
                "type": "conversation",
                "site": site.id,
                "id": own_id,
                "kind": who.kind,
                "who": who.id,
                "created": conversation.created,
            }
        )
        return conversation, True

    def merge_conversations(self, site: Site, target_id: str, old_ids: list[str]) -> Conversation:
        """Move all messages of old conversations into the target; the old ids stop existing."""
        for each in (target_id, *old_ids):
            if each not in site.conversations:
                raise not_found("CONVERSATION_NOT_FOUND", f"conversation {each}")
        if target_id in old_ids:
            raise SandboxError("a conversation cannot be merged into itself")
        for old_id in old_ids:
            self._absorb(site, target_id, old_id)
            self._changed({"type": "conversation_merged", "site": site.id, "id": old_id, "into": target_id})
        return site.conversations[target_id]

    def add_message(
        self,
        site: Site,
        conversation: Conversation,
        body: JsonObject,
        *,
        request: JsonObject | None = None,
        at: int | None = None,
        lag_seconds: float = 0.0,
        created: str = "",
    ) -> Message:
        """Store a message under the next sequence number (made from `at`, else from the clock)."""
        sequence = self.sequence.next(at)
        message = Message(
            sequence,
            conversation.id,
            body,
            visible=self._later(self.now if at is None else at, lag_seconds),
            created=created,
            request=request or {},
        )
        conversation.put(message)
        self._changed(
            {
                "type": "message",
                "site": site.id,
                "conversation": conversation.id,
                "sequence": sequence,
                "visible": message.visible,
                "created": created,
                "body": body,
                "request": message.request,
            }
        )
        return message

    def add_media(self, site: Site, file: MediaFile) -> None:
        """Keep a file."""
        site.media[file.id] = file
        self._changed(
            {
                "type": "media",
                "site": site.id,
                "id": file.id,
                "filename": file.filename,
                "mime": file.mime_type,
                "source": file.source_url,
                "data": None if file.data is None else base64.b64encode(file.data).decode(),
            }
        )

    # --- replay -----------------------------------------------------------------------------------

    def replay(self, record: JsonObject) -> None:
        """Apply one record of a data file; raises KeyError, TypeError or ValueError for a damaged one."""
        kind = record["type"]
        if kind == "clear":
            self.sites = {site_id: Site(site_id) for site_id in self.sites}
            return
        site = self.add_site(str(record["site"]))
        match kind:
            case "contact":
                contact = Contact(
                    str(record["id"]),
                    _number(record["created"]),
                    as_object(record["info"]),
                    revision=_number(record["revision"]),
                    updated=_number(record["updated"]),
                    queryable=_number(record["queryable"]),
                )
                site.contacts.put(contact)
                self.sequence.seen(max(contact.created, contact.updated))
            case "contact_deleted":
                site.contacts.remove(str(record["id"]))
            case "contact_merged":
                site.contacts.remove(str(record["id"]), merged_into=str(record["into"]))
            case "conversation":
                who = Who(str(record["kind"]), str(record["who"]))
                made = Conversation(str(record["id"]), who, _number(record["created"]))
                site.conversations[made.id] = made
                self.sequence.seen(made.created)
            case "conversation_merged":
                self._absorb(site, str(record["into"]), str(record["id"]))
            case "message":
                message = Message(
                    _number(record["sequence"]),
                    str(record["conversation"]),
                    as_object(record["body"]),
                    visible=_number(record["visible"]),
                    created=as_text(record["created"]),
                    request=as_object(record["request"]),
                )
                site.conversations[message.conversation_id].put(message)
                self.sequence.seen(message.sequence)
            case "media":
                data = record["data"]
                site.media[str(record["id"])] = MediaFile(
                    str(record["id"]),
                    str(record["filename"]),
                    str(record["mime"]),
                    base64.b64decode(data) if isinstance(data, str) else None,
                    as_text(record["source"]),
                )
            case _:
                raise ValueError(f"unknown record type {kind!r}")

    def _absorb(self, site: Site, target_id: str, old_id: str) -> None:
        old = site.conversations.pop(old_id)
        target = site.conversations[target_id]
        for message in old.messages:
            message.conversation_id = target_id
            target.put(message)
        target.merged_from += [old_id, *old.merged_from]
        site.merged_conversations[old_id] = target_id

    def _later(self, start: int, seconds: float) -> int:
        return start + int(seconds * MICROSECONDS) if seconds else 0

    def _changed(self, record: JsonObject) -> None:
        self.version += 1
        self.on_change(record)


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a number")
    return value
