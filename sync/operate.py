"""What typed commands do: against the running daemon's runtime, or in this process when no daemon runs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from sync import __version__
from sync.answers import (
    AuditAnswer,
    AuthAnswer,
    BackfillAnswer,
    BackfillArgs,
    CheckAnswer,
    DaemonAnswer,
    EraseAnswer,
    MessageFilterArgs,
    MessageListAnswer,
    MessageShowAnswer,
    MoveAnswer,
    MoveArgs,
    OnProgress,
    ReloadAnswer,
    SourceAnswer,
    SourceListAnswer,
    SourceMoveAnswer,
    StatusAnswer,
    SyncAnswer,
)
from sync.audit import audit
from sync.audited import audit_answer
from sync.clock import Clock, SystemClock
from sync.config import LoadedConfig, load
from sync.connector import Fetches
from sync.erase import erase
from sync.errors import ConfigError, InboxSyncError, LedgerError
from sync.examine import Examination
from sync.follow import Follow, not_polled
from sync.lease import new_holder
from sync.ledger import BackfillTerms, Ledger, MessageFilter, Moved, Status
from sync.listing import can_load_listed, cannot_list
from sync.onepass import OnePass, preview
from sync.passes import PassReport
from sync.runtime import Runtime
from sync.settings import LedgerSettings
from sync.show import (
    fault_of,
    inbox_answer,
    message_row,
    message_story,
    source_answer,
    unknown_source_answer,
)
from sync.signing_in import sign_in
from sync.states import DeliveryState, MessageState

LIST_LIMIT = 100
MOVE_LIMIT = 10_000


class RunningDaemon(Protocol):
    """What commands ask of the daemon besides its runtime."""

    def describe(self) -> DaemonAnswer:
        """Who this process is."""
        ...

    async def reload(self) -> ReloadAnswer:
        """Reads the file again."""
        ...

    async def poll(self, name: str) -> PassReport | None:
        """A pass now, until everything found is loaded. None while the source is paused or another process has it."""
        ...

    @property
    def unrecorded(self) -> Mapping[str, InboxSyncError]:
        """Why the last pass of a source could not be recorded: the ledger itself cannot say it."""
        ...

    @property
    def loaded(self) -> LoadedConfig:
        """The configuration at work: another one after a reload."""
        ...

    @property
    def runtime(self) -> Runtime:
        """The pollers and delivery sides at work."""
        ...

    @property
    def changes(self) -> int:
        """How often a reload has changed what the runtime works for."""
        ...


class Operator:
    """Carries out commands (`sync.operations.Operations`)."""

    def __init__(
        self,
        loaded: LoadedConfig,
        ledger: Ledger,
        clock: Clock,
        *,
        daemon: RunningDaemon | None = None,
        trouble: LedgerError | None = None,
    ) -> None:
        self._trouble = trouble
        self._given = loaded
        self._ledger = ledger
        self._clock = clock
        self._daemon = daemon

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, loaded: LoadedConfig, *, writer: bool, stand_in: bool = False, must_exist: bool = False
    ) -> AsyncIterator[Operator]:
        """An operator in this process, for when no daemon runs. `writer` takes the database's lock and brings it to
        head; a reader neither needs nor changes anything. `stand_in`: what only looks (check, a dry run) goes on with
        an empty ledger that is thrown away when the real one cannot be used, and says so. `must_exist`: a writer makes
        no ledger where there is none. Raises LedgerError."""
        with contextlib.ExitStack() as stack:
            trouble = None
            try:
                if must_exist:  # a mistyped command makes no ledger, least of all as the wrong user
                    (await asyncio.to_thread(Ledger.open, loaded.settings.ledger, writer=False)).close()
                ledger = await asyncio.to_thread(Ledger.open, loaded.settings.ledger, writer=writer)
            except LedgerError as error:
                if not stand_in:
                    raise
                trouble = error
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="inbox-sync-"))
                settings = LedgerSettings(url=f"sqlite:///{folder}/ledger.db")
                ledger = await asyncio.to_thread(Ledger.open, settings, writer=True)
            stack.callback(ledger.close)
            yield cls(loaded, ledger, SystemClock(), trouble=trouble)

    @property
    def _loaded(self) -> LoadedConfig:
        return self._given if self._daemon is None else self._daemon.loaded

    # ------------------------------------------------------------------ looking

    async def status(self) -> StatusAnswer:
        """How everything is, from the ledger."""
        now = self._clock.now()
        status: Status = await self._ledger.call(self._ledger.overview.status)
        inboxes = [inbox_answer(row, now) for row in status.inboxes]
        sources = self._sources(status)
        wrong = any(one["fault"] or one["warning"] for one in inboxes) or any(one["fault"] for one in sources)
        schema = await self._ledger.call(self._ledger.schema_state)
        return {
            "ok": not wrong,
            "version": __version__,
            "at": now.isoformat(),
            "daemon": self._daemon.describe() if self._daemon is not None else None,
            "ledger": {"url": self._ledger.url, "revision": schema.revision, "head": schema.head},
            "inboxes": inboxes,
            "sources": sources,
            "backfills": await self._backfills(),
        }

    async def _backfills(self) -> list[BackfillAnswer]:
        jobs = await self._ledger.call(self._ledger.backfills.open)
        return [await self._follow(job.source).look() for job in jobs if job.source in self._loaded.settings.sources]

    def _sources(self, status: Status) -> list[SourceAnswer]:
        known = {row.source.name: source_answer(row) for row in status.sources}
        for name, settings in self._loaded.settings.sources.items():
            if name not in known:
                known[name] = unknown_source_answer(name, settings.connector, settings.inbox or "")
        for name, error in self._loaded.failed_sources.items():
            if name in known:
                known[name]["state"] = "broken"
                known[name]["fault"] = fault_of(error)
        for name, trouble in self._daemon.unrecorded.items() if self._daemon is not None else ():
            if name in known:
                known[name]["state"] = "failing"
                known[name]["fault"] = fault_of(trouble)
        return [known[name] for name in sorted(known)]

    async def source_list(self) -> SourceListAnswer:
        """The sources of the file and of the ledger."""
        return {"sources": self._sources(await self._ledger.call(self._ledger.overview.status))}

    async def message_list(self, args: MessageFilterArgs) -> MessageListAnswer:
        """Messages and their deliveries, newest first."""
        limit = args.get("limit", LIST_LIMIT)
        wanted = _filter(args, limit=limit + 1)
        rows = await self._ledger.call(self._ledger.messages.list, wanted)
        more = len(rows) > limit
        return {
            "messages": [message_row(row) for row in rows[:limit]],
            "next_after_id": rows[limit - 1].id if more else None,
        }

    async def message_show(self, message_id: int) -> MessageShowAnswer:
        """One message's story."""
        story = await self._ledger.call(self._ledger.messages.story, message_id)
        if story is None:
            raise ConfigError(
                f"there is no message {message_id}",
                code="message.unknown",
                next_step="`inbox-sync message list` shows the ids",
            )
        return message_story(story)

    # ------------------------------------------------------------------ moving

    async def message_retry(self, args: MoveArgs) -> MoveAnswer:
        """Another try; flagged late."""
        fetching = [name for name, one in self._loaded.sources.items() if issubclass(one.connector, Fetches)]
        return await self._move(
            functools.partial(self._ledger.messages.retry, fetching=fetching, by=args.get("by", "")), args
        )

    async def message_drop(self, args: MoveArgs) -> MoveAnswer:
        """Skips what is not final yet."""
        return await self._move(functools.partial(self._ledger.messages.drop, by=args.get("by", "")), args)

    async def _move(
        self, move: Callable[[Sequence[int] | MessageFilter, datetime], Sequence[Moved]], args: MoveArgs
    ) -> MoveAnswer:
        ids, wanted = args.get("ids") or [], args.get("filter")
        if bool(ids) == bool(wanted):
            raise ConfigError(
                "say which messages: their ids, or a filter", code="command.arguments", next_step="see --help"
            )
        which: Sequence[int] | MessageFilter = ids
        if wanted is not None and not ids:
            which = _filter(wanted, limit=wanted.get("limit", MOVE_LIMIT))
        moved = await self._ledger.call(move, which, self._clock.now())
        if self._daemon is not None:
            for side in self._daemon.runtime.sides.values():
                side.wake()
        return {
            "ok": all(one.moved for one in moved),
            "outcomes": [{"id": one.message_id, "moved": one.moved, "sentence": one.sentence} for one in moved],
        }

    async def source_pause(self, name: str) -> SourceMoveAnswer:
        """Stops polling a source."""
        await self._ledger.call(self._ledger.sources.pause, name, self._clock.now())
        return {"name": name, "sentence": f"{name} is not polled any more; what it found is still delivered"}

    async def source_resume(self, name: str) -> SourceMoveAnswer:
        """Polls a paused source again."""
        await self._ledger.call(self._ledger.sources.resume, name, self._clock.now())
        return {"name": name, "sentence": f"{name} is polled again"}

    async def source_rename(self, old: str, new: str) -> SourceMoveAnswer:
        """Gives a source's rows another name."""
        await self._ledger.call(self._ledger.sources.rename, old, new, self._clock.now())
        return {
            "name": new,
            "sentence": f"what the ledger knows of {old} belongs to {new} now; give it that name in the file, too",
        }

    async def erase(self, value: str, on_progress: OnProgress) -> EraseAnswer:
        """Erases what the ledger holds of a person."""
        return await erase(value, self._ledger, self._clock, on_progress, may_wait=self._daemon is not None)

    async def reload(self) -> ReloadAnswer:
        """Reads the file again."""
        if self._daemon is None:
            raise LedgerError(
                "no daemon is running that could reload", code="daemon.unreachable", next_step="start `inbox-sync run`"
            )
        return await self._daemon.reload()

    async def check(self, on_progress: OnProgress) -> CheckAnswer:
        """Looks at everything the file names, and at the database. A running daemon looks at the file as it is now,
        with its own secrets, and says so when it works with an older one. Raises ConfigError for a faulty file."""
        loaded = self._given if self._daemon is None else await asyncio.to_thread(load, self._loaded.path)
        async with self._runtime(loaded) as runtime:
            sides = {} if self._daemon is None else self._daemon.runtime.sides
            examination = Examination(loaded, self._loaded, self._ledger, self._trouble, sides, self._clock)
            return await examination.run(runtime, on_progress)

    async def auth(self, source: str, answer: str | None, on_progress: OnProgress) -> AuthAnswer:
        """Signs in for a source. What a running daemon does with it is tried at once."""
        (name,) = self._wanted_sources(source)
        async with self._runtime(self._loaded) as runtime:
            done = await sign_in(runtime.pollers[name], answer, self._ledger, self._clock, on_progress)
        if self._daemon is not None and done["signed_in"]:
            await self._daemon.poll(name)
        return done

    # ------------------------------------------------------------------ backfill and audit

    async def backfill(self, args: BackfillArgs, on_progress: OnProgress) -> BackfillAnswer:
        """Brings in what came before a source's start."""
        (name,) = self._wanted_sources(args.get("source") or "")
        follow = self._follow(name)
        terms = _terms(args)
        if args.get("dry_run"):
            if self._trouble is not None:
                raise self._trouble  # without what it knows everything would look new
            if terms is None:
                raise ConfigError("say from when on: --since", code="command.arguments", next_step="see --help")
            async with self._runtime(self._loaded) as runtime:
                spool = self._loaded.settings.ledger.spool_max_bytes
                return await follow.dry_run(runtime.pollers[name], terms, spool_max_bytes=spool)
        if self._daemon is not None:
            if not can_load_listed(self._daemon.runtime.pollers[name]):
                raise cannot_list(self._daemon.runtime.pollers[name])
            job = await follow.start(terms)
            self._daemon.runtime.backfills.look()
            return await follow.until_it_ends(job, on_progress)
        async with self._runtime(self._loaded) as runtime:
            if not can_load_listed(runtime.pollers[name]):
                raise cannot_list(runtime.pollers[name])
            await runtime.start()
            try:
                job = await follow.start(terms)
                report = await runtime.poll_fully(name)  # what is live comes first
                if report is not None and report.error is not None:
                    raise report.error
                runtime.do_backfills()
                return await follow.until_it_ends(job, on_progress)
            finally:
                await runtime.stop(self._loaded.settings.daemon.grace_seconds)

    async def backfill_status(self, source: str) -> BackfillAnswer:
        """How a source's newest backfill is."""
        return await self._follow(self._configured(source)).look()

    async def backfill_stop(self, source: str) -> BackfillAnswer:
        """Ends a source's backfill."""
        return await self._follow(self._configured(source)).stop()

    def _follow(self, name: str) -> Follow:
        settings = self._loaded.settings
        inbox = settings.inbox[settings.sources[name].inbox or next(iter(settings.inbox))]
        return Follow(name, self._ledger, self._clock, inbox.requests_per_minute)

    def _configured(self, source: str) -> str:
        if source not in self._loaded.settings.sources:
            self._wanted_sources(source)
        return source

    async def audit(self, source: str, since: str, on_progress: OnProgress) -> AuditAnswer:
        """Compares a source with the ledger."""
        (name,) = self._wanted_sources(source)
        known = await self._ledger.call(self._ledger.sources.get, name)
        if known is None or known.last_good_pass_at is None:
            raise not_polled(name)
        on_progress({"stage": "listing", "about": name, "done": 0, "total": None, "sentence": f"listing {name}"})
        begin = datetime.fromisoformat(since)
        async with self._runtime(self._loaded) as runtime:
            return audit_answer(name, begin, await audit(runtime.pollers[name], known, begin, self._clock))

    # ------------------------------------------------------------------ sync

    async def sync(self, source: str | None, *, dry_run: bool, on_progress: OnProgress) -> SyncAnswer:
        """One pass of one source (None: all) and the deliveries that come of it."""
        names = self._wanted_sources(source)
        if dry_run:
            if self._trouble is not None and self._trouble.code != "ledger.missing":
                raise self._trouble  # without what it knows everything would look new
            async with self._runtime(self._loaded) as runtime:
                return await preview(runtime, names, on_progress)
        named = source is not None
        if self._daemon is not None:
            return await self._through(self._daemon, on_progress).run(names, named=named)
        async with self._runtime(self._loaded) as runtime:
            await runtime.start()
            try:
                alone = OnePass(
                    runtime, self._ledger, self._clock, on_progress, poll=runtime.poll_fully, is_given_up=lambda: False
                )
                return await alone.run(names, named=named)
            finally:
                await runtime.stop(self._loaded.settings.daemon.grace_seconds)

    def _through(self, daemon: RunningDaemon, on_progress: OnProgress) -> OnePass:
        runtime, changes = daemon.runtime, daemon.changes
        return OnePass(
            runtime,
            self._ledger,
            self._clock,
            on_progress,
            poll=daemon.poll,
            is_given_up=lambda: daemon.changes != changes or daemon.describe()["state"] != "running",
        )

    def _wanted_sources(self, source: str | None) -> list[str]:
        if source is None:
            return list(self._loaded.sources)
        if source in self._loaded.failed_sources:
            raise self._loaded.failed_sources[source]
        if source not in self._loaded.sources:
            raise ConfigError(
                f'there is no source "{source}"',
                code="source.unknown",
                next_step=f"the file has: {', '.join(sorted(self._loaded.settings.sources)) or 'none'}",
            )
        return [source]

    @contextlib.asynccontextmanager
    async def _runtime(self, loaded: LoadedConfig) -> AsyncIterator[Runtime]:
        """The daemon's clients and connectors are busy with its passes: looking is done with fresh ones."""
        runtime = Runtime(loaded, self._ledger, clock=self._clock, holder=new_holder())
        try:
            yield runtime
        finally:
            await runtime.aclose()


def _terms(args: BackfillArgs) -> BackfillTerms | None:
    since, until = args.get("since"), args.get("until")
    if since is None:
        if until is not None or args.get("limit") is not None:
            raise ConfigError("--until and --limit go with --since", code="command.arguments", next_step="see --help")
        return None
    begin = datetime.fromisoformat(since)
    end = None if until is None else datetime.fromisoformat(until)
    if end is not None and end <= begin:
        raise ConfigError("--until lies before --since", code="command.arguments", next_step="turn them round")
    return BackfillTerms(begin, end, args.get("limit"))


def _filter(args: MessageFilterArgs, *, limit: int) -> MessageFilter:
    state = args.get("state")
    since = args.get("since")
    return MessageFilter(
        state=None if state is None else _state(state),
        failed=args.get("failed", False),
        reason=args.get("reason"),
        source=args.get("source"),
        inbox=args.get("inbox"),
        since=None if since is None else datetime.fromisoformat(since),
        limit=limit,
        after_id=args.get("after_id"),
    )


def _state(text: str) -> MessageState | DeliveryState:
    for states in (MessageState, DeliveryState):
        if text in {state.value for state in states}:
            return states(text)
    names = sorted({*(s.value for s in MessageState), *(s.value for s in DeliveryState)})
    raise ConfigError(f'"{text}" is no state', code="command.arguments", next_step=f"one of {', '.join(names)}")
