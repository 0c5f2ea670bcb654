"""The state machine: everything that may happen to a play, in any order (Hypothesis, stateful testing)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.property.mailbox import LATENCY_SECONDS, ROLES
from tests.property.people import CUSTOMERS
from tests.property.play import Play
from tests.property.process import HORIZON_SECONDS, LEASE_SECONDS, SETTLE_SECONDS

often = st.sampled_from([True, True, False])
customers = st.sampled_from(CUSTOMERS)
received = st.sampled_from(["INBOX", "Archive"])
streams = st.sampled_from(list(ROLES))
daemons = st.sampled_from(["one", "two"])
which = st.integers(0, 7)
since = st.sampled_from([0.0, HORIZON_SECONDS - 500.0])
at_most = st.sampled_from([None, None, 1, 3])
OCCASIONS = [
    "written",
    "stored",
    "answered",
    *(f"{when} {what}" for when in ("before", "after") for what in ("record", "load_contents", "commit", "remember")),
    "before pass_ended",
    "after take",
    "after take_over",
    "after renew",
    "before record_recheck",
    *(f"{when} {what}" for when in ("before", "after") for what in ("add", "bring")),
    "after stream_listed",
    "after all_listed",
    "before list_again",
    "before finish",
    "before swept",
]
BACKFILLING = ["before add", "after add", "before bring", "after bring", "after stream_listed", "before finish"]
SENDING = ["before commit", "after commit", "after commit", "written", "stored", "answered"]
CALLS = ["messages.send", "messages.send", "messages.list", "contacts.*", "conversations.get_or_create"]
REPEATABLE = CALLS[2:]
LATEST_SECONDS = SETTLE_SECONDS / 2 - 0.25
"""What is stored so late and then listed so late again is visible before settling ends."""
OVERSLEPT_SECONDS = 2 * LEASE_SECONDS + 2 * SETTLE_SECONDS
"""Who sleeps so long wakes when another has taken over, has looked for what was on the wire, and has sent it again."""
SHORT = [0.001, 0.01, 0.05, 0.1, 0.3]
LONG = [1.0, 3.0, LEASE_SECONDS + 0.5, SETTLE_SECONDS + 1.0, 30.0]


class Machine(RuleBasedStateMachine):
    """`new_play` is set by the test, for one database or the other; the argument says whether the ledger is shared."""

    new_play: Callable[[bool, Sequence[tuple[str, str]]], Play]

    def __init__(self) -> None:
        super().__init__()
        self.play: Play | None = None
        self._broken = False

    @property
    def at(self) -> Play:
        assert self.play is not None
        return self.play

    @initialize(shared=often, two=st.booleans(), old=st.lists(st.tuples(customers, streams), max_size=8))
    def begin(self, *, shared: bool, two: bool, old: list[tuple[str, str]]) -> None:
        self.play = type(self).new_play(shared, old)
        if two:
            self.at.start("two")

    # ------------------------------------------------------------------ messages

    def heard(self, now: bool) -> None:
        """Whether the daemons hear of it at once, or find it in their next pass."""
        if now:
            self.at.hint()

    @rule(author=customers, same=st.booleans(), now=often)
    def arrive(self, author: str, *, same: bool, now: bool) -> None:
        self.at.arrive(author, same=same)
        self.heard(now)

    @rule(authors=st.lists(customers, min_size=2, max_size=5), now=often)
    def arrive_together(self, authors: list[str], *, now: bool) -> None:
        for author in authors:
            self.at.arrive(author)
        self.heard(now)

    @rule(to=st.lists(customers, min_size=1, max_size=3, unique=True), copied=st.booleans(), now=often)
    def reply(self, to: list[str], *, copied: bool, now: bool) -> None:
        self.at.reply(*to, copied=copied)
        self.heard(now)

    @rule(author=customers, stream=received, age=st.sampled_from([1.0, 30.0, 600.0]), now=often)
    def arrive_with_old_date(self, author: str, stream: str, age: float, *, now: bool) -> None:
        self.at.arrive_with_old_date(author, stream, age)
        self.heard(now)

    @rule(author=customers, seconds=st.sampled_from([1.0, 5.0, 40.0]))
    def arrive_unseen(self, author: str, seconds: float) -> None:
        self.at.arrive_unseen(author, seconds)

    @rule(author=customers)
    def ghost(self, author: str) -> None:
        self.at.ghost(author)

    @rule(stream=streams)
    def renumber(self, stream: str) -> None:
        self.at.mailbox.renumber(stream)

    @rule(stream=received, number=which, now=often)
    def move(self, stream: str, number: int, *, now: bool) -> None:
        self.at.move(stream, number)
        self.heard(now)

    @rule(stream=streams, number=which)
    def delete(self, stream: str, number: int) -> None:
        self.at.delete(stream, number)

    @rule(times=st.integers(1, 3))
    def source_fails(self, times: int) -> None:
        self.at.mailbox.failures = times

    @rule(seconds=st.sampled_from([LATENCY_SECONDS, 0.5, 1.5]))
    def source_is_slow(self, seconds: float) -> None:
        self.at.mailbox.latency_seconds = seconds

    @rule(author=customers, others=st.lists(customers, max_size=2))
    def answered_at_once(self, author: str, others: list[str]) -> None:
        """The answer is in another stream than what came before and after it."""
        self.at.arrive(author)
        self.at.reply(author, *sorted(set(others) - {author}))
        self.at.arrive(author)
        self.at.hint()

    # ------------------------------------------------------------------ the Inbox

    @rule(call=st.sampled_from(CALLS), after=st.sampled_from([None, 1, 4]), times=st.integers(1, 3))
    def throttle(self, call: str, after: int | None, times: int) -> None:
        self.at.site.arm("status", call=call, status=429, retry_after=after, times=times)

    @rule(
        action=st.sampled_from(["hang_after_store", "drop_after_store", "drop_before_store", "hang_before_store"]),
        call=st.sampled_from(CALLS),
        skip=st.integers(0, 2),
    )
    def lose_the_answer(self, action: str, call: str, skip: int) -> None:
        seconds = {"seconds": 500.0} if action.startswith("hang") else {}
        self.at.site.arm(action, call=call, skip=skip, **seconds)

    @rule(
        status=st.sampled_from([500, 503]),
        stored=st.booleans(),
        call=st.sampled_from(CALLS),
        times=st.integers(1, 3),
        skip=st.integers(0, 2),
    )
    def server_error(self, status: int, *, stored: bool, call: str, times: int, skip: int) -> None:
        self.at.site.arm("status", call=call, status=status, stored=stored, times=times, skip=skip)

    @rule(seconds=st.sampled_from([0.5, 2.0, LATEST_SECONDS]), status=st.sampled_from([None, 504]))
    def store_late(self, seconds: float, status: int | None) -> None:
        self.at.site.arm("late_commit", call="messages.send", seconds=seconds, status=status)

    @rule(seconds=st.sampled_from([1.0, LATEST_SECONDS]))
    def list_late(self, seconds: float) -> None:
        self.at.site.arm("slow_list", call="messages.send", seconds=seconds, times=2)

    @rule()
    def refuse(self) -> None:
        self.at.told.refusals += 1
        self.at.site.arm("status", call="messages.send", status=400, code="REFUSED")

    @rule(seconds=st.sampled_from([0.5, 5.0, 20.0]))
    def unreachable(self, seconds: float) -> None:
        self.at.site.unreachable_until = self.at.world.now + seconds

    @rule(into=which, old=which)
    def merge_contacts(self, into: int, old: int) -> None:
        self.at.merge_contacts(into, old)

    @rule(into=which, old=which)
    def merge_conversations(self, into: int, old: int) -> None:
        self.at.merge_conversations(into, old)

    # ------------------------------------------------------------------ operators

    @rule(number=which)
    def drop(self, number: int) -> None:
        self.at.drop(number)

    @rule(number=which)
    def retry(self, number: int) -> None:
        self.at.retry(number)

    @rule()
    def pause(self) -> None:
        self.at.pause()

    @rule()
    def resume(self) -> None:
        self.at.resume()

    @rule(since=since, most=at_most)
    def back_fill(self, since: float, most: int | None) -> None:
        self.at.back_fill(since, most)

    @rule()
    def stop_backfill(self) -> None:
        self.at.stop_backfill()

    @rule()
    def sweep(self) -> None:
        self.at.sweep()

    @rule(
        author=customers,
        since=since,
        occasion=st.sampled_from(BACKFILLING),
        left=st.integers(1, 4),
        sleeps=st.sampled_from([0.0, 1.0, LEASE_SECONDS + 1.0]),
    )
    def trouble_while_backfilling(self, author: str, since: float, occasion: str, left: int, sleeps: float) -> None:
        """Whoever does the job dies of it, or sleeps; live mail comes to the same customers meanwhile."""
        self.at.trap_whoever(occasion, left, freeze_seconds=sleeps)
        self.at.back_fill(since, None)
        self.at.pass_time(0.3)
        self.at.arrive(author)
        self.at.hint()
        self.at.pass_time(0.5)
        self.at.start("one")

    # ------------------------------------------------------------------ daemons

    @rule(name=daemons)
    def start(self, name: str) -> None:
        self.at.start(name)

    @rule(name=daemons)
    def kill(self, name: str) -> None:
        self.at.kill(name)

    @rule(name=daemons, occasion=st.sampled_from(OCCASIONS), left=st.integers(1, 6))
    def kill_at(self, name: str, occasion: str, left: int) -> None:
        self.at.trap(name, occasion, left)

    @rule(name=daemons, seconds=st.sampled_from([1.0, LEASE_SECONDS + 1.0, OVERSLEPT_SECONDS]))
    def freeze(self, name: str, seconds: float) -> None:
        self.at.freeze(name, seconds)

    @rule(
        name=daemons,
        occasion=st.sampled_from(OCCASIONS),
        left=st.integers(1, 6),
        seconds=st.sampled_from([1.0, LEASE_SECONDS + 1.0, OVERSLEPT_SECONDS]),
    )
    def freeze_at(self, name: str, occasion: str, left: int, seconds: float) -> None:
        self.at.trap(name, occasion, left, freeze_seconds=seconds)

    @rule(author=customers, occasion=st.sampled_from(SENDING), left=st.integers(1, 2))
    def killed_while_sending(self, author: str, occasion: str, left: int) -> None:
        """Whoever sends it dies of it, and comes back."""
        self.at.trap_whoever(occasion, left)
        self.at.arrive(author)
        self.at.hint()
        self.at.pass_time(0.5)
        self.at.start("one")

    @rule(author=customers, occasion=st.sampled_from(SENDING), left=st.integers(1, 2))
    def overslept_while_sending(self, author: str, occasion: str, left: int) -> None:
        """Whoever sends it sleeps through its lease, and wakes when another has taken over."""
        self.at.start("one")
        self.at.start("two")
        self.at.trap_whoever(occasion, left, freeze_seconds=OVERSLEPT_SECONDS)
        self.at.arrive(author)
        self.at.hint()
        self.at.pass_time(LEASE_SECONDS + 6.0)

    @rule(seconds=st.sampled_from(SHORT))
    def moments_pass(self, seconds: float) -> None:
        self.at.pass_time(seconds)

    @rule(seconds=st.sampled_from(LONG))
    def time_passes(self, seconds: float) -> None:
        self.at.pass_time(seconds)

    # ------------------------------------------------------------------ what holds

    @invariant()
    @precondition(lambda self: self.play is not None)
    def nothing_is_doubled(self) -> None:
        try:
            self.at.at_most_once()
        except BaseException:
            self._broken = True
            raise

    def teardown(self) -> None:
        if self.play is None:
            return
        try:
            if not self._broken:
                self.play.finish()
        finally:
            self.play.close()
