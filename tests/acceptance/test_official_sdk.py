"""The official JavaScript SDK, unmodified, against the sandbox: every call we make, with both ways to sign in."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from sync.sandbox.values import JsonObject, as_list, as_object, as_text, at_path
from tests.needs import in_ci, require

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(300)]

PROJECT = Path(__file__).parent / "sdk"
INSTALL_SECONDS = 240
RUN_SECONDS = 60
CACHE = "INBOX_SYNC_SDK_CACHE"
"""Environment variable: the folder in which the SDK is installed once for each lock file."""


@pytest.fixture(scope="session")
def node() -> Path:
    return require("node", package="nodejs")


@pytest.fixture(scope="session")
def project(node: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client and the locked SDK; installed outside the source tree, once for each lock."""
    del node
    npm = require("npm", package="npm")
    lock = hashlib.sha256((PROJECT / "package-lock.json").read_bytes()).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = Path(os.environ.get(CACHE) or home / "inbox-sync") / f"sdk-{lock}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(PROJECT / name, fresh)
        done = subprocess.run(
            [npm, "ci"], cwd=fresh, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
        if done.returncode != 0:
            shutil.rmtree(fresh)
            sentence = f"npm could not install the SDK: {done.stderr.strip()[-400:]}"
            if in_ci():
                pytest.fail(sentence, pytrace=False)
            pytest.skip(sentence)
        try:
            fresh.rename(place)
        except OSError:  # another run was quicker
            shutil.rmtree(fresh)
    work = tmp_path_factory.mktemp("sdk")
    (work / "node_modules").symlink_to(place / "node_modules")
    for name in ("package.json", "client.mjs", "redirect.mjs"):
        shutil.copy(PROJECT / name, work)
    return work


@pytest.fixture(params=["api_key", "app"])
def auth(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


class Outcome:
    """What the client printed: a value or an error for each step."""

    def __init__(self, steps: JsonObject) -> None:
        self._steps = steps

    def value(self, step: str, path: str = "") -> object:
        outcome = as_object(self._steps[step])
        assert "value" in outcome, f"{step}: {outcome}"
        return at_path(outcome, f"value.{path}" if path else "value")

    def error(self, step: str) -> JsonObject:
        outcome = as_object(self._steps[step])
        assert "error" in outcome, f"{step}: {outcome}"
        return as_object(at_path(outcome, "error.details"))


def run_client(node: Path, project: Path, sandbox: Sandbox, auth: str) -> Outcome:
    done = subprocess.run(
        [node, "client.mjs"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
        env={
            "PATH": os.environ["PATH"],
            "NODE_OPTIONS": "--import ./redirect.mjs",
            "SANDBOX_URL": sandbox.url,
            "CLIENT_EMAIL": "jo@example.com",
            "WIX_AUTH": auth,
            "WIX_API_KEY": sandbox.api_key,
            "WIX_SITE_ID": sandbox.site_id,
            "WIX_APP_ID": sandbox.app_id,
            "WIX_APP_SECRET": sandbox.app_secret,
            "WIX_INSTANCE_ID": sandbox.instance_id,
        },
    )
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)
    assert isinstance(steps, dict)
    return Outcome(steps)


def item_texts(outcome: Outcome, step: str) -> list[str]:
    contents = [at_path(each, "content") for each in as_list(outcome.value(step, "messages"))]
    return [
        as_text(at_path(content, "minimal.text"))
        or as_text(as_object(as_list(at_path(content, "basic.items"))[0])["text"])
        for content in contents
    ]


def test_sdk_makes_every_call_we_make(node: Path, project: Path, sandbox: Sandbox, auth: str) -> None:
    outcome = run_client(node, project, sandbox, auth)
    contact = as_text(outcome.value("create", "contact._id"))
    conversation = as_text(outcome.value("open", "conversation._id"))

    assert outcome.value("query_none") == []
    assert [as_object(each)["_id"] for each in as_list(outcome.value("query_one"))] == [contact]
    assert outcome.value("get_contact", "_id") == contact
    duplicate = as_object(outcome.error("create_again")["applicationError"])
    assert duplicate["code"] == "DUPLICATE_CONTACT_EXISTS"
    assert duplicate["data"] == {"duplicateContactId": contact}
    assert at_path(outcome.error("get_contact_unknown"), "applicationError.code") == "CONTACT_NOT_FOUND"

    assert outcome.value("open", "newConversation") is True
    assert outcome.value("open_again", "newConversation") is False
    assert outcome.value("open_again", "conversation._id") == conversation
    assert outcome.value("get_conversation", "participant.contactId") == contact
    unknown = outcome.error("get_conversation_unknown")
    assert at_path(unknown, "applicationError.code") == "CONVERSATION_NOT_FOUND"

    assert outcome.value("send", "message._id") == outcome.value("send", "message.sequence")
    assert as_text(outcome.value("send", "message._createdDate")).endswith("Z")
    violations = as_list(at_path(outcome.error("send_empty"), "validationError.fieldViolations"))
    assert as_object(violations[0])["field"] == "message.content.basic.items"

    assert item_texts(outcome, "list") == ["Ticket 7 closed", "Good day, how can we help?"]
    assert item_texts(outcome, "list_next") == ["Hello"]
    assert item_texts(outcome, "list_oldest_first") == [
        "Hello",
        "Good day, how can we help?",
        "Ticket 7 closed",
    ]
    assert outcome.value("list_both_sides", "messages") == []
    assert outcome.value("update", "contact.revision") == 2


def test_sandbox_stores_what_the_sdk_sent(node: Path, project: Path, sandbox: Sandbox, auth: str) -> None:
    outcome = run_client(node, project, sandbox, auth)
    first, reply, activity = sandbox.messages()
    assert [each["text"] for each in (first, reply, activity)] == [
        "Hello",
        "Good day, how can we help?",
        "Ticket 7 closed",
    ]
    assert first["id"] == outcome.value("send", "message._id")
    assert first["direction"] == "PARTICIPANT_TO_BUSINESS"
    assert first["badges"] == [{"text": "Support mailbox"}]
    assert first["request"] == {"sendAs": "PARTICIPANT", "sendNotifications": False}
    assert reply["direction"] == "BUSINESS_TO_PARTICIPANT"
    assert reply["sender"] == {"appId": reply["appId"]}
    assert sandbox.targets() == []
    assert sandbox.stats()["tokensIssued"] == (1 if auth == "app" else 0)


def test_sdk_sees_an_expired_token_as_an_error(node: Path, project: Path, sandbox: Sandbox) -> None:
    sandbox.fault("status", call="contacts.query", status=401, code="UNAUTHENTICATED")
    outcome = run_client(node, project, sandbox, "app")
    assert at_path(outcome.error("query_none"), "applicationError.code") == "UNAUTHENTICATED"
    assert outcome.value("query_one") != []


def test_lock_file_names_no_registry() -> None:
    lock = json.loads((PROJECT / "package-lock.json").read_text())
    assert lock["lockfileVersion"] == 3
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-"), name
