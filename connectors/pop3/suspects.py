"""Messages at whose headers the connection breaks. An outage must make nobody suspicious, so a break counts against a
message only when another one could be read just before it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sync.message import Found

from .maildrop import Maildrop, look_at_headers
from .wire import AnswerTooLong, NotPop3, Wire

MAX_SUSPECTS = 10_000
"""More than these, and remembering begins anew."""


class Suspects:
    """Of one source. Used from one thread at a time."""

    def __init__(self) -> None:
        self._suspects: set[str] = set()
        self._proven: set[str] = set()

    def look(self, ids: Sequence[str], looked_at: datetime, wire: Wire, maildrop: Maildrop) -> Sequence[Found]:
        """The headers of these messages, those of suspects last; of those that are proven to break the connection none.
        Raises what the connection raises."""
        fresh = [name for name in ids if name not in self._suspects]
        suspects = [name for name in ids if name in self._suspects]
        found = self._read(wire, maildrop, fresh, looked_at, proof=False)
        if suspects:
            proof = any(one.fingerprint is not None for one in found)
            proof = proof or self._other_can_be_read(wire, maildrop, looked_at)
            found += self._read(wire, maildrop, suspects, looked_at, proof=proof)
        return found

    def _read(
        self, wire: Wire, maildrop: Maildrop, names: Sequence[str], looked_at: datetime, *, proof: bool
    ) -> list[Found]:
        try:
            found = look_at_headers(wire, maildrop, names, looked_at, without=self._proven)
        except (OSError, AnswerTooLong, NotPop3):
            if not wire.closed:  # nobody has aborted it
                self._broke_at(maildrop.name_of(wire.busy_with), proof=proof)
            raise
        self._suspects.difference_update(name for name in names if name not in self._proven)
        return found

    def _broke_at(self, name: str, *, proof: bool) -> None:
        if len(self._suspects) > MAX_SUSPECTS:
            self._suspects.clear()
            self._proven.clear()
        self._suspects.add(name)
        if proof:
            self._proven.add(name)

    def _other_can_be_read(self, wire: Wire, maildrop: Maildrop, looked_at: datetime) -> bool:
        """Whether the server gives the header of some other message; False where there is none."""
        other = next((name for name in maildrop.entries if name not in self._suspects), None)
        return other is not None and bool(look_at_headers(wire, maildrop, [other], looked_at))
