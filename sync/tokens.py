"""Where a connector's tokens are kept: the ledger, and nowhere in a log."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sync.clock import Clock
from sync.ledger import Ledger
from sync.logs import keep_secret
from sync.message import Json

MIN_SECRET_CHARACTERS = 8
"""Shorter texts in a kept value are no tokens."""


class LedgerTokenStore:
    """`sync.connector.TokenStore` of one source."""

    def __init__(self, source: str, ledger: Ledger, clock: Clock) -> None:
        self._source = source
        self._ledger = ledger
        self._clock = clock

    async def load(self) -> tuple[Json, int]:
        """The kept value and its version; (None, 0) where nothing was kept."""
        text, version = await self._ledger.call(self._ledger.tokens.load, self._source)
        value: Json = None if text is None else json.loads(text)
        keep_secret(_tokens(value))
        return value, version

    async def save(self, value: Json, version: int) -> bool:
        """Keeps a value in the place of that version; False when another was kept meanwhile."""
        keep_secret(_tokens(value))
        return await self._ledger.call(
            self._ledger.tokens.save, self._source, json.dumps(value), version, self._clock.now()
        )


def _tokens(value: Json) -> Iterator[str]:
    """Every text in a value under a name that says token, code or verifier."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, str) and len(inner) >= MIN_SECRET_CHARACTERS and name.endswith(("token", "verifier")):
                yield inner
            elif isinstance(inner, dict):
                yield from _tokens(inner)
