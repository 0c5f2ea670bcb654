"""Which connectors are installed: entry points of the group `inbox_sync.connectors`, loaded one by one.

A package offers a connector with `[project.entry-points."inbox_sync.connectors"] name = "package.module:Class"`. A
connector whose import fails, or that does not keep the contract, is listed with the reason and stops no other one.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import cast

from sync import __version__
from sync.connector import API_VERSION, Connector, ConnectorConfig, ConnectorInfo
from sync.errors import ConfigError
from sync.settings import SourceSettings

GROUP = "inbox_sync.connectors"
PACKAGE = "inbox-sync"

BUILT_IN = {
    "django_helpdesk": "connectors.django_helpdesk:DjangoHelpdeskConnector",
    "freshdesk": "connectors.freshdesk:FreshdeskConnector",
    "imap": "connectors.imap:ImapConnector",
    "jmap": "connectors.jmap:JmapConnector",
    "maildir": "connectors.maildir:MaildirConnector",
    "pop3": "connectors.pop3:Pop3Connector",
    "request_tracker": "connectors.request_tracker:RequestTrackerConnector",
    "zammad": "connectors.zammad:ZammadConnector",
    "zendesk": "connectors.zendesk:ZendeskConnector",
}
"""The connectors that come with the program. They are found by name even where the installed metadata is older than
the code (a checkout that was installed before a connector was added)."""

WORLDS = "inbox_sync.worlds"
"""Entry points of the services that packages play for the contract suite (`sync.testing.world`)."""

CAPABILITIES = {
    "fetch": "fetch: one message can be loaded again",
    "list": "list: audit, backfill and the daily sweep",
    "open_attachment": "open_attachment: files are brought over",
    "wait": "wait: new messages come at once",
    "begin_sign_in": "sign in: inbox-sync auth",
}
"""What a connector can do besides, by the method that does it."""

_REQUIRED = ("check", "streams", "poll", "aclose")
_NEAR = 0.65


@dataclass(frozen=True, slots=True)
class Offer:
    """A connector that some package says it has; nothing of it has been imported yet."""

    name: str
    value: str
    package: str
    version: str
    load: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Entry:
    """A connector after its import: either the class, or the error that kept it from being used."""

    name: str
    package: str
    version: str
    connector: type[Connector] | None
    error: ConfigError | None


def capabilities_of(connector: type[Connector]) -> tuple[str, ...]:
    """The methods of `CAPABILITIES` that a connector has."""
    return tuple(name for name in CAPABILITIES if callable(getattr(connector, name, None)))


def worlds_of(name: str) -> tuple[str, ...]:
    """Where the services for testing this connector are (`package.world:World`), as packages offer them."""
    return tuple(sorted({point.value for point in metadata.entry_points(group=WORLDS, name=name)}))


def near_names(name: str, known: Iterable[str], *, most: int = 1) -> list[str]:
    """Those of `known` that `name` was probably meant to be, best first; letter case does not count."""
    folded = {candidate.casefold(): candidate for candidate in known}
    return [folded[hit] for hit in difflib.get_close_matches(name.casefold(), folded, n=most, cutoff=_NEAR)]


class Registry:
    """The installed connectors by name. Each is imported when it is first asked for, once."""

    def __init__(self, offers: Iterable[Offer]) -> None:
        by_package: dict[str, dict[str, Offer]] = {}
        for offer in offers:
            by_package.setdefault(offer.name, {})[offer.package] = offer
        self._offers = {name: list(packages.values()) for name, packages in by_package.items()}
        self._entries: dict[str, Entry] = {}

    @classmethod
    def discover(cls) -> Registry:
        """The connectors of all installed packages, and the built-in ones. Of one package the last word counts, so
        that stale metadata of this program's own is overruled by its code."""
        return cls([*_installed(), *_built_in()])

    def names(self) -> list[str]:
        """Every offered name, sorted; broken ones too."""
        return sorted(self._offers)

    def entries(self) -> list[Entry]:
        """Every offered connector, imported. Raises nothing."""
        return [self.entry(name) for name in self.names()]

    def entry(self, name: str) -> Entry:
        """One connector, imported. Its own faults are in `Entry.error`; a name nobody offers raises ConfigError
        (`connector.unknown`)."""
        if name not in self._offers:
            raise self._unknown(name)
        if name not in self._entries:
            self._entries[name] = _enter(self._offers[name])
        return self._entries[name]

    def get(self, name: str) -> type[Connector]:
        """The class of a connector. Raises ConfigError: `connector.unknown` (with near names and what is installed),
        `connector.broken` (with the reason)."""
        entry = self.entry(name)
        if entry.connector is None:
            raise entry.error or self._unknown(name)
        return entry.connector

    def _unknown(self, name: str) -> ConfigError:
        near = near_names(name, self._offers)
        hint = f' (did you mean "{near[0]}"?)' if near else ""
        return ConfigError(
            f'no connector is called "{name}"{hint}',
            code="connector.unknown",
            next_step=f"installed are: {', '.join(self.names()) or 'none'}; another one is installed with pip into the"
            " environment of inbox-sync",
            connector=name,
        )


def _installed() -> list[Offer]:
    offers = []
    for point in metadata.entry_points(group=GROUP):
        package, version = PACKAGE, ""
        if point.dist is not None:
            package, version = point.dist.name, point.dist.version
        offers.append(Offer(point.name, point.value, package, version, point.load))
    return offers


def _built_in() -> list[Offer]:
    return [
        Offer(name, value, PACKAGE, __version__, lambda value=value: _import(value))  # type: ignore[misc]
        for name, value in BUILT_IN.items()
    ]


def _import(value: str) -> object:
    module, _, attribute = value.partition(":")
    return cast("object", getattr(importlib.import_module(module), attribute))


def _enter(offers: Sequence[Offer]) -> Entry:
    offer = offers[0]
    if len(offers) > 1:
        packages = " and ".join(sorted({other.package for other in offers}))
        return _broken(offer, f"more than one package offers it ({packages})", "uninstall one of them with pip")
    try:
        connector = offer.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may fail in any way and must stop nobody
        reason = " ".join(str(error).split()) or "no reason given"
        return _broken(offer, f"its import failed: {type(error).__name__}: {reason}", _mend(error, offer))
    complaint = _complaint(connector)
    if complaint:
        return _broken(offer, complaint, f"install a version of {offer.package} made for this inbox-sync")
    return Entry(offer.name, offer.package, offer.version, cast("type[Connector]", connector), None)


def _mend(error: BaseException, offer: Offer) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f'install the Python package that brings "{error.name}", or a working version of {offer.package}'
    return f"install a working version of {offer.package}, or remove it with pip"


def _broken(offer: Offer, reason: str, next_step: str) -> Entry:
    error = ConfigError(
        f'the connector "{offer.name}" of {offer.package} cannot be used: {reason}',
        code="connector.broken",
        next_step=next_step,
        connector=offer.name,
    )
    return Entry(offer.name, offer.package, offer.version, None, error)


def _complaint(connector: object) -> str:
    """What about the contract of `sync.connector` is not kept; "" when all is well."""
    if not inspect.isclass(connector):
        return "its entry point names no class"
    info = getattr(connector, "info", None)
    if not isinstance(info, ConnectorInfo):
        return "it has no `info` of type ConnectorInfo"
    if info.api_version != API_VERSION:
        return (
            f"it was written for version {info.api_version} of the connector contract, this program has {API_VERSION}"
        )
    config = getattr(connector, "Config", None)
    if not (inspect.isclass(config) and issubclass(config, ConnectorConfig)):
        return "it has no `Config` derived from ConnectorConfig"
    missing = [name for name in _REQUIRED if not callable(getattr(connector, name, None))]
    if not hasattr(connector, "account"):
        missing.append("account")
    if missing:
        return f"it lacks {', '.join(missing)}"
    taken = sorted(set(config.model_fields) & set(SourceSettings.model_fields))
    if taken:
        return f"its settings use names that belong to every source: {', '.join(taken)}"
    return ""
