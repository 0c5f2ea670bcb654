"""A Request Tracker and a django-helpdesk beside a mailbox, all real, into one Inbox with the real program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.sandbox import Sandbox
from tests.acceptance.desks import GROUP, Desks
from tests.acceptance.harness import DEADLINE_SECONDS, TOKEN, Program, write_config
from tests.servers.django_helpdesk import DjangoHelpdesk, needs_django_helpdesk
from tests.servers.dovecot import PASSWORD, Dovecot, needs_dovecot
from tests.servers.ports import free_port
from tests.servers.request_tracker import RequestTracker, needs_request_tracker

pytestmark = [
    pytest.mark.dovecot,
    pytest.mark.request_tracker,
    pytest.mark.django_helpdesk,
    pytest.mark.timeout(1800),
]


@pytest.fixture
def desks() -> Iterator[Desks]:
    needs_dovecot()
    needs_request_tracker()
    needs_django_helpdesk()
    with Dovecot() as mailbox, RequestTracker() as tracker, DjangoHelpdesk() as site:
        yield Desks(mailbox, tracker, site)


def sources(desks: Desks) -> str:
    return f"""
[sources.mail]
connector = "imap"
every = "1s"
start = "all"
order_wait_seconds = "2s"
host = "localhost"
port = {desks.mailbox.imaps_port}
ca_file = "{desks.mailbox.ca_file}"
username = "alice"
password = {{ env = "MAIL_PASSWORD" }}
folders = ["INBOX", "\\\\Sent"]

[sources.rt]
connector = "request_tracker"
every = "1s"
start = "all"
url = "{desks.tracker.url}"
token = {{ env = "RT_TOKEN" }}

[sources.site]
connector = "django_helpdesk"
every = "1s"
start = "all"
url = "{desks.site.url}"
token = {{ env = "SITE_TOKEN" }}
"""


def program_for(folder: Path, sandbox: Sandbox, desks: Desks) -> Program:
    program = write_config(folder, sandbox, sources(desks), inbox="lanes = 8")
    program.environ |= {"MAIL_PASSWORD": PASSWORD, "RT_TOKEN": desks.tracker.token, "SITE_TOKEN": desks.site.token}
    return program


def held(sandbox: Sandbox, desks: Desks) -> dict[int, list[str]]:
    """Each customer's tokens in the order of their one conversation."""
    of_address = {address: who for who in range(desks.customers) for address in desks.addresses(who)}
    found: dict[int, list[str]] = {}
    for conversation in sandbox.conversations():
        (customer,) = {of_address[address] for address in conversation["emails"]}
        assert customer not in found, f"customer {customer} has two conversations"
        texts = [str(message["text"]) for message in conversation["messages"]]
        found[customer] = [token for text in texts for token in TOKEN.findall(text)]
    return found


def count_held(sandbox: Sandbox, desks: Desks) -> int:
    return sum(len(tokens) for tokens in held(sandbox, desks).values())


def waiting(program: Program) -> int:
    inboxes = program.json("status")["inboxes"]
    assert isinstance(inboxes, list)
    counts = inboxes[0]["deliveries"]
    return int(sum(counts[state] for state in ("pending", "sending", "unknown")))


@pytest.mark.parametrize("tickets", [40, pytest.param(300, marks=pytest.mark.soak)])
def test_two_helpdesks_and_a_mailbox_make_one_conversation_a_customer_each_message_once_and_in_order(
    tmp_path: Path, desks: Desks, tickets: int
) -> None:
    patience = max(DEADLINE_SECONDS, 2.0 * tickets)
    for _ in range(tickets // GROUP):
        desks.round()
    desks.hold_back()
    desks.round(mails=3)
    with Sandbox(port=free_port()) as sandbox:
        for customer in range(desks.customers):
            if len(desks.addresses(customer)) > 1:
                sandbox.seed_contact(desks.addresses(customer), name=f"Customer {customer}")
        program = program_for(tmp_path, sandbox, desks)

        # The Inbox is down, so that everything is pending together: then the order is exact across the sources, too.
        sandbox.stop()
        seen = desks.deliveries() - len(desks.late)
        daemon = program.daemon().ready()
        daemon.wait_for(lambda: waiting(program) > 20, "some messages were seen")
        daemon.kill()
        daemon = program.daemon().ready()
        daemon.wait_for(lambda: waiting(program) >= seen, "all messages were seen", patience)
        assert waiting(program) == seen
        sandbox.start()
        daemon.wait_for(lambda: count_held(sandbox, desks) >= seen // 3, "a third is there", patience)
        daemon.kill()
        daemon = program.daemon().ready()
        daemon.wait_for(lambda: count_held(sandbox, desks) >= seen, "all is there", patience)
        wanted = {who: [one for one in tokens if one not in desks.late] for who, tokens in desks.expected().items()}
        assert held(sandbox, desks) == {who: tokens for who, tokens in wanted.items() if tokens}

        desks.commit()
        desks.write_late()
        first = {one.token for one in desks.said}
        desks.round(tickets=5, mails=3)
        daemon.wait_for(lambda: count_held(sandbox, desks) >= desks.deliveries(), "what came later is there")
        daemon.wait_for(lambda: waiting(program) == 0, "nothing is left on the way")
        assert daemon.stop() == 0

        arrived = held(sandbox, desks)
        assert {who: sorted(tokens) for who, tokens in arrived.items()} == {
            who: sorted(tokens) for who, tokens in desks.expected().items()
        }
        # Across sources nothing waits: what comes while all are polled keeps the order of its source.
        for source in {one.source for one in desks.said}:
            later = {one.token for one in desks.said if one.source == source} - first
            for who, tokens in desks.expected().items():
                assert [one for one in arrived[who] if one in later] == [one for one in tokens if one in later]
        assert any(site["files"] for site in sandbox.dump()["sites"]), "files came along"

        # Nothing is sent again, whatever is looked at again.
        stored = sandbox.stats()["messagesStored"]
        program.sync()
        assert sandbox.stats()["messagesStored"] == stored
