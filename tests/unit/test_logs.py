from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog
from pydantic import SecretStr

from sync.logs import Form, Level, Redactor, configure


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in list(root.manager.loggerDict)}
    show = warnings.showwarning
    yield
    logging.captureWarnings(capture=False)
    warnings.showwarning = show
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in list(root.manager.loggerDict):
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))
    structlog.reset_defaults()


def fail(text: str) -> None:
    local_value = str(1234567 * 3)
    raise ValueError(text[: int(local_value)])


class Logs:
    def __init__(self, level: Level = "info", form: Form = "json", *, terminal: bool = False, **environ: str) -> None:
        self.stream = Stream(terminal=terminal)
        self.redactor = Redactor()
        configure(level, form, stream=self.stream, environ=environ, redactor=self.redactor)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    @property
    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.lines]


def test_events_are_json_off_a_terminal_with_when_how_bad_and_what_first() -> None:
    logs = Logs(form="auto")
    structlog.get_logger().info("pass.ended", source="support", found=3)
    (event,) = logs.events
    assert list(event)[:3] == ["timestamp", "level", "event"]
    assert event["event"] == "pass.ended"
    assert (event["source"], event["found"]) == ("support", 3)
    assert str(event["timestamp"]).endswith("Z")


def test_a_terminal_gets_lines_for_people() -> None:
    logs = Logs(form="auto", terminal=True)
    structlog.get_logger().warning("source.parked", source="support")
    assert not logs.lines[0].startswith("{")
    assert "source.parked" in logs.lines[0]


def test_the_libraries_loggers_get_the_same_form() -> None:
    logs = Logs()
    for name in ("apscheduler.scheduler", "sqlalchemy.engine", "uvicorn.error", "httpx"):
        logging.getLogger(name).warning("of %s", name, extra={"color_message": "x"})
        logging.getLogger(name).info("too much")
    assert [event["event"] for event in logs.events] == [
        f"of {name}" for name in ("apscheduler.scheduler", "sqlalchemy.engine", "uvicorn.error", "httpx")
    ]
    assert {event["level"] for event in logs.events} == {"warning"}
    assert "color_message" not in logs.events[0]


def test_a_pass_that_is_still_running_is_no_warning() -> None:
    logs = Logs()
    text = 'Execution of job "%s" skipped: maximum number of running instances reached (%d)'
    logging.getLogger("apscheduler.scheduler").warning(text, "x", 1)
    assert logs.lines == []


@pytest.mark.parametrize(("method", "priority"), [("info", 6), ("warning", 4), ("error", 3)])
def test_the_journal_gets_each_lines_priority(method: str, priority: int) -> None:
    logs = Logs(JOURNAL_STREAM="8:1")
    getattr(structlog.get_logger(), method)("x")
    assert logs.lines[0].startswith(f"<{priority}>{{")


def test_every_line_of_a_traceback_has_its_priority() -> None:
    logs = Logs(form="console", JOURNAL_STREAM="8:1")
    try:
        fail("a\nb")
    except ValueError:
        structlog.get_logger().exception("bug")
    assert len(logs.lines) > 3
    assert all(line.startswith("<3>") for line in logs.lines)


@pytest.mark.parametrize(
    "key", ["password", "api_key", "app_secret", "access_token", "Authorization", "Set-Cookie", "credentials", "tokens"]
)
def test_values_under_telling_names_are_masked_at_any_depth(key: str) -> None:
    logs = Logs()
    structlog.get_logger().info("x", **{key: "hidden-1"}, inner={"list": [{key: "hidden-2"}]})
    assert "hidden" not in logs.lines[0]


def test_ordinary_names_are_not_masked() -> None:
    logs = Logs()
    structlog.get_logger().info("x", source_key="a", tokenised="b", keyboard="c", next_token=None)
    assert "***" not in logs.lines[0]


def test_registered_secrets_are_masked_wherever_they_turn_up() -> None:
    logs = Logs()
    logs.redactor.keep([SecretStr("s3cr3t/value")])
    log = structlog.get_logger()
    log.info("x", url="https://h/?k=s3cr3t%2Fvalue", text="a s3cr3t/value b", deep=[{"a": ("s3cr3t/value",)}])
    logging.getLogger("httpx").error("got %s", "s3cr3t/value")
    try:
        fail("bad s3cr3t/value")
    except ValueError:
        log.exception("bug")
    assert "s3cr3t" not in logs.stream.getvalue()


def test_headers_and_passwords_in_addresses_are_masked() -> None:
    logs = Logs()
    structlog.get_logger().info("x", a="Authorization: Bearer abcdef", b="postgresql://me:pw@host/db")
    assert "abcdef" not in logs.lines[0]
    assert ":pw@" not in logs.lines[0]
    assert "me:***@host" in logs.lines[0]


@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_show_no_local_variables(form: Form) -> None:
    logs = Logs(form=form)

    try:
        fail("x")
    except ValueError:
        structlog.get_logger().exception("bug")
    assert "ValueError" in logs.stream.getvalue()
    assert "3703701" not in logs.stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_foreign_text_can_neither_move_the_cursor_nor_forge_a_line(form: Form) -> None:
    logs = Logs(form=form)
    structlog.get_logger().info("x", subject="a\n2026 [error] forged\x1b[2J\r")
    logging.getLogger("foreign").error("b\nforged %s", "\x1b[2J")
    assert len(logs.lines) == 2
    assert "\x1b" not in logs.stream.getvalue()


def test_long_values_are_cut() -> None:
    logs = Logs()
    structlog.get_logger().info("x", body="y" * 100_000)
    assert len(logs.lines[0]) < 10_000


def test_debug_is_left_out_unless_asked_for() -> None:
    logs = Logs()
    structlog.get_logger().debug("no")
    assert logs.lines == []
    logs = Logs(level="debug")
    structlog.get_logger().debug("yes")
    assert logs.events[0]["event"] == "yes"


def test_configuring_again_does_not_double_lines() -> None:
    Logs()
    logs = Logs()
    structlog.get_logger().info("x")
    assert len(logs.lines) == 1
