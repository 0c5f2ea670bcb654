"""What `inbox-sync check` says about one inbox."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from sync.connector import Finding, Severity
from sync.errors import InboxSyncError
from sync.inbox import contacts, media, messages
from sync.inbox.calls import Calls
from sync.inbox.errors import PERMISSION_NEXT_STEP
from sync.message import Participant, ParticipantKind

CLOCK_WARNING_SECONDS: Final = 30.0
_NOBODY: Final = Participant(ParticipantKind.EMAIL, "inbox-sync-check@example.invalid")


async def check(calls: Calls, base_url: str) -> list[Finding]:
    """Looks at address, credentials, permissions and clock. Changes nothing. Raises nothing of ours."""
    findings = [] if (unsafe := _unencrypted(base_url)) is None else [unsafe]
    inbox = await _looked(messages.probe, calls, "the Inbox answers and accepts the credentials")
    findings.append(inbox)
    if inbox.code in ("", "inbox.not_permitted", "inbox.no_instance"):
        findings.append(await _looked(_contacts, calls, "contacts can be read"))
    if inbox.code == "":
        findings.append(await _files(calls))
    offset = calls.clock_offset_seconds
    if abs(offset) > CLOCK_WARNING_SECONDS:
        findings.append(
            Finding(
                Severity.WARNING,
                f"this machine's clock differs from the Inbox's by {abs(offset):.0f} seconds",
                "let the machine keep its time by NTP (timedatectl set-ntp true)",
                "inbox.clock_skew",
            )
        )
    return findings


async def _looked(look: Callable[[Calls], Awaitable[None]], calls: Calls, well: str) -> Finding:
    try:
        await look(calls)
    except InboxSyncError as error:
        return Finding(Severity.ERROR, error.sentence, error.next_step or PERMISSION_NEXT_STEP, error.code)
    return Finding(Severity.OK, well)


async def _contacts(calls: Calls) -> None:
    await contacts.find(calls, _NOBODY)


async def _files(calls: Calls) -> Finding:
    """Asks for an address to upload to, which nobody uses: it is forgotten by itself."""
    try:
        await media.address(calls, "check.txt", "text/plain")
    except InboxSyncError as error:
        return Finding(
            Severity.WARNING,
            f"files of messages cannot be brought over: {error.sentence}",
            "give the key or app the permission to upload media; until then messages come without their files",
            error.code,
        )
    return Finding(Severity.OK, "files can be uploaded")


def _unencrypted(base_url: str) -> Finding | None:
    parts = urlsplit(base_url)
    if parts.scheme == "https" or _is_loopback(parts.hostname or ""):
        return None
    return Finding(
        Severity.WARNING,
        "base_url is not https: the key travels readable for everybody on the way",
        "write https://, or leave base_url out",
        "inbox.unencrypted",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
