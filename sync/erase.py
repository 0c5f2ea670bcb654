"""What `erase` tells: what was removed of a person, table by table, and what remains and why."""

from __future__ import annotations

import asyncio

from sync.answers import EraseAnswer, EraseLine, OnProgress
from sync.clock import Clock
from sync.errors import ConfigError, TemporaryError
from sync.ledger import Ledger
from sync.mail.address import normalise_address

WAIT_SECONDS = 1.0
"""Between two looks at deliveries that are under way."""

REMAINS = {
    "participants": "a row under a keyed hash in place of the address, without name, contact and conversation",
    "deliveries": "state, times and the Inbox's message id: what keeps it from being sent twice",
    "messages": "where it lay at its service (folder and number, or id) and a hash of its headers, for the same reason",
    "payloads": "",
    "attachments": "",
    "raws": "",
    "conversations": "",
    "events": "what happened and when, without words",
}
"""By table, what is left of it. Tables that never hold anything about a person are not named."""

INBOX_KEEPS = (
    "The Inbox itself has no call that deletes a message: what was sent is still there. Delete the contact in the site's"
    " dashboard. Copies of the database from before today still hold everything, and so does the service the messages"
    " came from; a message that arrives from this person after today is a new one."
)


async def erase(value: str, ledger: Ledger, clock: Clock, on_progress: OnProgress, *, may_wait: bool) -> EraseAnswer:
    """Erases a person by address, phone number or a service's id. With `may_wait` (a daemon delivers) it waits until
    nothing of theirs is under way. Raises ConfigError, TemporaryError."""
    wanted = normalise_address(value) or value.strip()
    while True:
        waiting = await ledger.call(ledger.erasure.under_way, wanted)
        if waiting is None:
            raise ConfigError(
                "nobody with that address is in the ledger",
                code="erase.unknown",
                next_step="write it as the message list shows it; a phone number or a service's id works, too",
            )
        if not waiting:
            done = await ledger.call(ledger.erasure.erase, wanted, clock.now())
            if done is not None:
                lines = [_line(table, rows) for table, rows in done.rows.items()]
                return {"lines": lines, "sentence": INBOX_KEEPS}
            continue
        sentence = f"{waiting} deliveries are under way"
        if not may_wait:
            raise TemporaryError(
                sentence,
                code="erase.under_way",
                next_step="start the daemon and type it again, or drop them: inbox-sync message drop",
            )
        on_progress({"stage": "waiting", "about": "", "done": 0, "total": None, "sentence": sentence})
        await asyncio.shield(clock.sleep(WAIT_SECONDS))


def _line(table: str, rows: int) -> EraseLine:
    return {"table": table, "rows": rows, "remains": REMAINS[table]}
