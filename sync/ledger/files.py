"""How files hang on the contents they came with: what a content holds of them, and that they go with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection, bindparam, delete, exists, insert, update

from sync.decide import Loaded
from sync.ledger import schema
from sync.ledger.prepared import ForKeys, ManyTimes
from sync.ledger.repository import chunks
from sync.message import Message

_A = schema.attachments.c
_P = schema.payloads.c

_STORE = insert(schema.attachments).returning(_A.id, sort_by_parameter_order=True)
_STORE_PIECE = ManyTimes(insert(schema.attachment_pieces))
_ADOPT = ManyTimes(update(schema.attachments).where(_A.id == bindparam("key")).values(message_id=bindparam("owner")))
_DROP = ForKeys(
    delete(schema.attachments).where(
        _A.message_id.in_(bindparam("keys", expanding=True)), ~exists().where(_P.message_id == _A.message_id)
    )
)


def spooled_bytes(message: Message) -> int:
    """Bytes of the files that were put into the ledger for it."""
    return sum(one.size or 0 for one in message.attachments if one.spooled)


def store(tx: Connection, contents: Mapping[int, Loaded], now: datetime) -> dict[int, Message]:
    """Writes the files that came along with contents, all together; the messages with their numbers, by the messages'
    own."""
    files = [(message_id, data) for message_id, loaded in contents.items() for data in loaded.files]
    if not files:
        return {message_id: loaded.message for message_id, loaded in contents.items()}
    rows = [{"message_id": message_id, "bytes": len(data), "spooled_at": now} for message_id, data in files]
    numbers = tx.execute(_STORE, rows).scalars().all()
    pieces = [
        {"attachment_id": number, "number": 0, "data": data} for number, (_, data) in zip(numbers, files, strict=True)
    ]
    _STORE_PIECE.execute(tx, pieces)
    left = iter(numbers)
    return {
        message_id: _numbered(loaded, list(islice(left, len(loaded.files)))) for message_id, loaded in contents.items()
    }


def _numbered(loaded: Loaded, numbers: Sequence[int]) -> Message:
    """The message with the ledger's numbers of the files that came along with it."""
    message = loaded.message
    if not numbers:
        return message
    named = (replace(one, spooled=numbers[-one.spooled - 1]) if one.spooled < 0 else one for one in message.attachments)
    return replace(message, attachments=tuple(named))


def adopt(tx: Connection, contents: Mapping[int, Message], again: Collection[int]) -> None:
    """The files that these contents name belong to their messages now. `again`: messages that may have files of earlier
    contents, which go."""
    owners = {
        one.spooled: message_id
        for message_id, message in contents.items()
        for one in message.attachments
        if one.spooled
    }
    for some in chunks(sorted(again)):
        tx.execute(delete(schema.attachments).where(_A.message_id.in_(some), _A.id.not_in(sorted(owners))))
    if owners:
        _ADOPT.execute(tx, [{"key": number, "owner": message_id} for number, message_id in owners.items()])


def drop_without_content(tx: Connection, message_ids: Collection[int]) -> None:
    """Files of these messages go when the content has gone."""
    _DROP.execute(tx, message_ids)
