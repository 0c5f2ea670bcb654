"""Every setting of the program, with its default and unit. `sync.config` reads them from TOML.

Secrets are references in the file (`{ credential = "…" }`, `{ file = "…" }`, `{ env = "…" }`); the loader resolves
them, so that the models hold `SecretStr`. Names of delays and bounds carry their unit.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from sync.attachments import PROGRAM_EXTENSIONS, PROGRAM_TYPES

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

MIB = 1024 * 1024


def parse_duration(value: object) -> object:
    """Seconds from `"60s"`, `"5m"`, `"1h"`, `"1d"`, `"250ms"` or a number. Raises ValueError on other texts."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError(f'"{value}" is no duration: write a number and a unit, as in "60s", "5m", "1h"')
    return float(match[1]) * _UNIT_SECONDS[match[2]]


Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=str | float)]
"""A duration in seconds, written `"60s"` or as a number."""


def _parse_start(value: object) -> object:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    if isinstance(value, str) and value not in ("now", "all"):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f'"{value}" is no start: write "now", "all", or a date as in "2026-11-01"') from None
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
    return value


Start = Annotated[
    Literal["now", "all"] | datetime, BeforeValidator(_parse_start, json_schema_input_type=str | datetime)
]
"""Where a source starts: now, everything, or a date."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class LedgerSettings(_Model):
    """`[ledger]`: the SQL database."""

    url: str = "sqlite:////var/lib/inbox-sync/ledger.db"
    """Where the ledger is: `sqlite:////absolute/path` needs nothing else; `postgresql+psycopg://user@host/name` lets
    several daemons share the work (install inbox-sync[postgres]; leave the password to PostgreSQL's ~/.pgpass)."""
    busy_timeout_seconds: float = Field(5.0, gt=0, le=300)
    """How long a transaction waits for another process that is writing."""
    connect_timeout_seconds: float = Field(10.0, gt=0, le=300)
    """How long connecting to PostgreSQL may take."""
    statement_timeout_seconds: float = Field(60.0, gt=0, le=3600)
    """How long one statement (and, from PostgreSQL 17 on, one transaction) may take; a server that is silent for longer
    counts as lost."""
    threads: int = Field(4, ge=1, le=32)
    """Threads for transactions, and so connections to PostgreSQL."""
    spool_max_bytes: int = Field(256 * MIB, ge=MIB)
    """Content waiting to be delivered; above it messages stay `found` and are fetched when there is room. Those that go
    first may take as much again where what waits for them has taken the room."""
    keep_days: float = Field(0.0, ge=0, le=36_500)
    """What arrived and was written longer ago is forgotten once it is final, and nothing from before then is wanted from
    any source any more; what has no date is kept. 0 keeps everything, which costs about 1 kB a message."""
    raw_max_bytes: int = Field(64 * MIB, ge=0)
    """Raw copies of messages nobody could read, all together; the oldest go first."""


class DaemonSettings(_Model):
    """`[daemon]`: the process."""

    control_socket: str | None = None
    """Path of the unix socket for typed commands. Default: beside the SQLite file, else in the runtime directory."""
    grace_seconds: Duration = Field(20.0, ge=0, le=600)
    """How long SIGTERM lets requests on the wire and running passes finish."""
    lease_seconds: Duration = Field(30.0, gt=0, le=3600)
    """How long another daemon waits before it takes over the work of one that has gone silent."""
    max_passes: int = Field(8, ge=1, le=256)
    """Passes running at the same time."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important events that are logged."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`console` is for people, `json` for machines; `auto` is console on a terminal and json elsewhere."""


class WebSettings(_Model):
    """`[web]`: the status page, `/metrics`, `/healthz` and `/readyz`. Without this section nothing listens."""

    listen: str = Field("127.0.0.1:8026", pattern=r"^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:]+\]|localhost):\d{1,5}$")
    """Address and port. Other addresses than this machine's need a password, and a proxy before them that speaks TLS."""
    password: SecretStr | None = None
    """Who has it may look into messages, and retry, drop, pause and resume. Without it the page shows numbers only."""
    hosts: tuple[str, ...] = ()
    """Names under which browsers reach the page by a proxy that speaks TLS: "status.example.com"."""
    session_hours: float = Field(12.0, gt=0, le=168)
    """How long a login holds."""


LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
"""What a password may be sent to without TLS."""


class AlertSettings(_Model):
    """`[alerts]`: telling you once when something stops working, and once when it is well again."""

    command: tuple[str, ...] = ()
    """A program with its arguments; each alert comes as a JSON document on its standard input."""
    webhook: SecretStr | None = None
    """An address that each alert is posted to as JSON; `text` is a sentence, as chat services expect it."""
    mail_to: tuple[str, ...] = ()
    """Addresses that each alert is mailed to. Better not one of the mailboxes that are polled."""
    mail_from: str | None = None
    """The sender of these mails."""
    smtp_host: str = "localhost"
    """The server that takes these mails."""
    smtp_port: int = Field(25, ge=1, le=65_535)
    """Its port."""
    smtp_tls: Literal["none", "starttls", "tls"] = "none"
    """`tls` from the first byte (port 465), `starttls` (port 587), or none to this machine."""
    smtp_username: str | None = None
    """The user name there, where it wants one."""
    smtp_password: SecretStr | None = None
    """The password that belongs to it."""
    after_seconds: Duration = Field(300.0, ge=0, le=86_400)
    """How long something does not work before it is told."""
    well_after_seconds: Duration = Field(120.0, ge=0, le=86_400)
    """How long it works again before that is told."""
    again_after_seconds: Duration = Field(3600.0, ge=0, le=604_800)
    """Held, dead and doubled messages are told together, at most so often."""
    timeout_seconds: Duration = Field(30.0, gt=0, le=300)
    """How long a command, a webhook or a mail server may take."""
    heartbeat_url: SecretStr | None = None
    """An address that is asked as long as this process moves, for a monitor elsewhere that tells when it stops."""
    heartbeat_seconds: Duration = Field(60.0, gt=0, le=86_400)
    """How often."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.mail_to and not self.mail_from:
            raise ValueError("mail_to needs mail_from")
        if self.smtp_password is not None and self.smtp_tls == "none" and self.smtp_host not in LOCAL_HOSTS:
            raise ValueError('the password would travel readable: set smtp_tls = "starttls" or "tls"')
        return self


class InboxSettings(_Model):
    """`[inbox.NAME]`: one Wix site's Inbox."""

    site_id: str = Field(min_length=1)
    """The site's id: the long code after /dashboard/ in the address of the site's dashboard."""
    auth: Literal["api_key", "app"] = "api_key"
    """How to sign in: `api_key` (site_id and api_key) or `app` (site_id, app_id, app_secret and instance_id)."""
    api_key: SecretStr | None = None
    """An API key of the account that owns the site, allowed to manage the site's Inbox and contacts."""
    app_id: str | None = None
    """With auth = "app": the app's id."""
    app_secret: SecretStr | None = None
    """With auth = "app": the app's secret key."""
    instance_id: str | None = None
    """With auth = "app": which installation of the app, and so which site."""
    base_url: str = Field("https://www.wixapis.com", pattern=r"^https?://[^\s/]+(/.*)?$")
    """Where the Inbox API is. `http` only to this machine: the sandbox is http://127.0.0.1:8025."""
    own_addresses: tuple[str, ...] = ()
    """Your own addresses, `*` stands for anything: who writes from one of these is you, not a customer."""
    requests_per_minute: float = Field(195.0, gt=0, le=1_000_000)
    """Requests to the API; the site's own limit is 200. Lowered by itself when the API says so."""
    burst_requests: int = Field(3, ge=1, le=1000)
    """Requests that may go out at once before the rest is spread evenly."""
    lanes: int = Field(32, ge=1, le=256)
    """Conversations that may have a request on the wire at the same time."""
    connect_timeout_seconds: Duration = Field(10.0, gt=0, le=300)
    """How long connecting to the API may take."""
    answer_timeout_seconds: Duration = Field(30.0, gt=0, le=600)
    """How long the API may take to answer; a send without an answer is read back, never guessed."""
    upload_timeout_seconds: Duration = Field(300.0, gt=0, le=7200)
    """How long the upload of one file may take."""
    max_upload_attempts: int = Field(6, ge=1, le=100)
    """Uploads of one file that may fail, before its message is delivered without it, with a line that says so."""
    unknown_settle_seconds: Duration = Field(120.0, ge=0, le=86400)
    """How long a send without an answer is looked for before `after_settle` decides."""
    after_settle: Literal["resend", "hold"] = "resend"
    """What becomes of a send that was not found: `resend` it, or `hold` it for an operator."""
    doubled_look_seconds: Duration = Field(86_400.0, ge=0, le=2_592_000)
    """How long after a send was repeated its conversation is looked at again, for a first copy that the Inbox has stored
    after all: it is told, with both ids. Each look waits twice as long as the one before; 0 looks once. The text sent is
    kept so long."""
    max_resends: int = Field(3, ge=0, le=100)
    """How often one delivery is sent again after settling; when that is used up it is held. An outage of the whole Inbox
    is not counted."""
    first_look_seconds: Duration = Field(1.0, gt=0, le=3600)
    """The first look for a send without an answer; later looks double it."""
    mapping_ttl_hours: float = Field(24.0, gt=0, le=8760)
    """How long a customer's contact and conversation are taken as known before they are asked for again."""
    lane_hold_seconds: Duration = Field(900.0, ge=0, le=86400)
    """How long a refused message may hold the later ones of its conversation before it is dead."""
    retry_first_seconds: Duration = Field(5.0, gt=0, le=3600)
    """The first retry of a refused message; later ones double it."""
    max_attempts: int = Field(8, ge=1, le=100)
    """Refusals of one message after which it is dead."""
    park_after_failures: int = Field(5, ge=1, le=1000)
    """Server errors or failed connections in a row after which the inbox is parked and probed with a read."""
    probe_seconds: Duration = Field(15.0, gt=0, le=86400)
    """First probe of a parked inbox; later ones double it up to `probe_max_seconds`."""
    probe_max_seconds: Duration = Field(300.0, gt=0, le=86400)
    """The longest time between two probes of a parked inbox."""
    send_notifications: bool = False
    """Whether the Inbox notifies the site's team of each message."""
    badge: bool = True
    """Whether each message carries a badge that names its source."""
    reference_line: bool = False
    """Whether each message ends with a visible line that names it, for searching."""
    time_zone: str = "UTC"
    """Time zone of the line "sent 12 March 14:03", as in `Europe/Berlin`."""
    late_note_after_seconds: Duration = Field(600.0, ge=0, le=3_153_600_000)
    """Messages delivered later than this after they were written say when that was."""
    silent_after_hours: float = Field(24.0, ge=0, le=876_000)
    """Messages older than this are brought in silently."""
    max_text_items: int = Field(8, ge=1, le=50)
    """Texts a long message is split into; what is left goes into a file."""

    @model_validator(mode="after")
    def _credentials_are_complete(self) -> Self:
        if self.auth == "api_key" and self.api_key is None:
            raise ValueError('auth = "api_key" needs api_key: write api_key = { credential = "wix_api_key" }')
        if self.auth == "app":
            missing = [name for name in ("app_id", "app_secret", "instance_id") if getattr(self, name) is None]
            if missing:
                raise ValueError(f'auth = "app" needs {", ".join(missing)}')
        return self


def _parse_names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_parse_names, json_schema_input_type=str | list[str])]
"""One name, or a list of them."""


class ParticipantRule(_Model):
    """`[[sources.NAME.participant_rules]]`: mails in which somebody else than the address in From speaks."""

    sender: tuple[str, ...] = ()
    """Addresses in From, `*` stands for anything."""
    list_id: str = ""
    """A part of the header List-Id."""
    header: str = ""
    """A header that has to be there."""
    use_header: str = ""
    """The header that names the customer, as in "Reply-To" or "X-Original-From"."""
    use_line: str = ""
    """The label of the line of the text that names the customer, as in "E-mail" for `E-mail: jo@example.com`."""
    name_line: str = "Name"
    """The label of the line with the customer's name, where it does not stand beside the address; "" for none."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not (self.sender or self.list_id or self.header):
            raise ValueError("does not say which mails it is about: give sender, list_id or header")
        if bool(self.use_header) == bool(self.use_line.strip(" :")):
            raise ValueError("does not say where the customer stands: give either use_header or use_line")
        return self


TreatmentName = Literal["deliver", "activity", "skip"]


class SourceSettings(_Model):
    """`[sources.NAME]`, the part every source has; all other keys belong to the connector's own settings."""

    connector: str = Field(min_length=1)
    """Which connector: `inbox-sync connector list` shows the installed ones."""
    inbox: str | None = None
    """Which `[inbox.NAME]`; may be left out when there is one."""
    every: Duration = Field(60.0, ge=0.05, le=86400)
    """How often the source is polled."""
    start: Start = "now"
    """What is old enough to be left alone: `now` sends only what arrives from the first run on, a date what
    arrived since then, `all` everything. Stored at the first run; changing it later changes nothing."""
    badge: str | None = None
    """The text of the badge in the Inbox. Default: the source's name."""
    duplicates: Literal["once", "each"] = "once"
    """A message that is in two sources of one inbox: `once` sends it once, `each` once per source."""
    quotes: Literal["remove", "keep", "attach"] = "remove"
    """Earlier messages quoted in a reply, which the conversation holds already: `remove` takes them out and says how
    much it was, `keep` leaves everything as it came, `attach` takes them out and adds the whole text as a file."""
    signatures: Literal["keep", "remove"] = "keep"
    """Signatures, "Sent from my phone" and legal notices at the end of a message: `keep` or `remove` them."""
    edits: Literal["record", "note"] = "record"
    """What was edited at its service after it was delivered: `record` keeps that in the ledger, `note` also shows the new
    words as one silent line. An edit before the delivery is delivered in any case, and what was made internal is not."""
    auto_replies: TreatmentName = "activity"
    """Out-of-office notes and other answers of programs: `deliver` them like a customer's mail, show them as an
    `activity` (one silent line), or `skip` them with the reason in the ledger."""
    bounces: TreatmentName = "activity"
    """Reports of failed deliveries: `deliver`, `activity` or `skip`."""
    mailing_lists: TreatmentName = "activity"
    """Mail that came through a list, and newsletters: `deliver`, `activity` or `skip`. A list that is one of
    `own_addresses` (a group mailbox) does not count."""
    notifications: TreatmentName = "activity"
    """What programs of other services write: `deliver`, `activity` or `skip`."""
    site_notifications: TreatmentName = "skip"
    """The site's own notices of forms, chats and orders, which are in the Inbox already: `deliver`, `activity` or
    `skip`."""
    own_output: TreatmentName = "skip"
    """What this program made itself and comes back: `deliver`, `activity` or `skip`. Leave it, or loops may begin."""
    site_domains: tuple[str, ...] = (
        *("wix-forms.com", "crm.wix.com", "wixsiteautomations.com", "mystore.wix.com", "notifications.wix.com"),
    )
    """Domains that the site's own notices come from, with what is below them."""
    people: tuple[str, ...] = ()
    """Senders that are never taken for programs, `*` stands for anything."""
    participant_rules: tuple[ParticipantRule, ...] = ()
    """Contact forms and lists that write for somebody else: tables [[sources.NAME.participant_rules]] with sender, list_id
    or header (which mails), use_header or use_line (where the customer stands) and name_line (the label of the name's
    line). Without a rule it is From."""
    trusted_authserv_id: Names = ()
    """Names of your own receiving mail servers in the header Authentication-Results, as in "mx.example.com"; what others
    write there is not believed. "-" is Microsoft 365. Empty: senders are not verified."""
    unverified_senders: Literal["note", "hold", "ignore"] = "note"
    """A mail whose From fails DMARC: `note` shows it with a line "Sender not verified", `hold` keeps it for an operator
    (`message retry` sends it), `ignore` shows it like any other."""
    max_age_days: float = Field(30.0, gt=0, le=36_500)
    """Messages older than this that turn up live are skipped: a migrated archive must not flood the Inbox."""
    participant_messages_per_hour: int = Field(200, ge=0)
    """Messages of one customer within an hour that are delivered; the rest of that hour is held for an operator: a program
    that answers everything must not go on for ever. 0 is no limit; a first look and a backfill are not counted."""
    order_wait_seconds: Duration = Field(30.0, ge=0, le=3600)
    """How long a message may wait for older ones from the source's other folders."""
    pass_timeout_seconds: Duration = Field(300.0, gt=0, le=86400)
    """How long one pass may take before it is abandoned and its connection closed."""
    size_limit_bytes: int = Field(25 * MIB, ge=1024)
    """The most one message's content may take."""
    attachments: bool = True
    """Whether files are brought over, as images and files of the conversation; else they are only named."""
    attachment_limit_bytes: int = Field(25 * MIB, ge=1, le=1024 * MIB)
    """The most one file may take; a larger one is only named."""
    attachments_limit_bytes: int = Field(50 * MIB, ge=1, le=1024 * MIB)
    """The most the files of one message may take together."""
    max_attachments: int = Field(30, ge=0, le=1000)
    """Files of one message that are brought over; the others are only named."""
    named_only: tuple[str, ...] = (*PROGRAM_EXTENSIONS, *PROGRAM_TYPES)
    """Files that may be harmful, and so are only named: extensions (`exe`) and types (`application/x-sh`, `video/*`).
    Default: what mail services refuse as programs."""
    max_fetch_attempts: int = Field(5, ge=1, le=1000)
    """Empty answers after which a listed message counts as gone."""
    park_probe_seconds: Duration = Field(900.0, gt=0, le=86400)
    """How often a source parked by a refused sign-in is tried again."""
    backfill_window: int = Field(500, ge=1, le=10_000)
    """Messages of a backfill that may wait for delivery at a time; the next ones are loaded when there is room."""
    sweep_every: Duration = Field(86_400.0, ge=0, le=2_592_000)
    """How often the source is looked through for messages that the service showed late; 0 is never."""
    sweep_days: float = Field(3.0, gt=0, le=366)
    """How far back that looks."""


class Settings(_Model):
    """The whole file. `connectors` holds, per source, the connector's own keys as they stood in the file."""

    ledger: LedgerSettings = LedgerSettings()
    daemon: DaemonSettings = DaemonSettings()
    web: WebSettings | None = None
    alerts: AlertSettings | None = None
    inbox: dict[str, InboxSettings] = Field(default_factory=dict)
    sources: dict[str, SourceSettings] = Field(default_factory=dict)
