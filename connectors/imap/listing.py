"""Listing a folder: what is in it since a day, whatever the cursor says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeAlias

from sync.connector import LISTED_MAX, PassContext
from sync.message import Found, Listed

from .answers import search_date
from .bookmark import epoch_of
from .folders import Folder
from .link import Link
from .look import SINCE_MARGIN
from .uids import UidRanges
from .wire import Wire

Headers: TypeAlias = Callable[[str, Sequence[int]], Awaitable[Sequence[Found]]]
"""(epoch, UIDs) → what their headers tell."""


async def list_folder(
    link: Link, folder: Folder, since: datetime | None, ctx: PassContext, headers: Headers
) -> AsyncIterator[Listed]:
    """The folder's messages in pieces; of those that are known only the numbers. A numbering whose UIDVALIDITY is the
    one the ledger has keeps the name that it has there."""
    uidvalidity, uids = await link.run(lambda wire: _numbers(wire, folder, since), folder=folder.name)
    epoch = epoch_of(uidvalidity, 0)
    if ctx.epoch is not None and ctx.epoch.partition("-")[0] == epoch:
        epoch = ctx.epoch
    listed_any = False
    for some in uids.slices(LISTED_MAX):
        names = [str(uid) for uid in some]
        known = await ctx.known(epoch, names)
        found = await headers(epoch, [uid for uid in some if str(uid) not in known])
        yield Listed(
            tuple(one for one in found if since is None or one.arrived_at >= since),
            known=tuple(name for name in names if name in known),
            epoch=epoch,
        )
        listed_any = True
    if not listed_any:
        yield Listed((), epoch=epoch)


def _numbers(wire: Wire, folder: Folder, since: datetime | None) -> tuple[int, UidRanges]:
    seen = wire.examine(folder.wire)
    if seen.messages == 0:
        return seen.uidvalidity, UidRanges()
    if since is None:
        return seen.uidvalidity, wire.search("UID 1:*")
    return seen.uidvalidity, wire.search(f"UID 1:* SINCE {search_date((since - SINCE_MARGIN).date())}")
