"""Zendesk, Freshdesk and Zammad, played by scripted services, into one sandbox Inbox with the real program."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from sync.sandbox.values import as_list, as_object, at_path
from tests.acceptance.harness import Program, write_config
from tests.servers import freshdesk_script, zammad_script, zendesk_script
from tests.servers.freshdesk_script import ScriptedFreshdesk
from tests.servers.zammad_script import ScriptedZammad
from tests.servers.zendesk_script import ScriptedZendesk

CUSTOMERS = 8
TICKETS = 10
"""Of each service."""
WORD = re.compile(r"[zfm]\d+-\d+")

Write = Callable[[str, datetime, bool, bool], object]


@dataclass
class Said:
    """What was said where: every word once, by customer, and those that nobody may see."""

    by_customer: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    by_agents: set[str] = field(default_factory=set)
    internal: set[str] = field(default_factory=set)

    @property
    def count(self) -> int:
        return sum(map(len, self.by_customer.values()))


@dataclass
class Site:
    """Three helpdesks with the same customers."""

    zendesk: ScriptedZendesk
    freshdesk: ScriptedFreshdesk
    zammad: ScriptedZammad
    said: Said = field(default_factory=Said)
    people: dict[str, list[int]] = field(default_factory=dict)
    tickets: int = 0

    def __post_init__(self) -> None:
        self.zendesk.clock = lambda: datetime.now(UTC) + timedelta(minutes=2)
        self.zendesk.exports_per_minute = self.freshdesk.per_minute = 1_000_000
        names = [(f"c{number}@example.net", f"Customer {number}") for number in range(CUSTOMERS)]
        self.people = {
            "z": [self.zendesk.user("end-user", address, name) for address, name in names],
            "f": [self.freshdesk.contact(address, name) for address, name in names],
            "m": [self.zammad.user(address, *name.split()) for address, name in names],
        }

    def fill(self, count: int, *, seed: int) -> None:
        """So many tickets at each, in threads with agents' replies and notes, several of one second."""
        rng = random.Random(seed)
        began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=40 - self.tickets / 10)
        for number in range(count):
            at = began + timedelta(seconds=3 * number)
            for service in "zfm":
                self.tickets += 1
                self._thread(service, rng, at)

    def _thread(self, service: str, rng: random.Random, at: datetime) -> None:
        who = rng.randrange(CUSTOMERS)
        write: Write | None = None
        for part in range(rng.randint(1, 5)):
            word = f"{service}{self.tickets}-{part}"
            by_agent, internal = part > 0 and rng.random() < 0.5, part > 0 and rng.random() < 0.2
            moment = at + timedelta(seconds=part // 2)
            if write is None:
                write = self._opened(service, who, word, moment)
            else:
                write(word, moment, by_agent or internal, internal)
            if internal:
                self.said.internal.add(word)
                continue
            self.said.by_customer[who].append(word)
            if by_agent:
                self.said.by_agents.add(word)

    def _opened(self, service: str, who: int, word: str, at: datetime) -> Write:
        person = self.people[service][who]
        if service == "z":
            asked = self.zendesk.ticket(person, word, at=at, files=[self.zendesk.file(f"{word}.txt", word.encode())])
            return lambda text, at, agent, internal: self.zendesk.comment(
                asked, self.zendesk.agent if agent else person, text, at=at, public=not internal
            )
        if service == "f":
            files = [self.freshdesk.file(f"{word}.txt", word.encode())]
            told = self.freshdesk.ticket(person, word, at=at, files=files)
            return lambda text, at, agent, internal: self.freshdesk.conversation(
                told, self.freshdesk.agent if agent else person, text, at=at, private=internal
            )
        made = self.zammad.ticket(person, word, at=at, files=[self.zammad.file(f"{word}.txt", word.encode())])
        return lambda text, at, agent, internal: self.zammad.article(
            made, text, at=at, sender="Agent" if agent else "Customer", internal=internal
        )

    def sources(self) -> str:
        return f"""
[sources.zendesk]
connector = "zendesk"
every = "500ms"
start = "all"
order_wait_seconds = "2s"
url = "{self.zendesk.url}"
email = "{zendesk_script.EMAIL}"
api_token = {{ env = "ZENDESK_TOKEN" }}
exports_per_minute = 100
requests_per_minute = 10000

[sources.freshdesk]
connector = "freshdesk"
every = "500ms"
start = "all"
order_wait_seconds = "2s"
url = "{self.freshdesk.url}"
api_key = {{ env = "FRESHDESK_KEY" }}
requests_per_minute = 10000

[sources.zammad]
connector = "zammad"
every = "500ms"
start = "all"
order_wait_seconds = "2s"
url = "{self.zammad.url}"
token = {{ env = "ZAMMAD_TOKEN" }}
"""


@pytest.fixture
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        made = (ScriptedZendesk(), ScriptedFreshdesk(), ScriptedZammad())
        for service in made:
            stack.enter_context(service)
        yield Site(*made)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def program_of(folder: Path, sandbox: Sandbox, site: Site) -> Program:
    program = write_config(folder, sandbox, site.sources())
    program.environ["ZENDESK_TOKEN"] = zendesk_script.TOKEN
    program.environ["FRESHDESK_KEY"] = freshdesk_script.API_KEY
    program.environ["ZAMMAD_TOKEN"] = zammad_script.TOKEN
    return program


def words(sandbox: Sandbox) -> dict[int, list[str]]:
    """What each customer's conversation holds, in its order."""
    held: dict[int, list[str]] = {}
    for conversation in sandbox.conversations():
        (address,) = conversation["emails"]
        number = int(address.removeprefix("c").partition("@")[0])
        assert number not in held, "one conversation for each customer, over all services"
        held[number] = [word for one in conversation["messages"] for word in WORD.findall(one["text"])[:1]]
    return held


def stored(sandbox: Sandbox, count: int) -> bool:
    return sandbox.stats()["messagesStored"] >= count


def assert_all_there(sandbox: Sandbox, site: Site) -> None:
    held = words(sandbox)
    assert {who: sorted(said) for who, said in held.items()} == {
        who: sorted(said) for who, said in site.said.by_customer.items()
    }
    for said in held.values():
        for service in "zfm":
            tickets = [word for word in said if word[0] == service]
            assert tickets == sorted(tickets, key=lambda word: [int(part) for part in word[1:].split("-")])
    shown = {word for said in held.values() for word in said}
    assert not shown & site.said.internal
    for conversation in sandbox.conversations():
        for one in conversation["messages"]:
            word = WORD.findall(one["text"])[0]
            assert (one["direction"] == "BUSINESS_TO_PARTICIPANT") == (word in site.said.by_agents), word


def test_three_helpdesks_arrive_once_in_one_conversation_for_each_customer(
    tmp_path: Path, sandbox: Sandbox, site: Site
) -> None:
    site.fill(TICKETS, seed=51)
    program = program_of(tmp_path, sandbox, site)
    daemon = program.daemon()
    daemon.wait_for(partial(stored, sandbox, site.said.count // 3), "a third is there")
    daemon.kill()
    program.sync()
    assert_all_there(sandbox, site)
    site.fill(3, seed=52)
    program.sync()
    assert_all_there(sandbox, site)
    files = [
        item
        for one in sandbox.messages()
        for item in as_list(at_path(one["content"], "basic.items"))
        if "file" in as_object(item)
    ]
    assert len(files) == site.tickets
    for service in (site.zendesk, site.freshdesk, site.zammad):
        assert {asked.method for asked in service.asked} == {"GET"}
    secrets = (zendesk_script.TOKEN, freshdesk_script.API_KEY, zammad_script.TOKEN)
    assert site.zendesk.files.leaks(*secrets) == site.freshdesk.files.leaks(*secrets) == []
    told = daemon.log() + (tmp_path / "config.toml").read_text()
    assert not any(secret in told for secret in secrets)


def test_what_an_operator_sees_of_them(tmp_path: Path, sandbox: Sandbox, site: Site) -> None:
    site.fill(2, seed=53)
    program = program_of(tmp_path, sandbox, site)
    listed = program.run("connector", "list").stdout
    assert listed
    for name in ("zendesk", "freshdesk", "zammad"):
        assert re.search(rf"{name}\b.*experimental", listed), listed
    site.zendesk.role = "agent"
    checked = program.run("check")
    assert checked.returncode != 0
    told = " ".join(checked.stdout.split())
    assert "the role of an administrator" in told
    assert "Tickets can be read." in told, "of the two others"
