"""Connections to PostgreSQL that do not wait for ever. Imported only where there is psycopg.

`statement_timeout` is the server's: it ends nothing when the server, or what stands between (a pooler, a proxy, a
firewall that forgot the connection), has gone silent without closing. Then TCP does not notice either, as long as
somebody acknowledges the packets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, ClassVar, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.rows import TupleRow
from psycopg.waiting import Ready, Wait

V = TypeVar("V")

MARGIN_SECONDS = 2.0
"""Added to the server's own limit of a statement: after that no answer is coming any more."""
INTERVAL_SECONDS = 0.1
"""How often a wait is looked at."""

Connect = Callable[..., "PatientConnection"]


class PatientConnection(psycopg.Connection[TupleRow]):
    """A connection that is closed when a statement gets no answer within `patience_seconds`: the error is the one of a
    connection that was lost."""

    patience_seconds: ClassVar[float]

    def wait(self, gen: PQGen[V], interval: float = INTERVAL_SECONDS, timeout: float | None = None) -> V:
        """psycopg's one place of waiting for the server."""
        try:
            return super().wait(_bounded(gen, time.monotonic() + self.patience_seconds), interval, timeout)
        except SilentError:
            self.close()
            raise


class SilentError(psycopg.OperationalError):
    """The server did not answer in time, and did not close the connection either."""


def patient(statement_timeout_seconds: float) -> Connect:
    """What makes connections for a server that ends statements after so long."""

    class Patient(PatientConnection):
        patience_seconds = statement_timeout_seconds + MARGIN_SECONDS

    def connect(*words: Any, **options: Any) -> PatientConnection:  # noqa: ANN401  what libpq takes
        return Patient.connect(*words, **options)

    return connect


def _bounded(gen: PQGen[V], until: float) -> Generator[Wait, Ready | int, V]:
    """The same generator, ended at a moment of the monotonic clock; looked at whenever a wait brought nothing."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready == Ready.NONE and time.monotonic() > until:
                raise SilentError("the server has not answered in time; the connection was given up")
            wanted = gen.send(ready)
    except StopIteration as end:
        value: V = end.value
        return value
