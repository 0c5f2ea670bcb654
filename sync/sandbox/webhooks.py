"""Webhooks: what the Inbox tells an app of its changes, late, twice and out of order as the real one does.

Reference: Inbox API, "Webhooks": the POST's body is one RS256 JWT; 200 within 1,250 ms or it is sent again, up to
twelve times; an app's own API sends fire events, too. The waits between tries are scaled, so that a test need not wait.
"""

from __future__ import annotations

import heapq
import ipaddress
import itertools
import random
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from sync.sandbox.errors import SandboxError
from sync.sandbox.signing import SigningKey
from sync.sandbox.values import MICROSECONDS, JsonObject, as_object, as_text, dump_json, iso_time

DEADLINE_SECONDS = 1.25
RETRY_SECONDS = (60, 600, 3600, 7200, 7200, 7200, 14400, 14400, 14400, 28800, 28800, 43200)
TOKEN_SECONDS = 3600
REORDER_SECONDS = 0.2
"""How long an event that is overtaken stays behind."""
KEPT = 1000
"""Deliveries remembered."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One app's endpoint. `scale` multiplies the waits between tries; `duplicates` and `reordered` are shares of the
    events; `echoes` False leaves out what came in through the API."""

    url: str
    deadline_seconds: float = DEADLINE_SECONDS
    scale: float = 1.0
    duplicates: float = 0.0
    reordered: float = 0.0
    echoes: bool = True


@dataclass(slots=True)
class Delivery:
    """One event on its way to one endpoint."""

    subscription: Subscription
    event_id: str
    event_type: str
    claims: JsonObject
    attempts: int = 0
    statuses: list[int | None] = field(default_factory=list)
    delivered: bool = False

    def as_json(self) -> JsonObject:
        """For the admin API."""
        return {
            "url": self.subscription.url,
            "eventId": self.event_id,
            "eventType": self.event_type,
            "attempts": self.attempts,
            "statuses": list(self.statuses),
            "delivered": self.delivered,
        }


class Webhooks:
    """Sends events from a thread of its own, started by the first subscription. Thread-safe."""

    def __init__(self, instance_id: str = "", *, seed: int = 1) -> None:
        self.instance_id = instance_id
        self.key = SigningKey()
        self._chance = random.Random(seed)  # noqa: S311  shares of events, no secrets
        self._subscriptions: list[Subscription] = []
        self._due: list[tuple[float, int, Delivery]] = []
        self._numbers = itertools.count()
        self._kept: deque[Delivery] = deque(maxlen=KEPT)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def subscribe(self, subscription: Subscription) -> str:
        """From now on events go there; the public key to verify them with (PEM). Loopback only."""
        parts = urlsplit(subscription.url)
        if parts.scheme != "http" or not _is_loopback(parts.hostname or ""):
            raise SandboxError(f"a webhook goes to http:// on this machine only, not {subscription.url!r}")
        pem = self.key.public_pem
        with self._changed:
            self._subscriptions.append(subscription)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sandbox webhooks", daemon=True)
                self._thread.start()
        return pem

    def unsubscribe(self) -> int:
        """No more events to anybody, and none that are under way; how many endpoints there were."""
        with self._changed:
            count = len(self._subscriptions)
            self._subscriptions.clear()
            self._due.clear()
            return count

    def journal(self) -> list[JsonObject]:
        """Every delivery that is remembered, oldest first."""
        with self._changed:
            return [delivery.as_json() for delivery in self._kept]

    def tell(self, record: JsonObject, now: int) -> None:
        """A change of the world as `World.on_change` words it; `now` in epoch microseconds."""
        if not self._subscriptions:
            return
        for event_type, slug, entity, content in events_of(record):
            echo = event_type.endswith(("to_business", "to_participant")) and _is_echo(record)
            with self._changed:
                for subscription in self._subscriptions:
                    if echo and not subscription.echoes:
                        continue
                    self._queue(subscription, event_type, self._claims(event_type, slug, entity, content, now))
                self._changed.notify_all()

    def _queue(self, subscription: Subscription, event_type: str, claims: tuple[str, JsonObject]) -> None:
        event_id, body = claims
        behind = REORDER_SECONDS if self._chance.random() < subscription.reordered else 0.0
        for _ in range(2 if self._chance.random() < subscription.duplicates else 1):
            delivery = Delivery(subscription, event_id, event_type, body)
            self._kept.append(delivery)
            heapq.heappush(self._due, (time.monotonic() + behind, next(self._numbers), delivery))

    def _claims(self, event_type: str, slug: str, entity: str, content: JsonObject, now: int) -> tuple[str, JsonObject]:
        event_id = str(uuid.uuid4())
        inner = {
            "id": event_id,
            "entityFqdn": entity,
            "slug": slug,
            "entityId": str(uuid.uuid4()),
            "eventTime": iso_time(now),
            "triggeredByAnonymizeRequest": False,
            **content,
        }
        data = {
            "eventType": event_type,
            "instanceId": self.instance_id,
            "data": dump_json(inner).decode(),
            "identity": dump_json({"identityType": "APP"}).decode(),
        }
        issued = now // MICROSECONDS
        return event_id, {"data": dump_json(data).decode(), "iat": issued, "exp": issued + TOKEN_SECONDS}

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due or self._due[0][0] > time.monotonic():
                    wait = self._due[0][0] - time.monotonic() if self._due else None
                    self._changed.wait(wait)
                _, _, delivery = heapq.heappop(self._due)
            status = _post(delivery.subscription, self.key.sign(delivery.claims))
            with self._changed:
                delivery.statuses.append(status)
                delivery.attempts += 1
                delivery.delivered = status == 200
                tries_left = delivery.attempts <= len(RETRY_SECONDS) and delivery.subscription in self._subscriptions
                if not delivery.delivered and tries_left:
                    wait = RETRY_SECONDS[delivery.attempts - 1] * delivery.subscription.scale
                    heapq.heappush(self._due, (time.monotonic() + wait, next(self._numbers), delivery))


def events_of(record: JsonObject) -> list[tuple[str, str, str, JsonObject]]:
    """The events of one change: event type, slug, entity, and what stands beside the common fields."""
    inbox, contacts = "wix.crm.inbox.v2", "wix.contacts.v4.contact"
    match record.get("type"):
        case "message":
            body = as_object(record.get("body"))
            to_business = as_text(body.get("direction")) == "PARTICIPANT_TO_BUSINESS"
            slug = "message_sent_to_business" if to_business else "message_sent_to_participant"
            sequence = str(record.get("sequence"))
            message = {**body, "id": sequence, "sequence": sequence}
            content = {"conversationId": record.get("conversation"), "message": message}
            return [(f"{inbox}.message_{slug}", slug, f"{inbox}.message", {"actionEvent": {"body": content}})]
        case "conversation_merged":
            content = {"oldConversationIds": [record.get("id")], "targetConversationId": record.get("into")}
            slug = "conversations_merged"
            return [(f"{inbox}.conversation_{slug}", slug, f"{inbox}.conversation", {"actionEvent": {"body": content}})]
        case "contact":
            contact = {"id": record.get("id"), "revision": record.get("revision"), "info": record.get("info")}
            if record.get("revision") == 1:
                return [(f"{contacts}_created", "created", contacts, {"createdEvent": {"entity": contact}})]
            return [(f"{contacts}_updated", "updated", contacts, {"updatedEvent": {"currentEntity": contact}})]
        case "contact_deleted":
            return [(f"{contacts}_deleted", "deleted", contacts, {"deletedEvent": {}})]
        case "contact_merged":
            content = {"targetContactId": record.get("into"), "sourceContactIds": [record.get("id")]}
            return [
                (f"{contacts}_deleted", "deleted", contacts, {"deletedEvent": {}, "originatedFrom": "merge"}),
                (f"{contacts}_merged", "merged", contacts, {"actionEvent": {"body": content}}),
            ]
        case _:
            return []


def _is_echo(record: JsonObject) -> bool:
    """Whether a message came in through the API: one typed in the chat widget names no app."""
    return bool(as_object(record.get("body")).get("appId"))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _post(subscription: Subscription, token: str) -> int | None:
    """The answer's status, None when none came in time."""
    parts = urlsplit(subscription.url)
    connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=subscription.deadline_seconds)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "") or "/"
        connection.request("POST", path, token.encode(), {"Content-Type": "text/plain"})
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
