"""Telling the operator, by command, webhook or mail, what `sync.alarm` finds worth telling; and a heartbeat.

Of several daemons over one ledger, the one that holds the lease "alerts" tells. An alert that no channel took is told
again at the next look; what was told is remembered in the ledger.
"""

from __future__ import annotations

import asyncio
import json
import smtplib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

import structlog

from sync.alarm import Alert, AlertKind, Counted, Patience, Trouble, look, memory_from_json, memory_to_json, untold
from sync.answers import StatusAnswer
from sync.clock import Clock
from sync.errors import InboxSyncError
from sync.http import HttpClient
from sync.lease import LeaseKeeper
from sync.ledger import Ledger
from sync.message import Json
from sync.settings import AlertSettings
from sync.words import plain

log = structlog.get_logger()

LOOK_SECONDS = 10.0
"""How often the status is looked at."""
LEASE = "alerts"
MEMORY_KEY = "alerts"
OUTPUT_MAX_BYTES = 4096
"""What a command prints beyond it is not read."""
HEARTBEAT_MAX_BYTES = 64 * 1024


class ChannelFailed(Exception):
    """A channel did not take an alert. Its text says why, without addresses or secrets."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to tell."""

    name: str
    tell: Callable[[Alert], Awaitable[None]]


class Alerts:
    """Looks at the status again and again, and tells. `status` is the operation; `doubled` counts by inbox."""

    def __init__(
        self,
        settings: AlertSettings,
        *,
        status: Callable[[], Awaitable[StatusAnswer]],
        ledger: Ledger,
        keeper: LeaseKeeper,
        http: HttpClient,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._status = status
        self._ledger = ledger
        self._keeper = keeper
        self._http = http
        self._clock = clock
        self._patience = Patience(
            timedelta(seconds=settings.after_seconds),
            timedelta(seconds=settings.well_after_seconds),
            timedelta(seconds=settings.again_after_seconds),
        )
        self._channels = self._configured()

    async def run(self) -> None:
        """For ever."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch(), name="alerts")
                group.create_task(self._beat(), name="heartbeat")
        finally:
            await self._http.aclose()

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except InboxSyncError as error:
                log.warning("alerts.postponed", code=error.code)
            except Exception:
                log.exception("alerts.bug")
            await self._clock.sleep(min(LOOK_SECONDS, max(0.05, self._settings.after_seconds / 4)))

    async def _beat(self) -> None:
        """Asks the heartbeat address again and again, while this loop moves."""
        url = self._settings.heartbeat_url
        while url is not None:
            try:
                answer = await self._http.request("GET", url.get_secret_value(), max_bytes=HEARTBEAT_MAX_BYTES)
                if not 200 <= answer.status_code < 300:
                    log.warning("heartbeat.refused", status=answer.status_code)
            except InboxSyncError as error:
                log.warning("heartbeat.not_sent", code=error.code)
            except Exception:
                log.exception("heartbeat.bug")  # it would end the alerts with it
            await self._clock.sleep(self._settings.heartbeat_seconds)

    async def look(self) -> None:
        """One look, by whoever holds the lease."""
        if not self._channels or await self._keeper.take(LEASE) is None:
            return
        status = await self._status()
        doubled = await self._ledger.call(self._ledger.overview.doubled)
        kept = await self._ledger.call(self._ledger.notes.get, MEMORY_KEY)
        before = memory_from_json(kept)
        memory, alerts = look(
            before, troubles_of(status), counted_of(status, doubled), self._clock.now(), self._patience
        )
        for alert in alerts:
            if not await self._tell(alert):
                memory = untold(memory, before, alert)  # it alone: the others must not be told again with it
        text = memory_to_json(memory)
        if text != kept:
            await self._ledger.call(self._ledger.notes.put, MEMORY_KEY, text)

    async def _tell(self, alert: Alert) -> bool:
        """Whether any channel took it."""
        log.info("alert", kind=alert.kind, about=alert.about, code=alert.code)
        took = 0
        for channel in self._channels:
            try:
                async with asyncio.timeout(self._settings.timeout_seconds):
                    await channel.tell(alert)
                took += 1
            except TimeoutError:
                log.error("alert.not_told", channel=channel.name, code=alert.code, reason="it took too long")  # noqa: TRY400  no bug of ours
            except (ChannelFailed, InboxSyncError) as error:
                log.error("alert.not_told", channel=channel.name, code=alert.code, reason=str(error))  # noqa: TRY400  no bug of ours
            except Exception:
                log.exception("alert.bug", channel=channel.name, code=alert.code)  # the other channels tell it once
        return took > 0

    # ------------------------------------------------------------------ channels

    def _configured(self) -> list[Channel]:
        settings = self._settings
        channels = []
        if settings.command:
            channels.append(Channel("command", self._by_command))
        if settings.webhook is not None:
            channels.append(Channel("webhook", self._by_webhook))
        if settings.mail_to:
            channels.append(Channel("mail", self._by_mail))
        return channels

    async def _by_command(self, alert: Alert) -> None:
        """The alert comes as one JSON document on standard input."""
        program, *arguments = self._settings.command
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise ChannelFailed(f"the command cannot be started: {error.strerror}") from None
        try:
            await process.communicate(json.dumps(document(alert)).encode() + b"\n")
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            raise ChannelFailed(f"the command ended with exit code {process.returncode}")

    async def _by_webhook(self, alert: Alert) -> None:
        url = self._settings.webhook
        if url is None:
            return
        body = document(alert)
        answer = await self._http.request("POST", url.get_secret_value(), json={**body, "text": _line(alert)})
        if not 200 <= answer.status_code < 300:
            raise ChannelFailed(f"the webhook answered {answer.status_code}")

    async def _by_mail(self, alert: Alert) -> None:
        await asyncio.to_thread(self._send_mail, self._mail(alert))

    def _mail(self, alert: Alert) -> EmailMessage:
        mail = EmailMessage()
        mail["From"] = self._settings.mail_from
        mail["To"] = ", ".join(self._settings.mail_to)
        mail["Subject"] = f"inbox-sync: {plain(_line(alert))}"[:200]  # a line end of a server's words would be refused
        mail["Date"] = format_datetime(self._clock.now())
        mail["Message-ID"] = make_msgid(domain="inbox-sync.invalid")
        mail["Auto-Submitted"] = "auto-generated"
        lines = [
            alert.sentence,
            "",
            f"about: {alert.about}",
            f"code: {alert.code}",
            f"since: {alert.since.isoformat()}",
        ]
        if alert.next_step:
            lines += ["", f"What to do: {alert.next_step}"]
        mail.set_content("\n".join(lines) + "\n")
        return mail

    def _send_mail(self, mail: EmailMessage) -> None:
        settings = self._settings
        seconds = settings.timeout_seconds
        try:
            if settings.smtp_tls == "tls":
                client: smtplib.SMTP = smtplib.SMTP_SSL(
                    settings.smtp_host, settings.smtp_port, timeout=seconds, context=ssl.create_default_context()
                )
            else:
                client = smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=seconds)
            with client:
                if settings.smtp_tls == "starttls":
                    client.starttls(context=ssl.create_default_context())
                if settings.smtp_username is not None and settings.smtp_password is not None:
                    client.login(settings.smtp_username, settings.smtp_password.get_secret_value())
                client.send_message(mail)
        except (OSError, smtplib.SMTPException) as error:
            raise ChannelFailed(f"the mail server did not take it: {type(error).__name__}") from None


def troubles_of(status: StatusAnswer) -> list[Trouble]:
    """What does not work now."""
    found: list[Trouble] = []
    for inbox in status["inboxes"]:
        if (fault := inbox["fault"]) is not None:
            found.append(Trouble(f"inbox {inbox['name']}", fault["code"], fault["sentence"], fault["next_step"]))
        if (warning := inbox["warning"]) is not None:
            about = f"inbox {inbox['name']} ({warning['code']})"
            found.append(Trouble(about, warning["code"], warning["sentence"], warning["next_step"]))
    for source in status["sources"]:
        fault = source["fault"]
        if fault is not None and source["state"] != "removed" and not source["paused"]:
            found.append(Trouble(f"source {source['name']}", fault["code"], fault["sentence"], fault["next_step"]))
    return found


def counted_of(status: StatusAnswer, doubled: dict[str, int]) -> list[Counted]:
    """What happened, as counts that grow."""
    step = "inbox-sync message list --failed"
    counted = [
        Counted(
            f"inbox {name}",
            "delivery.doubled",
            count,
            "messages are there twice",
            "inbox-sync message list --state sent",
        )
        for name, count in sorted(doubled.items())
    ]
    for source in status["sources"]:
        about, sent = f"source {source['name']}", source["deliveries"]
        counted.append(Counted(about, "delivery.held", sent["held"], "deliveries are held for you", step))
        dead = sent["dead"] + source["messages"]["dead"]
        counted.append(Counted(about, "delivery.dead", dead, "messages could not be delivered", step))
    return counted


def document(alert: Alert) -> dict[str, Json]:
    """An alert as JSON: what commands and webhooks get."""
    return {
        "kind": str(alert.kind),
        "about": alert.about,
        "code": alert.code,
        "sentence": alert.sentence,
        "next_step": alert.next_step,
        "since": alert.since.isoformat(),
    }


def _line(alert: Alert) -> str:
    if alert.kind is AlertKind.TROUBLE:
        return f"{alert.about}: {alert.sentence}"
    return alert.sentence
