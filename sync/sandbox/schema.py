"""A small language for request bodies: which fields exist, which are needed, how long they may be.

`clean` returns the value with unknown fields dropped, as the Inbox drops them, and collects every
violation on the way. `null` counts as absent, as in the JSON form of protocol buffers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol
from urllib.parse import urlsplit

from sync.sandbox.values import JsonObject, is_guid

LengthUnit = Literal["utf16", "codepoints", "bytes"]


@dataclass(slots=True)
class Problems:
    """The field violations of one request, in the order they were met."""

    unit: LengthUnit = "utf16"
    violations: list[JsonObject] = field(default_factory=list)

    def add(self, path: str, rule: str, description: str) -> None:
        """Note one violation: `rule` is one of the service's names, such as MAX_LENGTH."""
        self.violations.append({"field": path, "description": description, "violatedRule": rule})

    def length(self, text: str) -> int:
        """How long a text is in the unit in which the limits count."""
        if self.unit == "codepoints":
            return len(text)
        if self.unit == "bytes":
            return len(text.encode())
        return len(text.encode("utf-16-le")) // 2


class Rule(Protocol):
    """What one value must look like."""

    def clean(self, value: object, path: str, problems: Problems) -> object:
        """The value as the service keeps it."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string with bounds on its length."""

    most: int
    least: int = 0

    def clean(self, value: object, path: str, problems: Problems) -> object:
        """See `Rule.clean`."""
        if not isinstance(value, str):
            problems.add(path, "FORMAT", "must be a string")
            return None
        try:
            value.encode()
        except UnicodeEncodeError:
            problems.add(path, "FORMAT", "holds half of a surrogate pair")
            return None
        if len(value) * 4 > self.most and problems.length(value) > self.most:
            problems.add(path, "MAX_LENGTH", f"must be at most {self.most} long")
        elif len(value) < self.least:
            problems.add(path, "MIN_LENGTH", f"must be at least {self.least} long")
        return value


@dataclass(frozen=True, slots=True)
class WebUrl:
    """An absolute http or https address."""

    most: int = 2000

    def clean(self, value: object, path: str, problems: Problems) -> object:
        """See `Rule.clean`."""
        text = Text(self.most).clean(value, path, problems)
        if isinstance(text, str):
            try:
                parts = urlsplit(text)
                good = parts.scheme in {"http", "https"} and bool(parts.netloc)
            except ValueError:
                good = False
            if not good:
                problems.add(path, "FORMAT", "must be an absolute http or https URL")
        return text


@dataclass(frozen=True, slots=True)
class Guid:
    """A GUID."""

    def clean(self, value: object, path: str, problems: Problems) -> object:
        """See `Rule.clean`."""
        if not is_guid(value):
            problems.add(path, "FORMAT", "must be a GUID")
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    """A boolean."""

    def clean(self, value: object, path: str, problems: Problems) -> object:
        """See `Rule.clean`."""
        if not isinstance(value, bool):
            problems.add(path, "FORMAT", "must be true or false")
        return value


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within bounds."""

    least: int = 0
    most: int = 2**31 - 1

    def clean(self, value: object, path: str, problems: Problems) -> object:
        """See `Rule.clean`."""
        if isinstance(value, bool) or not isinstance(value, int):
            problems.add(path, "FORMAT", "must be a whole number")
        elif value < self.least:
            problems.add(path, "MIN", f"must be at least {self.least}")
        elif value > self.most:
            problems.add(path, "MAX", f"must be at most {self.most}")
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a closed set of strings."""

    values: frozenset[str]

    def clean(self, value: object, path: str, problems: Problems) -> object:
        """See `Rule.clean`."""
        if value not in self.values:
            problems.add(path, "INVALID_ENUM_VALUE", f"must be one of {', '.join(sorted(self.values))}")
        return value


@dataclass(frozen=True, slots=True)
class Items:
    """A list whose members all follow one rule."""

    member: Rule
    most: int
    least: int = 0

    def clean(self, value: object, path: str, problems: Problems) -> object:
        """See `Rule.clean`."""
        if not isinstance(value, list):
            problems.add(path, "FORMAT", "must be a list")
            return None
        if len(value) > self.most:
            problems.add(path, "MAX_SIZE", f"must have at most {self.most} members")
            return None
        if len(value) < self.least:
            problems.add(path, "MIN_SIZE", f"must have at least {self.least} members")
        return [self.member.clean(each, f"{path}[{number}]", problems) for number, each in enumerate(value)]


@dataclass(frozen=True, slots=True)
class Anything:
    """A value that is kept as it is."""

    def clean(self, value: object, path: str, problems: Problems) -> object:  # noqa: ARG002  a Rule
        """See `Rule.clean`."""
        return value


@dataclass(frozen=True, slots=True)
class Shape:
    """An object: its known fields, those it needs, those of which exactly one or at least one is given."""

    fields: Mapping[str, Rule]
    needs: Sequence[str] = ()
    one_of: Sequence[str] = ()
    any_of: Sequence[str] = ()

    def clean(self, value: object, path: str, problems: Problems) -> object:
        """See `Rule.clean`."""
        if not isinstance(value, dict):
            problems.add(path, "FORMAT", "must be an object")
            return None
        prefix = f"{path}." if path else ""
        kept: JsonObject = {}
        for name, rule in self.fields.items():
            if (given := value.get(name)) is not None:
                kept[name] = rule.clean(given, prefix + name, problems)
        for name in self.needs:
            if name not in kept:
                problems.add(prefix + name, "REQUIRED_FIELD", "is required")
        if self.any_of and not any(name in kept for name in self.any_of):
            problems.add(path, "REQUIRED_ONE_OF_FIELD", f"needs one of {', '.join(self.any_of)}")
        if self.one_of:
            given_names = [name for name in self.one_of if name in kept]
            if not given_names:
                problems.add(path, "REQUIRED_ONE_OF_FIELD", f"needs one of {', '.join(self.one_of)}")
            elif len(given_names) > 1:
                problems.add(path, "ONE_OF_ALIGNMENT", f"takes only one of {', '.join(given_names)}")
        return kept
