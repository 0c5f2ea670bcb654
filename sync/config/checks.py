"""What no type can say about the settings: addresses of the Inbox, own addresses, time zones, the ledger's URL.

Each check takes a value and gives a complaint, or "" when all is well.
"""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Sequence
from urllib.parse import urlsplit

from sync.registry import near_names

_ADDRESS = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+")
_NAME = re.compile(r"[^\s\x00-\x1f\x7f/](?:[^\x00-\x1f\x7f/]{0,62}[^\s\x00-\x1f\x7f/])?")
_PLACEHOLDERS = ("…", "...")


def is_placeholder(value: object) -> bool:
    """Whether a text is the example's `"…"` still."""
    return isinstance(value, str) and value.strip() in _PLACEHOLDERS


def name_of_section(name: str) -> str:
    """Names of inboxes and sources appear in commands, logs and the database."""
    if _NAME.fullmatch(name):
        return ""
    return "a name has 1 to 64 characters, no slash, no control characters, and no space at its ends"


def base_url(url: str) -> str:
    """Requests carry the site's credentials: without TLS they may go to this machine only."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return "this is no address: write it as in https://www.wixapis.com"
    if not host:
        return "this address has no host: write it as in https://www.wixapis.com"
    if parts.username or parts.password:
        return "an address here holds no user name and no password"
    if parts.query or parts.fragment:
        return "an address here ends before any ? or #"
    if parts.scheme == "http" and not _is_loopback(host):
        return (
            f"http would send the credentials readable over the network: write https://{host} (http only to 127.0.0.1)"
        )
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def own_address(pattern: str) -> str:
    """An address or a pattern with `*`, such as `*@shop.example.com`."""
    text = pattern.strip()
    if "@" not in text:
        domain = "" if " " in text else text.lstrip("*.")
        domain = domain or "example.com"
        return f'"{pattern}" is no address: write the whole address, or "*@{domain}" for all of a domain'
    if not _ADDRESS.fullmatch(text):
        return f'"{pattern}" is no address: write it bare, as in "support@example.com"'
    if not text.rpartition("@")[2].strip("*."):
        return f'"{pattern}" would make every sender one of your own: name a domain, as in "*@example.com"'
    return ""


def header_name(name: str, known: Sequence[str]) -> str:
    """One of the headers that are kept with a message."""
    if name.lower() in known:
        return ""
    near = near_names(name.lower(), known)
    hint = f' (did you mean "{near[0]}"?)' if near else f": it is one of {', '.join(sorted(known))}"
    return f'"{name}" is no header that a rule can look at{hint}'


def time_zone(name: str) -> str:
    """A name of the tz database."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        if not known:
            return "this machine has no time zone database: install it (on Debian: apt install tzdata)"
        near = near_names(name, known) or near_names(name, {zone.rpartition("/")[2]: zone for zone in known})
        full = [zone for zone in known if near and (zone == near[0] or zone.endswith("/" + near[0]))]
        hint = f' (did you mean "{min(full)}"?)' if full else ""
        return f'"{name}" is no time zone{hint}: write a name such as "Europe/Berlin" or "UTC"'
    return ""


def ledger_url(url: str) -> str:
    """SQLite by absolute path, or PostgreSQL."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return 'this is no database URL: write "sqlite:////var/lib/inbox-sync/ledger.db" (four slashes)'
    if scheme in ("postgres", "postgresql+psycopg2", "postgresql+asyncpg"):
        return 'write the URL of a PostgreSQL database with "postgresql+psycopg://" in front'
    if scheme == "sqlite":
        path = rest.removeprefix("/")
        if not path or path == ":memory:" or path.startswith(":"):
            return 'the ledger must survive a restart: write a file, as in "sqlite:////var/lib/inbox-sync/ledger.db"'
        if not path.startswith("/"):  # from another folder it would be another, empty ledger: all would be sent again
            return f'the ledger must not depend on the current folder: write "sqlite:////path/to/{path}" (four slashes)'
        return ""
    if scheme not in ("postgresql", "postgresql+psycopg"):
        return f'no database "{scheme}": it is sqlite:////path/to/file or postgresql+psycopg://…'
    return ""


def has_password(url: str) -> bool:
    """Whether a database URL carries a password."""
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return False


def web_address(listen: str, *, has_password: bool) -> str:
    """Other machines may reach the page only behind a password; and a port is a number up to 65535."""
    host, _, port = listen.rpartition(":")
    if not 0 <= int(port) <= 65_535:
        return "a port is a number from 0 to 65535"
    if not _is_loopback(host.strip("[]")) and not has_password:
        return 'another address than this machine\'s own needs a password: password = { credential = "web_password" }'
    return ""
