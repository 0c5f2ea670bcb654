"""Kill -9 at random moments, hundreds of times, against a real Dovecot and a faulty sandbox: `make soak`.

How often, for each seed and database, is `--kills` (default `KILLS`): three seeds on both databases make 300.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sync.ledger import MessageFilter
from sync.sandbox import Sandbox
from tests.acceptance.harness import wait_for
from tests.acceptance.test_main_job import add_faults
from tests.crash.process import Running
from tests.crash.site import LIST_LIMIT, Mailboxes, Site
from tests.mailbag import Mailbag
from tests.servers.dovecot import Dovecot

SEEDS = 3
MAILS_AT_FIRST = 60
CUSTOMERS = 25
LIFE_SECONDS = 2.5
"""The longest life of a daemon that is killed at any moment: starting, signing in, a pass or two, and sending."""
DONE_SECONDS = 120.0
TELLING = ("delivery.taken_over", "delivery.unknown", "delivery.read_back", "delivery.resend", "delivery.left_behind")


def any_moment(chance: random.Random, site: Site, running: Running) -> None:
    """Some time after its start, whatever it does then."""
    running.live(chance.uniform(0.0, LIFE_SECONDS))


def while_it_sends(chance: random.Random, site: Site, running: Running) -> None:
    """A moment after it has got some messages further."""
    goal = min(site.sandbox.stats()["messagesStored"] + chance.randrange(1, 20), site.bag.deliveries())
    wait_for(lambda: site.sandbox.stats()["messagesStored"] >= goal or running.ended, "it sends something")
    running.live(chance.uniform(0.0, 0.1))


MOMENTS: tuple[Callable[[random.Random, Site, Running], None], ...] = (any_moment, while_it_sends)


@pytest.mark.soak
@pytest.mark.dovecot
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_hundreds_of_kills_at_random_moments_lose_and_double_nothing(
    seed: int, kills: int, database: str, ledger_url: str, tmp_path: Path, sandbox: Sandbox, dovecot: Dovecot
) -> None:
    chance = random.Random(f"{database} {seed}")
    bag = Mailbag(seed=100 + seed, customers_count=CUSTOMERS)
    site = Site(tmp_path, sandbox, ledger_url, Mailboxes(tmp_path, dovecot), bag)
    site.bring(MAILS_AT_FIRST)
    site.know_contacts()
    sandbox.fault("delay", call="messages.send", times=None, seconds=0.02)
    add_faults(sandbox)
    for _ in range(kills):
        running = site.start()
        try:
            chance.choice(MOMENTS)(chance, site, running)
        finally:
            running.kill()
        site.bring(chance.randrange(0, 12))
    faults = sandbox.stats()["faults"]
    sandbox.clear_faults()
    site.run_until_all_is_done(done_seconds=DONE_SECONDS)
    print(f"\n{database}, seed {seed}: {kills} kills, {bag.deliveries()} deliveries, {happened(site)}, faults {faults}")
    await site.assert_whole()


def happened(site: Site) -> dict[str, int]:
    """What the stories tell, counted."""
    counts: Counter[str] = Counter()
    with site.ledger() as ledger:
        for line in ledger.messages.list(MessageFilter(limit=LIST_LIMIT)):
            counts.update(event.kind for event in ledger.events.of_message(line.id))
    return {kind: counts[kind] for kind in TELLING if counts[kind]}
