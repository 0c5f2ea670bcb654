"""What reading the file again changes: which sources and inboxes leave, which enter, and which go on undisturbed."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from sync.answers import ReloadAnswer
from sync.config import LoadedConfig


@dataclass(frozen=True, slots=True)
class Change:
    """From one configuration to the next. What changed leaves and enters."""

    sources_leaving: frozenset[str]
    sources_entering: frozenset[str]
    inboxes_leaving: frozenset[str]
    inboxes_entering: frozenset[str]

    @classmethod
    def between(cls, old: LoadedConfig, new: LoadedConfig) -> Change:
        """What has to be done to work for `new` where one has worked for `old`."""
        sources = {name for name in old.sources.keys() & new.sources.keys() if _same_source(name, old, new)}
        inboxes = {
            name
            for name in old.settings.inbox.keys() & new.settings.inbox.keys()
            if old.settings.inbox[name] == new.settings.inbox[name]
        }
        return cls(
            frozenset(old.sources.keys() - sources),
            frozenset(new.sources.keys() - sources),
            frozenset(old.settings.inbox.keys() - inboxes),
            frozenset(new.settings.inbox.keys() - inboxes),
        )

    @property
    def is_nothing(self) -> bool:
        """Whether everything goes on as it was."""
        return not (self.sources_leaving or self.sources_entering or self.inboxes_leaving or self.inboxes_entering)


def _same_source(name: str, old: LoadedConfig, new: LoadedConfig) -> bool:
    """A poller also goes by the own addresses of its inbox."""
    was, now = old.sources[name], new.sources[name]
    return was == now and (old.settings.inbox[was.inbox].own_addresses == new.settings.inbox[now.inbox].own_addresses)


def difference(old: LoadedConfig, new: LoadedConfig) -> ReloadAnswer:
    """The same in the words of an operator: by what stands in the file."""
    before, after = _tables(old), _tables(new)
    both = before.keys() & after.keys()
    changed = {key for key in both if before[key] != after[key]}
    fixed = [
        name
        for name, was, is_now in (
            ("ledger", old.settings.ledger, new.settings.ledger),
            ("daemon", old.settings.daemon, new.settings.daemon),
            ("web", old.settings.web, new.settings.web),
            ("alerts", old.settings.alerts, new.settings.alerts),
        )
        if was != is_now
    ]
    return {
        "added": _names(after.keys() - before.keys()),
        "changed": _names(changed),
        "removed": _names(before.keys() - after.keys()),
        "unchanged": _names(both - changed),
        "restart_needed": fixed,
    }


def _tables(loaded: LoadedConfig) -> dict[tuple[str, str], object]:
    """What stands in the file, by table and name: a source may be called like an inbox."""
    sources = {
        ("sources", name): (settings, loaded.connectors.get(name)) for name, settings in loaded.settings.sources.items()
    }
    return {**{("inbox", name): settings for name, settings in loaded.settings.inbox.items()}, **sources}


def _names(keys: Set[tuple[str, str]]) -> list[str]:
    return sorted(name for _table, name in keys)
