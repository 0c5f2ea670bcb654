"""Logging: one form for everything that is logged, ours and the libraries'.

On a terminal lines are for people, elsewhere JSON, one event a line, to standard error. Under systemd (`$JOURNAL_STREAM`
is set, systemd.exec(5)) each line begins with its priority, `<6>` (sd-daemon(3)), so that journalctl can filter by it.
Nothing secret is written: values under telling key names are masked, and so is every registered secret wherever it
turns up, in tracebacks too, which never show local variables.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Literal, TextIO
from urllib.parse import quote

import structlog
from pydantic import SecretStr
from structlog.processors import JSONRenderer, TimeStamper
from structlog.stdlib import ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
Form = Literal["auto", "json", "console"]

MASK = "***"
SECRET_MIN_LENGTH = 4
"""Shorter values are not looked for in texts: they would mask half of every line."""
VALUE_MAX_CHARACTERS = 8_000
"""Longer texts in one field are cut: a log is no archive."""
FRAMES_MAX = 30

_TELLING = re.compile(
    r"(^|_|-)(password|passwd|passphrase|secret|token|api_?key|authorization|cookie|credential|private_key)s?($|_|-)",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"(?i)\b(authorization|proxy-authorization|cookie|set-cookie)(['\"]?\s*[:=]\s*)(['\"]?)[^'\"\r\n,}]+"
)
_USERINFO = re.compile(r"(?<=://)([^\s/:@]+):[^\s/@]+@")

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2, "exception": 3}

_QUIET = {
    "apscheduler": logging.WARNING,
    "asyncio": logging.WARNING,
    "alembic": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "uvicorn": logging.WARNING,
    "uvicorn.access": logging.WARNING,
}
"""Libraries say more than an operator wants, unless something is wrong."""


class Redactor:
    """Masks what must not be logged, by key name and by value."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def keep(self, values: Iterable[SecretStr | str]) -> None:
        """Registers secret values; they are masked in every text from now on."""
        for value in values:
            text = value.get_secret_value() if isinstance(value, SecretStr) else value
            self._values.update(
                part
                for part in (text, quote(text, safe=""), *text.splitlines())
                if len(part.strip()) >= SECRET_MIN_LENGTH
            )
        if self._values:
            longest_first = sorted(self._values, key=len, reverse=True)
            self._pattern = re.compile("|".join(re.escape(value) for value in longest_first))

    def text(self, text: str) -> str:
        """`text` without secrets, and not longer than a log line should be."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        text = _HEADER.sub(rf"\1\2\3{MASK}", text)
        text = _USERINFO.sub(rf"\1:{MASK}@", text)
        if len(text) > VALUE_MAX_CHARACTERS:
            text = f"{text[:VALUE_MAX_CHARACTERS]}… ({len(text)} characters)"
        return text

    def value(self, value: object, key: str = "") -> object:
        """A field's value without secrets, at any depth."""
        if isinstance(value, SecretStr) or (key and _TELLING.search(key) and not isinstance(value, bool | None)):
            return MASK
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {name: self.value(item, str(name)) for name, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item) for item in value]
        if isinstance(value, int | float | None):
            return value
        return self.text(str(value))

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """As a processor of structlog: masks the whole event."""
        for key, value in event.items():
            if not key.startswith("_"):
                event[key] = self.value(value, key)
        return event


_redactor = Redactor()


def keep_secret(values: Iterable[SecretStr | str]) -> None:
    """Registers secrets that no log line may ever show; `LoadedConfig.secret_values` goes here."""
    _redactor.keep(values)


def configure(
    level: Level = "info",
    form: Form = "auto",
    *,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
    redactor: Redactor | None = None,
) -> None:
    """Sets logging up for this process; may be called again (after a reload). `stream` is standard error if None."""
    out = sys.stderr if stream is None else stream
    masks = redactor or _redactor
    on_terminal = out.isatty()
    console = form == "console" or (form == "auto" and on_terminal)
    journal = bool(environ.get("JOURNAL_STREAM")) and not on_terminal
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
    ]
    if not journal or not console:
        shared.append(
            TimeStamper(fmt="%H:%M:%S" if console and on_terminal else "iso", utc=not (console and on_terminal))
        )
    formatter = _Formatter(
        journal=journal,
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder()],
        processors=[ProcessorFormatter.remove_processors_meta, _no_tools, *_rendering(masks, out, console=console)],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    handler.addFilter(_lower_overlap)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(
            max(least, getattr(logging, level.upper())) if level != "debug" else logging.INFO
        )
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _rendering(masks: Redactor, out: TextIO, *, console: bool) -> list[Processor]:
    if console:
        colours = out.isatty() and not os.environ.get("NO_COLOR")
        renderer = structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)
        return [structlog.processors.format_exc_info, masks, _printable, renderer]
    frames = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False, max_frames=FRAMES_MAX))
    return [frames, masks, _in_order, JSONRenderer(default=str)]


_FIRST = ("timestamp", "level", "event", "logger")


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """When, how bad, what; then the ids."""
    return {**{key: event[key] for key in _FIRST if key in event}, **event}


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def _printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Foreign text must not move the cursor, nor look like another line of the log. JSON does that by itself."""
    for key, value in event.items():
        if isinstance(value, str):
            shown = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", value)
            event[key] = shown if key in ("exception", "stack") else shown.replace("\n", "\\n")
    return event


def _no_tools(_logger: WrappedLogger, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """uvicorn repeats its message with terminal colours."""
    event.pop("color_message", None)
    return event


def _lower_overlap(record: logging.LogRecord) -> bool:
    """A pass that is still running when its next one is due is a matter of course, no warning."""
    if record.name.startswith("apscheduler") and "maximum number of running instances" in str(record.msg):
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return logging.getLogger().isEnabledFor(logging.DEBUG)
    return True


class _Formatter(ProcessorFormatter):
    """Puts the journal's priority in front of each line of a record."""

    def __init__(self, *, journal: bool, foreign_pre_chain: list[Processor], processors: list[Processor]) -> None:
        super().__init__(foreign_pre_chain=foreign_pre_chain, processors=processors)
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._journal:
            return text
        prefix = f"<{_PRIORITIES.get(record.levelname.lower(), 6)}>"
        return "\n".join(prefix + line for line in text.split("\n"))
