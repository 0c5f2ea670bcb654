"""`check`: looks at everything a configuration names, and says of each what is wrong and how to mend it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Literal, TypeAlias

import structlog

from sync.answers import CheckAnswer, FindingAnswer, OnProgress, Progress, summarise_check
from sync.clock import Clock
from sync.config import LoadedConfig
from sync.connector import Finding, PassContext, Severity
from sync.errors import InboxSyncError, LedgerError
from sync.inbox import InboxClient
from sync.ledger import Ledger
from sync.poll import Poller
from sync.runtime import InboxSide, Runtime
from sync.show import bug_of
from sync.tokens import LedgerTokenStore

log = structlog.get_logger()

CHECK_SECONDS = 90.0
"""How long one inbox or source may take to be checked. Connectors wait a minute (`read_timeout_seconds`), and then know
better what to say of a silent service."""

About: TypeAlias = Literal["configuration", "ledger", "daemon", "inbox", "source"]


class Examination:
    """One `check`. `loaded` is the file as it is, `at_work` what a running daemon has read (the same without one),
    `trouble` why the ledger cannot be used, `sides` the delivery sides of a running daemon, whose budgets count."""

    def __init__(
        self,
        loaded: LoadedConfig,
        at_work: LoadedConfig,
        ledger: Ledger,
        trouble: LedgerError | None,
        sides: Mapping[str, InboxSide],
        clock: Clock,
    ) -> None:
        self._loaded = loaded
        self._at_work = at_work
        self._ledger = ledger
        self._trouble = trouble
        self._sides = sides
        self._clock = clock

    async def run(self, runtime: Runtime, on_progress: OnProgress) -> CheckAnswer:
        """Looks with the fresh clients and connectors of `runtime`."""
        findings = self._configuration()
        findings.append(await self._check_ledger())
        steps = len(runtime.sides) + len(runtime.pollers)
        for done, name in enumerate(runtime.sides):
            on_progress(_progress(name, done, steps, f"inbox {name}"))
            findings += await _bounded("inbox", name, self._client(runtime, name).check())
        for done, (name, poller) in enumerate(runtime.pollers.items(), start=len(runtime.sides)):
            on_progress(_progress(name, done, steps, f"source {name}"))
            findings += await check_source(poller, self._ledger, self._clock)
        return summarise_check(findings)

    def _client(self, fresh: Runtime, inbox: str) -> InboxClient:
        """The daemon's own client where it works with the same settings."""
        own, side = self._sides.get(inbox), fresh.sides[inbox]
        return own.client if own is not None and own.settings == side.settings else side.client

    def _configuration(self) -> list[FindingAnswer]:
        loaded = self._loaded
        findings = [_finding("configuration", "", Severity.OK, f"{loaded.path} can be read")]
        findings += [_finding("configuration", "", Severity.NOTE, note) for note in loaded.notes]
        if loaded.settings != self._at_work.settings or loaded.connectors != self._at_work.connectors:
            sentence = "the running daemon has read an older version of this file; what follows is about the new one"
            findings.append(
                _finding("configuration", "", Severity.WARNING, sentence, "inbox-sync reload", "daemon.reload_due")
            )
        for name, error in loaded.failed_sources.items():
            findings.append(_failure("source", name, error))
        return findings

    async def _check_ledger(self) -> FindingAnswer:
        if self._trouble is not None:
            if self._trouble.code != "ledger.missing":
                return _failure("ledger", "", self._trouble)
            return _finding(
                "ledger", "", Severity.NOTE, self._trouble.sentence, self._trouble.next_step, self._trouble.code
            )
        try:
            schema = await self._ledger.call(self._ledger.schema_state)
        except InboxSyncError as error:
            return _failure("ledger", "", error)
        if schema.revision is not None and schema.revision != schema.head:
            sentence = f"the database is at {schema.revision}, this program at {schema.head}"
            return _finding("ledger", "", Severity.WARNING, sentence, "inbox-sync db upgrade", "ledger.behind")
        return _finding("ledger", "", Severity.OK, f"{self._ledger.url} answers")


def looking_context(poller: Poller, ledger: Ledger, clock: Clock) -> PassContext:
    """What a connector is given for looking outside of a pass."""
    return PassContext(
        log=_Silent(),
        now=clock.now,
        deadline_at=clock.now() + timedelta(seconds=CHECK_SECONDS),
        size_limit_bytes=poller.settings.size_limit_bytes,
        http=poller.http,
        tokens=LedgerTokenStore(poller.name, ledger, clock),
    )


async def check_source(poller: Poller, ledger: Ledger, clock: Clock) -> list[FindingAnswer]:
    """What one source's connector finds."""
    return await _bounded("source", poller.name, poller.connector.check(looking_context(poller, ledger, clock)))


class _Silent:
    """A logger for checks: what they find is in the findings."""

    def debug(self, event: str, **fields: object) -> None:
        """Nothing."""

    info = warning = debug


async def _bounded(about: About, name: str, work: Coroutine[object, object, Sequence[Finding]]) -> list[FindingAnswer]:
    """Findings of one inbox or source. What raises in spite of its contract is a finding, too."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            findings = await work
    except TimeoutError:
        sentence, step = f"no answer within {CHECK_SECONDS:g} s", "see whether the service can be reached"
        return [_finding(about, name, Severity.ERROR, sentence, step, "temporary.hung")]
    except InboxSyncError as error:
        return [_failure(about, name, error)]
    except Exception as error:
        log.exception("check.bug", about=about, name=name)
        return [_failure(about, name, bug_of(error))]
    return [_finding(about, name, one.severity, one.sentence, one.next_step, one.code) for one in findings]


def _failure(about: About, name: str, error: InboxSyncError) -> FindingAnswer:
    return _finding(about, name, Severity.ERROR, error.sentence, error.next_step, error.code)


def _finding(
    about: About, name: str, severity: Severity, sentence: str, next_step: str = "", code: str = ""
) -> FindingAnswer:
    return {
        "about": about,
        "name": name,
        "severity": severity.value,
        "sentence": sentence,
        "next_step": next_step,
        "code": code,
    }


def _progress(name: str, done: int, total: int, sentence: str) -> Progress:
    return {"stage": "checking", "about": name, "done": done, "total": total, "sentence": sentence}
