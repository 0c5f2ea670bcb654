"""`inbox-sync`, stopped at a named point: the program itself knows nothing of it.

    python -m tests.crash.program POINT kill|exception|freeze PROOF -- --config FILE run

The functions around the point are wrapped before the program starts. When the point is passed for the `at`-th time, a
line is written to the file PROOF, and once the process is killed (kill -9), or an exception is raised that nobody
expects, or the process is stopped (SIGSTOP) until it is told to go on.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import sync.deliver
import sync.inbox.contacts
import sync.inbox.conversations
import sync.inbox.messages
from sync.book import Book
from sync.cli import main
from sync.delivery import Accepted, Intent, Settled
from sync.group import Group
from sync.http import exchange
from sync.http.wire import WireTransport
from sync.inbox import InboxClient
from sync.ledger.backfills import Backfills
from sync.ledger.commit import Commit
from sync.ledger.deliveries import Deliveries
from sync.ledger.messages import Messages
from sync.poll import Poller
from tests.crash.points import BY_NAME, FREEZE, KILL, Point

TOGETHER = 2
"""Intents that are made to come at the same time, so that they make a group."""


class Crash(RuntimeError):
    """What nobody expects."""


class Stop:
    """Stops the process when it has been passed often enough."""

    def __init__(self, point: Point, mode: str, proof: Path) -> None:
        self._point = point
        self._mode = mode
        self._proof = proof
        self._passed = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self._passed += 1
            if self._passed != self._point.at:
                return
            self._proof.write_text(f"{self._point.name} {self._mode}\n")
        if self._mode == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._mode == FREEZE:
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        raise Crash(self._point.what)


Call = Callable[..., object]
Condition = Callable[..., bool]


def always(*_args: object, **_kwargs: object) -> bool:
    return True


def wrap(owner: object, name: str, *, before: Stop | None = None, after: Stop | None = None, when: Condition) -> None:
    """Puts a stop before or after a function, for the calls whose arguments `when` accepts."""
    original: Call = getattr(owner, name)

    def passing(stop: Stop | None, *args: object, **kwargs: object) -> None:
        if stop is not None and when(*args, **kwargs):
            stop()

    @functools.wraps(original)
    def wrapped(*args: object, **kwargs: object) -> object:
        passing(before, *args, **kwargs)
        result = original(*args, **kwargs)
        passing(after, *args, **kwargs)
        return result

    @functools.wraps(original)
    async def wrapped_async(*args: object, **kwargs: object) -> object:
        passing(before, *args, **kwargs)
        result = original(*args, **kwargs)
        assert inspect.isawaitable(result)
        awaited: object = await result
        passing(after, *args, **kwargs)
        return awaited

    setattr(owner, name, wrapped_async if inspect.iscoroutinefunction(original) else wrapped)


# ------------------------------------------------------------------ which calls are meant


def has_found_something(
    _self: object, _source: object, _stream: object, _row: object, _ctx: object, batch: object, *_rest: object
) -> bool:
    return bool(getattr(batch, "found", ()))


def records_something(_self: object, _view: object, seen: Sequence[object], *_rest: object, **_more: object) -> bool:
    return bool(seen)


def stores_something(_self: object, verdicts: Sequence[object], *_rest: object) -> bool:
    return bool(verdicts)


def is_a_send(evidence: exchange.Evidence) -> bool:
    return evidence._may_write is not exchange._always


def posts_a_message(_transport: object, request: object) -> bool:
    url = getattr(request, "url", None)
    return getattr(request, "method", "") == "POST" and str(getattr(url, "path", "")).endswith(sync.inbox.messages.PATH)


def several_intents_in(_self: object, changes: Sequence[object], **_kwargs: object) -> bool:
    return sum(isinstance(one, Intent) for one in changes) >= TOGETHER


def several_intents(_self: object, _lease: object, changes: Sequence[object], _now: object) -> bool:
    return several_intents_in(None, changes)


def an_intent(_self: object, _lease: object, changes: Sequence[object], _now: object) -> bool:
    return any(isinstance(one, Intent) for one in changes)


def an_answer(_self: object, _lease: object, changes: Sequence[object], _now: object) -> bool:
    return any(isinstance(one, Accepted) and not one.read_back for one in changes)


def an_adoption(_self: object, _lease: object, changes: Sequence[object], _now: object) -> bool:
    return any(isinstance(one, Accepted) and one.read_back for one in changes)


def a_resend(_self: object, _lease: object, changes: Sequence[object], _now: object) -> bool:
    return any(isinstance(one, Settled) and not one.hold for one in changes)


def intents_come_together() -> None:
    """The first intents wait for one another, so that they are asked for in one turn of the loop."""
    ask = Group.ask
    arrived: list[object] = []
    complete = asyncio.Event()

    async def ask_together(self: Group[object, object], item: object) -> object:
        if isinstance(item, Intent) and not complete.is_set():
            arrived.append(item)
            if len(arrived) >= TOGETHER:
                complete.set()
            await complete.wait()
        return await ask(self, item)

    setattr(Group, "ask", ask_together)  # noqa: B010  its type is narrower


def install(point: Point, stop: Stop) -> None:  # noqa: C901  a table
    """Wraps what is around the point."""
    if point.name.startswith("intents_"):
        intents_come_together()
    match point.name:
        case "listed":
            wrap(Poller, "_take", before=stop, when=has_found_something)
        case "recorded":
            wrap(Messages, "record", after=stop, when=records_something)
        case "fetched_later":
            wrap(Messages, "load_contents", before=stop, when=stores_something)
        case "contact_created":
            wrap(sync.inbox.contacts, "_create", after=stop, when=always)
        case "conversation_opened":
            wrap(sync.inbox.conversations, "get_or_create", after=stop, when=always)
        case "uploaded":
            wrap(InboxClient, "upload", after=stop, when=always)
        case "upload_remembered":
            wrap(Book, "remember", after=stop, when=always)
        case "intents_none":
            wrap(Commit, "run", after=stop, when=several_intents_in)
        case "intents_some":
            sync.deliver.GROUP_ROWS = 1
            wrap(Deliveries, "commit", before=stop, when=an_intent)
        case "intents_all":
            wrap(Deliveries, "commit", after=stop, when=several_intents)
        case "before_first_byte":
            wrap(exchange.Evidence, "first_byte", before=stop, when=is_a_send)
        case "nothing_received":
            wrap(exchange.Evidence, "first_byte", after=stop, when=is_a_send)
        case "answer_lost":
            wrap(WireTransport, "handle_async_request", after=stop, when=posts_a_message)
        case "answered":
            wrap(Deliveries, "commit", before=stop, when=an_answer)
        case "result_committed":
            wrap(Deliveries, "commit", after=stop, when=an_answer)
        case "reading_back":
            wrap(sync.inbox.messages, "_page", after=stop, when=always)
        case "found_by_reading_back":
            wrap(Deliveries, "commit", before=stop, when=an_adoption)
        case "settled":
            wrap(Deliveries, "commit", after=stop, when=a_resend)
        case "bringing":
            wrap(Backfills, "bring", before=stop, when=always)
        case "migrating":
            import alembic.op  # noqa: PLC0415  nothing else needs it

            wrap(alembic.op, "create_table", after=stop, when=always)
        case _:
            raise ValueError(f"no such point: {point.name}")


def run(arguments: Sequence[str]) -> None:
    """The whole of it; ends the process."""
    name, mode, proof, separator, *typed = arguments
    assert separator == "--"
    point = BY_NAME[name]
    install(point, Stop(point, mode, Path(proof)))
    main(list(typed))


if __name__ == "__main__":
    run(sys.argv[1:])
