"""What the nouns of the ledger have in common: each public method is one transaction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from sync.ledger.engine import Database

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound="Repository")
Item = TypeVar("Item")

IN_MAX = 1000
"""Values in one `IN (…)`."""


class Repository:
    """A noun's methods over one database."""

    def __init__(self, database: Database) -> None:
        self._db = database


def reads(method: Callable[Concatenate[R, Connection, P], T]) -> Callable[Concatenate[R, P], T]:
    """Runs a method in a reading transaction, which it gets as its first argument."""

    @functools.wraps(method)
    def call(self: R, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._db.read(lambda tx: method(self, tx, *args, **kwargs))

    return call


def writes(method: Callable[Concatenate[R, Connection, P], T]) -> Callable[Concatenate[R, P], T]:
    """Runs a method in a writing transaction, which it gets as its first argument."""

    @functools.wraps(method)
    def call(self: R, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._db.write(lambda tx: method(self, tx, *args, **kwargs))

    return call


def chunks(items: Iterable[Item], size: int = IN_MAX) -> Iterator[Sequence[Item]]:
    """The items in pieces that fit into one statement; nothing for no items."""
    every = list(items)
    for start in range(0, len(every), size):
        yield every[start : start + size]
