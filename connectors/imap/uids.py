"""Sets of UIDs as ranges: half a million of them take no memory to speak of when they are consecutive."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

MAX_UID = 0xFFFF_FFFF
"""UIDs are unsigned 32-bit numbers above zero (RFC 3501 §2.3.1.1)."""


class UidRanges:
    """An ascending set of UIDs, kept as the first and last UID of each run: 16 bytes a run at worst."""

    __slots__ = ("_first", "_last")

    def __init__(self, uids: Iterable[int] = ()) -> None:
        self._first = array("Q")
        self._last = array("Q")
        for uid in uids:
            self._add(uid, uid)

    @classmethod
    def of_ranges(cls, ranges: Iterable[tuple[int, int]]) -> UidRanges:
        """The set of these inclusive ranges, which may come unsorted or overlap."""
        made = cls()
        for one, other in ranges:
            made._add(min(one, other), max(one, other))
        return made

    def _add(self, first: int, last: int) -> None:
        if self._last and first <= self._last[-1]:
            self._insert(first, last)
        elif self._last and first == self._last[-1] + 1:
            self._last[-1] = last
        else:
            self._first.append(first)
            self._last.append(last)

    def _insert(self, first: int, last: int) -> None:
        """The rare way, for servers that do not answer in order."""
        ranges = sorted([*zip(self._first, self._last, strict=True), (first, last)])
        self._first, self._last = array("Q"), array("Q")
        for start, end in ranges:
            if self._last and start <= self._last[-1] + 1:
                self._last[-1] = max(self._last[-1], end)
            else:
                self._first.append(start)
                self._last.append(end)

    @property
    def highest(self) -> int:
        """The highest one, 0 when there is none."""
        return self._last[-1] if self._last else 0

    def within(self, lowest: int, highest: int) -> UidRanges:
        """Those between two UIDs, both included."""
        return UidRanges.of_ranges(
            (max(first, lowest), min(last, highest))
            for first, last in zip(self._first, self._last, strict=True)
            if last >= lowest and first <= highest
        )

    def __iter__(self) -> Iterator[int]:
        for first, last in zip(self._first, self._last, strict=True):
            yield from range(first, last + 1)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in zip(self._first, self._last, strict=True))

    def __bool__(self) -> bool:
        return bool(self._first)

    def slices(self, size: int) -> Iterator[list[int]]:
        """The UIDs in lists of at most `size`."""
        everything = iter(self)
        while piece := list(islice(everything, size)):
            yield piece

    def __str__(self) -> str:
        """As an IMAP sequence set: `1:3,7` (RFC 3501 §9, sequence-set)."""
        return ",".join(
            f"{first}" if first == last else f"{first}:{last}"
            for first, last in zip(self._first, self._last, strict=True)
        )


def uid_set(uids: Sequence[int]) -> str:
    """Ascending UIDs as an IMAP sequence set."""
    return str(UidRanges(uids))
