"""A mailbox, daemons, a ledger and an Inbox in virtual time, with a word for everything that may happen to them.

The state machine says these words in any order; what it found is told with them in `test_found_by_the_machine.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from sqlalchemy import text

from sync.errors import ConfigError
from sync.ledger import BackfillTerms, Ledger
from tests.property.check import PLACES, Check
from tests.property.mailbox import LATENCY_SECONDS, OWN, Mail, Mailbox, arrival
from tests.property.people import ADA, ADA_AT_HOME, BOB
from tests.property.process import BURST, HORIZON_SECONDS, REQUESTS_PER_MINUTE, SOURCE, Process, Trap
from tests.property.site import Site
from tests.property.world import BEGAN, World

LAST_TROUBLE_SECONDS = 20.0
QUIET_WITHIN_SECONDS = 3600.0
"""Healed, everything has to be done within this (virtual) time."""
APART_SECONDS = 0.01
"""No two messages arrive at once."""
OLD_MAIL_EVERY_SECONDS = 100.0
STALE_SECONDS = 1.0
"""So long a token may be held before its request comes in."""
MOST_AT_ONCE = 4
"""Requests that may be about to be written when a daemon is frozen."""
SAME_TEXT = "Thank you!"


@dataclass(frozen=True)
class Asked:
    """A backfill that was asked for: what arrived at `since` or later; `mails` are those it has to bring in if it is
    done (none of them where it may bring in only so many)."""

    job_id: int
    since: float
    mails: frozenset[int]


@dataclass
class Told:
    """What the story of this play allows: see `Play.check`."""

    dropped: set[int] = field(default_factory=set)
    revived: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)
    refusals: int = 0
    budgets: list[float] = field(default_factory=list)
    freezes: int = 0
    merged: bool = False
    backfills: list[Asked] = field(default_factory=list)


class Play:
    """`shared`: several daemons on one ledger, by leases; else one alone, which a kernel lock protects. `old`: customer
    and stream of what is in the mailbox since before the source's start."""

    def __init__(
        self,
        open_ledger: Callable[..., Ledger],
        *,
        shared: bool,
        bugs: list[str],
        old: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._open_ledger = open_ledger
        self.shared = shared
        self.world = World()
        self.site = Site(self.world)
        self.mailbox = Mailbox(self.world)
        self.mails: list[Mail] = []
        self.told = Told()
        self.daemons: dict[str, Process] = {}
        self.buried: list[Process] = []
        self.created: dict[int, float] = {}
        self.bugs = bugs
        self._starts = 0
        ada = self.site.sandbox.seed_contact([ADA, ADA_AT_HOME], name="Ada")
        bob = self.site.sandbox.seed_contact(BOB, name="Bob")
        self.from_before = {self.site.sandbox.seed_message(SAME_TEXT, contact_id=contact) for contact in (ada, bob)}
        """Messages of another program, or of an earlier ledger, that say what others will say, too."""
        for customer, stream in old:
            self.world.run(OLD_MAIL_EVERY_SECONDS)
            self.mailbox.append(stream, self.mail(OWN, customer) if stream == "Sent" else self.mail(customer))
        self.world.run(HORIZON_SECONDS - self.world.now)
        self.desk = self._open_ledger(writer=False, now=self.world.wall_clock)
        self.start("one")

    # ------------------------------------------------------------------ the mailbox

    def mail(
        self,
        author: str,
        *to: str,
        text: str = "",
        age: float = 0.0,
        late: bool = False,
        ghost: bool = False,
    ) -> Mail:
        self.world.run(APART_SECONDS)
        number = len(self.mails) + 1
        made = Mail(number, text or f"hello [{number}]", author, to or (OWN,), self.world.now - age, late, ghost)
        self.mails.append(made)
        return made

    def arrive(self, author: str, *, same: bool = False) -> None:
        self.mailbox.append("INBOX", self.mail(author, text=SAME_TEXT if same else ""))

    def reply(self, *to: str, copied: bool = False) -> None:
        mail = self.mail(OWN, *to)
        if copied:
            self.mailbox.append("INBOX", mail)
        self.mailbox.append("Sent", mail)

    def arrive_with_old_date(self, author: str, stream: str, age: float) -> None:
        self.mailbox.append(stream, self.mail(author, age=age, late=True))

    def arrive_unseen(self, author: str, seconds: float) -> None:
        self.mailbox.append("Archive", self.mail(author, late=True), hidden_for=seconds)

    def ghost(self, author: str) -> None:
        self.mailbox.append("INBOX", self.mail(author, ghost=True))

    def move(self, stream: str, which: int) -> None:
        """Moves a message, but not back to where it was under the same numbering: by design that is another message."""
        to = "Archive" if stream == "INBOX" else "INBOX"
        mails = self.mailbox.boxes[stream].mails
        uids = [uid for uid, mail in mails.items() if not mail.outgoing and not mail.ghost]
        uids = [uid for uid in uids if not self.mailbox.has_held(to, mails[uid])]
        if uids:
            uid = uids[which % len(uids)]
            self.told.moved.add(mails[uid].number)
            self.mailbox.move(stream, uid, to)

    def delete(self, stream: str, which: int) -> None:
        uids = list(self.mailbox.boxes[stream].mails)
        if uids:
            self.mailbox.remove(stream, uids[which % len(uids)])

    def hint(self) -> None:
        """The daemons poll at once."""
        for daemon in self.daemons.values():
            daemon.hint()

    # ------------------------------------------------------------------ the Inbox

    def merge_contacts(self, target: int, source: int) -> None:
        ids = [str(contact["id"]) for contact in self.site.sandbox.contacts()]
        if len(ids) > 1 and target % len(ids) != source % len(ids):
            self.site.sandbox.merge_contacts(ids[target % len(ids)], ids[source % len(ids)])
            self.told.merged = True

    def merge_conversations(self, target: int, source: int) -> None:
        ids = [conversation["id"] for conversation in self.site.sandbox.conversations()]
        if len(ids) > 1 and target % len(ids) != source % len(ids):
            self.site.sandbox.merge_conversations(ids[target % len(ids)], ids[source % len(ids)])
            self.told.merged = True

    # ------------------------------------------------------------------ operators

    def message_ids(self) -> list[int]:
        return [int(str(row[0])) for row in self.rows("SELECT id FROM messages ORDER BY id")]

    def drop(self, which: int) -> None:
        ids = self.message_ids()
        if ids:
            chosen = ids[which % len(ids)]
            if self.desk.messages.drop([chosen], self.world.wall_clock())[0].moved:
                self.told.dropped.add(chosen)

    def retry(self, which: int) -> None:
        ids = self.message_ids()
        if ids:
            chosen = ids[which % len(ids)]
            if self.desk.messages.retry([chosen], self.world.wall_clock())[0].moved:
                self.told.revived.add(chosen)
                self._note("retry")
                for daemon in self.daemons.values():
                    for side in daemon.runtime.sides.values():
                        daemon.loop.call_soon(side.wake)

    def pause(self) -> None:
        if self.desk.sources.get(SOURCE) is not None:
            self.desk.sources.pause(SOURCE, self.world.wall_clock())

    def resume(self) -> None:
        if self.desk.sources.get(SOURCE) is not None:
            self.desk.sources.resume(SOURCE, self.world.wall_clock())

    def back_fill(self, since: float, most: int | None) -> None:
        """Asks for what arrived at `since` (in the world's time) or later; nothing new while another one is open."""
        if self.desk.sources.get(SOURCE) is None:
            return
        terms = BackfillTerms(BEGAN + timedelta(seconds=since), None, most)
        try:
            job = self.desk.backfills.start(SOURCE, terms, self.world.wall_clock())
        except ConfigError:
            return
        if job.id not in [asked.job_id for asked in self.told.backfills]:
            there = [mail for box in self.mailbox.boxes.values() for mail in box.mails.values()]
            mails = [mail.number for mail in there if arrival(mail) >= terms.since] if most is None else []
            self.told.backfills.append(Asked(job.id, since, frozenset(mails)))
        for daemon in self.daemons.values():
            daemon.look_for_backfills()

    def stop_backfill(self) -> None:
        if self.desk.sources.get(SOURCE) is not None:
            self.desk.backfills.stop(SOURCE, self.world.wall_clock())

    def sweep(self) -> None:
        """Who has the source looks it through for what a pass has missed."""
        for daemon in self.daemons.values():
            daemon.sweep()

    # ------------------------------------------------------------------ daemons

    def start(self, name: str) -> None:
        """Starts a daemon that does not run; the second one only where the ledger is shared."""
        old = self.daemons.get(name)
        if (old is not None and old.alive) or (name != "one" and not self.shared):
            return
        if old is not None:
            self.buried.append(old)
        self._starts += 1
        ledger = self._open_ledger(writer=not self.shared, now=self.world.wall_clock)
        self.daemons[name] = Process(self.world, self.site, self.mailbox, ledger, f"{name}-{self._starts}", self._note)

    def kill(self, name: str) -> None:
        if name in self.daemons:
            self.daemons[name].kill()

    def freeze(self, name: str, seconds: float) -> None:
        if name in self.daemons:
            self.told.freezes += 1
            self.daemons[name].freeze(seconds)

    def trap(self, name: str, occasion: str, left: int, freeze_seconds: float = 0.0) -> None:
        """The daemon is killed, or frozen, when the occasion comes for the `left`-th time."""
        daemon = self.daemons.get(name)
        if daemon is not None and daemon.alive:
            daemon.traps.append(Trap(occasion, left, self._misfortune(daemon, freeze_seconds)))

    def trap_whoever(self, occasion: str, left: int, freeze_seconds: float = 0.0) -> None:
        """The same, for the daemon to which it happens first; nothing happens to the other one."""
        traps: list[tuple[Process, Trap]] = []

        def spring(action: Callable[[], None]) -> None:
            for daemon, trap in traps:
                if trap in daemon.traps:
                    daemon.traps.remove(trap)
            action()

        for daemon in self.daemons.values():
            if daemon.alive:
                action = self._misfortune(daemon, freeze_seconds)
                trap = Trap(occasion, left, partial(spring, action))
                traps.append((daemon, trap))
                daemon.traps.append(trap)

    def _misfortune(self, daemon: Process, freeze_seconds: float) -> Callable[[], None]:
        if not freeze_seconds:
            return daemon.kill
        self.told.freezes += 1
        return lambda: daemon.freeze(freeze_seconds)

    def pass_time(self, seconds: float) -> None:
        self.world.run(seconds)

    # ------------------------------------------------------------------ the end

    def heal(self) -> None:
        """All trouble ends, but for faults that were ordered and did not come yet (each comes a few times at most), and
        for daemons that sleep: they wake when their time has come."""
        self.site.unreachable_until = 0.0
        self.mailbox.failures = 0
        self.mailbox.latency_seconds = LATENCY_SECONDS
        for daemon in self.daemons.values():
            daemon.traps.clear()
        if not any(daemon.alive for daemon in self.daemons.values()):
            self.start("one")
        self.resume()

    def finish(self) -> None:
        """Lets what was begun go on for a while, heals everything, waits until all is done, and checks what came of it."""
        if not self.world.run(LAST_TROUBLE_SECONDS, self._is_done_now_and_then()):
            self.heal()
        if not self.world.run(QUIET_WITHIN_SECONDS, self._is_done_now_and_then()):
            raise AssertionError(f"not done {QUIET_WITHIN_SECONDS:g} s after all trouble ended: {self._left()}")
        self.check()

    def close(self) -> None:
        for daemon in (*self.buried, *self.daemons.values()):
            daemon.bury()
        self.desk.close()
        self.site.sandbox.close()

    def _is_done_now_and_then(self) -> Callable[[], bool]:
        """The question whether all is done; the ledger is asked at most every other (virtual) second."""
        asked = [self.world.now]

        def is_done() -> bool:
            if self.world.now < asked[0]:
                return False
            asked[0] = self.world.now + 2.0
            return not self._left()

        return is_done

    def _left(self) -> list[str]:
        """What is not done yet."""
        left = [f"{name} sleeps" for name, daemon in self.daemons.items() if daemon.drowsy]
        left += [
            f"delivery {row[0]} of message {row[1]} is {row[2]} ({row[3]})"
            for row in self.rows(
                "SELECT id, message_id, state, code FROM deliveries"
                " WHERE state IN ('pending', 'sending', 'unknown') OR recheck_at IS NOT NULL"
            )
        ]
        left += [f"message {row[0]} is found" for row in self.rows("SELECT id FROM messages WHERE state = 'found'")]
        left += [f"backfill {job.id} is {job.state} ({job.code})" for job in self.desk.backfills.open()]
        streams = self.desk.streams.of_source(SOURCE) if self.desk.sources.get(SOURCE) is not None else []
        ends = {row.key: row.cursor for row in streams}
        recorded = {(str(row[1]), str(row[2]).partition(":")[2], str(row[3])) for row in self.rows(PLACES)}
        for key, box in self.mailbox.boxes.items():
            places = {(key, str(box.epoch), str(uid)) for uid in self.mailbox.visible(key)}
            if box.hidden or not places <= recorded or not self.mailbox.at_end(key, ends.get(key)):
                left.append(f"{key} was not read to its end: {ends.get(key)}")
        return left

    # ------------------------------------------------------------------ what is checked

    def rows(self, sql: str, **values: object) -> Sequence[Sequence[object]]:
        return self.desk._database.read(lambda tx: [tuple(row) for row in tx.execute(text(sql), values)])

    def _note(self, transaction: str) -> None:
        if transaction == "load":  # of the inbox, and with it of its budget
            self.told.budgets.append(self.world.now)
        if transaction not in ("record", "load_contents", "bring", "retry"):
            return
        newest = max(self.created, default=0)
        for (one,) in self.rows("SELECT id FROM deliveries WHERE id > :newest", newest=newest):
            self.created[int(str(one))] = self.world.now

    def at_most_once(self) -> None:
        """At any moment: no text is in the Inbox more often than it was written to that customer."""
        if self.told.revived or self.told.dropped:
            return
        written = Counter((customer, mail.text) for mail in self.mails for customer in mail.customers)
        ours = [one for one in self.site.sandbox.messages() if one["id"] not in self.from_before]
        shown = Counter(message["text"].split("\n")[0] for message in ours)
        by_text: Counter[str] = Counter()
        for (_customer, words), times in written.items():
            by_text[words] += times
        for words, times in shown.items():
            if times > by_text[words]:
                raise AssertionError(f"{words!r} is in the Inbox {times} times, and was written {by_text[words]} times")

    def within_budget(self) -> None:
        """Between any two requests no more than the rate and its burst allow. A budget that begins anew (a start, a lease
        that changed hands) has a token, and who was frozen may have taken some that it uses later."""
        moments = self.site.requests
        for index, began in enumerate(moments):
            for count, ended in enumerate(moments[index:], start=1):
                anew = sum(1 for one in self.told.budgets if began - STALE_SECONDS <= one <= ended)
                allowed = BURST + REQUESTS_PER_MINUTE / 60.0 * (ended - began) + 1 + anew
                if count > allowed + self.told.freezes * MOST_AT_ONCE:
                    raise AssertionError(f"{count} requests within {ended - began:.3f} s")

    def check(self) -> None:
        """Each delivery once, in its conversation, in its direction, in order; everything final; nothing unexplained."""
        self.at_most_once()
        self.within_budget()
        if self.bugs:
            raise AssertionError(f"bugs in the log: {self.bugs}")
        Check(self).run()
