"""What the settings `quotes` and `signatures` of a source make of a reply, on its whole way into the Inbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.sandbox.values import as_list, as_object, at_path
from tests.acceptance.harness import wait_for
from tests.acceptance.small import OWN, Small, small_site

REPLY = f"""From: Anna <%s@example.com>\r
To: {OWN}\r
Subject: Re: order\r
Message-ID: <%s@example.com>\r
In-Reply-To: <4711@shop.example>\r
\r
T000001 yes, the blue one.\r
\r
-- \r
Anna Example\r
\r
On Mon, May 6, 2024 at 10:30 AM Shop <{OWN}> wrote:\r
> Which colour?\r
> Which size?\r
"""
ORIGINAL = f"""T000001 yes, the blue one.

--
Anna Example

On Mon, May 6, 2024 at 10:30 AM Shop <{OWN}> wrote:
> Which colour?
> Which size?"""
NOTE = "Quoted text left out: 3 lines."


@pytest.fixture
def small(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    with small_site(tmp_path, tmp_path_factory) as made:
        yield made


def reply(name: str) -> bytes:
    return (REPLY % (name, name)).encode()


def shown(small: Small) -> list[tuple[str, list[bytes]]]:
    """Each message in the sandbox: its text, and the bytes of its files."""
    (site,) = small.sandbox.emulator.world.sites.values()
    found = []
    for message in small.sandbox.messages():
        items = [as_object(item) for item in as_list(at_path(message["content"], "basic.items"))]
        files = [site.media[str(as_object(item["file"])["id"])] for item in items if "file" in item]
        assert [(one.filename, one.mime_type) for one in files] in ([], [("original message.txt", "text/plain")])
        text = "\n".join(str(item["text"]) for item in items if "text" in item)
        found.append((text, [one.data or b"" for one in files]))
    return found


def uploads(small: Small) -> int:
    return len(small.sandbox.journal("media.upload"))


def test_quotes_and_signatures_go_as_the_source_says(small: Small) -> None:
    policies = {
        "plain": "",
        "bare": 'signatures = "remove"',
        "whole": 'quotes = "keep"',
        "filed": 'quotes = "attach"',
    }
    small.configure(*(small.maildir(name, more=more) for name, more in policies.items()))
    for name in policies:
        small.put("T000001", into=name, raw=reply(name))
    assert small.type("sync").code == 0
    messages = shown(small)
    texts = [text for text, _ in messages]
    assert len(texts) == len(policies)
    assert sum("Which colour?" in text for text in texts) == 1
    assert sum(NOTE in text for text in texts) == 3
    assert sum("Anna Example" in text for text in texts) == 3
    ((text, files),) = [one for one in messages if one[1]]
    assert "T000001 yes, the blue one." in text
    assert NOTE in text
    assert "original message.txt" not in text
    assert [data.decode() for data in files] == [ORIGINAL]
    assert uploads(small) == 1


def filed(small: Small, more: str = "") -> None:
    small.configure(small.maildir(more=f'quotes = "attach"\n{more}'))
    small.put("", raw=reply("anna"))


def test_killed_while_the_original_is_uploaded_it_is_there_once_after_the_restart(small: Small) -> None:
    small.sandbox.fault("hang_before_store", call="media.upload", seconds=60)
    filed(small)
    daemon = small.start()
    daemon.wait_for(lambda: uploads(small) == 1, "the upload has begun")
    daemon.kill()
    small.start().wait_for(lambda: len(shown(small)) == 1, "it arrives")
    assert [data.decode() for data in shown(small)[0][1]] == [ORIGINAL]


def test_killed_after_the_upload_it_is_not_uploaded_again(small: Small) -> None:
    small.sandbox.fault("hang_before_store", call="messages.send", seconds=60)
    filed(small)
    daemon = small.start()
    daemon.wait_for(lambda: small.sandbox.journal("messages.send"), "the message is being sent")
    daemon.kill()
    small.start().wait_for(lambda: len(shown(small)) == 1, "it arrives")
    assert [data.decode() for data in shown(small)[0][1]] == [ORIGINAL]
    assert uploads(small) == 1


def test_an_original_that_the_inbox_has_forgotten_is_uploaded_anew(small: Small) -> None:
    small.sandbox.fault("status", status=400, code="INVALID_MEDIA_URL", call="messages.send")
    filed(small)
    small.start().wait_for(lambda: len(shown(small)) == 1, "it arrives")
    assert [data.decode() for data in shown(small)[0][1]] == [ORIGINAL]
    assert uploads(small) == 2


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("attachments = false", "files are not brought over"),
        ("attachment_limit_bytes = 100", "it is larger than 100 bytes"),
        ("", "it could not be uploaded"),
    ],
)
def test_an_original_that_cannot_be_uploaded_is_named_with_the_reason(small: Small, more: str, reason: str) -> None:
    if not more:
        small.sandbox.fault("status", status=500, call="media.upload", times=None)
    filed(small, more)
    small.start()
    wait_for(lambda: len(shown(small)) == 1, "it arrives")
    ((text, files),) = shown(small)
    assert files == []
    assert NOTE in text
    assert f"Not brought over: original message.txt ({len(ORIGINAL)} bytes): {reason}" in text
