"""Bad input, as the operator meets it: a clear error, the exit code of the design, and nothing lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.harness import wait_for
from tests.acceptance.small import Small, mail, small_site
from tests.servers.dovecot import PASSWORD, Dovecot, needs_dovecot
from tests.servers.ports import free_port

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def small(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    with small_site(tmp_path, tmp_path_factory) as made:
        yield made


# ---------------------------------------------------------------------------------------------------- the file

FAULTY = {
    "misspelt key": (
        "check",
        'connector = "maildir"',
        'conector = "maildir"',
        'unknown key (did you mean "connector"?)',
    ),
    "misspelt key of a connector": ("run", "path = ", "pth = ", 'sources.mail.pth: unknown key (did you mean "path"?)'),
    "wrong type": ("sync", "= 3 ", '= "soon" ', "ledger.connect_timeout_seconds: must be a number"),
    "no duration": ("run", 'every = "200ms"', 'every = "often"', 'sources.mail.every: "often" is no duration'),
    "unknown connector": (
        "check",
        '"maildir"',
        '"maildri"',
        'no connector is called "maildri" (did you mean "maildir"?)',
    ),
    "one name twice": ("sync", "# end", "[sources.mail]", "there is a [sources.mail] already in line"),
    "secret missing": (
        "run",
        '"WIX_KEY"',
        '"NO_KEY"',
        "inbox.main.api_key: the environment variable NO_KEY is not set",
    ),
    "secret in the file": (
        "check",
        '{ env = "WIX_KEY" }',
        '"plain-text"',
        "api_key: a secret must not stand in this file",
    ),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_faulty_file_is_refused_with_its_line_and_a_way_out(small: Small, fault: str) -> None:
    command, good, bad, told = FAULTY[fault]
    small.put("T000001")
    right = small.config.read_text()
    assert right.count(good) == 1
    small.config.write_text(right.replace(good, bad))
    line = right[: right.index(good)].count("\n") + 1

    done = small.type(command).refused(78, "config.invalid", f"config.toml:{line}:", told)

    assert "plain-text" not in done.err
    assert not small.ledger.exists()
    small.config.write_text(right)
    small.type("sync").ok()
    assert small.sent() == ["T000001"]


def test_all_faults_of_a_file_are_told_at_once(small: Small) -> None:
    text = small.config.read_text()
    for good, bad in (
        ("site_id = ", "site = "),
        ('every = "200ms"', "every = true"),
        ('lease_seconds = "3s"', "lease_seconds = -1"),
        ('path = "', 'pth = "'),
    ):
        text = text.replace(good, bad)
    small.config.write_text(text)
    done = small.type("check").refused(78, "config.invalid", "has 4 problems")
    for key in ("site:", "every:", "lease_seconds:", "pth:"):
        assert key in done.err


def test_a_secret_that_everyone_may_read_is_refused(small: Small) -> None:
    small.put("T000001")
    secret = small.folder / "key"
    secret.write_text("sandbox-api-key\n")
    secret.chmod(0o644)
    small.configure(key='{ file = "key" }')
    small.type("run").refused(78, "config.invalid", f"chmod 600 {secret}")
    secret.chmod(0o600)
    small.type("sync").ok()
    assert small.sent() == ["T000001"]


# ---------------------------------------------------------------------------------------------------- connectors


def test_a_connector_that_cannot_be_imported_or_has_a_bug_does_not_stop_the_others(small: Small) -> None:
    plugins = small.folder / "plugins"
    _broken_plugins(plugins)
    small.environ["PYTHONPATH"] = str(plugins)
    broken = '[sources.desk]\nconnector = "desk"\nevery = "200ms"\ncolour = "red"\n'
    odd = '[sources.odd]\nconnector = "odd"\nevery = "200ms"\n'
    small.configure(broken, odd, small.maildir())
    small.put("T000001")

    checked = small.type("check")
    assert checked.code == 78
    checked.shows("source desk", "[connector.broken]", 'the connector "desk" of desk-plugin cannot be used', "no_such")
    checked.shows('install the Python package that brings "no_such_library"')
    checked.shows("source odd", "[internal.error]", "ZeroDivisionError", "report it")
    done = small.type("sync")
    assert done.code == 78, done.err
    done.shows("source odd", "internal.error", "report it")
    assert small.sent() == ["T000001"]

    daemon = small.start()
    small.put("T000002")
    small.wait_sent("T000001", "T000002")
    small.type("status").ok().shows("desk", "broken", "no_such_library", "odd", "failing")
    assert "source.not_loaded" in daemon.log()
    assert daemon.stop() == 0


def _broken_plugins(folder: Path) -> None:
    info = folder / "desk_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: desk-plugin\nVersion: 1.0\n")
    offers = "desk = desk_plugin:Desk\nodd = odd_plugin:Odd\n"
    (info / "entry_points.txt").write_text(f"[inbox_sync.connectors]\n{offers}")
    (folder / "desk_plugin.py").write_text("import no_such_library\n\nclass Desk: ...\n")
    (folder / "odd_plugin.py").write_text(ODD)


ODD = """
from sync.connector import ConnectorConfig, ConnectorInfo

class Odd:
    info = ConnectorInfo("odd", "divides by zero", permissions=())
    Config = ConnectorConfig
    account = "odd"

    def __init__(self, config): ...

    async def check(self, ctx):
        return 1 / 0

    async def streams(self, ctx):
        return 1 / 0

    async def poll(self, stream, cursor, ctx):
        yield 1 / 0

    async def aclose(self): ...
"""


# ---------------------------------------------------------------------------------------------------- the database


def test_a_ledger_whose_directory_is_missing_is_named(small: Small) -> None:
    small.put("T000001")
    missing = small.folder / "not" / "there"
    small.configure(ledger_url=f"sqlite:///{missing}/ledger.db")
    small.type("run").refused(69, "ledger.directory", str(missing), f"mkdir -p {missing}")
    checked = small.type("check")
    assert checked.code == 69
    checked.shows("[ledger.directory]", "/not/there")
    small.type("sync", "--dry-run").refused(69, "ledger.directory")
    missing.mkdir(parents=True)
    small.type("sync").ok()
    assert small.sent() == ["T000001"]


def test_a_postgresql_that_does_not_answer_is_named(small: Small) -> None:
    pytest.importorskip("psycopg")
    port = free_port()
    small.configure(ledger_url=f"postgresql://someone:top-secret@127.0.0.1:{port}/ledger")
    for command in ("run", "sync"):
        done = small.type(command).refused(69, "ledger.unreachable", f"127.0.0.1:{port}", "check that the database")
        assert "top-secret" not in done.err + done.out
    checked = small.type("check")
    assert checked.code == 69
    checked.shows("[ledger.unreachable]", "the Inbox answers and accepts the credentials")
    assert "top-secret" not in checked.out + checked.err


def test_a_database_of_a_newer_release_is_refused_and_left_alone(small: Small) -> None:
    small.put("T000001")
    small.type("sync").ok()
    revision = _set_revision(small.ledger, "9999")
    for command in ("run", "sync", "status"):
        small.type(command).refused(69, "ledger.newer", str(small.ledger), "9999", "install that release again")
    checked = small.type("check")
    assert checked.code == 69
    checked.shows("[ledger.newer]")
    _set_revision(small.ledger, revision)
    small.put("T000002")
    small.type("sync").ok()
    assert small.sent() == ["T000001", "T000002"]


def _set_revision(database: Path, revision: str) -> str:
    with closing(sqlite3.connect(database)) as connection, connection:
        [[before]] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    return str(before)


# ---------------------------------------------------------------------------------------------------- mailboxes


@pytest.fixture
def mailbox() -> Iterator[Dovecot]:
    needs_dovecot()
    with Dovecot(certificate_names=("localhost",)) as running:
        yield running


def imap(mailbox: Dovecot, *, host: str = "localhost", more: str = "", folders: str = '["INBOX"]') -> str:
    return f"""
[sources.support]
connector = "imap"
every = "200ms"
start = "all"
order_wait_seconds = "1s"
park_probe_seconds = "300ms"
host = "{host}"
port = {mailbox.imaps_port}
username = "alice"
password = {{ env = "MAIL_PASSWORD" }}
folders = {folders}
{more or f'ca_file = "{mailbox.ca_file}"'}
"""


@pytest.mark.dovecot
def test_a_wrong_mailbox_password_parks_its_source_and_no_other(small: Small, mailbox: Dovecot) -> None:
    small.configure(imap(mailbox), small.maildir())
    mailbox.deliver("alice", "INBOX", mail("T000001", "a@example.com"))
    small.put("T000002", "b@example.com")
    small.environ["MAIL_PASSWORD"] = "wrong-password"

    checked = small.type("check")
    assert checked.code == 1
    checked.shows("source support", "[imap.auth_refused]", "password", "→")
    done = small.type("sync")
    assert done.code == 1, done.err
    assert small.sent() == ["T000002"]
    support = small.source("support")
    assert support["state"] == "parked"
    assert "wrong-password" not in str(support) + done.out + done.err + checked.out
    assert small.source("mail")["state"] == "ok"

    small.environ["MAIL_PASSWORD"] = PASSWORD
    small.type("sync").ok()
    assert sorted(small.sent()) == ["T000001", "T000002"]
    assert small.source("support")["fault"] is None


@pytest.mark.dovecot
def test_a_missing_folder_is_named_and_holds_nothing_else_up(small: Small, mailbox: Dovecot) -> None:
    mailbox.create("alice", "Orders")
    mailbox.deliver("alice", "INBOX", mail("T000001"))
    small.environ["MAIL_PASSWORD"] = PASSWORD
    small.configure(imap(mailbox, folders='["Ordres", "INBOX"]'))
    checked = small.type("check")
    assert checked.code == 1
    checked.shows("Ordres", "Orders", "[imap.folder_missing]")
    done = small.type("sync")
    assert done.code == 78
    done.shows("imap.folder_missing", "Ordres")
    assert small.sent() == ["T000001"]

    mailbox.deliver("alice", "Orders", mail("T000002"))
    small.configure(imap(mailbox, folders='["Orders", "INBOX"]'))
    small.type("sync").ok()
    assert sorted(small.sent()) == ["T000001", "T000002"]


@pytest.mark.dovecot
@pytest.mark.parametrize(("host", "more", "told"), [("127.0.0.1", "", "127.0.0.1"), ("localhost", "tls = true", "")])
def test_a_certificate_that_does_not_fit_is_refused(
    small: Small, mailbox: Dovecot, host: str, more: str, told: str
) -> None:
    mailbox.deliver("alice", "INBOX", mail("T000001"))
    small.environ["MAIL_PASSWORD"] = PASSWORD
    if more:
        more = "# no ca_file"
    small.configure(imap(mailbox, host=host, more=more))
    checked = small.type("check")
    assert checked.code in (1, 78), checked.out
    checked.shows("certificate", told, "→")
    done = small.type("sync")
    assert done.code in (1, 78), done.out
    assert small.sent() == []
    assert mailbox.commands("alice") == []

    small.configure(imap(mailbox))
    small.type("sync").ok()
    assert small.sent() == ["T000001"]


@pytest.mark.dovecot
def test_a_changed_host_counts_as_renumbering(small: Small) -> None:
    needs_dovecot()
    small.environ["MAIL_PASSWORD"] = PASSWORD
    with Dovecot() as mailbox:
        mailbox.deliver("alice", "INBOX", mail("T000001"))
        mailbox.deliver("alice", "INBOX", mail("T000002"))
        small.configure(imap(mailbox, host="127.0.0.1"))
        small.type("sync").ok()
        assert small.sent() == ["T000001", "T000002"]
        mailbox.forget_commands("alice")
        small.configure(imap(mailbox, host="localhost"))
        mailbox.deliver("alice", "INBOX", mail("T000003"))
        dry = small.type("sync", "--dry-run", "--json").ok().rows("sources")
        small.type("sync").ok()
        assert small.sent() == ["T000001", "T000002", "T000003"]
        assert sum("BODY.PEEK[]" in line for line in mailbox.commands("alice")) == 1
        assert [line["new"] for line in dry] == [1]


# ---------------------------------------------------------------------------------------------------- the Inbox


def test_a_wrong_api_key_parks_the_inbox_and_loses_nothing(small: Small) -> None:
    small.put("T000001")
    checked = small.type("check", WIX_KEY="wrong-key-value")
    assert checked.code == 1
    checked.shows("inbox main", "did not accept the credentials", "[inbox.credentials_refused]", "check the key")
    done = small.type("sync", WIX_KEY="wrong-key-value")
    assert done.code == 1
    done.shows("inbox.credentials_refused")
    assert "wrong-key" not in done.out + done.err + checked.out + checked.err
    assert small.inbox()["state"] == "parked"
    assert small.sent() == []
    small.type("sync").ok()
    assert small.sent() == ["T000001"]
    assert small.inbox()["state"] == "ok"


def test_a_site_that_is_not_permitted_is_told(small: Small) -> None:
    small.put("T000001")
    small.sandbox.add_site("11111111-2222-4333-8444-555555555555", "key-of-another-site")
    checked = small.type("check", WIX_KEY="key-of-another-site")
    assert checked.code == 1
    checked.shows("inbox main", "[inbox.not_permitted]", "site_id")
    assert small.type("sync", WIX_KEY="key-of-another-site").code == 1
    small.type("sync").ok()
    assert small.sent() == ["T000001"]


def test_an_inbox_that_is_away_is_parked_and_goes_on_by_itself(small: Small) -> None:
    small.put("T000001")
    daemon = small.start()
    small.wait_sent("T000001")
    before = len(small.sandbox.journal())
    small.sandbox.stop()
    for number in range(2, 6):
        small.put(f"T{number:06d}", f"c{number}@example.com")
    wait_for(lambda: small.inbox()["state"] == "parked", "the inbox is parked")
    parked = small.inbox()
    assert str(parked["fault"]).count("inbox.network_refused") == 1
    small.type("status").ok().shows("parked", "nothing listens there")
    assert small.type("sync").code == 75
    small.sandbox.start()
    small.wait_sent(*(f"T{number:06d}" for number in range(1, 6)))
    assert small.sandbox.journal()[before]["call"] == "messages.list"
    wait_for(lambda: small.inbox()["state"] == "ok", "the inbox is well again")
    assert daemon.stop() == 0


def test_an_inbox_in_trouble_is_probed_with_reads_only(small: Small) -> None:
    small.sandbox.fault("status", status=503, times=None)
    small.configure(inbox="park_after_failures = 2\nlanes = 1")
    for number in range(1, 5):
        small.put(f"T{number:06d}", f"c{number}@example.com")
    small.start()
    wait_for(lambda: small.inbox()["state"] == "parked", "the inbox is parked")
    seen = len(small.sandbox.journal())
    wait_for(lambda: len(small.sandbox.journal()) >= seen + 4, "it is probed")
    assert {one["call"] for one in small.sandbox.journal()[seen:]} == {"messages.list"}
    small.sandbox.clear_faults()
    small.wait_sent("T000001", "T000002", "T000003", "T000004")


# ---------------------------------------------------------------------------------------------------- mail, sources


def test_mail_that_cannot_be_read_is_shown_or_kept_for_the_operator(small: Small) -> None:
    small.put("T000001")
    small.put(
        "", raw=b"From: Odd <odd@example.com>\nContent-Type: multipart/mixed; boundary=x\n\n\x00\xff\xfe T000002 \x80"
    )
    small.put("", raw=b"\x00\x01\x02 no header at all, and no sender \xff")
    done = small.type("sync", "--json")
    assert sorted(small.sent()) == ["T000001", "T000002"]
    assert [line["dead_messages"] for line in done.rows("sources")] == [{"unreadable": 1}]
    [dead] = small.type("message", "list", "--failed", "--json").ok().rows("messages")
    story = small.type("message", "show", str(dead["id"]), "--json").ok().json()
    assert story["state"] == "dead"
    assert story["raw_kept"]
    assert "not even a sender" in str(story["explanation"])
    small.type("sync").ok()
    assert sorted(small.sent()) == ["T000001", "T000002"]


def test_what_a_removed_source_had_found_is_still_delivered_and_shown(small: Small) -> None:
    small.configure(small.maildir(), small.maildir("other"))
    small.put("T000001", "a@example.com")
    small.put("T000002", "b@example.com", into="other")
    small.sandbox.stop()
    assert small.type("sync").code == 75
    small.configure(small.maildir())
    small.sandbox.start()
    small.put("T000003", "c@example.com", into="other")
    small.type("sync").ok()
    assert sorted(small.sent()) == ["T000001", "T000002"]
    other = small.source("other")
    assert other["state"] == "removed"
    assert other["deliveries"]["sent"] == 1
    small.type("status").ok().shows("other", "removed")
    small.configure(small.maildir(), small.maildir("other"))
    small.type("sync").ok()
    assert sorted(small.sent()) == ["T000001", "T000002", "T000003"]
