"""Bookmarks in lists that go by time or by number (docs/design/0012-rest-kit.md).

Services commit late, index late and tie on seconds. So a list is asked for again from a little before the newest moment
seen, by the service's own clock, and the bookmark holds what was seen since: what did not change is not looked at twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from sync.message import Json

FUTURE_TOLERANCE = timedelta(days=1)
"""A bookmark further ahead of our clock than this was not written by a pass of this world: it is first sight."""
MAX_SEEN = 5_000
"""Things kept with a bookmark; where more changed within the overlap, the oldest are looked at again."""
OWED_TRIES = 5
"""Passes in which what failed alone is tried again, before it is left to the sweep."""


class _Mark(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1

    def dump(self) -> Json:
        """The bookmark as a cursor."""
        made: Json = self.model_dump(mode="json", exclude_defaults=True) | {"v": 1}
        return made


class TimeMark(_Mark):
    """A place in a list that goes by time of change. `at`: the newest moment seen; `seen`: what changed within the overlap
    before it, each with its moment; `owed`: what could not be loaded, with the number of tries; `partial`: the pass that
    wrote it did not come to the end of the list."""

    kind: Literal["time"] = "time"
    at: AwareDatetime | None = None
    seen: dict[str, AwareDatetime] = Field(default_factory=dict)
    owed: dict[str, int] = Field(default_factory=dict)
    partial: bool = False

    @classmethod
    def read(cls, cursor: Json, now: datetime) -> TimeMark:
        """The bookmark in a cursor; a fresh one for what this version cannot read, and for one from the future."""
        try:
            mark = cls.model_validate(cursor if isinstance(cursor, dict) and cursor.get("kind") == "time" else {})
        except ValidationError:
            return cls()
        return cls() if mark.at is not None and mark.at > now + FUTURE_TOLERANCE else mark

    def dump(self) -> Json:
        """The bookmark as a cursor."""
        made: Json = self.model_dump(mode="json", exclude_defaults=True) | {"v": 1, "kind": "time"}
        return made

    def look_from(self, overlap: timedelta, horizon: datetime | None = None) -> datetime | None:
        """From when to ask the list, inclusively: the overlap before the newest moment seen, or `horizon` at first sight.
        A pass that was not finished is gone on with where it stopped, or a list longer than one pass would never end."""
        if self.at is None:
            return horizon
        return (self.at if self.partial else self.at - overlap).astimezone(UTC)

    def under_way(self, *, partial: bool) -> TimeMark:
        """The bookmark in the middle of a list, or at its end."""
        return self if self.partial == partial else self.model_copy(update={"partial": partial})

    def is_new(self, key: str, stamp: datetime) -> bool:
        """Whether this was not seen with this time of change."""
        return self.seen.get(key) != stamp

    def plus(self, rows: Iterable[tuple[str, datetime]], overlap: timedelta) -> TimeMark:
        """The bookmark after these rows, each with its time of change by the service's clock. Never goes back."""
        seen = {**self.seen, **dict(rows)}
        at = max([*seen.values(), *([self.at] if self.at is not None else [])], default=None)
        if at is None:
            return self
        kept = sorted(((stamp, key) for key, stamp in seen.items() if stamp >= at - overlap), reverse=True)[:MAX_SEEN]
        return self.model_copy(update={"at": at, "seen": {key: stamp for stamp, key in kept}})

    def reached(self, stamp: datetime) -> TimeMark:
        """The bookmark after something that changed at this moment, and is to be looked at again. Never goes back."""
        return self if self.at is not None and self.at >= stamp else self.model_copy(update={"at": stamp})

    def owing(self, key: str) -> TimeMark:
        """This one could not be loaded, and is tried again in the next passes."""
        tries = self.owed.get(key, 0) + 1
        rest = {name: count for name, count in self.owed.items() if name != key}
        return self.model_copy(update={"owed": rest if tries > OWED_TRIES else {**rest, key: tries}})

    def paid(self, key: str) -> TimeMark:
        """This one is settled."""
        if key not in self.owed:
            return self
        return self.model_copy(update={"owed": {name: count for name, count in self.owed.items() if name != key}})


class IdMark(_Mark):
    """A place in a list that goes by ids that grow. Ids are given before they are committed, so a lower one may show up
    after a higher one: lists are asked for again from `overlap` ids before the top."""

    kind: Literal["id"] = "id"
    top: int = Field(0, ge=0)

    @classmethod
    def read(cls, cursor: Json) -> IdMark:
        """The bookmark in a cursor; a fresh one for what this version cannot read."""
        try:
            return cls.model_validate(cursor if isinstance(cursor, dict) and cursor.get("kind") == "id" else {})
        except ValidationError:
            return cls()

    def dump(self) -> Json:
        """The bookmark as a cursor."""
        return {"v": 1, "kind": "id", "top": self.top}

    def look_after(self, overlap: int) -> int:
        """Ask for ids above this one."""
        return max(0, self.top - overlap)

    def plus(self, ids: Iterable[int]) -> IdMark:
        """The bookmark after these ids. Never goes back."""
        return IdMark(top=max([self.top, *ids]))

    def capped(self, top: int) -> IdMark:
        """The bookmark where the service's highest id is `top`: one from beyond it is from the future, and first sight."""
        return IdMark() if self.top > top else self
