"""What others on the machine and on the network may see and reach: modes of files, certificate checks, addresses that
somebody else chose."""

from __future__ import annotations

import ast
import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from connectors.zendesk import ZendeskConnector
from connectors.zendesk.config import ZendeskConfig
from sync.errors import MessageError
from sync.message import Attachment
from sync.testing import make_context
from sync.testing.service import Answer, ScriptedService
from sync.web.server import HEAD_MAX_BYTES, REQUESTS_MAX
from tests.acceptance.harness import page_port, wait_for
from tests.acceptance.small import Small, small_site
from tests.acceptance.test_web import Visitor

ROOT = Path(__file__).resolve().parents[2]

_LEAVES_CHECKS_OFF = {"CERT_NONE", "CERT_OPTIONAL", "_create_unverified_context", "check_hostname", "verify_mode"}


@pytest.fixture
def small(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    with small_site(tmp_path, tmp_path_factory) as made:
        yield made


def test_everything_the_program_makes_is_for_its_owner_only_whatever_the_umask(small: Small) -> None:
    before = set(small.folder.rglob("*"))
    umask = os.umask(0)
    try:
        daemon = small.start()
        backup = small.folder / "copy.db"
        small.put("T000001")
        small.wait_sent("T000001")
        small.type("db", "backup", str(backup)).ok()
    finally:
        os.umask(umask)
    made = {path for path in set(small.folder.rglob("*")) - before if path.name.startswith(("ledger", "copy"))}
    names = {path.name for path in made}
    assert names >= {"ledger.db", "ledger.db-wal", "ledger.db.lock", "ledger.db.sock", "copy.db"}
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in made} == dict.fromkeys(names, "0o600")
    assert daemon.stop() == 0


def test_the_page_bounds_what_one_request_may_hold_and_how_many_there_are_at_once(small: Small) -> None:
    small.configure(daemon='[web]\nlisten = "127.0.0.1:0"')
    daemon = small.start()
    port = page_port(daemon)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as endless:
        endless.sendall(b"GET /healthz HTTP/1.1\r\nX-Long: ")
        with contextlib.suppress(ConnectionError):  # it may be refused before all of it is written
            endless.sendall(b"x" * (8 * HEAD_MAX_BYTES))
        assert b" 400 " in endless.recv(1000), "a head without an end is refused"
    with contextlib.ExitStack() as held:
        for _ in range(REQUESTS_MAX):
            one = held.enter_context(closing(socket.create_connection(("127.0.0.1", port), 10)))
            one.sendall(b"GET /healthz HTTP/1.1\r\n")
        wait_for(lambda: Visitor(port).ask("/healthz")[0] == 503, "one more is refused")
    wait_for(lambda: Visitor(port).ask("/healthz")[0] == 200, "it answers again")
    small.put("T000001")
    small.wait_sent("T000001")
    assert daemon.stop() == 0


def test_no_line_of_the_program_leaves_a_certificate_unchecked() -> None:
    wrong = []
    for file in [*(ROOT / "sync").rglob("*.py"), *(ROOT / "connectors").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            verify = isinstance(node, ast.keyword) and node.arg == "verify" and isinstance(node.value, ast.Constant)
            if name in _LEAVES_CHECKS_OFF or verify:
                wrong.append(f"{file.relative_to(ROOT)}: {ast.unparse(node)}")
    assert not wrong


def test_no_password_for_mailing_alerts_travels_readable(small: Small) -> None:
    small.environ["SMTP_PASSWORD"] = "a password"
    mail = """[alerts]
mail_to = ["me@example.com"]
mail_from = "inbox-sync@example.com"
smtp_host = "smtp.example.com"
smtp_username = "me"
smtp_password = { env = "SMTP_PASSWORD" }
"""
    small.configure(daemon=mail)
    refused = small.type("check")
    assert refused.code == 78
    assert "would travel readable" in " ".join(refused.err.split())
    small.configure(daemon=mail + 'smtp_tls = "starttls"')
    assert "would travel readable" not in small.type("check").err


@pytest.mark.parametrize(
    "ref",
    [
        "https://localhost:{port}/latest/meta-data",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00::1]/x",
        "http://localhost:{port}/x",
        "file:///etc/passwd",
    ],
)
async def test_a_helpdesk_that_names_a_private_address_as_a_file_makes_nobody_call_it(ref: str) -> None:
    with ScriptedService() as service, ScriptedService() as house:
        house.get("/x")(lambda _asked: Answer(b"secrets of the house"))
        settings = {"url": service.url, "email": "a@b.example", "api_token": "token-of-the-desk"}
        connector = ZendeskConnector(ZendeskConfig.model_validate(settings))
        attachment = Attachment("invoice.pdf", "application/pdf", ref=ref.format(port=house.url.rpartition(":")[2]))
        with pytest.raises(MessageError) as caught:
            async for _ in connector.open_file("1", attachment, make_context()):
                pass
        assert caught.value.code == "zendesk.file_refused"
        assert house.asked == []
        await connector.aclose()
