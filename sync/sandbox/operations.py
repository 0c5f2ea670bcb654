"""What a test, a demo or an operator can do to a sandbox: the same methods in its process and from another.

Each method is one verb of the admin API (`POST /_sandbox/<verb>` with its arguments as JSON).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypedDict, cast

from sync.sandbox.errors import SandboxError
from sync.sandbox.faults import Fault
from sync.sandbox.values import JsonObject

WAIT_SECONDS = 30.0
POLL_SECONDS = 0.02


class MessageDump(TypedDict):
    """A stored message, whatever lists may hide."""

    id: str
    conversationId: str
    text: str
    """All texts of the content, joined by line ends."""
    direction: str
    visibility: str
    silent: bool
    content: JsonObject
    badges: list[JsonObject]
    sender: JsonObject
    appId: str | None
    sequence: str
    createdDate: str
    request: JsonObject
    """What the request said beside the message: sendAs, sendNotifications, targetChannels."""


class ConversationDump(TypedDict):
    """A conversation with its messages in the order of their sequence."""

    id: str
    siteId: str
    participant: dict[str, str]
    name: str
    emails: list[str]
    mergedFrom: list[str]
    messages: list[MessageDump]


class SiteDump(TypedDict):
    """Everything a site holds."""

    siteId: str
    contacts: list[JsonObject]
    conversations: list[ConversationDump]
    mergedContacts: dict[str, str]
    deletedContacts: list[str]
    files: list[JsonObject]


class Dump(TypedDict):
    """Everything the sandbox holds."""

    sites: list[SiteDump]
    targets: list[JsonObject]


class Stats(TypedDict):
    """Counts since the start or the last reset."""

    requests: int
    messages: int
    """Messages that are stored now, in all sites."""
    messagesStored: int
    tokensIssued: int
    allowed: int
    refused: int
    late: int
    targets: int
    calls: dict[str, int]
    statuses: dict[str, int]
    """By status; "none" counts requests that got no answer."""
    faults: dict[str, int]


class Operations(ABC):
    """The methods. A site is left out when there is one, or when all are meant."""

    @abstractmethod
    def do(self, verb: str, **arguments: object) -> object:
        """Run one verb of the admin API; raises `SandboxError`."""

    # --- looking ----------------------------------------------------------------------------------

    def dump(self) -> Dump:
        """Everything: sites, contacts, conversations with their messages in order."""
        return cast("Dump", self.do("dump"))

    def conversations(self, site_id: str | None = None) -> list[ConversationDump]:
        """All conversations of a site (or of all), oldest first."""
        return [
            conversation
            for site in self.dump()["sites"]
            if site_id in (None, site["siteId"])
            for conversation in site["conversations"]
        ]

    def messages(
        self, email: str | None = None, *, conversation_id: str | None = None, site_id: str | None = None
    ) -> list[MessageDump]:
        """Messages in order of sequence: all, those with the owner of an address, or of one conversation."""
        found = [
            message
            for conversation in self.conversations(site_id)
            if conversation_id in (None, conversation["id"])
            and (email is None or email.casefold() in [each.casefold() for each in conversation["emails"]])
            for message in conversation["messages"]
        ]
        return sorted(found, key=lambda message: int(message["sequence"]))

    def texts(self, email: str | None = None, *, site_id: str | None = None) -> list[str]:
        """The texts of `messages`."""
        return [message["text"] for message in self.messages(email, site_id=site_id)]

    def contacts(self, site_id: str | None = None) -> list[JsonObject]:
        """All contacts in the shape of the API, oldest first."""
        return [
            contact
            for site in self.dump()["sites"]
            if site_id in (None, site["siteId"])
            for contact in site["contacts"]
        ]

    def stats(self) -> Stats:
        """Counts."""
        return cast("Stats", self.do("stats"))

    def journal(self, call: str | None = None) -> list[JsonObject]:
        """The last requests, oldest first; `call` filters (`messages.send`, `contacts.*`)."""
        return cast("list[JsonObject]", self.do("journal", call=call))

    def targets(self) -> list[JsonObject]:
        """Every message that named a channel to deliver it to: must be empty."""
        return cast("list[JsonObject]", self.do("targets"))

    def wait_until(
        self, condition: Callable[[], bool], timeout_seconds: float = WAIT_SECONDS, what: str = "the condition"
    ) -> None:
        """Block until the condition holds; raises `SandboxError` when the time is over."""
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise SandboxError(f"{what} did not come true in {timeout_seconds} s; {self.stats()}")
            self._pause(min(left, POLL_SECONDS))

    def wait_messages(self, count: int, timeout_seconds: float = WAIT_SECONDS) -> None:
        """Block until so many messages are stored in all sites together."""
        self.wait_until(lambda: self.stats()["messages"] >= count, timeout_seconds, f"{count} messages in the sandbox")

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)

    # --- changing ---------------------------------------------------------------------------------

    def fault(self, action: str, **conditions: object) -> str:
        """Arm a fault (see `Fault` and `ACTIONS`); by default it meets the next request once. Its id."""
        Fault.from_json({"action": action, **conditions})
        return str(self.do("fault", action=action, **conditions))

    def faults(self) -> list[JsonObject]:
        """Every armed fault with how often it matched and fired."""
        return cast("list[JsonObject]", self.do("faults"))

    def clear_faults(self, fault_id: str | None = None) -> int:
        """Disarm one fault, or all; how many."""
        return cast("int", self.do("clear_faults", id=fault_id))

    def switch(self, **switches: object) -> JsonObject:
        """Set switches (see `Switches`); gives all of them."""
        return cast("JsonObject", self.do("switch", **switches))

    def reset(self) -> None:
        """Forget all data, faults, switches, tokens, counts and the journal; sites and keys stay."""
        self.do("reset")

    def add_site(self, site_id: str, api_key: str | None = None) -> str:
        """Another site; the default key and (if given) one of its own may use it. Its id."""
        return str(self.do("add_site", siteId=site_id, apiKey=api_key))

    def seed_contact(
        self,
        email: str | Sequence[str] = (),
        *,
        name: str = "",
        phone: str | Sequence[str] = (),
        contact_id: str | None = None,
        site_id: str | None = None,
    ) -> str:
        """A contact (the first address is the primary one), even if it is a duplicate. Its id."""
        return str(
            self.do(
                "seed_contact",
                emails=[email] if isinstance(email, str) else list(email),
                phones=[phone] if isinstance(phone, str) else list(phone),
                name=name,
                contactId=contact_id,
                siteId=site_id,
            )
        )

    def seed_message(
        self,
        text: str,
        *,
        contact_id: str,
        direction: str = "PARTICIPANT_TO_BUSINESS",
        visibility: str = "BUSINESS",
        site_id: str | None = None,
    ) -> str:
        """A message in the contact's conversation as if an app had sent it. Its id."""
        return str(
            self.do(
                "seed_message",
                text=text,
                contactId=contact_id,
                direction=direction,
                visibility=visibility,
                siteId=site_id,
            )
        )

    def visitor_message(
        self,
        text: str,
        *,
        contact_id: str | None = None,
        visitor_id: str | None = None,
        site_id: str | None = None,
    ) -> str:
        """What somebody types into the site's chat widget: no appId, seen by both sides. Its id."""
        return str(self.do("visitor_message", text=text, contactId=contact_id, visitorId=visitor_id, siteId=site_id))

    def merge_contacts(self, target_id: str, *source_ids: str, site_id: str | None = None) -> None:
        """Merge contacts, and their conversations with them."""
        self.do("merge_contacts", targetId=target_id, sourceIds=list(source_ids), siteId=site_id)

    def merge_conversations(self, target_id: str, *old_ids: str, site_id: str | None = None) -> None:
        """Merge conversations: the old ids stop existing."""
        self.do("merge_conversations", targetId=target_id, oldIds=list(old_ids), siteId=site_id)

    def delete_contact(self, contact_id: str, site_id: str | None = None) -> None:
        """Delete a contact for ever."""
        self.do("delete_contact", contactId=contact_id, siteId=site_id)

    def revoke_tokens(self) -> int:
        """Make every access token invalid; how many there were."""
        return cast("int", self.do("revoke_tokens"))

    def settle(self) -> int:
        """Perform now whatever late commits are outstanding; how many."""
        return cast("int", self.do("settle"))

    def subscribe(self, url: str, **options: object) -> str:
        """Webhooks go to `url` from now on (loopback only); the public key to verify them with (PEM). Options:
        `deadline_seconds`, `scale` (of the waits between tries), `duplicates` and `reordered` (shares), `echoes`."""
        return cast("str", self.do("subscribe", url=url, **options))

    def unsubscribe(self) -> int:
        """No more webhooks; how many endpoints there were."""
        return cast("int", self.do("unsubscribe"))

    def webhooks(self) -> list[JsonObject]:
        """Every delivery of an event: `url, eventId, eventType, attempts, statuses, delivered`."""
        return cast("list[JsonObject]", self.do("webhooks"))
