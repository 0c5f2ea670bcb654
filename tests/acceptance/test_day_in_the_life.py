"""A day in the life: the Debian package in a clean tree, from the example configuration to the second version, with a
password that changes in between. Real processes, a real Dovecot; nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from email.message import EmailMessage
from html import unescape
from pathlib import Path
from urllib.request import urlopen

import pytest

from sync.sandbox import Sandbox
from tests.acceptance.harness import TOKEN, Systemd, wait_for
from tests.servers.debian_tree import DebianTree, make_tree
from tests.servers.dovecot import Dovecot, needs_dovecot
from tests.servers.hook import Hook

pytestmark = [pytest.mark.dovecot, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "etc/inbox-sync/config.toml"
CREDENTIALS = "etc/inbox-sync/credentials"
SECOND_VERSION = "0.1.0+second"


class Site:
    """A machine with the package, a mailbox, a site's Inbox, and somebody to be told."""

    def __init__(self, tree: DebianTree, mailbox: Dovecot, sandbox: Sandbox, hook: Hook, log: Path) -> None:
        self.tree = tree
        self.mailbox = mailbox
        self.sandbox = sandbox
        self.hook = hook
        self.log_path = log
        self.written: list[str] = []

    def file(self, path: str) -> Path:
        return self.tree.folder / path

    def type(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.tree.run("inbox-sync", *arguments)

    def credential(self, name: str, value: str) -> None:
        path = self.file(CREDENTIALS) / name
        path.write_text(value + "\n")
        path.chmod(0o600)

    def fill_in(self) -> None:
        """What an operator makes of the example: everything that says so is filled in, and times are short."""
        text = self.file(CONFIG).read_text()
        for before, after in (
            ('site_id = "…"', f'site_id = "{self.sandbox.site_id}"\nbase_url = "{self.sandbox.url}"'),
            ('api_key = { credential = "wix_api_key" }', f'api_key = {{ file = "/{CREDENTIALS}/wix_api_key" }}'),
            (
                'own_addresses = ["support@example.com", "*@shop.example.com"]',
                'own_addresses = ["support@example.com"]',
            ),
            ('host = "imap.example.com"', f'host = "127.0.0.1"\nport = {self.mailbox.imap_port}\ntls = "none"'),
            ('username = "support@example.com"', 'username = "alice"'),
            ('password = { credential = "support_password" }', f'password = {{ file = "/{CREDENTIALS}/support" }}'),
            ('\n#every = "60s"', '\nevery = "300ms"\nfolders = ["INBOX"]\npush = false'),
            ("\n#order_wait_seconds = 30\n", "\norder_wait_seconds = 1\n"),
            ("\n#[web]", '\n[web]\nlisten = "127.0.0.1:0"'),
            (
                "\n#[alerts]",
                f'\n[alerts]\nwebhook = {{ file = "/{CREDENTIALS}/hook" }}\nafter_seconds = 1\nwell_after_seconds = 1',
            ),
        ):
            assert text.count(before) >= 1, before
            text = text.replace(before, after, 1)
        self.file(CONFIG).write_text(text)
        self.file("var/lib/inbox-sync").mkdir()
        self.credential("hook", self.hook.url)

    def write(self, count: int) -> None:
        """Customers write."""
        for _mail in range(count):
            token = f"T{len(self.written) + 1:06d}"
            mail = EmailMessage()
            mail["From"] = f"Customer <c{len(self.written) % 7}@customers.example>"
            mail["To"], mail["Subject"] = "support@example.com", f"Order {token}"
            mail["Message-ID"] = f"<{token}@customers.example>"
            mail.set_content(f"{token} hello")
            self.mailbox.deliver("alice", "INBOX", mail.as_bytes())
            self.written.append(token)

    def is_polled(self) -> bool:
        [source] = json.loads(self.type("status", "--json").stdout)["sources"]
        return source["last_good_pass_at"] is not None

    def arrived(self) -> list[str]:
        texts = [str(one["text"]) for each in self.sandbox.conversations() for one in each["messages"]]
        return [found[0] for text in texts if (found := TOKEN.findall(text))]

    def wait_until_all_arrived(self) -> None:
        self.wait_for(lambda: len(self.arrived()) >= len(self.written), "all mail arrives")
        assert sorted(self.arrived()) == self.written

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        try:
            wait_for(condition, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-6000:]}") from None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @contextmanager
    def running(self) -> Iterator[Systemd]:
        """The daemon as the unit starts it, until SIGTERM."""
        address = self.file("run/notify")
        with closing(Systemd(str(address))) as systemd:
            process = self.tree.start("inbox-sync", "run", environ={"NOTIFY_SOCKET": "/run/notify"}, log=self.log_path)
            try:
                self.wait_for(lambda: "READY=1" in systemd.told or process.poll() is not None, "it is ready")
                yield systemd
                process.terminate()
                assert process.wait(60) == 0, self.log()[-4000:]
            finally:
                process.kill()
                process.wait()
                address.unlink()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = subprocess.run([ROOT / "tools/deb"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = ROOT / done.stdout.strip().splitlines()[-1]
    return Path(shutil.move(made, tmp_path_factory.mktemp("package") / made.name))


def next_version(package: Path, folder: Path) -> Path:
    """The same program under a later number."""
    unpacked = folder / "unpacked"
    subprocess.run(["dpkg-deb", "-R", package, unpacked], check=True)
    control = unpacked / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {SECOND_VERSION}", control.read_text()))
    target = folder / "second.deb"
    subprocess.run(["dpkg-deb", "-Znone", "--build", unpacked, target], check=True, capture_output=True)
    return target


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    needs_dovecot()
    tree = make_tree(tmp_path / "tree")
    with Dovecot(rawlog=False) as mailbox, Sandbox() as sandbox, closing(Hook()) as hook:
        yield Site(tree, mailbox, sandbox, hook, tmp_path / "daemon.log")


def install(tree: DebianTree, package: Path) -> None:
    shutil.copy(package, tree.folder / "tmp" / "inbox-sync.deb")
    tree.ok("dpkg", "-i", "/tmp/inbox-sync.deb")


def test_a_day_in_the_life(site: Site, package: Path, tmp_path: Path) -> None:
    tree = site.tree
    install(tree, package)

    refused = site.type("check")
    assert refused.returncode == 78
    assert "site_id: still holds the placeholder" in refused.stderr
    site.fill_in()
    assert "wix_api_key" in site.type("check").stderr
    site.credential("wix_api_key", "sandbox-api-key")
    site.credential("support", "not the password")
    wrong = site.type("check")
    assert wrong.returncode == 1
    assert "imap.auth" in wrong.stdout or "sign-in" in wrong.stdout or "password" in wrong.stdout
    site.credential("support", site.mailbox.users["alice"])
    assert site.type("check").returncode == 0, site.type("check").stdout

    with site.running() as systemd:
        assert "READY=1" in systemd.told
        site.wait_for(site.is_polled, "the first look is over: what it sees was there before")
        site.write(3)
        site.wait_until_all_arrived()

        site.mailbox.set_password("alice", "a new password")
        site.wait_for(lambda: site.hook.posted, "one alert comes")
        status = json.loads(site.type("status", "--json").stdout)
        [source] = status["sources"]
        assert (source["state"], status["ok"]) == ("parked", False)
        assert source["fault"]["next_step"]
        assert source["fault"]["next_step"] in " ".join(page(site).split())
        site.write(3)
        site.credential("support", "a new password")
        assert tree.run("inbox-sync", "reload").returncode == 0
        site.wait_until_all_arrived()
        site.wait_for(lambda: len(site.hook.posted) >= 2, "the all-clear comes")

        writing = threading.Thread(target=site.write, args=(20,))
        writing.start()
        install(tree, next_version(package, tmp_path))
        writing.join()
    with site.running():
        site.write(2)
        site.wait_until_all_arrived()
    assert [one["kind"] for one in site.hook.posted] == ["trouble", "well"]
    assert {one["about"] for one in site.hook.posted} == {"source support"}
    assert SECOND_VERSION in tree.ok("dpkg-query", "-W", "inbox-sync")
    assert site.type("sync").returncode == 0
    assert sorted(site.arrived()) == site.written

    tree.ok("dpkg", "-r", "inbox-sync")
    assert not site.file("usr/lib/inbox-sync").exists()
    assert site.file(CONFIG).exists()
    assert "the ledger stays" in tree.ok("dpkg", "-P", "inbox-sync")
    assert not site.file("etc/inbox-sync").exists()
    assert site.file("var/lib/inbox-sync/ledger.db").exists()


def page(site: Site) -> str:
    """The status page, as a browser on this machine gets it."""

    lines = [json.loads(line) for line in site.log().splitlines() if '"web.listening"' in line]
    with urlopen(f"http://127.0.0.1:{lines[-1]['port']}/", timeout=10) as answer:
        return unescape(answer.read().decode())
