"""The JSON schema of the configuration file, for editors and linters (`#:schema ./config.schema.json`).

It is generated from the models, so it cannot tell anything else than they do; the loader stays the judge of what a
schema cannot say (secrets that exist, inboxes that are named).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sync.connector import Connector
from sync.message import Json
from sync.settings import AlertSettings, DaemonSettings, InboxSettings, LedgerSettings, SourceSettings, WebSettings

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_Schema: TypeAlias = dict[str, Json]

REFERENCE: _Schema = {"$ref": "#/$defs/SecretReference"}

_SECRET_REFERENCE: _Schema = {
    "description": "A secret, by reference: a systemd credential, a private file (mode 600), or an environment variable.",
    "type": "object",
    "properties": {
        "credential": {
            "type": "string",
            "minLength": 1,
            "description": "Name of a systemd credential (LoadCredential=).",
        },
        "file": {
            "type": "string",
            "minLength": 1,
            "description": "Path of a file that only the service's user can read.",
        },
        "env": {"type": "string", "minLength": 1, "description": "Name of an environment variable."},
    },
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
}


def schema(connectors: Mapping[str, type[Connector]]) -> _Schema:
    """The schema of a file whose sources use these connectors."""
    core: list[type[BaseModel]] = [
        LedgerSettings,
        DaemonSettings,
        WebSettings,
        AlertSettings,
        InboxSettings,
        SourceSettings,
    ]
    configs: list[type[BaseModel]] = [connectors[name].Config for name in sorted(connectors)]
    references, generated = models_json_schema([(model, "validation") for model in (*core, *configs)])
    definitions = _tidy(generated["$defs"])
    if not isinstance(definitions, dict):  # pragma: no cover  pydantic gives a table
        raise TypeError("the generated definitions are no table")

    def definition(model: type[BaseModel]) -> _Schema:
        name = str(references[model, "validation"]["$ref"]).rpartition("/")[2]
        found = definitions[name]
        return found if isinstance(found, dict) else {}

    sources = [
        _source(name, definition(SourceSettings), definition(connectors[name].Config)) for name in sorted(connectors)
    ]
    models = {str(reference["$ref"]).rpartition("/")[2] for reference in references.values()}
    inner = {name: shape for name, shape in definitions.items() if name not in models}
    return {
        "$schema": DIALECT,
        "title": "inbox-sync configuration",
        "type": "object",
        "properties": {
            "ledger": definition(LedgerSettings),
            "daemon": definition(DaemonSettings),
            "web": definition(WebSettings),
            "alerts": definition(AlertSettings),
            "inbox": {
                "description": "The inboxes: one section [inbox.NAME] for each Wix site.",
                "type": "object",
                "additionalProperties": definition(InboxSettings),
            },
            "sources": {
                "description": "The sources: one section [sources.NAME] for each mailbox or helpdesk.",
                "type": "object",
                "additionalProperties": sources[0] if len(sources) == 1 else {"oneOf": list(sources)},
            },
        },
        "additionalProperties": False,
        "$defs": {"SecretReference": _SECRET_REFERENCE, **inner},
    }


def source_schema(name: str, connector: type[Connector]) -> Json:
    """The schema of one source with this connector: its own keys and those of every source."""
    whole = schema({name: connector})
    properties = whole["properties"]
    sources = properties["sources"] if isinstance(properties, dict) else None
    return sources["additionalProperties"] if isinstance(sources, dict) else None


def schema_text(connectors: Mapping[str, type[Connector]]) -> str:
    """The schema as the text of `config.schema.json`."""
    return json.dumps(schema(connectors), indent=2, ensure_ascii=False) + "\n"


def _source(name: str, common: _Schema, own: _Schema) -> _Schema:
    """A source with the connector `name`: the keys every source has and the connector's own, in one table."""
    properties = {**_table(common, "properties"), **_table(own, "properties")}
    described = properties["connector"]
    about = described.get("description", "") if isinstance(described, dict) else ""
    properties["connector"] = {"const": name, "description": about}
    return {
        "title": f"{name} source",
        "description": own.get("description", ""),
        "type": "object",
        "properties": properties,
        "required": [*_list(common, "required"), *_list(own, "required")],
        "additionalProperties": False,
    }


def _table(shape: _Schema, key: str) -> dict[str, Json]:
    value = shape.get(key)
    return dict(value) if isinstance(value, dict) else {}


def _list(shape: _Schema, key: str) -> list[Json]:
    value = shape.get(key)
    return list(value) if isinstance(value, list) else []


def _tidy(value: object) -> Json:
    """Secrets as references, TOML's own types, no titles made of key names, no null (TOML has none), and descriptions
    in one line."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value if isinstance(value, str | int | float) or value is None else str(value)
    if value.get("format") == "password":
        return _described(REFERENCE, value)
    options = value.get("anyOf")
    if isinstance(options, list) and any(option.get("type") == "null" for option in options):
        return _without_null(value, [option for option in options if option.get("type") != "null"])
    tidy: dict[str, Json] = {}
    for key, item in value.items():
        if (key == "title" and isinstance(item, str)) or (key == "default" and item is None):
            continue
        if key == "description" and isinstance(item, str):
            tidy[key] = " ".join(item.split())
        else:
            tidy[key] = _tidy(item)
    return tidy


def _without_null(value: Mapping[str, object], options: list[object]) -> Json:
    rest = {key: item for key, item in value.items() if key != "anyOf"}
    if len(options) == 1 and isinstance(options[0], dict):
        return _tidy({**options[0], **rest})
    return _tidy({"anyOf": options, **rest})


def _described(shape: _Schema, value: Mapping[str, object]) -> _Schema:
    about = value.get("description")
    return {**shape, "description": " ".join(about.split())} if isinstance(about, str) else dict(shape)
