"""What a table of the file gets wrong against its pydantic model, in an operator's words.

Values are never repeated in a complaint (a password may stand in the wrong place), only the names of keys are.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic.functional_validators import BeforeValidator
from pydantic_core import ErrorDetails

from sync.config.checks import is_placeholder
from sync.config.locate import Path
from sync.config.secrets import UNRESOLVED, SecretError, SecretSource
from sync.connector import ConnectorConfig
from sync.errors import InboxSyncError
from sync.registry import near_names

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """One complaint and the key it is about. `missing`: the key is not there at all."""

    path: Path
    reason: str
    missing: bool = False


def validate(
    model: type[Model], table: Mapping[str, object], at: Path, secrets: SecretSource, also_known: Sequence[str] = ()
) -> tuple[Model | None, list[Problem]]:
    """The settings in `table`, with secrets resolved, or everything that is wrong with them.

    `at` is the table's own path; `also_known` are keys that belong to it and are handled elsewhere (near names for a
    misspelt key come from these, too).
    """
    values, problems = _prepare(model, table, at, secrets)
    settled = {problem.path for problem in problems}
    try:
        checked = model.model_validate(values)
    except ValidationError as error:
        fields = {**model.model_fields}
        details = [detail for detail in error.errors() if (*at, *_location(detail)) not in settled]
        stand_ins = {path for path in secrets.unresolved if path[: len(at)] == at}
        if stand_ins:
            if issubclass(model, ConnectorConfig):  # its validators may look into its secrets
                stand_ins.add(at)
            details = [detail for detail in details if (*at, *_location(detail)) not in stand_ins]
            if not details and not problems:
                return model.model_construct(set(values), **values), []
        problems += _explain(details, fields, at, also_known)
        return None, problems
    except InboxSyncError as error:
        step = f": {error.next_step}" if error.next_step else ""
        return None, [*problems, Problem(at, f"{error.sentence}{step}")]
    return (None if problems else checked), problems


# --- before pydantic: secrets, placeholders, and what pydantic is too kind about --------------------------------------


def _prepare(
    model: type[BaseModel], table: Mapping[str, object], at: Path, secrets: SecretSource
) -> tuple[dict[str, object], list[Problem]]:
    problems: list[Problem] = []
    values = _prepare_table([model], table, at, secrets, problems)
    return values, problems


def _prepare_table(
    models: Sequence[type[BaseModel]],
    table: Mapping[str, object],
    at: Path,
    secrets: SecretSource,
    problems: list[Problem],
) -> dict[str, object]:
    values: dict[str, object] = {}
    for key, value in table.items():
        path = (*at, key)
        field = next((found for model in models if (found := _field(model, key)) is not None), None)
        if field is None:
            values[key] = value
        elif is_placeholder(value):
            problems.append(Problem(path, f"still holds the placeholder{_purpose(field)}"))
        else:
            values[key] = _prepare_value(value, field.annotation, field.metadata, path, secrets, problems)
    return values


def _prepare_value(
    value: object,
    annotation: object,
    metadata: Sequence[object],
    path: Path,
    secrets: SecretSource,
    problems: list[Problem],
) -> object:
    options = list(_options(annotation))
    models = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
    if SecretStr in options and not (models and isinstance(value, dict)):
        return _secret(value, path, secrets, problems)
    if models and isinstance(value, dict):
        return _prepare_table(models, value, path, secrets, problems)
    if isinstance(value, dict):
        inner = next((get_args(option)[1] for option in options if get_origin(option) in (dict, Mapping)), None)
        return {key: _prepare_value(item, inner, (), (*path, key), secrets, problems) for key, item in value.items()}
    if isinstance(value, list):
        inner = next((get_args(option)[0] for option in options if get_origin(option) in _LISTS), None)
        return [_prepare_value(item, inner, (), (*path, at), secrets, problems) for at, item in enumerate(value)]
    complaint = _too_kind(value, options, metadata)
    if complaint:
        problems.append(Problem(path, complaint))
    return value


_LISTS = (list, tuple, set, frozenset, Sequence)


def _secret(value: object, path: Path, secrets: SecretSource, problems: list[Problem]) -> SecretStr:
    try:
        return secrets.resolve(value, _secret_name(path), path)
    except SecretError as error:
        problems.append(Problem(path, str(error)))
        return UNRESOLVED


def _secret_name(path: Path) -> str:
    """What to call a secret: `sources.support.password` is `support_password`, `inbox.main.api_key` `main_api_key`."""
    words = [str(part) for part in path if isinstance(part, str)][1:]
    text = "_".join(words) or str(path[-1])
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in text)


def _too_kind(value: object, options: Sequence[object], metadata: Sequence[object]) -> str:
    """Pydantic takes `true` for 1 and `"993"` for 993; an operator who wrote that meant something else."""
    numbers = int in options or float in options
    if isinstance(value, bool) and numbers and bool not in options:
        return "must be a number, not true or false"
    parsed = any(isinstance(entry, BeforeValidator) for entry in metadata)
    if (
        isinstance(value, str)
        and numbers
        and not parsed
        and str not in options
        and value not in _literal_texts(options)
    ):
        return "must be a number without quotes"
    if bool in options and not numbers and isinstance(value, str | int) and not isinstance(value, bool):
        return "must be true or false, without quotes"
    return ""


def _literal_texts(options: Sequence[object]) -> set[object]:
    return {value for option in options if get_origin(option) is Literal for value in get_args(option)}


def _options(annotation: object) -> Iterator[object]:
    """The alternatives of a type: `SecretStr | None` gives both, `Annotated[…]` what is annotated."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from _options(option)
    else:
        value = getattr(annotation, "__value__", None)
        if value is not None and not isinstance(annotation, type):
            yield from _options(value)
        else:
            yield annotation


def _field(model: type[BaseModel], key: str) -> FieldInfo | None:
    field = model.model_fields.get(key)
    if field is not None:
        return field
    return next((found for found in model.model_fields.values() if found.alias == key), None)


def _purpose(field: FieldInfo) -> str:
    if not field.description:
        return ""
    first = " ".join(field.description.split()).split(". ")[0].rstrip(".")
    return f": {first[:1].lower()}{first[1:]}"


# --- after pydantic ---------------------------------------------------------------------------------------------------


def _explain(
    details: Sequence[ErrorDetails], fields: Mapping[str, FieldInfo], at: Path, also_known: Sequence[str]
) -> list[Problem]:
    problems: list[Problem] = []
    meant: set[str] = set()
    for detail in details:
        if detail["type"] == "extra_forbidden":
            location = _location(detail)
            key = str(location[-1])
            known = [*fields, *also_known] if len(location) == 1 else []
            near = near_names(key, known)
            meant.update(near if len(location) == 1 else ())
            problems.append(Problem((*at, *location), unknown_key(near)))
    for detail in details:
        location = _location(detail)
        if detail["type"] == "extra_forbidden":
            continue
        if detail["type"] == "missing" and len(location) == 1 and str(location[0]) in meant:
            continue
        if detail["type"] == "too_short" and any(_location(other)[:-1] == location for other in details):
            continue  # pydantic counts an item that is wrong as none
        field = fields.get(str(location[0])) if location else None
        purpose = _purpose(field) if field is not None and len(location) == 1 else ""
        problem = Problem((*at, *location), _words(detail, purpose), missing=detail["type"] == "missing")
        if problem not in problems:
            problems.append(problem)
    return problems


def unknown_key(near: Sequence[str]) -> str:
    """The complaint about a key nobody knows."""
    return f'unknown key (did you mean "{near[0]}"?)' if near else "unknown key"


def _location(detail: ErrorDetails) -> Path:
    """Pydantic's location without the tags it adds for the members of a union."""
    return tuple(
        part
        for part in detail["loc"]
        if isinstance(part, int) or not (part in _UNION_TAGS or "[" in part or part.startswith("function-"))
    )


_UNION_TAGS = frozenset({"str", "int", "float", "bool", "none", "datetime", "date", "constrained-str", "SecretStr"})

_TYPE_WORDS = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number that is not infinite",
    "bool_type": "must be true or false, without quotes",
    "bool_parsing": "must be true or false, without quotes",
    "string_type": 'must be a text in quotes: "…"',
    "string_too_short": "must not be empty",
    "list_type": 'must be a list: ["…", "…"]',
    "tuple_type": 'must be a list: ["…", "…"]',
    "set_type": 'must be a list: ["…", "…"]',
    "frozen_set_type": 'must be a list: ["…", "…"]',
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "datetime_type": 'must be a date, as in "2026-11-01"',
    "datetime_parsing": 'must be a date, as in "2026-11-01"',
    "datetime_from_date_parsing": 'must be a date, as in "2026-11-01"',
    "date_type": 'must be a date, as in "2026-11-01"',
    "path_type": 'must be a path in quotes: "/…"',
}


def _words(detail: ErrorDetails, purpose: str) -> str:
    context = detail.get("ctx") or {}
    kind = detail["type"]
    if kind in _TYPE_WORDS:
        return _TYPE_WORDS[kind]
    match kind:
        case "missing":
            return f"is missing{purpose}"
        case "literal_error" | "enum":
            return f"must be one of {_double_quoted(str(context.get('expected', '')))}"
        case "greater_than":
            return f"must be more than {_number(context.get('gt'))}"
        case "greater_than_equal":
            return f"must be at least {_number(context.get('ge'))}"
        case "less_than":
            return f"must be less than {_number(context.get('lt'))}"
        case "less_than_equal":
            return f"must be at most {_number(context.get('le'))}"
        case "too_short":
            return f"must have at least {_number(context.get('min_length'))} of them"
        case "too_long":
            return f"must have at most {_number(context.get('max_length'))} of them"
        case "string_pattern_mismatch":
            return f"is not of the expected form{purpose}"
        case "value_error" | "assertion_error":
            return detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        case _:
            return detail["msg"][:1].lower() + detail["msg"][1:]


def _double_quoted(expected: str) -> str:
    return expected.replace("'", '"')


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e15 else str(value)
