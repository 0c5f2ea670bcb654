"""Faults on order: which requests they meet, how often, and what then happens. Pure: the server acts."""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from sync.sandbox.errors import SandboxError, explained
from sync.sandbox.texts import FORMS
from sync.sandbox.values import JsonObject

MAX_SECONDS = 600.0
"""Longest time a fault may hold a request or put something off."""

ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "drop_before_store": "nothing is stored, the connection is closed without an answer",
        "drop_after_store": "stored, then the connection is closed without an answer",
        "reset_before_store": "nothing is stored, the connection is reset (RST)",
        "reset_after_store": "stored, then the connection is reset (RST)",
        "hang_before_store": "nothing is stored, no answer for `seconds`, then closed",
        "hang_after_store": "stored, no answer for `seconds`, then closed",
        "early_close": "closed when the head of the request has been read, before its body",
        "early_reset": "reset when the head of the request has been read, before its body",
        "late_commit": "stored `seconds` later; the client gets `status`, or `hang_seconds` of silence, "
        "or (neither given) a closed connection at once",
        "status": "answered with `status`, `code`, `retry_after`; stored only if `stored`",
        "truncate": "stored, the answer breaks off in its body (`part`: headers or body), then closed",
        "garbage": "answered 200 with something that is not JSON; stored only if `stored`",
        "close_after": "answered properly, then the connection is closed without being announced",
        "accept_close": "the connection is closed as soon as it is accepted (matches connections)",
        "accept_reset": "the connection is reset as soon as it is accepted (matches connections)",
        "delay": "handled at once, answered `seconds` later",
        "delay_before": "handled and answered `seconds` later (dropped if the client is gone by then)",
        "slow_list": "stored and answered, but lists and queries show it only `seconds` later",
        "normalise": "the texts are changed by `forms` before storing",
        "rewrite": "the field at `field` of the answer reads `value` (an unknown enum value by default)",
    }
)
CONNECTION_ACTIONS = frozenset({"accept_close", "accept_reset"})
HEAD_ACTIONS = frozenset({"early_close", "early_reset"})
MODIFIERS = frozenset({"delay", "delay_before", "slow_list", "normalise", "rewrite"})
"""These go together with each other and with one of the rest."""
NEEDS_SECONDS = frozenset(
    {"hang_before_store", "hang_after_store", "late_commit", "delay", "delay_before", "slow_list"}
)


class Fault(BaseModel, frozen=True, extra="forbid"):
    """A rule: what it meets (all given conditions), how often, and what it does.

    `call` names a call (`messages.send`, `contacts.*`), `path` is a pattern for the path, `text` a piece
    of any string in the request's body. Of the requests that match, the first `skip` pass, then `times`
    are met (None: all), each with `probability`, drawn with `seed`.
    """

    action: str
    call: str | None = None
    method: str | None = None
    path: str | None = None
    site_id: str | None = None
    conversation_id: str | None = None
    text: str | None = None
    reused_connection: bool | None = None
    skip: int = Field(default=0, ge=0)
    times: int | None = Field(default=1, ge=1)
    probability: float = Field(default=1.0, ge=0, le=1)
    seed: int = 0
    seconds: float = Field(default=0.0, ge=0, le=MAX_SECONDS)
    status: int | None = Field(default=None, ge=200, le=599)
    code: str | None = None
    retry_after: str | None = Field(default=None, coerce_numbers_to_str=True)
    stored: bool = False
    hang_seconds: float = Field(default=0.0, ge=0, le=MAX_SECONDS)
    part: Literal["headers", "body"] = "body"
    forms: tuple[str, ...] = ("collapse",)
    field: str = "message.visibility"
    value: object = "A_VALUE_OF_THE_FUTURE"
    id: str = Field(default_factory=lambda: uuid.uuid4().hex[:12])

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.action not in ACTIONS:
            raise ValueError(f"unknown action {self.action!r}; known: {', '.join(ACTIONS)}")
        if self.action in NEEDS_SECONDS and self.seconds == 0:
            raise ValueError(f"{self.action} needs seconds")
        if self.action == "status" and self.status is None:
            raise ValueError("status needs a status")
        if unknown := sorted(set(self.forms) - set(FORMS)):
            raise ValueError(f"unknown forms {', '.join(unknown)}; known: {', '.join(FORMS)}")
        return self

    @classmethod
    def from_json(cls, given: Mapping[str, object]) -> Fault:
        """A fault from the admin API; raises `SandboxError` for a name or a value that does not fit."""
        try:
            return cls.model_validate(given)
        except ValidationError as problem:
            raise SandboxError(f"fault: {explained(problem)}") from problem

    def as_json(self) -> JsonObject:
        """The action, and what differs from the defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a fault can look at: a request, or (with an empty method) a connection being accepted."""

    call: str = ""
    method: str = ""
    path: str = ""
    site_id: str = ""
    conversation_id: str = ""
    text: str = ""
    reused_connection: bool = False


@dataclass(slots=True)
class _Armed:
    fault: Fault
    chance: random.Random
    matched: int = 0
    fired: int = 0

    @property
    def used_up(self) -> bool:
        """Whether it fired as often as it should."""
        return self.fault.times is not None and self.fired >= self.fault.times


@dataclass(slots=True)
class Faults:
    """All armed faults in the order in which they were given."""

    armed: list[_Armed] = field(default_factory=list)

    def add(self, fault: Fault) -> str:
        """Arm a fault and return its id."""
        self.armed.append(_Armed(fault, random.Random(fault.seed)))  # noqa: S311  repeatable on purpose
        return fault.id

    def remove(self, fault_id: str | None = None) -> int:
        """Disarm one fault, or all; how many there were."""
        before = len(self.armed)
        self.armed = [each for each in self.armed if fault_id is not None and each.fault.id != fault_id]
        return before - len(self.armed)

    def wants_text(self) -> bool:
        """Whether a fault looks into bodies: reading them costs time."""
        return any((each.fault.text or each.fault.conversation_id) and not each.used_up for each in self.armed)

    def strike(self, subject: Subject, among: frozenset[str]) -> list[Fault]:
        """The faults which this request meets: modifiers in order, and at most one of the others."""
        met: list[Fault] = []
        terminal = False
        for each in self.armed:
            fault = each.fault
            if fault.action not in among or (terminal and fault.action not in MODIFIERS):
                continue
            if each.used_up or not _matches(fault, subject):
                continue
            each.matched += 1
            if each.matched <= fault.skip or each.chance.random() >= fault.probability:
                continue
            each.fired += 1
            met.append(fault)
            terminal = terminal or fault.action not in MODIFIERS
        return met

    def as_json(self) -> list[object]:
        """Every armed fault with how often it matched and fired."""
        return [
            {**each.fault.as_json(), "id": each.fault.id, "matched": each.matched, "fired": each.fired}
            for each in self.armed
        ]


def _matches(fault: Fault, subject: Subject) -> bool:
    return (
        (fault.call is None or fnmatchcase(subject.call, fault.call))
        and (fault.method is None or fault.method.upper() == subject.method)
        and (fault.path is None or fnmatchcase(subject.path, fault.path))
        and (fault.site_id is None or fault.site_id == subject.site_id)
        and (fault.conversation_id is None or fault.conversation_id == subject.conversation_id)
        and (fault.text is None or fault.text in subject.text)
        and (fault.reused_connection is None or fault.reused_connection == subject.reused_connection)
    )
