"""An emulator of the Wix Inbox and Contacts API on loopback, with faults on order and a page to look at.

`Sandbox` runs one in this process, `SandboxClient` talks to one in another, `python -m sync.sandbox`
starts one by itself. See `docs/sandbox.md`.
"""

from sync.sandbox.client import SandboxClient
from sync.sandbox.clock import Clock, ManualClock, SystemClock
from sync.sandbox.errors import SandboxError
from sync.sandbox.faults import ACTIONS, Fault
from sync.sandbox.handle import Sandbox
from sync.sandbox.operations import ConversationDump, Dump, MessageDump, Operations, SiteDump, Stats
from sync.sandbox.settings import (
    DEFAULT_API_KEY,
    DEFAULT_APP_ID,
    DEFAULT_APP_SECRET,
    DEFAULT_INSTANCE_ID,
    DEFAULT_SITE_ID,
    Switches,
)

__all__ = [
    "ACTIONS",
    "DEFAULT_API_KEY",
    "DEFAULT_APP_ID",
    "DEFAULT_APP_SECRET",
    "DEFAULT_INSTANCE_ID",
    "DEFAULT_SITE_ID",
    "Clock",
    "ConversationDump",
    "Dump",
    "Fault",
    "ManualClock",
    "MessageDump",
    "Operations",
    "Sandbox",
    "SandboxClient",
    "SandboxError",
    "SiteDump",
    "Stats",
    "Switches",
    "SystemClock",
]
