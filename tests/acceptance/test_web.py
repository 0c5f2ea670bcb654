"""The status page and what monitoring asks, of a real daemon: in a real browser, and over plain HTTP."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.acceptance.harness import Daemon, page_port
from tests.acceptance.small import Small, small_site

pytestmark = pytest.mark.timeout(240)

PASSWORD = "the page's own password"
WITH_PASSWORD = '[web]\nlisten = "127.0.0.1:0"\npassword = { env = "WEB_PASSWORD" }'
WITHOUT_PASSWORD = '[web]\nlisten = "127.0.0.1:0"'


@pytest.fixture
def small(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    with small_site(tmp_path, tmp_path_factory) as made:
        made.environ["WEB_PASSWORD"] = PASSWORD
        yield made


def start(small: Small, web: str = WITH_PASSWORD, **more: str) -> tuple[Daemon, int]:
    """A daemon with a page, and its port."""
    small.configure(daemon=web, **more)
    daemon = small.start()
    return daemon, page_port(daemon)


class Visitor:
    """Somebody without a browser."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookie = ""

    def ask(self, path: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            sent = {"Cookie": self.cookie, **{name.replace("_", "-"): value for name, value in headers.items()}}
            if form is None:
                connection.request("GET", path, headers=sent)
            else:
                kind = {"Content-Type": "application/x-www-form-urlencoded"}
                connection.request("POST", path, urlencode(form), {**sent, **kind})
            answer = connection.getresponse()
            text = answer.read().decode()
            found = {name.lower(): value for name, value in answer.getheaders()}
            self.cookie = found.get("set-cookie", self.cookie).partition(";")[0]
            return answer.status, found, text

    def log_in(self) -> None:
        status, headers, _ = self.ask("/login", {"password": PASSWORD})
        assert (status, headers["location"]) == (303, "/")
        assert "HttpOnly" in headers["set-cookie"]
        assert "SameSite=strict" in headers["set-cookie"]

    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.ask("/")[2])
        assert found
        return found[1]


# ---------------------------------------------------------------------------------------------------- for machines


def test_health_readiness_and_metrics_are_there_for_monitoring(small: Small) -> None:
    daemon, port = start(small)
    small.put("T000001", "Anna Secret <anna@private.example>")
    small.wait_sent("T000001")
    visitor = Visitor(port)
    assert visitor.ask("/healthz")[0] == 200
    daemon.wait_for(lambda: visitor.ask("/readyz")[0] == 200, "it is ready")
    # the lag is the last to be counted: after the answer was recorded, and who the Inbox takes us for
    lag = 'inbox_sync_delivery_lag_seconds_count{inbox="main"} 1.0'
    daemon.wait_for(lambda: lag in visitor.ask("/metrics")[2], "the delivery is counted")
    status, headers, text = visitor.ask("/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    for line in (
        'inbox_sync_deliveries{inbox="main",reason="",source="mail",state="sent"} 1.0',
        'inbox_sync_inbox_up{inbox="main"} 1.0',
        'inbox_sync_budget_requests_per_minute{inbox="main",what="configured"} 1e+06',
        "inbox_sync_ok 1.0",
    ):
        assert line in text
    passes = re.search(r'inbox_sync_passes_total\{outcome="ok",source="mail"\} (\d+)', text)
    assert passes
    assert re.search(r'inbox_sync_api_calls_total\{call="[^"]*send[^"]*",inbox="main",outcome="200"\} 1.0', text)
    assert re.search(r"inbox_sync_ledger_seconds_count [1-9]", text)
    assert "anna" not in text.lower()
    assert daemon.stop() == 0


def test_a_source_that_fails_is_down_and_named_without_login(small: Small) -> None:
    daemon, port = start(small)
    (small.folder / "mail" / "new").rmdir()
    (small.folder / "mail" / "cur").rmdir()
    (small.folder / "mail").rmdir()
    daemon.wait_for(lambda: small.source("mail")["state"] == "failing", "it fails")
    visitor = Visitor(port)
    assert 'inbox_sync_source_up{source="mail",state="failing"} 0.0' in visitor.ask("/metrics")[2]
    assert "1 thing to look at" in visitor.ask("/")[2]
    assert daemon.stop() == 0


def test_dashboard_and_alerts_ask_for_metrics_that_exist(small: Small) -> None:
    daemon, port = start(small)
    small.put("T000001")
    small.wait_sent("T000001")
    text = Visitor(port).ask("/metrics")[2]
    there = set(re.findall(r"^# TYPE (inbox_sync_\w+)", text, re.MULTILINE))
    there |= {f"{name}_{ending}" for name in there for ending in ("bucket", "sum", "count")}
    root = Path(__file__).resolve().parents[2] / "deploy"
    for file in (root / "prometheus-alerts.yml", root / "grafana-dashboard.json"):
        asked = set(re.findall(r"\binbox_sync_\w+", file.read_text()))
        assert asked
        assert asked <= there, f"{file.name}: {sorted(asked - there)}"
    json.loads((root / "grafana-dashboard.json").read_text())
    assert daemon.stop() == 0


# ---------------------------------------------------------------------------------------------------- who may do what


def test_without_login_there_are_numbers_and_nothing_about_anybody(small: Small) -> None:
    daemon, port = start(small)
    small.put("T000001", "Anna Secret <anna@private.example>")
    small.wait_sent("T000001")
    visitor = Visitor(port)
    status, headers, text = visitor.ask("/")
    assert status == 200
    assert "anna" not in text.lower()
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "Pause" not in text
    for path in ("/messages", "/messages/1"):
        status, headers, text = visitor.ask(path)
        assert (status, headers["location"]) == (303, "/login")
    assert visitor.ask("/messages/1/drop", {})[1]["location"] == "/login"
    assert visitor.ask("/sources/mail/pause", {})[1]["location"] == "/login"
    assert small.source("mail")["paused"] is False
    assert daemon.stop() == 0


def test_forms_from_elsewhere_and_names_from_elsewhere_are_refused(small: Small) -> None:
    daemon, port = start(small)
    visitor = Visitor(port)
    visitor.log_in()
    csrf = visitor.csrf()
    own = f"http://127.0.0.1:{port}"
    assert visitor.ask("/sources/mail/pause", {"csrf": "guessed"})[0] == 403
    assert visitor.ask("/sources/mail/pause", {})[0] == 403
    assert visitor.ask("/sources/mail/pause", {"csrf": csrf}, Origin="https://evil.example")[0] == 403
    assert visitor.ask("/login", {"password": PASSWORD}, Origin="https://evil.example")[0] == 403
    assert visitor.ask("/", Host="evil.example")[0] == 400
    assert small.source("mail")["paused"] is False
    assert visitor.ask("/sources/mail/pause", {"csrf": csrf}, Origin=own)[0] == 303
    assert small.source("mail")["paused"] is True
    assert visitor.ask("/sources/nobody/pause", {"csrf": csrf}, Origin=own)[0] == 400
    assert visitor.ask("/sources/mail/pause", {"csrf": csrf, "more": "x" * 20_000}, Origin=own)[0] == 403
    assert daemon.stop() == 0


def test_after_many_wrong_passwords_none_is_looked_at_for_a_while(small: Small) -> None:
    daemon, port = start(small)
    visitor = Visitor(port)
    answers = [visitor.ask("/login", {"password": f"guess {number}"})[0] for number in range(11)]
    assert answers == [403] * 10 + [429]
    assert visitor.ask("/login", {"password": PASSWORD})[0] == 429
    assert "guess" not in daemon.log()
    assert daemon.stop() == 0


def test_a_login_through_a_published_name_is_for_tls_only(small: Small) -> None:
    daemon, port = start(small, f'{WITH_PASSWORD}\nhosts = ["status.example.com"]')
    form = {"password": PASSWORD}
    assert "Secure" in Visitor(port).ask("/login", form, Host="status.example.com")[1]["set-cookie"]
    assert "Secure" not in Visitor(port).ask("/login", form)[1]["set-cookie"]
    assert daemon.stop() == 0


def test_without_a_password_nobody_can_log_in(small: Small) -> None:
    daemon, port = start(small, WITHOUT_PASSWORD)
    visitor = Visitor(port)
    assert visitor.ask("/login", {"password": ""})[0] == 403
    assert visitor.ask("/messages")[1]["location"] == "/login"
    assert "Set a password under [web]" in visitor.ask("/")[2]
    assert daemon.stop() == 0


def test_a_page_that_cannot_listen_is_told_and_stops_no_mail(small: Small) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        small.configure(daemon=f'[web]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"')
        daemon = small.start()
        assert "web.not_listening" in daemon.log()
        small.put("T000001")
        small.wait_sent("T000001")
        assert daemon.stop() == 0


def test_other_machines_may_reach_it_only_behind_a_password(small: Small) -> None:
    small.configure(daemon='[web]\nlisten = "0.0.0.0:8026"')
    refused = small.type("check")
    assert refused.code == 78
    assert "needs a password" in " ".join(refused.err.split())
