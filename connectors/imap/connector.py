"""The `imap` connector: what `sync.connector` asks for, on one connection per source."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import ClassVar, TypeVar

from sync.connector import ConnectorConfig, ConnectorInfo, Finding, PassContext, Severity, SignIn, Stream, StreamRole
from sync.errors import ConfigError, InboxSyncError, Scope, TemporaryError
from sync.kit.recent import Recent, pieces
from sync.kit.threads import in_thread
from sync.kit.tls import Tls
from sync.mail import MailFiles
from sync.message import Attachment, Batch, Content, Found, Gone, Json, Listed

from .apart import Apart
from .bookmark import Bookmark, Verdict, doubting, epoch_of, turn_after
from .client import LiteralTooLong
from .config import ImapConfig
from .folders import SENT, Folder, find_folder, is_special_use, near_names
from .identity import identity_of
from .link import Link
from .listing import list_folder
from .look import Listing, Loaded, enter, list_headers, load_contents, look_for_new
from .parts import PartReader, part_missing
from .uids import MAX_UID
from .watch import Watch
from .wire import Wire

T = TypeVar("T")

FOLDER_LIST_AGE = timedelta(hours=1)
"""How long the server's list of folders is remembered while every configured folder is in it."""
LARGE_FOLDER_MESSAGES = 1000
"""From so many messages on, a connection on which folders were listed is not kept for polling: on it, Dovecot (2.3 with
its index of folders, the default) opens and looks through a folder for each STATUS, on any other it answers at once."""

_FILE_NOT_GIVEN = frozenset({"imap.attachment_gone", "imap.answer_too_long"})
OPENED_AT_ONCE_MAX_BYTES = 128 * 1024
"""Out of a mail of this size a file is taken in less time than a thread takes to start."""

_BREAKS = frozenset({"imap.connection_lost", "imap.timeout"})


class ImapConnector:
    """A mailbox over IMAP4rev1. Reads with EXAMINE and BODY.PEEK: no flag of any message changes."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="imap",
        summary="A mailbox on an IMAP server: its folders, by UID",
        permissions=("read the configured folders",),
    )
    Config: ClassVar[type[ConnectorConfig]] = ImapConfig

    def __init__(self, config: ConnectorConfig) -> None:
        if not isinstance(config, ImapConfig):
            raise TypeError("ImapConnector takes an ImapConfig")
        self._config = config
        self._identity = identity_of(config)
        self._link = Link(config, self._identity)
        self._watch = Watch(config, self._identity)
        self._listed: tuple[Folder, ...] | None = None
        self._listed_at: datetime | None = None
        self._looked_fully_at: dict[str, datetime] = {}
        self._announced: set[str] = set()
        """Streams in which new mail was announced since they were looked at."""
        self._sizes: dict[str, tuple[str, Mapping[int, int]]] = {}
        """By folder, what the last listing told: its epoch, and the sizes of its mails."""
        self._apart = Apart(config.whole_max_bytes)
        self._careful: set[str] = set()
        self._fragile: set[tuple[str, str]] = set()
        self._recent: Recent[tuple[str, str, str], MailFiles] = Recent()
        self._epochs: dict[str, str] = {}
        """By stream, the numbering that the last pass saw."""

    @property
    def account(self) -> str:
        """Host and user: another port or kind of TLS is the same mailbox."""
        return f"{self._config.host.lower()}/{self._config.username}"

    # -- streams

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        """The configured folders, those that do not exist last: their `poll` raises ConfigError, after all others
        had their turn. Without configured folders a mailbox that has no sent folder just has none."""
        folders = await self._folders(ctx)
        there: dict[str, Stream] = {}
        missing: dict[str, Stream] = {}
        sent = self._sent_names(folders)
        for name in (*self._config.folders, *self._config.sent_folders):
            folder = find_folder(name, folders)
            if folder is not None:
                role = StreamRole.SENT if folder.name in sent else StreamRole.RECEIVED
                there.setdefault(folder.name, Stream(folder.name, role))
            elif not (self._config.folders_are_default and name == SENT):
                role = StreamRole.SENT if name == SENT or name in self._config.sent_folders else StreamRole.RECEIVED
                missing.setdefault(name, Stream(name, role))
        return (*there.values(), *missing.values())

    def _sent_names(self, folders: Sequence[Folder]) -> set[str]:
        found = (find_folder(name, folders) for name in (SENT, *self._config.sent_folders))
        return {folder.name for folder in found if folder is not None}

    async def _folders(self, ctx: PassContext) -> Sequence[Folder]:
        self._identity.use(ctx)
        listed, at = self._listed, self._listed_at
        if listed is not None and at is not None and timedelta(0) <= ctx.now() - at < FOLDER_LIST_AGE:
            wanted = (*self._config.folders, *self._config.sent_folders)
            if self._link.connected and all(find_folder(name, listed) for name in wanted):
                return listed
        folders = tuple(await self._link.run(lambda wire: wire.list_folders()))
        self._listed, self._listed_at = folders, ctx.now()
        return folders

    async def _folder(self, key: str, ctx: PassContext) -> Folder:
        folder = find_folder(key, await self._folders(ctx))
        if folder is None:
            raise self._missing(key)
        return folder

    def _missing(self, name: str) -> ConfigError:
        near = near_names(name, self._listed or ())
        what = f"No folder is marked as {name}" if is_special_use(name) else f'There is no folder "{name}"'
        listed = ", ".join(f'"{one}"' for one in near)
        return ConfigError(
            f"{what} in this mailbox on {self._config.host}.",
            code="imap.folder_missing",
            next_step=f"Correct folders; {'near names are' if near else 'the server lists no folders'} {listed}".strip()
            + ".",
            folder=name,
        )

    # -- polling

    async def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        """Headers of what has not been listed yet, in batches; every batch's cursor is right to go on from."""
        mark = Bookmark.read(cursor)
        if cursor is not None and mark is None:
            ctx.log.warning("imap.cursor_unreadable", stream=stream.key)
        looked_at = ctx.now()
        folder = await self._folder(stream.key, ctx)
        listing = await self._look(stream, folder, mark, ctx)
        if listing.verdict is Verdict.DOUBTFUL and mark is not None:
            before, now = (mark.uidvalidity, mark.next), (listing.look.uidvalidity, listing.look.uidnext)
            ctx.log.warning("imap.numbering_went_down", stream=stream.key, before=before, now=now)
            epoch = epoch_of(mark.uidvalidity, mark.turn)
            yield Batch((), cursor=doubting(mark, listing.look).write(), epoch=epoch)
            return
        found = bool(listing.uids) and listing.verdict is Verdict.GO_ON
        self._watch.polled(folder.name, listing.look, found=found)
        turn = turn_after(mark, listing.look, listing.verdict)
        epoch = self._epochs[stream.key] = epoch_of(listing.look.uidvalidity, turn)
        if listing.verdict is Verdict.NOTHING_NEW and mark is not None:
            same = mark.model_copy(update={"doubt": None})
            yield Batch((), cursor=same.write(), epoch=epoch, complete_until=looked_at)
            return
        async for batch in self._list(folder, mark, listing, looked_at, ctx, turn=turn):
            yield batch

    async def _look(self, stream: Stream, folder: Folder, mark: Bookmark | None, ctx: PassContext) -> Listing:
        now = ctx.now()
        last = self._looked_fully_at.get(stream.key)
        full = last is None or not timedelta(0) <= now - last < timedelta(seconds=self._config.full_look_seconds)
        full = full or stream.key in self._announced  # to ask whether anything is new would be one question too many
        self._announced.discard(stream.key)
        try:
            listing = await self._link.run(
                lambda wire: look_for_new(wire, folder, mark, ctx.since, full=full), folder=folder.name
            )
        except TemporaryError as refused:
            if refused.code != "imap.command_refused":
                raise
            await self._still_there(stream.key, ctx)
            raise
        if full:
            self._looked_fully_at[stream.key] = now
        large = (listing.look.messages or 0) >= LARGE_FOLDER_MESSAGES
        if large and listing.verdict is Verdict.NOTHING_NEW and self._link.has_listed:
            await self._link.renew()
        if mark is not None and listing.verdict is Verdict.FIRST:
            ctx.log.info("imap.renumbered", stream=stream.key, before=mark.uidvalidity, now=listing.look.uidvalidity)
        return listing

    async def _still_there(self, key: str, ctx: PassContext) -> None:
        """Raises ConfigError if the server lists the folder no more."""
        self._listed = None
        await self._folder(key, ctx)

    async def _list(
        self,
        folder: Folder,
        mark: Bookmark | None,
        listing: Listing,
        looked_at: datetime,
        ctx: PassContext,
        *,
        turn: int,
    ) -> AsyncIterator[Batch]:
        first = mark is None or mark.first or listing.verdict is Verdict.FIRST
        since = ctx.since if first else None
        uidvalidity = listing.look.uidvalidity
        epoch = epoch_of(uidvalidity, turn)
        start = 1 if mark is None or listing.verdict is Verdict.FIRST else mark.next
        end = Bookmark(
            uidvalidity=uidvalidity,
            next=max(start, min(listing.top, MAX_UID) + 1),
            uidnext=listing.look.uidnext,
            messages=listing.look.messages,
            turn=turn,
        )
        left, before_horizon = len(listing.uids), listing.before_horizon
        for uids in listing.uids.slices(self._config.batch_messages):
            known = await ctx.known(epoch, [str(uid) for uid in uids])
            found = await self._headers(folder, epoch, [uid for uid in uids if str(uid) not in known], looked_at)
            wanted = [one for one in found if since is None or not _lies_before(one, since)]
            left -= len(uids)
            after = end if not left else Bookmark(uidvalidity=uidvalidity, next=uids[-1] + 1, first=first, turn=turn)
            yield Batch(
                tuple(wanted),
                cursor=after.write(),
                epoch=epoch,
                complete_until=None if left else looked_at,
                before_horizon=len(found) - len(wanted) + (0 if left else before_horizon),
            )
        if not listing.uids:
            yield Batch((), cursor=end.write(), epoch=epoch, complete_until=looked_at, before_horizon=before_horizon)

    async def list(self, stream: Stream, since: datetime | None, ctx: PassContext) -> AsyncIterator[Listed]:
        """What the folder holds, by its own numbers."""
        folder = await self._folder(stream.key, ctx)
        async for listed in list_folder(
            self._link, folder, since, ctx, lambda epoch, uids: self._headers(folder, epoch, uids, ctx.now())
        ):
            yield listed

    async def _headers(self, folder: Folder, epoch: str, uids: Sequence[int], looked_at: datetime) -> Sequence[Found]:
        def job(wire: Wire, some: Sequence[int]) -> list[Found]:
            if enter(wire, folder, epoch):
                return list_headers(wire, some, looked_at)
            raise TemporaryError(
                f'The folder "{folder.name}" on {self._config.host} was numbered anew while it was read.',
                code="imap.uidvalidity_changed",
                next_step="The next pass recognises its messages by their fingerprints.",
                folder=folder.name,
            )

        found: list[Found] = []
        async for some, listed in self._piecewise(job, folder, epoch, uids, "list"):
            found += [Found(str(uid), looked_at) for uid in some] if listed is None else listed
        self._sizes[folder.name] = (epoch, {int(one.external_id): one.size for one in found if one.size is not None})
        return sorted(found, key=lambda one: (one.arrived_at, int(one.external_id)))

    # -- content

    async def fetch(self, stream: Stream, epoch: str, ids: Sequence[str], ctx: PassContext) -> Mapping[str, Content]:
        """The content of these UIDs. Left out: those that the server lists but does not return, and all of them when
        the folder has been numbered anew (the next poll finds them under their new numbers)."""
        contents: dict[str, Content] = {
            name: Gone("it is no UID") for name in ids if not (name.isascii() and name.isdigit() and int(name) > 0)
        }
        uids = sorted({int(name) for name in ids if name not in contents})
        if not uids:
            return contents
        folder = await self._folder(stream.key, ctx)
        self._recent.clear()  # what was loaded before has given its files by now
        limit_bytes = min(self._config.max_message_bytes or ctx.size_limit_bytes, ctx.size_limit_bytes)
        careful = folder.name in self._careful
        of_epoch, listed = self._sizes.get(folder.name, ("", {}))
        sizes = listed if of_epoch == epoch else {}

        def keep(uid: int, files: MailFiles) -> None:
            self._recent.keep((stream.key, epoch, str(uid)), files)

        def job(wire: Wire, some: Sequence[int]) -> Loaded:
            if self._epochs.get(stream.key, epoch) != epoch or not enter(wire, folder, epoch):
                return Loaded({}, tuple(some))
            try:
                return load_contents(wire, some, sizes, limit_bytes, careful=careful, apart=self._apart, keep=keep)
            except LiteralTooLong:
                self._careful.add(folder.name)
                raise

        not_returned: list[int] = []
        async for some, loaded in self._piecewise(job, folder, epoch, uids, "load"):
            contents.update(loaded.contents if loaded else {})
            not_returned += loaded.refused if loaded else some
        if not_returned:
            ctx.log.warning("imap.not_returned", stream=stream.key, epoch=epoch, uids=not_returned)
        return contents

    async def open_attachment(
        self, stream: Stream, epoch: str, external_id: str, attachment: Attachment, ctx: PassContext
    ) -> AsyncIterator[bytes]:
        """A file of a mail that was just loaded from what is at hand; of any other one its part alone, piece by piece."""
        files = self._recent.get((stream.key, epoch, external_id))
        if files is not None:
            if len(files) <= OPENED_AT_ONCE_MAX_BYTES:
                data = files.open(attachment.ref)
            else:
                data = await in_thread(partial(files.open, attachment.ref), name="imap-file")
            if data is None:
                raise part_missing(attachment)
            for piece in pieces(data):
                yield piece
            return
        folder = await self._folder(stream.key, ctx)
        part = PartReader(folder, epoch, external_id, attachment)
        while not part.ended:
            try:
                piece = await self._link.run(part.read, folder=folder.name)
            except InboxSyncError as error:
                if error.code not in _FILE_NOT_GIVEN or not self._apart.give_up(folder.wire, int(external_id)):
                    raise
                raise _loaded_whole_next() from error
            for some in pieces(piece):
                yield some

    async def _piecewise(
        self, job: Callable[[Wire, Sequence[int]], T], folder: Folder, epoch: str, uids: Sequence[int], work: str
    ) -> AsyncIterator[tuple[Sequence[int], T | None]]:
        """Does a job for the UIDs in batches. Where the connection broke or fell silent over a batch, the next try
        goes one by one; a single UID that breaks it while the folder can still be opened gives None, so that one bad
        message costs one message. When every one of several breaks it, it is the server, and the error is raised."""
        fragile = (folder.name, work) in self._fragile
        size = 1 if fragile else self._config.batch_messages
        broken: TemporaryError | None = None
        succeeded = 0
        for start in range(0, len(uids), size):
            some = uids[start : start + size]
            try:
                done = await self._link.run(partial(_with_uids, job, some), folder=folder.name)
            except TemporaryError as error:
                if error.code not in _BREAKS:
                    raise
                self._fragile.add((folder.name, work))
                if not fragile:
                    raise
                await self._link.run(lambda wire: enter(wire, folder, epoch), folder=folder.name)
                broken = error
                yield some, None
            else:
                succeeded += 1
                yield some, done
        if broken is None:
            self._fragile.discard((folder.name, work))
        elif not succeeded and len(uids) > 1:
            raise broken

    # -- signing in

    async def begin_sign_in(self, ctx: PassContext) -> SignIn | None:
        """Starts a sign-in by OAuth. Raises ConfigError where the mailbox has a password."""
        self._identity.use(ctx)
        return await self._identity.tokens.begin_sign_in()

    async def continue_sign_in(self, answer: str, ctx: PassContext) -> SignIn | None:
        """One try to finish it."""
        self._identity.use(ctx)
        return await self._identity.tokens.continue_sign_in(answer)

    # -- waiting

    async def wait(self, ctx: PassContext) -> frozenset[str] | None:
        """Waits in IDLE until mail is announced in a watched folder. None where push is off or the server has no IDLE.
        Its connections are apart from the one that polls, and stay open between two calls."""
        listed = await self._folders(ctx) if self._config.watched_folders else ()
        found = (find_folder(name, listed) for name in self._config.watched_folders)
        folders = {folder.name: folder for folder in found if folder is not None}
        news = await self._watch.wait(tuple(folders.values()), ctx.log) if folders else None
        self._announced |= news or frozenset()
        return news

    # -- the connection

    def abort(self) -> None:
        """Closes the socket now; what waits on it fails with a TemporaryError."""
        self._link.abort()

    async def aclose(self) -> None:
        """Logs out and closes."""
        self._listed = None
        self._watch.close()
        await self._link.aclose()

    # -- check

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        """Connection, TLS, sign-in and every folder, each with what it holds."""
        self._identity.use(ctx)
        where = f"{self._config.host}:{self._config.effective_port}"
        try:
            folders, capabilities = await self._link.run(lambda wire: (tuple(wire.list_folders()), wire.capabilities))
        except InboxSyncError as error:
            return [_finding(error)]
        self._listed, self._listed_at = folders, ctx.now()
        protected = "without TLS" if self._config.tls is Tls.NONE else "its certificate is verified"
        findings = [
            Finding(
                Severity.OK, f"Signed in at {where} as {self._config.username}; {protected}.", code="imap.signed_in"
            )
        ]
        if self._config.tls is Tls.NONE and self._config.allow_plaintext:
            findings.append(_plaintext_warning(where))
        if self._config.push and "IDLE" not in capabilities:
            sentence = f"{where} has no IDLE: new mail is noticed when the source is polled (every)."
            findings.append(Finding(Severity.NOTE, sentence, code="imap.no_idle"))
        findings += [await self._check_folder(stream, ctx) for stream in await self.streams(ctx)]
        if self._config.folders_are_default and find_folder(SENT, folders) is None:
            findings.append(
                Finding(
                    Severity.NOTE,
                    "The mailbox has no folder for sent mail: agents' replies will not be seen.",
                    next_step="Name it in sent_folders if there is one under an unusual name.",
                    code="imap.no_sent_folder",
                )
            )
        return findings

    async def _check_folder(self, stream: Stream, ctx: PassContext) -> Finding:
        try:
            folder = await self._folder(stream.key, ctx)
            look = await self._link.run(lambda wire: wire.examine(folder.wire), folder=folder.name)
        except InboxSyncError as error:
            return _finding(error)
        count = "an unknown number of" if look.messages is None else str(look.messages)
        if not look.uidvalidity:
            return Finding(
                Severity.WARNING,
                f'Folder "{stream.key}" ({stream.role}): {count} messages, but the server gives no UIDVALIDITY.',
                next_step="Nothing to do; if the server renumbers its messages, they are recognised by their headers alone.",
                code="imap.no_uidvalidity",
            )
        return Finding(Severity.OK, f'Folder "{stream.key}" ({stream.role}): {count} messages.', code="imap.folder")


def _with_uids(job: Callable[[Wire, Sequence[int]], T], uids: Sequence[int], wire: Wire) -> T:
    return job(wire, uids)


def _loaded_whole_next() -> TemporaryError:
    return TemporaryError(
        "the server does not give a file by itself that it has named",
        code="imap.part_not_given",
        next_step="Nothing: the mail is loaded whole at the next try.",
        scope=Scope.MESSAGE,
    )


def _lies_before(found: Found, since: datetime) -> bool:
    return found.arrived_at < since and (found.written_at is None or found.written_at < since)


def _finding(error: InboxSyncError) -> Finding:
    return Finding(Severity.ERROR, str(error), next_step=error.next_step, code=error.code)


def _plaintext_warning(where: str) -> Finding:
    return Finding(
        Severity.WARNING,
        f"The password travels readable to {where}.",
        next_step='Use tls = "implicit" or "starttls" if the server has it.',
        code="imap.plaintext",
    )
