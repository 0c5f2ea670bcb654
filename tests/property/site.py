"""The Inbox of the state machine: the sandbox's own emulator, on a network that lives in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TypeAlias
from uuid import UUID

import httpx

from sync.http import EVIDENCE_EXTENSION, Evidence, Phase
from sync.sandbox import Sandbox
from sync.sandbox.emulator import Reply, Visit
from sync.sandbox.faults import Fault
from sync.sandbox.requests import Request
from sync.sandbox.server import _refused
from tests.property.world import SiteClock, World

CONNECT_SECONDS = 0.002
LATENCY_SECONDS = 0.015
BASE_URL = "https://inbox.test"

Ending: TypeAlias = "Reply | Exception"
Notice: TypeAlias = Callable[[str], None]
"""Told of what happens to a request of one process: `written`, `stored`, `answered`."""


@dataclass
class Stored:
    """A message that came to be in the Inbox: when its request was written, and when it was stored."""

    written: float
    stored: float


@dataclass
class Site:
    """The server's side. `requests`: the moments at which requests came in."""

    world: World
    sandbox: Sandbox = field(init=False)
    requests: list[float] = field(default_factory=list)
    stored: dict[str, Stored] = field(default_factory=dict)
    ambiguous: Counter[str] = field(default_factory=Counter)
    unresolved: int = 0
    """How often a call for a contact or a conversation failed."""
    unreachable_until: float = 0.0

    def __post_init__(self) -> None:
        self.sandbox = Sandbox(clock=SiteClock(self.world))
        numbers = count(1)
        self.sandbox.emulator.world._make_id = lambda: str(UUID(int=next(numbers) + (4 << 76) + (2 << 62)))

    # ------------------------------------------------------------------ a request

    def arrive(self, request: Request, written: float, told: Notice, end: Callable[[Ending], None]) -> None:
        """A whole request has come in."""
        self.requests.append(self.world.now)
        emulator = self.sandbox.emulator
        visit = emulator.admit(request)
        delay = sum(one.seconds for one in visit.modifiers if one.action == "delay_before")
        if delay:
            self.world.after(delay, lambda: self._act(visit, written, told, end))
        else:
            self._act(visit, written, told, end)

    def _act(self, visit: Visit, written: float, told: Notice, end: Callable[[Ending], None]) -> None:
        fault = visit.fault
        if fault is None:
            end(self._perform(visit, written, told))
            return
        if visit.call == "messages.send" and fault.status != 429:
            self.ambiguous[fault.action] += 1
        elif not visit.call.startswith("messages."):
            self.unresolved += 1
        match fault.action:
            case "status":
                if fault.stored:
                    self._perform(visit, written, told)
                end(_refused(fault))
            case "late_commit":
                self.world.after(fault.seconds, lambda: self._perform(visit, written, told))
                end(_refused(fault) if fault.status else httpx.RemoteProtocolError("closed"))
            case "drop_after_store":
                self._perform(visit, written, told)
                end(httpx.RemoteProtocolError("closed"))
            case "drop_before_store":
                end(httpx.RemoteProtocolError("closed"))
            case "hang_after_store":
                self._perform(visit, written, told)
            case "hang_before_store":
                pass
            case _:
                raise AssertionError(f"no such fault here: {fault.action}")

    def _perform(self, visit: Visit, written: float, told: Notice) -> Reply:
        reply = self.sandbox.emulator.perform(visit)
        message_id = visit.entry.ids.get("message")
        if message_id is not None:
            self.stored[str(message_id)] = Stored(written, self.world.now)
            told("stored")
        return reply

    def arm(self, action: str, **conditions: object) -> None:
        """A fault of the sandbox, in virtual time. Lists lag by the last order only: lags would add up."""
        faults = self.sandbox.emulator.faults
        for old in [one.fault for one in faults.armed if one.fault.action == action == "slow_list"]:
            faults.remove(old.id)
        self.sandbox.emulator.faults.add(Fault.from_json({"action": action, **conditions}))


class Wire(httpx.AsyncBaseTransport):
    """One process's connections to the site. `told` may end the process: then nothing more happens in it."""

    def __init__(self, site: Site, told: Notice) -> None:
        self._site = site
        self._told = told

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        evidence: Evidence = request.extensions[EVIDENCE_EXTENSION]
        limits: dict[str, float] = request.extensions["timeout"]
        world = self._site.world
        evidence.phase = Phase.CONNECT
        await asyncio.sleep(CONNECT_SECONDS)
        if world.now < self._site.unreachable_until:
            raise httpx.ConnectError("refused") from ConnectionRefusedError()
        body = await request.aread()
        evidence.first_byte()
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Ending] = loop.create_future()
        asked = Request(
            method=request.method,
            path=request.url.path,
            query=request.url.query.decode(),
            headers={key.lower(): value for key, value in request.headers.items()},
            body=body,
            base_url=BASE_URL,
        )

        def answer(ending: Ending) -> None:
            world.after(LATENCY_SECONDS, lambda: self._deliver(loop, ended, ending))

        written = world.now
        world.after(LATENCY_SECONDS, lambda: self._site.arrive(asked, written, self._told, answer))
        self._told("written")
        evidence.phase = Phase.ANSWER
        try:
            async with asyncio.timeout(limits["read"]):
                ending = await ended
        except TimeoutError as error:
            raise httpx.ReadTimeout("no answer") from error
        if isinstance(ending, Exception):
            raise ending
        headers = {"content-type": "application/json", "x-wix-request-id": "r"}
        if ending.retry_after is not None:
            headers["retry-after"] = ending.retry_after
        return httpx.Response(ending.status, headers=headers, content=ending.body)

    def _deliver(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[Ending], ending: Ending) -> None:
        self._told("answered")
        if not loop.is_closed():
            loop.call_soon(lambda: None if ended.done() else ended.set_result(ending))
