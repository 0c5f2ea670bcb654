"""The example file: every key with its default, its unit and a line of why, generated from the models.

What must be filled in stands as a line of its own; everything else is commented out (`#key = default`), so that the
file that is left after filling in is the shortest one that works.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from sync.connector import Connector
from sync.settings import AlertSettings, DaemonSettings, InboxSettings, LedgerSettings, SourceSettings, WebSettings

WIDTH = 100

_HEAD = """\
#:schema ./config.schema.json
# The configuration of inbox-sync. It is looked for at /etc/inbox-sync/config.toml, or where --config FILE or
# INBOX_SYNC_CONFIG say. Every key is here with its default: lines that begin with # and a key can be switched on.
# After a change: inbox-sync check, then inbox-sync reload.
#
# Delays and bounds carry their unit in their name; durations may also be written "90s", "5m", "1h", "2d".
# Secrets never stand in this file. They are references, one of:
#   { credential = "name" }   a systemd credential: LoadCredential=name:/path in the unit
#   { file = "/path" }        a file that only the service's user can read (chmod 600)
#   { env = "NAME" }          an environment variable
"""

_FILLED: dict[str, str] = {
    "inbox.site_id": '"…"',
    "inbox.api_key": '{ credential = "wix_api_key" }',
    "inbox.own_addresses": '["support@example.com", "*@shop.example.com"]',
    "imap.host": '"imap.example.com"',
    "imap.username": '"support@example.com"',
    "imap.password": '{ credential = "support_password" }',
    "jmap.url": '"https://mail.example.com"',
    "jmap.token": '{ credential = "jmap_token" }',
    "pop3.password": '{ credential = "pop3_password" }',
    "django_helpdesk.url": '"https://helpdesk.example.com"',
    "django_helpdesk.token": '{ credential = "django_helpdesk_token" }',
    "freshdesk.url": '"https://acme.freshdesk.com"',
    "freshdesk.api_key": '{ credential = "freshdesk_key" }',
    "request_tracker.url": '"https://rt.example.com"',
    "zammad.url": '"https://help.example.com"',
    "zammad.token": '{ credential = "zammad_token" }',
    "zendesk.url": '"https://acme.zendesk.com"',
    "zendesk.email": '"agent@example.com"',
    "zendesk.api_token": '{ credential = "zendesk_token" }',
}
"""What stands ready to be filled in."""

_SHOWN: dict[str, str] = {
    "daemon.control_socket": '"/run/inbox-sync/control.sock"',
    "inbox.app_id": '"…"',
    "inbox.app_secret": '{ credential = "wix_app_secret" }',
    "inbox.instance_id": '"…"',
    "alerts.command": '["/usr/local/bin/tell-me"]',
    "alerts.mail_to": '["me@example.com"]',
    "alerts.mail_from": '"inbox-sync@example.com"',
    "alerts.smtp_username": '"inbox-sync@example.com"',
    "web.hosts": '["status.example.com"]',
    "web.password": '{ credential = "web_password" }',
    "source.inbox": '"main"',
    "source.badge": '"Support"',
    "imap.oauth": '{ provider = "microsoft", client_id = "…" }',
    "jmap.oauth": '{ provider = "custom", client_id = "…", authorize_url = "https://…", token_url = "https://…" }',
    "pop3.oauth": '{ provider = "microsoft", client_id = "…" }',
    "pop3.port": "995",
}
"""Values for keys that have no default of their own, to show what they look like."""

_BY_NAME: dict[str, str] = {
    "path": '"/var/mail/support"',
    "host": '"mail.example.com"',
    "username": '"support@example.com"',
    "port": "993",
    "sent": '["Sent"]',
    "ca_file": '"/etc/ssl/certs/mail-authority.pem"',
    "max_message_bytes": "10485760",
}
"""The same for connectors, by the key's name, where `Field(examples=[…])` gives nothing."""

_FIRST = "imap"
_SECTION_NAMES = {"imap": "support", "maildir": "archive"}


@dataclass(frozen=True, slots=True)
class Key:
    """A key as an operator meets it: `value` is TOML, the default or something that shows what it looks like."""

    name: str
    value: str
    about: str
    required: bool
    has_default: bool


def describe_keys(group: str, model: type[BaseModel]) -> list[Key]:
    """The keys of a model, in its order. `group` is the connector's name (or `ledger`, `daemon`, `inbox`)."""
    keys = []
    for name, field in model.model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        shown = _FILLED.get(f"{group}.{name}") if default is None else _toml(name, default)
        keys.append(
            Key(
                name=name,
                value=shown or _illustration(name, field, group),
                about=f"{_sentence(field.description or '')}{_choices(field)}",
                required=field.is_required(),
                has_default=default is not None,
            )
        )
    return keys


def example_text(connectors: Mapping[str, type[Connector]]) -> str:
    """The text of `config.example.toml` for these connectors."""
    lines = [_HEAD.rstrip("\n")]
    lines += _section("ledger", "The SQL database that remembers every message.", LedgerSettings, "ledger", live=True)
    lines += _section("daemon", "The process.", DaemonSettings, "daemon", live=True)
    about_web = "The status page, /metrics, /healthz and /readyz. Without this section nothing listens."
    lines += _section("web", about_web, WebSettings, "web", live=False)
    about_alerts = "Who is told when something stops working, and when it is well again: by command, webhook or mail."
    lines += _section("alerts", about_alerts, AlertSettings, "alerts", live=False)
    about_inbox = "One Wix site's Inbox; there may be several, each with a name of its own."
    lines += _section("inbox.main", about_inbox, InboxSettings, "inbox", live=True)
    order = sorted(connectors, key=lambda name: (name != _FIRST, name))
    for position, name in enumerate(order):
        lines += _source(name, connectors[name], live=position == 0)
    return "\n".join(lines) + "\n"


def _section(header: str, about: str, model: type[BaseModel], group: str, *, live: bool) -> list[str]:
    lines = ["", *_comment(about), f"{'' if live else '#'}[{header}]"]
    for key in describe_keys(group, model):
        lines += _key(key, group, live=live)
    return lines


def _source(name: str, connector: type[Connector], *, live: bool) -> list[str]:
    section = _SECTION_NAMES.get(name, name)
    intro = f"A source with the connector {name}: {connector.info.summary}"
    lines = ["", *_comment(intro if intro.endswith(".") else intro + ".")]
    lines.append(f"{'' if live else '#'}[sources.{section}]")
    for key in describe_keys("source", SourceSettings):
        if key.name == "connector":
            lines += ["", *_comment(key.about), f"{'' if live else '#'}connector = {json.dumps(name)}"]
        elif live:
            lines += _key(key, "source", live=live)
    if not live:
        lines += ["", *_comment(f"Here, too, the keys that every source has ({_common_keys()}).")]
    for key in describe_keys(name, connector.Config):
        lines += _key(key, name, live=live)
    return lines


def _common_keys() -> str:
    names = [name for name in SourceSettings.model_fields if name != "connector"]
    return f"{', '.join(names[:3])}, … {names[-1]}"


def _key(key: Key, group: str, *, live: bool) -> Iterator[str]:
    yield ""
    yield from _comment(key.about)
    if key.required or f"{group}.{key.name}" in _FILLED:
        yield f"{'' if live else '#'}{key.name} = {_FILLED.get(f'{group}.{key.name}', key.value)}"
    else:
        yield f"#{key.name} = {key.value}{'' if key.has_default else '  # not set'}"


def _illustration(key: str, field: FieldInfo, group: str) -> str:
    if f"{group}.{key}" in _SHOWN:
        return _SHOWN[f"{group}.{key}"]
    if field.examples:
        return _toml(key, field.examples[0])
    options = (field.annotation, *get_args(field.annotation))
    if any(SecretStr in (option, *get_args(option)) for option in options):  # also annotated, and beside None
        return f'{{ credential = "{group}_{key}" }}'
    listed = any(get_origin(option) in (tuple, list) for option in options)
    return _BY_NAME.get(key, '["…"]' if listed else '"…"')


def _toml(key: str, value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return f'"{int(value)}s"' if key == "every" else str(int(value))
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(_toml('', item) for item in value)}]"
    if isinstance(value, dict):
        pairs = ", ".join(f"{json.dumps(name)} = {_toml('', item)}" for name, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return json.dumps(str(value), ensure_ascii=False)


def _choices(field: FieldInfo) -> str:
    """The values a key can have, where they are few and the description does not name them all."""
    annotation = field.annotation
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        values = [str(member.value) for member in annotation]
    else:
        values = [value for value in get_args(annotation) if isinstance(value, str)]
    words = set(re.findall(r"[a-z_]+", (field.description or "").lower()))
    if len(values) < 2 or set(values) <= words:
        return ""
    return f" One of {', '.join(values)}."


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if not text or text.endswith((".", "!", "?")) else text + "."


def _comment(text: str) -> list[str]:
    return [
        f"# {line}"
        for line in textwrap.wrap(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)
    ]
