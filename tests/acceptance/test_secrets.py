"""No secret is shown anywhere: secrets are planted in every place a configuration has for one, every service repeats what
it is given, a connector raises with its secret in the words, and everything the program says is looked through."""

from __future__ import annotations

import base64
import json
import socketserver
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote

import pytest

from sync.sandbox import Sandbox
from tests.acceptance.harness import page_port, wait_for
from tests.acceptance.small import Small, Typed, small_site
from tests.acceptance.test_web import Visitor
from tests.servers.postgres import Cluster, postgres_cluster
from tests.servers.token_server import CLIENT_ID, MARK, TokenServer

__all__ = ["postgres_cluster"]

pytestmark = pytest.mark.timeout(240)

SECRETS = {
    "WIX_KEY": "planted-wix-key/7Qx",
    "APP_SECRET": "planted app secret 4Zk",
    "IMAP_PASSWORD": 'planted-imap pä"ss 9Lw',
    "POP_PASSWORD": "planted-pop-password-2Vb",
    "JMAP_TOKEN": "planted-jmap-token-5Hn",
    "CLIENT_SECRET": "client-secret-8833",
    "ZAMMAD_TOKEN": "planted-zammad-token-1Ty",
    "ZENDESK_TOKEN": "planted-zendesk-token-8Mc",
    "FRESHDESK_KEY": "planted-freshdesk-key-3Rd",
    "RT_TOKEN": "planted-rt-token-6Gs",
    "DESK_PASSWORD": "planted-desk-password-0Pj",
    "PLUGIN_TOKEN": "planted-plugin-token-7Fe",
    "WEB_PASSWORD": "planted-web-password-4Ua",
    "SMTP_PASSWORD": "planted-smtp-password-2Ki",
}
HOOK_TOKEN = "planted-hook-token-9Xo"
HEARTBEAT_TOKEN = "planted-heartbeat-token-3Bq"
LEDGER_PASSWORD = "planted-ledger-password-5Dz"

PLUGIN = """
from pydantic import SecretStr
from sync.connector import ConnectorConfig, ConnectorInfo

class Config(ConnectorConfig):
    token: SecretStr

class Careless:
    info = ConnectorInfo("careless", "raises with its secret in the words", permissions=())
    Config = Config
    account = "careless"

    def __init__(self, config):
        self.token = config.token.get_secret_value()

    def fail(self):
        url = f"https://desk.example/?token={self.token}"
        try:
            raise ValueError(f"cause {url}")
        except ValueError as cause:
            raise RuntimeError(f"GET {url} failed; Authorization: Bearer {self.token}") from cause

    async def check(self, ctx):
        self.fail()

    async def streams(self, ctx):
        ctx.log.info("careless.asked", url=self.token, headers={"x": f"Bearer {self.token}"})
        self.fail()

    async def poll(self, stream, cursor, ctx):
        yield self.fail()

    async def aclose(self):
        self.fail()
"""


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, handler: type[socketserver.BaseRequestHandler], heard: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.heard = heard
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self.server_address[1]
        return port

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that the program closed is no news."""


def _heard(handler: socketserver.BaseRequestHandler) -> list[str]:
    assert isinstance(handler.server, _Server)
    return handler.server.heard


class Web(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
        said = f"{self.command} {self.path} {dict(self.headers)} {body}"
        heard = _heard(self)
        heard.append(said)
        data = json.dumps({"error": said, "message": said, "detail": said, "errors": [said]}).encode()
        self.send_response([401, 500, 400, 403][len(heard) % 4], "you said " + self.path[:50])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        pass


class Lines(socketserver.StreamRequestHandler):
    greeting = b""

    def handle(self) -> None:
        self.wfile.write(self.greeting)
        for line in iter(self.rfile.readline, b""):
            _heard(self).append(line.decode(errors="replace"))
            self.wfile.write(self.said(line.strip()))

    def said(self, line: bytes) -> bytes:
        raise NotImplementedError


class Imap(Lines):
    greeting = b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2] ready\r\n"

    def said(self, line: bytes) -> bytes:
        tag, _, rest = line.partition(b" ")
        if rest.upper().startswith(b"CAPABILITY"):
            return b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2\r\n" + tag + b" OK done\r\n"
        if rest.endswith(b"}"):
            return b"+ go on\r\n"
        return tag + b" NO no: " + line + b" " + _decoded(line) + b"\r\n"


class Pop(Lines):
    greeting = b"+OK ready\r\n"

    def said(self, line: bytes) -> bytes:
        if line.upper().startswith(b"CAPA"):
            return b"+OK\r\nUSER\r\nUIDL\r\n.\r\n"
        return b"+OK\r\n" if line.upper().startswith(b"USER") else b"-ERR no: " + line + b"\r\n"


class Smtp(Lines):
    greeting = b"220 ready\r\n"

    def said(self, line: bytes) -> bytes:
        if line.upper().startswith(b"EHLO"):
            return b"250-here\r\n250 AUTH PLAIN LOGIN\r\n"
        return b"535 no: " + line + b" " + _decoded(line) + b"\r\n"


class Parrot:
    """Services that repeat what they are given while they refuse it, one of each protocol."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._servers = [_Server(kind, self.heard) for kind in (Web, Imap, Pop, Smtp)]
        self.web, self.imap, self.pop, self.smtp = (server.port for server in self._servers)

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


def _decoded(line: bytes) -> bytes:
    """What stands in base64 at the end of a line, in plain words: the nastiest kind of help."""
    try:
        return base64.b64decode(line.split()[-1], validate=True).translate(bytes.maketrans(b"\0\1\r\n", b"    "))
    except (ValueError, IndexError):
        return b""


@contextmanager
def parrot() -> Iterator[Parrot]:
    made = Parrot()
    try:
        yield made
    finally:
        made.close()


def _plugin(folder: Path) -> str:
    info = folder / "careless_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: careless-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[inbox_sync.connectors]\ncareless = careless_plugin:Careless\n")
    (folder / "careless_plugin.py").write_text(PLUGIN)
    return str(folder)


def _source(name: str, connector: str, *lines: str) -> str:
    return f'[sources.{name}]\nconnector = "{connector}"\ninbox = "main"\nevery = "300ms"\nstart = "all"\n' + "\n".join(
        lines
    )


def _sources(small: Small, said: Parrot, provider: TokenServer) -> list[str]:
    web = f'url = "http://127.0.0.1:{said.web}"'
    plain = 'host = "127.0.0.1"\ntls = "none"\nusername = "alice"'
    oauth = f"""oauth = {{ provider = "custom", flow = "device", client_id = "{CLIENT_ID}", \
client_secret = {{ env = "CLIENT_SECRET" }}, token_url = "{provider.url}/token", device_url = "{provider.url}/device" }}"""
    return [
        small.maildir().replace("start =", 'inbox = "main"\nstart ='),
        _source("imap", "imap", plain, f"port = {said.imap}", 'password = { env = "IMAP_PASSWORD" }'),
        _source("tokens", "imap", plain, f"port = {said.imap}", oauth),
        _source("pop", "pop3", plain, f"port = {said.pop}", 'password = { env = "POP_PASSWORD" }'),
        _source("jmap", "jmap", web, 'token = { env = "JMAP_TOKEN" }'),
        _source("zammad", "zammad", web, 'token = { env = "ZAMMAD_TOKEN" }'),
        _source("zendesk", "zendesk", web, 'email = "a@b.example"', 'api_token = { env = "ZENDESK_TOKEN" }'),
        _source("freshdesk", "freshdesk", web, 'api_key = { env = "FRESHDESK_KEY" }'),
        _source("rt", "request_tracker", web, 'token = { env = "RT_TOKEN" }'),
        _source("desk", "django_helpdesk", web, 'username = "reader"', 'password = { env = "DESK_PASSWORD" }'),
        _source("careless", "careless", 'token = { env = "PLUGIN_TOKEN" }'),
    ]


def _configure(small: Small, said: Parrot, provider: TokenServer) -> Path:
    told = small.folder / "told.jsonl"
    script = small.folder / "tell"
    script.write_text(f"#!/bin/sh\ncat >> {told}\n")
    script.chmod(0o755)
    hook = f"http://127.0.0.1:{said.web}/services/{HOOK_TOKEN}"
    small.environ |= SECRETS | {"HOOK": hook, "HEARTBEAT": f"http://127.0.0.1:{said.web}/ping/{HEARTBEAT_TOKEN}"}
    second = f"""
[inbox.second]
site_id = "second"
auth = "app"
app_id = "app-1"
app_secret = {{ env = "APP_SECRET" }}
instance_id = "instance-1"
base_url = "http://127.0.0.1:{said.web}"
"""
    small.configure(
        *_sources(small, said, provider),
        _source("late", "maildir", f'path = "{small.folder}/mail"').replace('"main"', '"second"'),
        inbox=second,
        daemon=f"""log_level = "debug"

[web]
listen = "127.0.0.1:0"
password = {{ env = "WEB_PASSWORD" }}

[alerts]
command = ["{script}"]
webhook = {{ env = "HOOK" }}
heartbeat_url = {{ env = "HEARTBEAT" }}
heartbeat_seconds = "200ms"
mail_to = ["me@example.com"]
mail_from = "inbox-sync@example.com"
smtp_host = "127.0.0.1"
smtp_port = {said.smtp}
smtp_username = "inbox-sync"
smtp_password = {{ env = "SMTP_PASSWORD" }}
after_seconds = "300ms"
well_after_seconds = "300ms"
timeout_seconds = 5""",
    )
    return told


COMMANDS = [
    ("check",),
    ("sync",),
    ("status",),
    ("source", "list"),
    ("message", "list"),
    ("message", "show", "1"),
    ("connector", "list"),
    ("connector", "show", "careless"),
    ("db", "current"),
    ("reload",),
]


def _forms(secret: str) -> set[str]:
    """A secret as it may turn up: plain, escaped as JSON or for an address, or within what HTTP and SASL make of it."""
    made = {secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]}
    for before in ("", "reader:", "a@b.example/token:", "\0alice\0", "\0inbox-sync\0"):
        made.add(base64.b64encode(f"{before}{secret}".encode()).decode())
    made.add(base64.b64encode(f"{secret}:X".encode()).decode())
    return made


def _shown(texts: dict[str, str], secrets: dict[str, str]) -> list[str]:
    """Where which secret is shown, with a little of what is around it."""
    found = []
    for place, text in texts.items():
        for name, secret in secrets.items():
            for form in _forms(secret):
                at = text.find(form)
                if at >= 0:
                    found.append(f"{name} in {place}: …{text[max(0, at - 160) : at + len(form) + 40]}…")
    return found


def _typed(small: Small, texts: dict[str, str], when: str, *commands: tuple[str, ...], **environ: str) -> None:
    for command in commands:
        texts[f"{when}: {' '.join(command)}"] = _said(small.type("--verbose", *command, **environ))


def _said(done: Typed) -> str:
    return done.out + done.err


def _with_json(*commands: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [*commands, *((*command, "--json") for command in commands)]


def _pages(port: int) -> dict[str, str]:
    visitor = Visitor(port)
    texts = {path: visitor.ask(path)[2] for path in ("/", "/metrics", "/healthz", "/readyz", "/login")}
    status, headers, _ = visitor.ask("/login", {"password": SECRETS["WEB_PASSWORD"]})
    assert (status, headers["location"]) == (303, "/")
    for path in ("/", "/messages", "/messages/1", "/messages/99"):
        texts[f"{path} with login"] = visitor.ask(path)[2]
    return texts


def _tables(ledger: Path) -> str:
    """What the ledger holds; the tokens of a sign-in are kept there on purpose."""
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as opened:
        return "\n".join(line for line in opened.iterdump() if not line.startswith('INSERT INTO "tokens"'))


def test_no_secret_is_shown_anywhere_even_if_every_service_repeats_it(tmp_path: Path) -> None:
    texts: dict[str, str] = {}
    with Sandbox(api_key=SECRETS["WIX_KEY"]) as sandbox, parrot() as said, TokenServer() as provider:
        small = Small(tmp_path, sandbox)
        small.daemon_environ["PYTHONPATH"] = plugins = _plugin(tmp_path / "plugins")
        told = _configure(small, said, provider)
        small.put("T000001")
        try:
            provider.approve()
            texts["auth"] = _said(small.type("auth", "tokens"))
            _typed(small, texts, "without a daemon", ("check", "--json"), ("sync",), PYTHONPATH=plugins)
            _typed(small, texts, "without a daemon", ("status",), ("message", "list"))
            daemon = small.start()
            small.put("T000002")
            wait_for(lambda: "T000002" in small.sent(), "mail flows")
            daemon.wait_for(lambda: daemon.log().count("alert.not_told") >= 2, "alerts are refused by webhook and mail")
            daemon.wait_for(lambda: "heartbeat.refused" in daemon.log(), "the heartbeat is refused")
            daemon.wait_for(lambda: told.exists() and "careless" in told.read_text(), "the command is told")
            _typed(small, texts, "with a daemon", *_with_json(*COMMANDS))
            texts |= _pages(page_port(daemon))
            small.config.write_text(small.config.read_text() + "\n[nonsense]\n")
            texts["a refused reload"] = _said(small.type("reload"))
            assert daemon.stop() == 0
        finally:
            small.end()
        texts |= {path.name: path.read_text(errors="replace") for path in tmp_path.glob("daemon-*.log")}
        texts |= {"alerts": told.read_text(), "the ledger": _tables(small.ledger)}
        tokens = {str(value) for one in provider.answered for value in one.values() if str(value).startswith(MARK)}
        secrets = {**SECRETS, "webhook": HOOK_TOKEN, "heartbeat": HEARTBEAT_TOKEN}
        secrets |= {f"token {number}": token for number, token in enumerate(sorted(tokens))}
    assert len(tokens) >= 2
    heard = "\n".join(said.heard)
    for name in ("JMAP_TOKEN", "ZAMMAD_TOKEN", "POP_PASSWORD", "SMTP_PASSWORD"):
        assert any(form in heard for form in _forms(SECRETS[name])), f"{name} was never used, so the test says nothing"
    log = "".join(text for place, text in texts.items() if place.startswith("daemon-"))
    assert "pass.bug" in log
    assert "exc_value" in log
    assert _shown(texts, secrets) == []


@pytest.mark.postgres
def test_the_password_in_the_url_of_the_ledger_is_shown_nowhere(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, postgres_cluster: Cluster
) -> None:
    url = postgres_cluster.create_database()
    texts: dict[str, str] = {}
    with small_site(tmp_path, tmp_path_factory) as small:
        small.environ["WEB_PASSWORD"] = SECRETS["WEB_PASSWORD"]
        small.configure(
            ledger_url=url.replace("postgres@", f"postgres:{LEDGER_PASSWORD}@"),
            daemon='log_level = "debug"\n\n[web]\nlisten = "127.0.0.1:0"\npassword = { env = "WEB_PASSWORD" }',
        )
        small.put("T000001")
        _typed(small, texts, "without a daemon", ("status",), ("db", "upgrade"))
        daemon = small.start()
        small.wait_sent("T000001")
        _typed(small, texts, "with a daemon", *_with_json(("check",), ("status",), ("db", "current")))
        texts |= _pages(page_port(daemon))
        postgres_cluster.sql(f'ALTER DATABASE "{url.rpartition("/")[2]}" WITH ALLOW_CONNECTIONS false')
        postgres_cluster.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'inbox-sync%'"
        )
        daemon.wait_for(lambda: "ledger." in daemon.log().partition("daemon.ready")[2], "the database is missed")
        _typed(small, texts, "without a database", *_with_json(("status",), ("check",)))
        daemon.kill()
        texts["log"] = daemon.log()
    assert _shown(texts, {"ledger": LEDGER_PASSWORD}) == []
