"""The two files that help to write a configuration: the example and the schema."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from sync.config import load
from sync.config.example import describe_keys, example_text
from sync.config.schema import schema_text
from sync.connector import Connector
from sync.errors import ConfigError
from sync.registry import BUILT_IN, Registry
from sync.settings import AlertSettings, DaemonSettings, InboxSettings, LedgerSettings, SourceSettings, WebSettings

ROOT = Path(__file__).resolve().parents[2]
SITE = '"11111111-1111-4111-8111-111111111111"'


@pytest.fixture(scope="module")
def connectors() -> dict[str, type[Connector]]:
    registry = Registry.discover()
    return {name: registry.get(name) for name in BUILT_IN}


@pytest.fixture(scope="module")
def example(connectors: dict[str, type[Connector]]) -> str:
    return example_text(connectors)


def switched_on(example: str) -> str:
    """The example with every commented-out key and section switched on."""
    return re.sub(r"(?m)^#(?=\[|[a-z_]+ = )", "", example)


def test_the_committed_files_are_the_generated_ones(connectors: dict[str, type[Connector]], example: str) -> None:
    assert (ROOT / "config.example.toml").read_text("utf-8") == example, "make generate"
    assert (ROOT / "config.schema.json").read_text("utf-8") == schema_text(connectors), "make generate"


def test_the_first_line_names_the_schema(example: str) -> None:
    assert example.startswith("#:schema ./config.schema.json\n")


def test_every_key_is_in_the_example_with_its_default(
    connectors: dict[str, type[Connector]], example: str, tmp_path: Path
) -> None:
    data = tomllib.loads(switched_on(example))
    for table, model in (
        (data["ledger"], LedgerSettings),
        (data["daemon"], DaemonSettings),
        (data["web"], WebSettings),
        (data["alerts"], AlertSettings),
        (data["inbox"]["main"], InboxSettings),
        (data["sources"]["support"], SourceSettings),
    ):
        assert set(model.model_fields) <= set(table)
    path = tmp_path / "config.toml"
    path.write_text(re.sub(r"(?m)^#.*not set\n", "", example).replace('site_id = "…"', f"site_id = {SITE}"))
    shortest = load(path, secrets=False)
    path.write_text(
        re.sub(r"(?m)^.*  # not set\n", "", switched_on(example)).replace('site_id = "…"', f"site_id = {SITE}")
    )
    longest = load(path, secrets=False)
    assert longest.settings.ledger == shortest.settings.ledger
    assert longest.settings.daemon == shortest.settings.daemon
    assert longest.settings.web == WebSettings()
    assert longest.settings.alerts == AlertSettings()
    assert longest.settings.inbox == shortest.settings.inbox
    assert longest.settings.sources["support"] == shortest.settings.sources["support"]
    assert longest.connectors["support"] == shortest.connectors["support"]
    by_connector = {source.settings.connector: data["sources"][name] for name, source in longest.sources.items()}
    assert set(by_connector) == set(connectors)
    for name, connector in connectors.items():
        assert set(connector.Config.model_fields) <= set(by_connector[name])


def test_every_key_says_why(connectors: dict[str, type[Connector]]) -> None:
    models: dict[str, type[BaseModel]] = {
        "ledger": LedgerSettings,
        "daemon": DaemonSettings,
        "web": WebSettings,
        "alerts": AlertSettings,
        "inbox": InboxSettings,
        "source": SourceSettings,
    }
    models |= {name: connector.Config for name, connector in connectors.items()}
    silent = [
        f"{group}.{key.name}" for group, model in models.items() for key in describe_keys(group, model) if not key.about
    ]
    assert silent == []


def test_the_untouched_example_is_refused_kindly(example: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(example)
    with pytest.raises(ConfigError) as caught:
        load(path, environ={})
    assert any("site_id: still holds the placeholder: the site's id" in line for line in caught.value.problems)
    assert all(line.startswith("config.toml:") for line in caught.value.problems)


def test_the_schema_asks_for_references_where_secrets_belong(connectors: dict[str, type[Connector]]) -> None:
    schema = json.loads(schema_text(connectors))
    assert schema["properties"]["inbox"]["additionalProperties"]["properties"]["api_key"]["$ref"].endswith(
        "SecretReference"
    )
    assert '"format": "password"' not in json.dumps(schema)
    assert '"null"' not in json.dumps(schema)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("", ""), ""),
        (("own_addresses =", "own_adresses ="), "own_adresses"),
        (('connector = "imap"', 'connector = "imap"\nport = "x"'), "port"),
        (('{ credential = "wix_api_key" }', '"plain"'), "api_key"),
    ],
)
def test_a_linter_finds_with_the_schema_what_is_wrong(
    connectors: dict[str, type[Connector]], example: str, tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    (tmp_path / "config.schema.json").write_text(schema_text(connectors), "utf-8")
    text = example.replace(*change) if change[0] else example
    (tmp_path / "config.toml").write_text(text, "utf-8")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "tombi"), "lint", "--offline", "config.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode == 0) == (not complaint), done.stdout + done.stderr
