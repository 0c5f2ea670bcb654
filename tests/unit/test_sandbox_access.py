"""Who may use the emulated API, how often, and what files it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from sync.sandbox import DEFAULT_SITE_ID, ManualClock, Sandbox, SandboxError
from sync.sandbox.values import JsonObject, as_text
from tests.unit.sandbox_wire import Wire

OTHER_SITE = "5a9d0b00-0000-4000-8000-000000000002"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sandbox(clock: ManualClock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock) as running:
        yield running


def token_request(sandbox: Sandbox, **changes: object) -> JsonObject:
    return {
        "grant_type": "client_credentials",
        "client_id": sandbox.app_id,
        "client_secret": sandbox.app_secret,
        "instance_id": sandbox.instance_id,
        **changes,
    }


def new_token(sandbox: Sandbox) -> str:
    answer = Wire(sandbox).call("POST", "/oauth2/token", token_request(sandbox))
    assert (answer.status, answer.body["token_type"]) == (200, "Bearer")
    return as_text(answer.body["access_token"])


def test_key_is_taken_raw_and_as_bearer(sandbox: Sandbox) -> None:
    assert Wire(sandbox).query({}).status == 200
    assert Wire(sandbox, Authorization=f"Bearer {sandbox.api_key}").query({}).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "wrong"}, 401),
        ({"Authorization": ""}, 401),
        ({"wix-site-id": OTHER_SITE}, 403),
        ({"wix-site-id": ""}, 400),
        ({"wix-account-id": OTHER_SITE}, 400),
    ],
)
def test_wrong_credentials_are_told_apart(sandbox: Sandbox, headers: dict[str, str], status: int) -> None:
    assert Wire(sandbox, **headers).query({}).status == status


def test_key_of_another_site_is_not_permitted(sandbox: Sandbox) -> None:
    sandbox.add_site(OTHER_SITE, api_key="other-key")
    other = {"Authorization": "other-key"}
    assert Wire(sandbox, **other).query({}).status == 403
    assert Wire(sandbox, **other, **{"wix-site-id": OTHER_SITE}).query({}).status == 200


def test_token_works_until_it_expires(sandbox: Sandbox, clock: ManualClock) -> None:
    sandbox.switch(token_seconds=60)
    wire = Wire(sandbox, Authorization=new_token(sandbox), **{"wix-site-id": ""})
    assert wire.query({}).status == 200
    clock.advance(60)
    expired = wire.query({})
    assert (expired.status, expired.code) == (401, "UNAUTHENTICATED")
    assert sandbox.stats()["tokensIssued"] == 1


def test_token_can_be_revoked_in_the_middle(sandbox: Sandbox) -> None:
    wire = Wire(sandbox, Authorization=new_token(sandbox))
    assert wire.query({}).status == 200
    assert sandbox.revoke_tokens() == 1
    assert wire.query({}).status == 401


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"client_secret": "wrong"}, 401),
        ({"instance_id": "wrong"}, 401),
        ({"grant_type": "password"}, 400),
        ({"grant_type": None}, 400),
    ],
)
def test_wrong_app_credentials_get_no_token(sandbox: Sandbox, changes: dict[str, object], status: int) -> None:
    assert Wire(sandbox).call("POST", "/oauth2/token", token_request(sandbox, **changes)).status == status


def test_token_is_for_the_site_of_its_instance(sandbox: Sandbox) -> None:
    sandbox.add_site(OTHER_SITE)
    sandbox.add_app(sandbox.app_id, sandbox.app_secret, "second-instance", OTHER_SITE)
    request = token_request(sandbox, instance_id="second-instance")
    token = as_text(Wire(sandbox).call("POST", "/oauth2/token", request).body["access_token"])
    Wire(sandbox, Authorization=token).contact()
    assert sandbox.contacts(DEFAULT_SITE_ID) == []
    assert len(sandbox.contacts(OTHER_SITE)) == 1


def test_every_answer_has_a_request_id(sandbox: Sandbox) -> None:
    wire = Wire(sandbox)
    answers = [wire.query({}), wire.call("GET", "/inbox/nothing"), wire.create("x" * 400)]
    ids = [answer.headers["x-wix-request-id"] for answer in answers]
    assert len(set(ids)) == 3
    assert [entry["requestId"] for entry in sandbox.journal()] == ids


def test_limit_refuses_and_says_when_to_come_back(sandbox: Sandbox, clock: ManualClock) -> None:
    sandbox.switch(requests_per_minute=3, window_seconds=6)
    wire = Wire(sandbox)
    assert [wire.query({}).status for _ in range(5)] == [200, 200, 200, 429, 429]
    refused = wire.query({})
    assert refused.headers["retry-after"] == "6"
    sandbox.switch(send_retry_after=False)
    assert "retry-after" not in wire.query({}).headers
    assert (sandbox.stats()["allowed"], sandbox.stats()["refused"]) == (3, 4)
    clock.advance(6)
    assert wire.query({}).status == 200


def test_limit_counts_each_site_by_itself(sandbox: Sandbox) -> None:
    sandbox.add_site(OTHER_SITE)
    sandbox.switch(requests_per_minute=1)
    assert Wire(sandbox).query({}).status == 200
    assert Wire(sandbox, **{"wix-site-id": OTHER_SITE}).query({}).status == 200
    assert Wire(sandbox).query({}).status == 429


# --- files ----------------------------------------------------------------------------------------


def upload(sandbox: Sandbox, data: bytes, sent_as: str = "image/png", said: str = "image/png") -> JsonObject:
    wire = Wire(sandbox)
    announced = {"mimeType": said, "fileName": "lamp.png"}
    url = as_text(wire.call("POST", "/communication-channels-media/v1/upload-url", announced).body["uploadUrl"])
    path = urlsplit(url).path + "?filename=lamp.png"
    answer = Wire(sandbox, **{"Content-Type": sent_as}).call("PUT", path, data)
    return {**answer.body, "status": answer.status, "code": answer.code}


def test_uploaded_file_goes_into_a_message(sandbox: Sandbox) -> None:
    file = upload(sandbox, b"\x89PNG")
    wire = Wire(sandbox)
    items = [{"image": {"id": file["fileId"]}}]
    answer = wire.send(wire.conversation(), content={"basic": {"items": items}})
    assert answer.status == 200
    image = sandbox.messages()[0]["content"]["basic"]
    assert image == {"items": [{"image": {"id": file["fileId"], "url": file["url"], "filename": "lamp.png"}}]}
    asked = wire.call("POST", "/communication-channels-media/v1/download-url", {"fileId": file["fileId"]})
    assert asked.body["downloadUrl"] == file["url"]
    quota = wire.call("GET", "/communication-channels-media/v1/storage-quota")
    assert quota.at("storageQuota.usedInBytes") == "4"


def test_message_with_an_unknown_file_is_refused(sandbox: Sandbox) -> None:
    wire = Wire(sandbox)
    items = [{"file": {"id": "nothing"}}]
    answer = wire.send(wire.conversation(), content={"basic": {"items": items}})
    assert (answer.status, answer.code) == (400, "INVALID_MEDIA_URL")


def test_files_are_refused_as_documented(sandbox: Sandbox) -> None:
    assert upload(sandbox, b"")["code"] == "ZERO_FILE_SIZE"
    assert upload(sandbox, b"x", sent_as="image/gif")["code"] == "MIME_TYPE_MISMATCH"
    assert upload(sandbox, b"x" * (25 * 1024 * 1024 + 1))["code"] == "FILE_SIZE_OVER_LIMIT"
    bad = {"mimeType": "application/x-msdownload", "fileName": "a.exe"}
    answer = Wire(sandbox).call("POST", "/communication-channels-media/v1/upload-url", bad)
    assert answer.code == "UNSUPPORTED_FILE_FORMAT"


def test_upload_address_expires_after_ten_hours(sandbox: Sandbox, clock: ManualClock) -> None:
    wire = Wire(sandbox)
    said = {"mimeType": "image/png", "fileName": "lamp.png"}
    url = as_text(wire.call("POST", "/communication-channels-media/v1/upload-url", said).body["uploadUrl"])
    clock.advance(10 * 3600)
    assert Wire(sandbox, **{"Content-Type": "image/png"}).call("PUT", urlsplit(url).path, b"x").status == 403


def test_imported_file_is_not_fetched_but_known(sandbox: Sandbox) -> None:
    body = {"url": "https://cdn.example/a.pdf", "mimeType": "application/pdf", "displayName": "a.pdf"}
    answer = Wire(sandbox).call("POST", "/communication-channels-media/v1/import-file", body)
    assert answer.status == 200
    assert re.search(r"/_media/file/.+/a\.pdf$", as_text(answer.body["url"]))
    assert sandbox.dump()["sites"][0]["files"][0]["filename"] == "a.pdf"


# --- switches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switches", "reason"),
    [
        ({"colour": "red"}, "unknown switch colour; known: list_drops_badges"),
        ({"query_lag_seconds": -1}, "query_lag_seconds: Input should be greater"),
        ({"length_unit": "words"}, "length_unit: Input should be"),
        ({"normalise": ["rot13"]}, "unknown .*rot13"),
    ],
)
def test_switches_that_do_not_exist_are_refused(sandbox: Sandbox, switches: dict[str, object], reason: str) -> None:
    before = sandbox.switch()
    with pytest.raises(SandboxError, match=reason):
        sandbox.switch(**switches)
    assert sandbox.switch() == before


def test_reset_forgets_all_but_sites_and_keys(sandbox: Sandbox) -> None:
    wire = Wire(sandbox)
    wire.send(wire.conversation(), targetChannels=["EMAIL"])
    sandbox.fault("garbage")
    sandbox.switch(list_drops_badges=False)
    assert sandbox.stats()["requests"] > 0
    sandbox.reset()
    assert sandbox.messages() == sandbox.contacts() == sandbox.targets() == sandbox.faults() == []
    assert sandbox.journal() == []
    assert sandbox.stats()["requests"] == 0
    assert sandbox.switch()["list_drops_badges"] is True
    assert wire.query({}).status == 200
