"""What the sandbox remembers of the requests it served: a bounded journal and counters."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from sync.sandbox.values import JsonObject, iso_time

JOURNAL_ENTRIES = 10_000
"""How many requests the journal keeps; older ones are forgotten."""
BODY_BYTES = 4_096
"""How much of a body the journal keeps when that is switched on."""


@dataclass(slots=True)
class Entry:
    """One request. `status` is None while it is on the way, and where no answer was given."""

    number: int
    at: int
    """Epoch microseconds."""
    method: str
    path: str
    call: str
    connection: int
    request_id: str
    site_id: str = ""
    status: int | None = None
    code: str = ""
    ids: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    finished: int | None = None
    body: str | None = None

    def as_json(self) -> JsonObject:
        """The entry as the admin API gives it."""
        result: JsonObject = {
            "number": self.number,
            "at": iso_time(self.at),
            "method": self.method,
            "path": self.path,
            "call": self.call,
            "connection": self.connection,
            "requestId": self.request_id,
            "siteId": self.site_id,
            "status": self.status,
            "code": self.code,
            "ids": self.ids,
            "faults": self.faults,
            "finishedAt": None if self.finished is None else iso_time(self.finished),
        }
        if self.body is not None:
            result["body"] = self.body
        return result


@dataclass(slots=True)
class Journal:
    """The last requests, and counts of everything since the start or the last reset."""

    entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=JOURNAL_ENTRIES))
    counts: Counter[str] = field(default_factory=Counter)
    number: int = 0

    def open(self, entry: Entry) -> Entry:
        """Write a new entry down at once, so that it is there even if the request never ends."""
        self.number = entry.number
        self.entries.append(entry)
        self.counts["requests"] += 1
        self.counts[f"call:{entry.call}"] += 1
        return entry

    def close(self, entry: Entry, status: int | None, at: int) -> None:
        """Note how it ended."""
        entry.status = status
        entry.finished = at
        self.counts[f"status:{'none' if status is None else status}"] += 1

    def by_prefix(self, prefix: str) -> Mapping[str, int]:
        """The counts under one heading, without its name."""
        return {key.removeprefix(prefix): count for key, count in sorted(self.counts.items()) if key.startswith(prefix)}
