"""The cursor of one folder, and what a changed UIDVALIDITY means. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sync.message import Json

from .uids import MAX_UID

DOUBT_PASSES = 2
"""So many passes a UIDVALIDITY or UIDNEXT that went down counts as a server's glitch (a replica behind, a backup mounted
for a moment) before it is believed: RFC 3501 §2.3.1.1 lets both only grow."""


def epoch_of(uidvalidity: int, turn: int) -> str:
    """A numbering's name in the ledger: the UIDVALIDITY, and which turn of it this is if the server started over."""
    return f"{uidvalidity}-{turn}" if turn else str(uidvalidity)


class Doubt(BaseModel):
    """A numbering that went backwards: the UIDVALIDITY that was seen with it, and in how many passes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    uidvalidity: int = Field(ge=0)
    passes: int = Field(ge=1)


class Bookmark(BaseModel):
    """Where to look next in a folder. `next` is the lowest UID that has not been listed yet: it follows what was
    listed, never what the server promised. `uidnext` and `messages` are what the server said at the last complete
    look; while it says the same, nothing is new. `first`: the first look is not finished, `since` still applies.
    `turn`: how often the server gave away its UIDs anew under the same UIDVALIDITY (a backup was played back)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    v: Literal[1] = 1
    uidvalidity: int = Field(ge=0)
    next: int = Field(1, ge=1, le=MAX_UID + 1)
    uidnext: int | None = None
    messages: int | None = None
    first: bool = False
    doubt: Doubt | None = None
    turn: int = Field(0, ge=0)

    @classmethod
    def read(cls, cursor: Json) -> Bookmark | None:
        """What `write` made, or None for anything else: then the folder is looked at as for the first time."""
        if not isinstance(cursor, dict):
            return None
        try:
            return cls.model_validate(cursor)
        except ValidationError:
            return None

    def write(self) -> Json:
        """As JSON, without what is at its default."""
        made: Json = {"v": 1, **self.model_dump(mode="json", exclude_defaults=True)}
        return made


@dataclass(frozen=True, slots=True)
class Look:
    """What STATUS or EXAMINE said about a folder. `uidvalidity` is 0 where the server gives none; `uidnext` and
    `messages` None where it does not say."""

    uidvalidity: int
    uidnext: int | None = None
    messages: int | None = None


class Verdict(Enum):
    """What to do with a folder after looking at its numbers."""

    NOTHING_NEW = "nothing_new"
    GO_ON = "go_on"
    FIRST = "first"
    """As for the first time: no bookmark, another numbering, or a bookmark from beyond the folder's end, which means
    that the UIDs in between will be given to other messages."""
    DOUBTFUL = "doubtful"
    """The numbering went backwards: wait whether it comes back."""


def judge(mark: Bookmark | None, look: Look, *, top: int | None = None) -> Verdict:
    """What the folder's numbers mean for the bookmark. `top` is the highest UID that exists, if it is known: a
    server's UIDNEXT alone is not trusted to prove a bookmark wrong."""
    if mark is None:
        return Verdict.FIRST
    if look.uidvalidity != mark.uidvalidity:
        return Verdict.FIRST if look.uidvalidity > mark.uidvalidity else _backwards(mark, look)
    if top is None:
        unchanged = look.uidnext is not None and (look.uidnext, look.messages) == (mark.uidnext, mark.messages)
        return Verdict.NOTHING_NEW if unchanged and not mark.first else Verdict.GO_ON
    beyond = look.uidnext is not None and mark.next > max(look.uidnext, top + 1)
    return _backwards(mark, look) if beyond else Verdict.GO_ON


def _backwards(mark: Bookmark, look: Look) -> Verdict:
    seen_before = mark.doubt.passes if mark.doubt and mark.doubt.uidvalidity == look.uidvalidity else 0
    return Verdict.FIRST if seen_before >= DOUBT_PASSES else Verdict.DOUBTFUL


def turn_after(mark: Bookmark | None, look: Look, verdict: Verdict) -> int:
    """The turn that the folder's UIDs are in after this look."""
    if mark is None or mark.uidvalidity != look.uidvalidity:
        return 0
    return mark.turn + 1 if verdict is Verdict.FIRST else mark.turn


def doubting(mark: Bookmark, look: Look) -> Bookmark:
    """The bookmark after one more pass with a numbering that went backwards."""
    passes = mark.doubt.passes if mark.doubt and mark.doubt.uidvalidity == look.uidvalidity else 0
    return mark.model_copy(update={"doubt": Doubt(uidvalidity=look.uidvalidity, passes=passes + 1)})
