"""Column types that mean the same on SQLite and PostgreSQL, and the cleaning that both need."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Dialect, Integer, Text, TypeDecorator
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

KEY_MAX_CHARACTERS = 500
"""Keys longer than this are cut and end in a hash of the whole: PostgreSQL's B-trees take at most about 2,700 bytes."""

FREE_TEXT_MAX_CHARACTERS = 4000
"""Sentences, details and names longer than this are cut."""

BIG_ID = BigInteger().with_variant(Integer, "sqlite")
"""64-bit ids: SQLite counts up only in a column whose type is exactly INTEGER."""


def without_nul(text: str) -> str:
    """The text as both databases take it: PostgreSQL refuses NUL (22021), and no driver encodes lone surrogates."""
    if "\0" in text:
        text = text.replace("\0", "�")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def key_text(text: str) -> str:
    """A text that identifies something, made storable without making two of them one: NUL and lone surrogates are
    written out, and long keys keep their start and get a hash."""
    if text.isascii() and "\0" not in text and len(text) <= KEY_MAX_CHARACTERS:
        return text
    clean = text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
    if len(clean) <= KEY_MAX_CHARACTERS:
        return clean
    digest = hashlib.blake2b(clean.encode(), digest_size=16).hexdigest()
    return f"{clean[: KEY_MAX_CHARACTERS - 33]}#{digest}"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC: whole microseconds since 1970 as an integer on SQLite (whose texts would not order across
    formats), `timestamptz` on PostgreSQL. Raises ValueError on a naive time."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime] | TypeEngine[int]:
        """The column's type in this database."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> object:
        """A Python time as the database keeps it."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the ledger keeps aware times only")
        if dialect.name == "postgresql":
            return value
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: object, dialect: Dialect) -> datetime | None:  # noqa: ARG002  SQLAlchemy's
        """What the database kept as an aware time in UTC."""
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        if isinstance(value, int):
            return _EPOCH + timedelta(microseconds=value)
        raise TypeError(f"a time of the ledger reads back as {type(value).__name__}")


class FreeText(TypeDecorator[str]):
    """Text that nothing is looked up by: made storable, and cut at `FREE_TEXT_MAX_CHARACTERS`."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  SQLAlchemy's
        """The text without what databases refuse."""
        return None if value is None else without_nul(value[:FREE_TEXT_MAX_CHARACTERS])


class LongText(TypeDecorator[str]):
    """Like `FreeText`, of any length: contents and frozen requests."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  SQLAlchemy's
        """The text without what databases refuse."""
        return None if value is None else without_nul(value)
