"""What is done in one go on a connection: look for new UIDs, list their headers, load their content. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sync.mail import MailFiles, recognise, understand_with_files
from sync.message import Content, Found, Gone

from .answers import Fetched, search_date
from .apart import Apart
from .bookmark import Bookmark, Look, Verdict, judge
from .faults import is_busy
from .folders import Folder
from .uids import UidRanges, uid_set
from .wire import Refused, Wire

SINCE_MARGIN = timedelta(days=1)
"""SEARCH compares dates without time and zone (RFC 3501 §6.4.4): a day of margin, the exact test comes after."""
MAX_HEADER_BYTES = 64 * 1024
"""Of the four headers of one message; more than that is no header."""
FETCH_BYTES = 8 * 1024 * 1024
"""Content asked for in one command, unless a single message is larger."""
OVERSIZE_READ_BYTES = 256 * 1024
"""How much of a message over the size limit is read: its headers and the start of its text."""

_LIST_ITEMS = "UID INTERNALDATE RFC822.SIZE"
_FOUR_HEADERS = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)]"


def _forget(_uid: int, _files: MailFiles) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Listing:
    """What a look at a folder gave: the numbers, what they mean, and which UIDs are to be listed, up to `top`."""

    verdict: Verdict
    look: Look
    top: int = 0
    uids: UidRanges = UidRanges()  # noqa: RUF009  an empty set, never added to
    before_horizon: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """Content by UID; `refused` are those the server would not give although it lists them."""

    contents: dict[str, Content]
    refused: tuple[int, ...] = ()


def look_for_new(wire: Wire, folder: Folder, mark: Bookmark | None, since: datetime | None, *, full: bool) -> Listing:
    """Which UIDs have not been listed yet. One round trip when the server's numbers say that nothing changed; `full`
    does not believe them."""
    if mark is not None and not mark.first and not full:
        seen = wire.status(folder.wire)
        verdict = judge(mark, seen)
        if verdict in {Verdict.NOTHING_NEW, Verdict.DOUBTFUL}:
            return Listing(verdict, seen)
    seen = wire.examine(folder.wire)
    later = (
        None if mark is None or mark.first or mark.uidvalidity != seen.uidvalidity else _later(wire, seen, mark.next)
    )
    top = later.highest if later else _top(wire, seen)
    verdict = judge(mark, seen, top=top)
    if verdict is Verdict.DOUBTFUL:
        return Listing(verdict, seen)
    start = 1 if mark is None or verdict is Verdict.FIRST else mark.next
    first = mark is None or verdict is Verdict.FIRST or mark.first
    if top < start:
        return Listing(verdict, seen, top)
    if later and not first:
        return Listing(verdict, seen, top, later.within(start, top))
    if not first or since is None:
        return Listing(verdict, seen, top, wire.search(f"UID {start}:{top}").within(start, top))
    matching = _search_since(wire, top, since)
    left_out = max(0, (seen.messages or 0) - len(matching))
    return Listing(verdict, seen, top, matching.within(start, top), left_out)


def _later(wire: Wire, seen: Look, start: int) -> UidRanges | None:
    """The UIDs from `start` on or, where there are none, the highest one of all, which `*` stands for whichever side it is
    on (RFC 3501 §6.4.8). None when the server does not say it so."""
    if seen.messages == 0:
        return None
    try:
        return wire.search(f"UID {start}:*")
    except Refused as refused:
        if is_busy(refused.text):
            raise
        return None


def _top(wire: Wire, seen: Look) -> int:
    if seen.messages == 0:
        return 0
    try:
        return wire.highest_uid()
    except Refused as refused:
        if is_busy(refused.text) or seen.uidnext is None:
            raise
        return seen.uidnext - 1


def _search_since(wire: Wire, top: int, since: datetime) -> UidRanges:
    day = search_date((since - SINCE_MARGIN).date())
    try:
        return wire.search(f"UID 1:{top} OR SINCE {day} SENTSINCE {day}").within(1, top)
    except Refused as refused:
        if is_busy(refused.text):
            raise
        return wire.search(f"UID 1:{top} SINCE {day}").within(1, top)


def enter(wire: Wire, folder: Folder, epoch: str) -> bool:
    """Has the folder open under this numbering; False when it is numbered anew, as far as its UIDVALIDITY tells."""
    if wire.selected != folder.wire or wire.opened is None:
        wire.examine(folder.wire)
    return wire.opened is not None and str(wire.opened.uidvalidity) == epoch.partition("-")[0]


def list_headers(wire: Wire, uids: Sequence[int], looked_at: datetime) -> list[Found]:
    """These UIDs of the open folder as Found, in order of arrival. One that is listed but not shown to us comes
    without headers, so that the core counts the tries; one that is gone meanwhile does not come."""
    shown = {fetched.uid: fetched for fetched in _fetch_headers(wire, uids)}
    found = [_found(shown[uid], looked_at) for uid in uids if uid in shown]
    missing = [uid for uid in uids if uid not in shown]
    found += [Found(str(uid), looked_at) for uid in _still_listed(wire, missing)]
    return sorted(found, key=lambda one: (one.arrived_at, int(one.external_id)))


def _fetch_headers(wire: Wire, uids: Sequence[int]) -> list[Fetched]:
    items = f"{_LIST_ITEMS} {_FOUR_HEADERS}<0.{MAX_HEADER_BYTES}>"
    try:
        shown = wire.fetch(uid_set(uids), items)
    except Refused as refused:
        if is_busy(refused.text):
            raise
        first_refusal = refused
    else:
        return [one if _has_headers(one) else _asked_alone(wire, one) for one in shown]
    shown = []
    refusals = 0
    for uid in uids:
        try:
            shown += wire.fetch(str(uid), f"{_LIST_ITEMS} {_FOUR_HEADERS}")
        except Refused as refused:
            if is_busy(refused.text):
                raise
            refusals += 1
    if refusals == len(uids) > 1:
        raise first_refusal
    return shown


def _has_headers(fetched: Fetched) -> bool:
    return bool((fetched.header() or b"").strip())


def _asked_alone(wire: Wire, bare: Fetched) -> Fetched:
    """A message that came without any of its headers, asked for again by itself and without a limit: there are servers
    that mix up what they send of several. Taken for what it is if that changes nothing."""
    try:
        again = wire.fetch(str(bare.uid), f"{_LIST_ITEMS} {_FOUR_HEADERS}")
    except Refused as refused:
        if is_busy(refused.text):
            raise
        return bare
    return next((one for one in again if one.uid == bare.uid), bare)


def _found(fetched: Fetched, looked_at: datetime) -> Found:
    mail = recognise(fetched.header() or b"")
    return Found(
        external_id=str(fetched.uid),
        arrived_at=fetched.arrived_at or mail.written_at or looked_at,
        written_at=mail.written_at,
        size=fetched.size,
        fingerprint=mail.fingerprint if _has_headers(fetched) else None,  # nothing is no proof of being the same
    )


def _still_listed(wire: Wire, uids: Sequence[int]) -> list[int]:
    if not uids:
        return []
    wanted = set(uids)
    return [uid for uid in wire.search(f"UID {uid_set(uids)}") if uid in wanted]


def load_contents(
    wire: Wire,
    uids: Sequence[int],
    listed_sizes: Mapping[int, int],
    limit_bytes: int,
    *,
    careful: bool,
    apart: Apart,
    keep: Callable[[int, MailFiles], None] = _forget,
) -> Loaded:
    """The content of these UIDs of the open folder, in commands bounded by count (the caller's) and bytes. What is not
    among the `listed_sizes` is asked for its size first. `careful` asks for every mail only up to the limit, for servers
    whose sizes turned out wrong. `apart` loads large ones by their parts. `keep` is given the files of mails that came
    whole."""
    sizes: dict[int, int | None] = {uid: listed_sizes[uid] for uid in uids if uid in listed_sizes}
    if others := [uid for uid in uids if uid not in sizes]:
        sizes |= {one.uid: one.size for one in wire.fetch(uid_set(others), "UID RFC822.SIZE")}
    contents: dict[str, Content] = {}
    refused: list[int] = []
    for uid, size in sizes.items():
        if apart.wants(wire.selected, uid, size) and (message := apart.load(wire, uid, size, limit_bytes)) is not None:
            contents[str(uid)] = message
    for group in _groups({uid: size for uid, size in sizes.items() if str(uid) not in contents}, limit_bytes):
        for uid, raw, whole in _load(wire, group, sizes, limit_bytes, careful=careful, refused=refused):
            full_size = None if whole else max(sizes[uid] or 0, limit_bytes + 1)
            understood = understand_with_files(raw, limit_bytes=limit_bytes, full_size=full_size)
            contents[str(uid)] = understood.content
            if understood.files is not None:
                keep(uid, understood.files)
    if len(refused) == len(uids) > 1:
        raise Refused("FETCH", "NO", "every message asked for is refused")
    missing = [uid for uid in uids if str(uid) not in contents and uid not in refused]
    listed = set(_still_listed(wire, missing))
    for uid in missing:
        if uid not in listed:
            contents[str(uid)] = Gone("it is no longer in the folder")
    return Loaded(contents, (*refused, *sorted(listed)))


def _groups(sizes: dict[int, int | None], limit_bytes: int) -> Iterator[list[int]]:
    group: list[int] = []
    total = 0
    for uid in sorted(sizes):
        size = sizes[uid]
        weight = min(size if size is not None else FETCH_BYTES, limit_bytes)
        if group and total + weight > FETCH_BYTES:
            yield group
            group, total = [], 0
        group.append(uid)
        total += weight
    if group:
        yield group


def _load(
    wire: Wire,
    group: Sequence[int],
    sizes: dict[int, int | None],
    limit_bytes: int,
    *,
    careful: bool,
    refused: list[int],
) -> Iterator[tuple[int, bytes, bool]]:
    """(UID, octets, whether these are all) of one group; what the server refuses goes to `refused`."""
    large = [uid for uid in group if (sizes[uid] or 0) > limit_bytes]
    normal = [uid for uid in group if uid not in large]
    some_bytes = min(OVERSIZE_READ_BYTES, limit_bytes)
    item = f"BODY.PEEK[]<0.{limit_bytes + 1}>" if careful else "BODY.PEEK[]"
    for uids, asked in ((normal, item), *(([uid], f"BODY.PEEK[]<0.{some_bytes}>") for uid in large)):
        for fetched in _fetch_each(wire, uids, asked, limit_bytes, refused):
            raw = fetched.whole()
            if (
                raw is not None and fetched.uid in sizes and (raw or not sizes[fetched.uid])
            ):  # nothing: expunged meanwhile
                whole = fetched.uid not in large and len(raw) <= limit_bytes
                yield fetched.uid, raw if whole else raw[:some_bytes], whole


def _fetch_each(wire: Wire, uids: Sequence[int], item: str, limit_bytes: int, refused: list[int]) -> list[Fetched]:
    if not uids:
        return []
    literal_limit_bytes = limit_bytes + FETCH_BYTES
    try:
        return wire.fetch(uid_set(uids), f"UID {item}", literal_limit_bytes=literal_limit_bytes)
    except Refused as refusal:
        if is_busy(refusal.text):
            raise
        if len(uids) == 1:
            refused.append(uids[0])
            return []
    return [one for uid in uids for one in _fetch_each(wire, [uid], item, limit_bytes, refused)]
