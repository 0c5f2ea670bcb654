"""Starting, stopping, keeping data, the admin API from another process, the page as HTML."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sync.sandbox import Sandbox, SandboxClient, SandboxError
from sync.sandbox.conversations import Conversation, Message, Who
from sync.sandbox.views import MESSAGES_SHOWN, initials, thread
from sync.sandbox.world import Site
from tests.servers.ports import free_port
from tests.unit.sandbox_wire import Wire


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(port=free_port()) as running:
        yield running


def get(sandbox: Sandbox, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    parts = urlsplit(sandbox.url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, answer.read().decode(), names
    finally:
        connection.close()


def test_restart_keeps_port_and_data_and_refuses_in_between(sandbox: Sandbox) -> None:
    wire = Wire(sandbox)
    conversation, url = wire.conversation(), sandbox.url
    wire.send(conversation, "before")
    sandbox.stop()
    sandbox.stop()
    assert not sandbox.running
    with pytest.raises(ConnectionRefusedError):
        Wire(sandbox).send(conversation)
    sandbox.start()
    assert sandbox.url == url
    assert Wire(sandbox).listed(conversation) == ["before"]


def test_sandbox_runs_inside_the_tests_own_loop() -> None:
    async def scenario() -> list[str]:
        async with Sandbox() as sandbox:
            wire = Wire(sandbox)
            await asyncio.to_thread(lambda: wire.send(wire.conversation(), "from a thread"))
            return sandbox.texts()

    assert asyncio.run(scenario()) == ["from a thread"]


def test_second_start_and_taken_port_are_refused(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="running already"):
        sandbox.start()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        Sandbox(port=taken.getsockname()[1]).start()


def test_only_loopback_is_listened_on() -> None:
    with pytest.raises(SandboxError, match="loopback only"):
        Sandbox(host="0.0.0.0").start()


def test_data_file_survives_and_ids_go_on_rising(tmp_path: Path) -> None:
    file = tmp_path / "inbox.jsonl"
    with Sandbox(data=file) as sandbox:
        wire = Wire(sandbox)
        old, conversation = wire.contact("old@example.com"), wire.conversation("jo@example.com")
        wire.send(conversation, "Grüße \u2028 😀", badges=[{"text": "Mailbox"}])
        other = wire.conversation("gone@example.com")
        wire.send(other, "merged")
        sandbox.merge_conversations(conversation, other)
        sandbox.merge_contacts(wire.found({"info.emails.email": "jo@example.com"})[0], old)
        sandbox.delete_contact(sandbox.seed_contact("deleted@example.com"))
        before = sandbox.dump()
    with file.open("ab") as torn:
        torn.write(b'{"type":"mess')
    with Sandbox(data=file) as again:
        assert again.dump() == before
        newest = Wire(again).send(conversation, "after").at("message.id")
        assert int(str(newest)) > int(before["sites"][0]["conversations"][0]["messages"][-1]["id"])


def test_damaged_data_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "inbox.jsonl"
    file.write_bytes(b'{"type":"clear"}\nrubbish\n')
    with pytest.raises(SandboxError, match=r"inbox\.jsonl, line 2: .*move the file away"):
        Sandbox(data=file)
    file.write_bytes(b'{"type":"message","site":"x"}\n')
    with pytest.raises(SandboxError, match=r"inbox\.jsonl, line 1"):
        Sandbox(data=file)


def test_killed_process_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    def start() -> tuple[subprocess.Popen[bytes], SandboxClient]:
        command = [sys.executable, "-m", "sync.sandbox", "--port", "0", "--data", str(tmp_path / "data")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout
        return process, SandboxClient(json.loads(process.stdout.readline())["url"])

    process, client = start()
    try:
        contact = client.seed_contact("jo@example.com", name="Jo Doe")
        for number in range(20):
            client.seed_message(str(number), contact_id=contact)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        process, client = start()
        assert client.texts("JO@example.com") == [str(number) for number in range(20)]
        assert client.conversations()[0]["name"] == "Jo Doe"
        process.terminate()
        process.communicate(timeout=10)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_client_does_what_the_handle_does(sandbox: Sandbox) -> None:
    client = SandboxClient(sandbox.url + "/")
    first = client.seed_contact(["jo@example.com", "jd@example.com"], name="Jo Doe", phone="+1 555")
    second = client.seed_contact("ann@example.com")
    client.visitor_message("Hi", contact_id=first)
    client.seed_message("Hello", contact_id=second, direction="BUSINESS_TO_PARTICIPANT")
    client.fault("status", status=500)
    client.switch(query_lag_seconds=1)
    assert Wire(sandbox).query({}).status == 500
    client.wait_messages(2)
    client.merge_contacts(first, second)
    assert client.dump() == sandbox.dump()
    assert client.stats() == sandbox.stats()
    assert client.journal("contacts.*") == sandbox.journal()
    assert client.faults() == sandbox.faults()
    assert client.texts("ann@example.com") == ["Hi", "Hello"]
    client.reset()
    assert sandbox.contacts() == []


def test_client_passes_on_why_something_was_refused(sandbox: Sandbox) -> None:
    client = SandboxClient(sandbox.url)
    with pytest.raises(SandboxError, match="no contact nobody"):
        client.visitor_message("x", contact_id="nobody")
    with pytest.raises(SandboxError, match="unknown verb 'explode'"):
        client.do("explode")
    with pytest.raises(SandboxError, match="1 messages in the sandbox"):
        client.wait_messages(1, timeout_seconds=0.05)
    with pytest.raises(SandboxError, match="http address"):
        SandboxClient("127.0.0.1")


def test_admin_api_reads_with_get_and_changes_with_json_only(sandbox: Sandbox) -> None:
    assert get(sandbox, "/_sandbox/stats")[0] == 200
    assert get(sandbox, "/_sandbox/reset")[0] == 405
    connection = Wire(sandbox, **{"Content-Type": "text/plain"})
    assert connection.call("POST", "/_sandbox/reset", {"a": 1}).status == 400


def test_foreign_host_names_do_not_reach_page_or_admin_api(sandbox: Sandbox) -> None:
    for path in ("/", "/_sandbox/dump"):
        assert get(sandbox, path, Host="evil.example")[0] == 403
        assert get(sandbox, path, Host="localhost")[0] == 200


def test_page_escapes_everything_and_loads_nothing_from_elsewhere(sandbox: Sandbox) -> None:
    evil = "<script>alert('x')</script>"
    wire = Wire(sandbox)
    contact = wire.contact("evil@example.com", name={"first": evil})
    conversation = str(wire.open(contact).at("conversation.id"))
    items = [
        {"text": evil},
        {"image": {"url": "https://elsewhere.example/a.png", "filename": evil}},
        {"file": {"url": "https://elsewhere.example/a.pdf", "filename": "a.pdf"}},
    ]
    wire.send(conversation, content={"title": evil, "basic": {"items": items}}, badges=[{"text": evil}])
    wire.send(conversation, content={"minimal": {"text": evil, "iconUrl": "https://elsewhere.example/i"}})
    form = {"form": {"title": evil, "fields": [{"name": evil, "value": evil}]}}
    wire.send(conversation, content=form)
    card = {"template": {"title": evil, "textLines": [evil], "buttons": [{"label": evil, "launchUrl": "https://a.b"}]}}
    wire.send(conversation, content=card)
    status, page, headers = get(sandbox, "/")
    assert status == 200
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") >= 10
    assert 'src="https://' not in page
    assert "default-src 'none'" in headers["content-security-policy"]


def test_page_is_sent_again_only_when_something_changed(sandbox: Sandbox) -> None:
    tag = get(sandbox, "/")[2]["etag"]
    assert get(sandbox, "/", **{"If-None-Match": tag})[0] == 304
    contact = sandbox.seed_contact("jo@example.com", name="Jo Doe")
    sandbox.visitor_message("Hello there", contact_id=contact)
    status, page, _ = get(sandbox, "/", **{"If-None-Match": tag})
    assert status == 200
    assert "Hello there" in page


def test_files_are_shown_in_place_only_when_they_are_pictures(sandbox: Sandbox) -> None:
    for mime_type, shown in (("image/png", True), ("image/svg+xml", False), ("text/html", False)):
        wire = Wire(sandbox)
        said = {"mimeType": mime_type, "fileName": "a"}
        url = str(wire.call("POST", "/communication-channels-media/v1/upload-url", said).body["uploadUrl"])
        file = Wire(sandbox, **{"Content-Type": mime_type}).call("PUT", urlsplit(url).path, b"<svg/>")
        _, _, headers = get(sandbox, urlsplit(str(file.body["url"])).path)
        assert headers["content-disposition"].startswith("inline" if shown else "attachment")
        assert headers["content-type"] == (mime_type if shown else "application/octet-stream")
        assert headers["x-content-type-options"] == "nosniff"


def test_long_conversations_are_shown_from_their_end() -> None:
    conversation = Conversation("c", Who("contactId", "x"), 1)
    for number in range(MESSAGES_SHOWN + 5):
        body: dict[str, object] = {"content": {"basic": {"items": [{"text": str(number)}]}}}
        conversation.put(Message(1_000_000 * number + 1, "c", body))
    site = Site("s", conversations={"c": conversation})
    shown = thread(site, conversation, now=0)
    assert (shown.earlier, shown.total) == (5, MESSAGES_SHOWN + 5)
    assert shown.days[0].messages[0].bubbles[0].text == "5"
    assert thread(site, conversation, now=0, everything=True).earlier == 0


@pytest.mark.parametrize(
    ("name", "letters"),
    [("Jo Doe", "JD"), ("jo.doe@example.com", "JD"), ("Madonna", "M"), ("", "?"), ("<b>", "?"), ("לוי", "ל")],
)
def test_initials_stand_for_a_name(name: str, letters: str) -> None:
    assert initials(name) == letters
