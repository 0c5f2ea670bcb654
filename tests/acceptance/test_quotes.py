"""What the settings `quotes` and `signatures` of a source make of a reply, on its whole way into the Inbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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


@pytest.fixture
def small(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    with small_site(tmp_path, tmp_path_factory) as made:
        yield made


def test_quotes_and_signatures_go_as_the_source_says(small: Small) -> None:
    policies = {
        "plain": "",
        "bare": 'signatures = "remove"',
        "whole": 'quotes = "keep"',
        "filed": 'quotes = "attach"',
    }
    small.configure(*(small.maildir(name, more=more) for name, more in policies.items()))
    for name in policies:
        small.put("T000001", into=name, raw=(REPLY % (name, name)).encode())
    assert small.type("sync").code == 0
    shown = [str(one["text"]) for conversation in small.sandbox.conversations() for one in conversation["messages"]]
    note = "Quoted text left out: 3 lines."
    assert len(shown) == len(policies)
    assert sum("Which colour?" in text for text in shown) == 1
    assert sum(note in text for text in shown) == 3
    assert sum("Anna Example" in text for text in shown) == 3
    assert sum("original message.txt" in text for text in shown) == 1
