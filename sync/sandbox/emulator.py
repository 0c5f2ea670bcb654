"""The emulated service as a whole, without any network: admit a request, perform it, remember it.

One lock guards everything, so that the server's thread and a test's thread can both use it. A request
goes through `admit` (who is it, may it, which faults does it meet), then `perform`, then `finish`;
the server does in between what the faults ask for.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from dataclasses import dataclass, field

from sync.sandbox import shapes
from sync.sandbox.calls import CALL_FUNCTIONS
from sync.sandbox.clock import Clock, SystemClock
from sync.sandbox.context import Context, Upload
from sync.sandbox.errors import Refusal
from sync.sandbox.faults import ACTIONS, CONNECTION_ACTIONS, HEAD_ACTIONS, MODIFIERS, Fault, Faults, Subject
from sync.sandbox.journal import BODY_BYTES, Entry, Journal
from sync.sandbox.limits import Access, Caller, Window, retry_after
from sync.sandbox.requests import Request, route
from sync.sandbox.schema import Problems
from sync.sandbox.settings import Switches
from sync.sandbox.store import JsonLines
from sync.sandbox.values import MICROSECONDS, JsonObject, as_object, as_text, dump_json
from sync.sandbox.webhooks import Webhooks
from sync.sandbox.world import World

BODY_ACTIONS = frozenset(ACTIONS) - CONNECTION_ACTIONS - HEAD_ACTIONS
TARGETS_KEPT = 10_000
_NO_SITE = frozenset({"oauth.token", "media.upload"})


@dataclass(slots=True)
class Reply:
    """An answer. `body` is already JSON."""

    status: int
    body: bytes = b""
    retry_after: str | None = None


@dataclass(slots=True)
class Visit:
    """One request on its way: what it is, whom it is from, and the faults it met."""

    request: Request
    entry: Entry
    call: str = ""
    path_id: str = ""
    caller: Caller = field(default_factory=lambda: Caller("", ""))
    refusal: Refusal | None = None
    modifiers: list[Fault] = field(default_factory=list)
    fault: Fault | None = None


class Emulator:
    """The service. `data` is an optional file in which it survives."""

    def __init__(self, *, clock: Clock | None = None, data: JsonLines | None = None) -> None:
        self.clock = clock or SystemClock()
        self.world = World(self.clock)
        self.access = Access()
        self.faults = Faults()
        self.journal = Journal()
        self.targets: deque[JsonObject] = deque(maxlen=TARGETS_KEPT)
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._windows: dict[str, Window] = {}
        self._uploads: dict[str, Upload] = {}
        self._late: list[tuple[int, int, Visit]] = []
        self._numbers = itertools.count(1)
        self._data = data
        if data is not None:
            data.replay(self.world.replay)
        self.webhooks = Webhooks()
        self.world.on_change = self._tell

    @property
    def switches(self) -> Switches:
        """The switches now."""
        return self.world.switches

    @switches.setter
    def switches(self, switches: Switches) -> None:
        self.world.switches = switches

    def close(self) -> None:
        """Close the data file."""
        with self.lock:
            if self._data is not None:
                self._data.close()

    # --- a request --------------------------------------------------------------------------------

    def meet_connection(self, number: int) -> Fault | None:
        """The fault which a connection meets when it is accepted."""
        del number
        with self.lock:
            if not self.faults.armed:
                return None
            return self._strike_one(Subject(), CONNECTION_ACTIONS)

    def meet_head(self, request: Request) -> Fault | None:
        """The fault which a request meets before its body is read."""
        with self.lock:
            if not self.faults.armed:
                return None
            try:
                call, _ = route(request.method, request.path)
            except Refusal:
                call = ""
            subject = Subject(
                call=call,
                method=request.method,
                path=request.path,
                site_id=request.headers.get("wix-site-id", ""),
                reused_connection=request.reused_connection,
            )
            fault = self._strike_one(subject, HEAD_ACTIONS)
            if fault:
                entry = self._open(request, call)
                entry.faults.append(fault.action)
                self.journal.close(entry, None, self.world.now)
            return fault

    def admit(self, request: Request) -> Visit:
        """Note the request; find out who sent it, whether it may pass, and which faults it meets."""
        with self.lock:
            self.settle()
            call, path_id, refusal = "", "", None
            try:
                call, path_id = route(request.method, request.path)
            except Refusal as problem:
                refusal = problem
            visit = Visit(request, self._open(request, call), call, path_id, refusal=refusal)
            if refusal is None:
                try:
                    self._pass(visit)
                except Refusal as problem:
                    visit.refusal = problem
                else:
                    self._meet(visit)
            return visit

    def perform(self, visit: Visit, at: int | None = None) -> Reply:
        """Do what was asked and word the answer."""
        with self.lock:
            try:
                if visit.refusal is not None:
                    raise visit.refusal
                body = self._call(visit, at)
            except Refusal as problem:
                visit.entry.code = problem.code
                content = problem.body()
                return Reply(problem.status, b"" if content is None else dump_json(content), problem.retry_after)
            finally:
                self.changed.notify_all()
            for fault in visit.modifiers:
                if fault.action == "rewrite":
                    _set_path(body, fault.field.split("."), fault.value)
            return Reply(200, dump_json(body))

    def perform_later(self, visit: Visit, seconds: float) -> None:
        """Perform it by itself when the time has come: nobody waits for the answer."""
        with self.lock:
            due = self.world.now + int(seconds * MICROSECONDS)
            heapq.heappush(self._late, (due, next(self._numbers), visit))

    def finish(self, visit: Visit, status: int | None) -> None:
        """Note how it ended: with a status, or without an answer."""
        with self.lock:
            self.journal.close(visit.entry, status, self.world.now)
            self.changed.notify_all()

    def settle(self, *, everything: bool = False) -> int:
        """Perform what was put off and is due by now (or all of it); how many that were."""
        count = 0
        with self.lock:
            while self._late and (everything or self._late[0][0] <= self.world.now):
                due, _, visit = heapq.heappop(self._late)
                self.perform(visit, at=min(due, self.world.now))
                count += 1
        return count

    @property
    def late(self) -> int:
        """How many requests are put off."""
        return len(self._late)

    def forget_late(self) -> None:
        """Drop what was put off."""
        self._late.clear()

    def reset_limits(self) -> None:
        """Start every window anew."""
        self._windows.clear()

    # --- inside -----------------------------------------------------------------------------------

    def _tell(self, record: JsonObject) -> None:
        if self._data is not None:
            self._data.append(record)
        self.webhooks.tell(record, self.world.now)

    def _open(self, request: Request, call: str) -> Entry:
        now = self.world.now
        number = self.journal.number + 1
        entry = Entry(
            number=number,
            at=now,
            method=request.method,
            path=request.path,
            call=call,
            connection=request.connection,
            request_id=f"{now // MICROSECONDS}.{now % MICROSECONDS:06d}{number:08d}",
        )
        if self.switches.record_bodies:
            entry.body = request.body[:BODY_BYTES].decode(errors="replace")
        return self.journal.open(entry)

    def _pass(self, visit: Visit) -> None:
        headers = visit.request.headers
        now = self.clock.now()
        if visit.call not in _NO_SITE:
            visit.caller = self.access.caller(
                headers.get("authorization", ""),
                headers.get("wix-site-id", ""),
                headers.get("wix-account-id", ""),
                now,
            )
            visit.entry.site_id = visit.caller.site_id
            limit = self.switches.requests_per_minute
            if limit is not None:
                window = self._windows.setdefault(visit.caller.site_id, Window())
                wait = window.wait_seconds(now, limit, self.switches.window_seconds)
                if wait:
                    self.journal.counts["limit:refused"] += 1
                    value = retry_after(wait) if self.switches.send_retry_after else None
                    raise Refusal(429, "RATE_LIMITED", "too many requests", retry_after=value)
                self.journal.counts["limit:allowed"] += 1

    def _meet(self, visit: Visit) -> None:
        if not self.faults.armed:
            return
        request = visit.request
        text, conversation = "", ""
        if self.faults.wants_text():
            conversation = visit.path_id if visit.call == "conversations.get" else ""
            try:
                body = request.json()
                text = dump_json(body).decode() + _texts(body)
                conversation = as_text(body.get("conversationId")) or conversation
            except Refusal:
                text = request.body.decode(errors="replace")
            if not conversation and "conversationId" in request.query:
                conversation = request.query.split("conversationId=")[-1].split("&")[0]
        subject = Subject(
            call=visit.call,
            method=request.method,
            path=request.path,
            site_id=visit.caller.site_id,
            conversation_id=conversation,
            text=text,
            reused_connection=request.reused_connection,
        )
        for fault in self.faults.strike(subject, BODY_ACTIONS):
            visit.entry.faults.append(fault.action)
            self.journal.counts[f"fault:{fault.action}"] += 1
            if fault.action in MODIFIERS:
                visit.modifiers.append(fault)
            else:
                visit.fault = fault

    def _strike_one(self, subject: Subject, among: frozenset[str]) -> Fault | None:
        met = self.faults.strike(subject, among)
        for fault in met:
            self.journal.counts[f"fault:{fault.action}"] += 1
        return met[0] if met else None

    def _call(self, visit: Visit, at: int | None) -> JsonObject:
        if visit.call == "oauth.token":
            return self._token(visit)
        forms: tuple[str, ...] = ()
        lag = 0.0
        for fault in visit.modifiers:
            if fault.action == "normalise":
                forms += fault.forms
            elif fault.action == "slow_list":
                lag += fault.seconds
        site_id = visit.caller.site_id or next(iter(self.world.sites))
        context = Context(
            world=self.world,
            site=self.world.site(site_id),
            caller=visit.caller,
            request=visit.request,
            path_id=visit.path_id,
            forms=forms,
            lag_seconds=lag,
            at=at,
            ids=visit.entry.ids,
            uploads=self._uploads,
        )
        body = CALL_FUNCTIONS[visit.call](context)
        self.targets.extend(context.targets)
        if visit.call == "messages.send":
            self.journal.counts["messages_stored"] += 1
        return body

    def _token(self, visit: Visit) -> JsonObject:
        problems = Problems()
        request = as_object(shapes.TOKEN.clean(visit.request.json(), "", problems))
        if problems.violations:
            raise Refusal(400, violations=problems.violations)
        token = self.access.issue(request, self.clock.now(), self.switches.token_seconds)
        self.journal.counts["tokens_issued"] += 1
        return token


def _texts(value: object) -> str:
    """All strings in a body, one below the other: what a fault's `text` is looked for in."""
    if isinstance(value, str):
        return "\n" + value
    if isinstance(value, dict):
        return "".join(_texts(each) for each in value.values())
    if isinstance(value, list):
        return "".join(_texts(each) for each in value)
    return ""


def _set_path(value: object, path: list[str], new: object) -> None:
    name, *rest = path
    if isinstance(value, list):
        for number, each in enumerate(value):
            if name in {"*", str(number)}:
                if rest:
                    _set_path(each, rest, new)
                else:
                    value[number] = new
    elif isinstance(value, dict):
        if rest:
            _set_path(value.get(name), rest, new)
        else:
            value[name] = new
