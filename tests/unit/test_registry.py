from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from sync.connector import API_VERSION, ConnectorConfig, ConnectorInfo
from sync.errors import ConfigError
from sync.registry import BUILT_IN, Offer, Registry
from tests.unit.config_file import Postbox, PostboxConfig, registry


def one(loads: object, name: str = "thing") -> Registry:
    return Registry([Offer(name, "a:B", "plugin", "1", lambda: loads)])


def complaint(connector: object) -> str:
    error = one(connector).entry("thing").error
    assert error is not None
    assert error.code == "connector.broken"
    return error.sentence


def test_a_good_connector_is_found_by_its_name() -> None:
    assert registry().get("postbox") is Postbox


def test_an_unknown_name_is_told_with_the_near_one_and_what_is_installed() -> None:
    with pytest.raises(ConfigError) as caught:
        registry().get("postbx")
    assert 'did you mean "postbox"' in caught.value.sentence
    assert "broken, postbox" in caught.value.next_step


@pytest.mark.parametrize("failure", [ImportError("x"), SystemExit(3), ValueError("\x00"), RecursionError()])
def test_a_connector_that_cannot_be_imported_stops_no_other(failure: BaseException) -> None:
    def load() -> object:
        raise failure

    offers = [Offer("bad", "a:B", "plugin", "1", load), Offer("postbox", "p:P", "other", "1", lambda: Postbox)]
    bad, good = Registry(offers).entries()
    assert bad.connector is None
    assert bad.error is not None
    assert type(failure).__name__ in bad.error.sentence
    assert good.connector is Postbox


def test_each_is_imported_once_and_only_when_asked_for() -> None:
    loads: list[str] = []

    def load() -> object:
        loads.append("x")
        return Postbox

    registry = Registry([Offer("postbox", "p:P", "plugin", "1", load)])
    assert registry.names() == ["postbox"]
    assert loads == []
    registry.get("postbox")
    registry.get("postbox")
    assert loads == ["x"]


def test_another_version_of_the_contract_is_refused() -> None:
    class Old(Postbox):
        info = ConnectorInfo("old", "old", api_version=API_VERSION + 1)

    assert f"version {API_VERSION + 1}" in complaint(Old)


def test_what_does_not_keep_the_contract_is_refused_with_what_is_missing() -> None:
    class NoConfig(Postbox):
        Config = dict  # type: ignore[assignment]

    class NoPoll(Postbox):
        poll = None  # type: ignore[assignment]

    assert "names no class" in complaint(print)
    assert "`info`" in complaint(dict)
    assert "`Config`" in complaint(NoConfig)
    assert "lacks poll" in complaint(NoPoll)


def test_a_setting_that_belongs_to_every_source_is_refused() -> None:
    class GreedyConfig(PostboxConfig):
        every: int = 3

    class Greedy(Postbox):
        Config: ClassVar[type[ConnectorConfig]] = GreedyConfig

    assert "belong to every source: every" in complaint(Greedy)


def test_two_packages_with_one_name_are_told() -> None:
    offers = [Offer("x", "a:A", "one", "1", lambda: Postbox), Offer("x", "b:B", "two", "1", lambda: Postbox)]
    error = Registry(offers).entry("x").error
    assert error is not None
    assert "one and two" in error.sentence


def test_the_built_in_ones_are_found_without_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.registry._installed", list)
    assert set(BUILT_IN) <= set(Registry.discover().names())


def test_a_real_package_that_fails_is_listed_beside_the_built_in_ones(tmp_path: Path) -> None:
    package = tmp_path / "faulty_plugin-1.2.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-plugin\nVersion: 1.2\n")
    (package / "entry_points.txt").write_text("[inbox_sync.connectors]\nfaulty = faulty_plugin:Faulty\n")
    (tmp_path / "faulty_plugin.py").write_text("import a_module_nobody_has\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from sync.registry import Registry\n"
        "entry = Registry.discover().entry('faulty')\n"
        "print(entry.package, entry.version, entry.error, entry.error.next_step, sep='|')\n"
        "print(Registry.discover().names())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    first, names = done.stdout.splitlines()
    assert first.startswith('faulty-plugin|1.2|the connector "faulty" of faulty-plugin cannot be used')
    assert 'brings "a_module_nobody_has"' in first
    assert "imap" in names


def test_the_core_never_imports_a_connector() -> None:
    code = "import sync.registry, sync.config, sys; print([m for m in sys.modules if m.startswith('connectors')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
