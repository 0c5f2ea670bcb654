"""Reads the configuration file: `load` gives checked settings, or one ConfigError with every problem and its line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from sync.config import checks
from sync.config.explain import Model, Problem, unknown_key, validate
from sync.config.locate import Document, TomlTable, read
from sync.config.locate import Path as KeyPath
from sync.config.reading import PATH_VARIABLE, text_of
from sync.config.secrets import SecretSource
from sync.connector import Connector, ConnectorConfig
from sync.errors import ConfigError
from sync.mail.machine import RULE_HEADERS
from sync.mail.parse import CUSTOMER_HEADERS
from sync.registry import Registry, near_names
from sync.settings import (
    AlertSettings,
    DaemonSettings,
    InboxSettings,
    LedgerSettings,
    Settings,
    SourceSettings,
    WebSettings,
)

DEFAULT_PATH = Path("/etc/inbox-sync/config.toml")

_SECTIONS = ("ledger", "daemon", "web", "alerts", "inbox", "sources")
_NAMED = {"inbox": "main", "sources": "support"}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ALIASES = {"source": "sources", "inboxes": "inbox", "database": "ledger", "page": "web", "http": "web"}


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One source as configured: the settings every source has, and its connector with the connector's own."""

    name: str
    inbox: str
    settings: SourceSettings
    connector: type[Connector]
    config: ConnectorConfig

    def build(self) -> Connector:
        """A connector for this source; no I/O happens yet."""
        return self.connector(self.config)


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration file that can be worked with.

    `settings.sources` has every source of the file with its inbox filled in; `sources` those whose connector could be
    loaded, `failed_sources` the others, each with its error. `notes` are sentences worth an operator's look.
    `secret_values` are all secrets of the file, for the logs to leave out.
    """

    path: Path
    settings: Settings
    sources: Mapping[str, SourceConfig]
    failed_sources: Mapping[str, ConfigError]
    notes: tuple[str, ...] = ()
    secret_values: tuple[SecretStr, ...] = ()

    @property
    def connectors(self) -> dict[str, ConnectorConfig]:
        """The connectors' own settings by source."""
        return {name: source.config for name, source in self.sources.items()}


def default_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the file is when the command line does not say: `$INBOX_SYNC_CONFIG`, else `/etc/inbox-sync/config.toml`."""
    named = environ.get(PATH_VARIABLE, "").strip()
    return Path(named) if named else DEFAULT_PATH


def load(
    path: Path,
    *,
    registry: Registry | None = None,
    secrets: bool = True,
    environ: Mapping[str, str] = os.environ,
) -> LoadedConfig:
    """Reads and checks the file at `path`. With `secrets` False no secret is looked up (commands that only read the
    ledger need none). Raises ConfigError with `problems`, all of them, each `config.toml:LINE: key: reason`."""
    loading = _Loading(path, registry or Registry.discover(), SecretSource(path.parent, environ, look_up=secrets))
    return loading.load()


def load_core(path: Path) -> Settings:
    """The `[ledger]` and `[daemon]` of the file alone: enough to find a running daemon while the rest is being edited.
    Raises ConfigError when these two are faulty or the file cannot be read."""
    loading = _Loading(path, Registry([]), SecretSource(path.parent, {}, look_up=False))
    return loading.load_core()


class _Loading:
    """One reading of one file; collects problems."""

    def __init__(self, path: Path, registry: Registry, secrets: SecretSource) -> None:
        self._path = path
        self._registry = registry
        self._secrets = secrets
        self._document: Document = read(text_of(path))
        self._problems: list[Problem] = []
        self._notes: list[str] = []
        self._failed: dict[str, ConfigError] = {}
        self._failures: list[Problem] = []

    def load(self) -> LoadedConfig:
        data = self._document.data
        self._look_for_unknown_sections(data)
        ledger, daemon, web, alerts = self._ledger(), self._daemon(), self._web(), self._alerts()
        inboxes = self._inboxes(self._named_tables("inbox"))
        source_tables = self._named_tables("sources")
        sources: dict[str, SourceConfig] = {}
        settings: dict[str, SourceSettings] = {}
        for name, table in source_tables.items():
            common = self._source(name, table, list(self._named_tables("inbox", quiet=True)))
            if isinstance(common, SourceConfig):
                sources[name] = common
                settings[name] = common.settings
            elif common is not None:
                settings[name] = common
        self._nothing_left(source_tables, sources)
        self._raise_problems()
        if ledger is None or daemon is None:  # pragma: no cover  a problem has been raised already
            raise AssertionError
        return LoadedConfig(
            path=self._path,
            settings=Settings(ledger=ledger, daemon=daemon, web=web, alerts=alerts, inbox=inboxes, sources=settings),
            sources=sources,
            failed_sources=dict(self._failed),
            notes=tuple(self._notes),
            secret_values=tuple(self._secrets.found),
        )

    def load_core(self) -> Settings:
        ledger, daemon = self._ledger(), self._daemon()
        if self._problems or ledger is None or daemon is None:
            self._raise_problems()
        return Settings(ledger=ledger or LedgerSettings(), daemon=daemon or DaemonSettings())

    # --- sections -----------------------------------------------------------------------------------------------------

    def _look_for_unknown_sections(self, data: TomlTable) -> None:
        for key, value in data.items():
            if key in _SECTIONS:
                continue
            near = [_ALIASES[key]] if key in _ALIASES else near_names(key, _SECTIONS)
            if isinstance(value, dict):
                inner = next((name for name, item in value.items() if isinstance(item, dict)), None)
                hint = f"{near[0]}.{inner}" if near and inner and near[0] in _NAMED else (near[0] if near else "")
                reason = f"unknown section (did you mean [{hint}]?)" if hint else self._sections_there_are()
                self._complain((key, inner) if inner else (key,), reason)
            else:
                self._complain((key,), f"{unknown_key(near)}; keys belong into a section such as [ledger]")

    @staticmethod
    def _sections_there_are() -> str:
        return "unknown section; there are [ledger], [daemon], [web], [alerts], [inbox.NAME] and [sources.NAME]"

    def _ledger(self) -> LedgerSettings | None:
        table = self._table("ledger")
        settings = self._validate(LedgerSettings, table, ("ledger",))
        if isinstance(url := table.get("url"), str) and not checks.is_placeholder(url):
            self._check(("ledger", "url"), checks.ledger_url(url))
            if checks.has_password(url):
                self._notes.append(
                    "ledger.url holds a password that every reader of the file sees: better leave it to PostgreSQL's own"
                    " password file (~/.pgpass, or PGPASSFILE in the unit)"
                )
        return settings

    def _daemon(self) -> DaemonSettings | None:
        return self._validate(DaemonSettings, self._table("daemon"), ("daemon",))

    def _web(self) -> WebSettings | None:
        if "web" not in self._document.data:
            return None
        settings = self._validate(WebSettings, self._table("web"), ("web",))
        if settings is not None:
            self._check(
                ("web", "listen"), checks.web_address(settings.listen, has_password=settings.password is not None)
            )
        return settings

    def _alerts(self) -> AlertSettings | None:
        if "alerts" not in self._document.data:
            return None
        return self._validate(AlertSettings, self._table("alerts"), ("alerts",))

    def _inboxes(self, tables: Mapping[str, TomlTable]) -> dict[str, InboxSettings]:
        if not tables and "inbox" not in self._document.data and () not in self._document.incomplete:
            self._complain(("inbox",), "there is no inbox: add a section [inbox.main] with its site_id and api_key")
        inboxes: dict[str, InboxSettings] = {}
        for name, table in tables.items():
            at: KeyPath = ("inbox", name)
            self._check(at, checks.name_of_section(name))
            settings = self._validate(InboxSettings, table, at)
            if isinstance(url := table.get("base_url"), str):
                self._check((*at, "base_url"), checks.base_url(url))
            if isinstance(zone := table.get("time_zone"), str):
                self._check((*at, "time_zone"), checks.time_zone(zone))
            if isinstance(own := table.get("own_addresses"), list):
                for index, pattern in enumerate(own):
                    if isinstance(pattern, str):
                        self._check((*at, "own_addresses", index), checks.own_address(pattern))
            if settings is not None:
                inboxes[name] = settings
        self._note_inboxes(inboxes)
        return inboxes

    def _note_inboxes(self, inboxes: Mapping[str, InboxSettings]) -> None:
        """What is no fault, and yet not what most operators mean."""
        by_site: dict[str, list[str]] = {}
        for name, settings in inboxes.items():
            by_site.setdefault(f"{settings.base_url} {settings.site_id}", []).append(name)
            if not settings.own_addresses:
                self._notes.append(
                    f"inbox.{name} names no own_addresses: mail that you sent yourself is not recognised as yours"
                )
        for names in by_site.values():
            if len(names) > 1:
                self._notes.append(
                    f"{' and '.join(f'inbox.{name}' for name in names)} are the same site: together they may ask more of"
                    " it than it allows; one inbox with several sources is enough"
                )

    def _source(self, name: str, table: TomlTable, inboxes: list[str]) -> SourceConfig | SourceSettings | None:
        """The source, or only its common settings where its connector could not be loaded."""
        at: KeyPath = ("sources", name)
        self._check(at, checks.name_of_section(name))
        inbox = self._inbox_of(at, table.get("inbox"), inboxes)
        connector = self._connector(name, table.get("connector"))
        own_keys = list(connector.Config.model_fields) if connector else []
        core = {key: value for key, value in table.items() if key in SourceSettings.model_fields}
        rest = {key: value for key, value in table.items() if key not in SourceSettings.model_fields}
        if connector is None and "connector" not in table:
            core |= {key: value for key, value in rest.items() if near_names(key, ["connector"])}
        settings = self._validate(SourceSettings, core, at, also_known=own_keys)
        if settings is not None:
            self._check_senders(at, settings)
        if settings is not None and inbox is not None:
            settings = settings.model_copy(update={"inbox": inbox})
        if connector is None:
            return settings
        config = self._connector_config(connector, rest, name)
        if config is None or settings is None or inbox is None:
            return settings
        source = SourceConfig(name, inbox, settings, connector, config)
        return source if self._starts(source) else settings

    def _check_senders(self, at: KeyPath, settings: SourceSettings) -> None:
        """What the settings about senders name."""
        for index, pattern in enumerate(settings.people):
            self._check((*at, "people", index), checks.own_address(pattern))
        for number, rule in enumerate(settings.participant_rules):
            here = (*at, "participant_rules", number)
            for index, pattern in enumerate(rule.sender):
                self._check((*here, "sender", index), checks.own_address(pattern))
            if rule.header:
                self._check((*here, "header"), checks.header_name(rule.header, (*RULE_HEADERS, *CUSTOMER_HEADERS)))
            if rule.use_header:
                self._check((*here, "use_header"), checks.header_name(rule.use_header, (*CUSTOMER_HEADERS, "sender")))

    def _starts(self, source: SourceConfig) -> bool:
        """Whether the connector can be made from its settings and says its account. One that cannot stops itself only."""
        if not self._secrets.look_up:
            return True
        try:
            _account = source.build().account
        except Exception as error:  # noqa: BLE001  a connector may fail in any way
            broken = ConfigError(
                f"the connector failed at its start with {type(error).__name__}",
                code="connector.broken",
                next_step=f"tell the makers of the connector {source.connector.info.name}",
            )
            self._fail(source.name, ("sources", source.name), broken)
            return False
        return True

    def _inbox_of(self, at: KeyPath, named: object, inboxes: list[str]) -> str | None:
        if isinstance(named, str):
            if named in inboxes or checks.is_placeholder(named) or () in self._document.incomplete:
                return named
            near = near_names(named, inboxes)
            hint = f' (did you mean "{near[0]}"?)' if near else ""
            there_are = f"; there are: {', '.join(inboxes)}" if inboxes else ""
            self._complain((*at, "inbox"), f"there is no [inbox.{named}]{hint}{there_are}")
            return None
        if named is None and len(inboxes) == 1:
            return inboxes[0]
        if named is None and inboxes:
            self._complain(
                at, f'says no inbox, and there are several: write inbox = "{inboxes[0]}" (or {_either(inboxes[1:])})'
            )
        return None

    def _connector(self, source: str, named: object) -> type[Connector] | None:
        if not isinstance(named, str) or not named or checks.is_placeholder(named):
            return None
        try:
            return self._registry.get(named)
        except ConfigError as error:
            self._fail(source, ("sources", source, "connector"), error)
            return None

    def _connector_config(self, connector: type[Connector], table: TomlTable, source: str) -> ConnectorConfig | None:
        try:
            return self._validate(
                connector.Config, table, ("sources", source), also_known=list(SourceSettings.model_fields)
            )
        except Exception as error:  # noqa: BLE001  a connector's own validators may fail in any way
            broken = ConfigError(
                f"the connector failed on its settings with {type(error).__name__}",
                code="connector.broken",
                next_step=f"tell the makers of the connector {connector.info.name}",
            )
            self._fail(source, ("sources", source), broken)
            return None

    def _fail(self, source: str, path: KeyPath, error: ConfigError) -> None:
        """This source cannot run, the others can."""
        placed = ConfigError(
            self._line(Problem(path, error.sentence)), code=error.code, next_step=error.next_step, source=source
        )
        self._failed[source] = placed
        step = f"; {error.next_step}" if error.next_step else ""
        self._failures.append(Problem(path, f"{error.sentence}{step}"))

    def _nothing_left(self, tables: Mapping[str, TomlTable], sources: Mapping[str, SourceConfig]) -> None:
        """A file whose sources have all failed is refused; one without sources is only noted."""
        if self._problems or (self._failures and not sources and len(self._failed) == len(tables)):
            self._problems += self._failures
        if not tables and not self._problems:
            self._notes.append("no source is configured: add a section [sources.NAME] with a connector")

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _table(self, section: str) -> TomlTable:
        value = self._document.data.get(section, {})
        if isinstance(value, dict):
            return value
        self._complain((section,), f"must be a section: [{section}]")
        return {}

    def _named_tables(self, section: str, *, quiet: bool = False) -> dict[str, TomlTable]:
        """The tables `[section.NAME]` by name."""
        example = f"{section}.{_NAMED[section]}"
        value = self._document.data.get(section, {})
        if not isinstance(value, dict):
            if not quiet:
                self._complain((section,), f"must be a section with a name: [{example}]")
            return {}
        tables: dict[str, TomlTable] = {}
        for name, table in value.items():
            if isinstance(table, dict):
                tables[name] = table
            elif not quiet:
                self._complain((section, name), f"stands outside of a section with a name: put it below [{example}]")
        return tables

    def _validate(
        self, model: type[Model], table: TomlTable, at: KeyPath, also_known: Sequence[str] = ()
    ) -> Model | None:
        settings, problems = validate(model, table, at, self._secrets, also_known)
        cut_short = at in self._document.incomplete
        for problem in problems:
            if not (cut_short and (problem.missing or problem.path == at)):
                self._complain(problem.path, problem.reason)
        return settings

    def _check(self, path: KeyPath, complaint: str) -> None:
        """Adds what a check of `checks` says, unless the key's type is wrong already."""
        if complaint and all(problem.path != path for problem in self._problems):
            self._complain(path, complaint)

    def _complain(self, path: KeyPath, reason: str) -> None:
        problem = Problem(path, reason)
        if problem not in self._problems:
            self._problems.append(problem)

    def _line(self, problem: Problem) -> str:
        return _place(self._path, self._document.line_of(problem.path), problem.path) + problem.reason

    def _raise_problems(self) -> None:
        """One error with everything, in the order of the file."""
        found = [
            (fault.line, _place(self._path, fault.line, fault.path) + fault.reason) for fault in self._document.faults
        ]
        found += [(self._document.line_of(problem.path) or 0, self._line(problem)) for problem in self._problems]
        if not found:
            return
        lines = tuple(dict.fromkeys(text for _, text in sorted(found, key=lambda entry: entry[0])))
        raise ConfigError(
            f"{self._path} has {len(lines)} problem{'s' if len(lines) > 1 else ''}",
            next_step="mend the file; inbox-sync config example shows every key",
            problems=lines,
        )


def _place(path: Path, line: int | None, key: KeyPath) -> str:
    where = f"{path.name}:{line}: " if line else f"{path.name}: "
    return f"{where}{_dotted(key)}: " if key else where


def _dotted(path: KeyPath) -> str:
    """`sources.support.folders[0]`, with quotes where TOML needs them."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{bare}" if text else bare
    return text


def _either(names: list[str]) -> str:
    return " or ".join(f'"{name}"' for name in names)
