"""The sandbox's webhooks: signed, in time or again, twice and out of order on demand, echoes included."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sync.sandbox import Sandbox, SandboxError
from tests.needs import require
from tests.unit.sandbox_wire import Wire


class Receiver(ThreadingHTTPServer):
    """An app's endpoint. `answers` are the statuses it gives first, then 200."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tokens: list[str] = []
        self.answers: list[int] = []
        self.hang = threading.Event()
        self.hang.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    def events(self) -> list[dict[str, object]]:
        return [opened(token) for token in list(self.tokens)]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.tokens.append(body)
        self.server.hang.wait(5)
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it so
        """Nothing."""


def part(token: str, number: int) -> bytes:
    text = token.split(".")[number]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def opened(token: str) -> dict[str, object]:
    """The three JSON layers of an event, as one dict."""
    claims = json.loads(part(token, 1))
    data = json.loads(claims["data"])
    return {**data, "data": json.loads(data["data"]), "exp": claims["exp"], "iat": claims["iat"]}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.hang.set()
    running.shutdown()
    running.server_close()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def kinds(receiver: Receiver) -> list[str]:
    return [str(event["eventType"]).rpartition(".")[2] for event in receiver.events()]


def test_an_event_is_signed_with_the_key_that_the_subscription_gave(
    sandbox: Sandbox, receiver: Receiver, tmp_path: Path
) -> None:
    pem = sandbox.subscribe(receiver.url)
    sandbox.seed_contact("jo@example.com", name="Jo")
    sandbox.wait_until(lambda: bool(receiver.tokens), what="an event")
    token = receiver.tokens[0]
    assert json.loads(part(token, 0))["alg"] == "RS256"
    (tmp_path / "key.pem").write_text(pem)
    (tmp_path / "signature").write_bytes(part(token, 2))
    (tmp_path / "signed").write_text(token.rpartition(".")[0])
    openssl = str(require("openssl", package="openssl"))
    command = [openssl, "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "signed"]
    assert "Verified OK" in subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    event = opened(token)
    assert event["eventType"] == "wix.contacts.v4.contact_created"
    assert event["instanceId"] == sandbox.instance_id
    assert isinstance(event["exp"], int)


def test_our_own_sends_come_back_as_echoes_unless_they_are_not_wanted(sandbox: Sandbox, receiver: Receiver) -> None:
    conversation = Wire(sandbox).conversation()
    sandbox.subscribe(receiver.url)
    Wire(sandbox).send(conversation)
    sandbox.wait_until(lambda: kinds(receiver) == ["message_message_sent_to_business"], what="the echo")
    sandbox.unsubscribe()
    sandbox.subscribe(receiver.url, echoes=False)
    Wire(sandbox).send(conversation)
    (contact,) = sandbox.contacts()
    sandbox.visitor_message("typed in the widget", contact_id=str(contact["id"]))
    sandbox.wait_until(lambda: len(receiver.tokens) == 2, what="the visitor's message")
    assert "typed in the widget" in json.dumps(receiver.events()[1])


def test_an_event_that_was_not_taken_is_sent_again(sandbox: Sandbox, receiver: Receiver) -> None:
    receiver.answers = [500, 404]
    sandbox.subscribe(receiver.url, scale=0.0001)
    sandbox.seed_contact("jo@example.com")
    sandbox.wait_until(lambda: sandbox.webhooks()[0]["delivered"] is True, what="it was taken")
    assert sandbox.webhooks()[0]["statuses"] == [500, 404, 200]
    assert len({str(event["data"]) for event in receiver.events()}) == 1


def test_an_answer_after_the_deadline_counts_as_none(sandbox: Sandbox, receiver: Receiver) -> None:
    receiver.hang.clear()
    sandbox.subscribe(receiver.url, deadline_seconds=0.05, scale=0.0001)
    sandbox.seed_contact("jo@example.com")
    sandbox.wait_until(lambda: bool(sandbox.webhooks()[0]["attempts"]), what="the deadline passed")
    assert sandbox.webhooks()[0]["statuses"][0] is None  # type: ignore[index]


def test_events_come_twice_and_overtaken_on_demand(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.subscribe(receiver.url, duplicates=1.0)
    sandbox.seed_contact("jo@example.com")
    sandbox.wait_until(lambda: len(receiver.tokens) == 2, what="both copies")
    first, second = (event["data"] for event in receiver.events())
    assert first == second
    sandbox.unsubscribe()
    sandbox.subscribe(receiver.url, reordered=0.5)
    for number in range(8):
        sandbox.seed_contact(f"c{number}@example.com")
    sandbox.wait_until(lambda: len(receiver.tokens) == 10, what="all of them")
    come = [json.dumps(event["data"]) for event in receiver.events()[2:]]
    order = [next(n for n in range(8) if f"c{n}@" in text) for text in come]
    assert sorted(order) == list(range(8))
    assert order != sorted(order)


def test_merges_tell_who_is_left(sandbox: Sandbox, receiver: Receiver) -> None:
    target, source = sandbox.seed_contact("a@example.com"), sandbox.seed_contact("b@example.com")
    for contact in (target, source):
        Wire(sandbox).open(contact)
    sandbox.subscribe(receiver.url)
    sandbox.merge_contacts(target, source)
    wanted = {"contact_merged", "contact_deleted", "conversation_conversations_merged"}
    sandbox.wait_until(lambda: wanted <= set(kinds(receiver)), what="the events of a merge")
    merged = next(event for event in receiver.events() if str(event["eventType"]).endswith("contact_merged"))
    assert target in json.dumps(merged["data"])
    deleted = next(event for event in receiver.events() if str(event["eventType"]).endswith("contact_deleted"))
    assert '"originatedFrom": "merge"' in json.dumps(deleted["data"])


@pytest.mark.parametrize("url", ["http://192.0.2.1/hook", "https://127.0.0.1/hook", "http://example.com/"])
def test_webhooks_stay_on_this_machine(sandbox: Sandbox, url: str) -> None:
    with pytest.raises(SandboxError, match="this machine"):
        sandbox.subscribe(url)
