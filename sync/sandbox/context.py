"""What a call of the API works with: the site it is for, who calls, and the checked request."""

from __future__ import annotations

from dataclasses import dataclass, field

from sync.sandbox.errors import Refusal
from sync.sandbox.limits import Caller
from sync.sandbox.requests import Request
from sync.sandbox.schema import Problems, Shape
from sync.sandbox.values import JsonObject, as_object
from sync.sandbox.world import Site, World


@dataclass(slots=True)
class Context:
    """Everything a call may use. `ids` collects what it touched, for the journal."""

    world: World
    site: Site
    caller: Caller
    request: Request
    path_id: str = ""
    forms: tuple[str, ...] = ()
    lag_seconds: float = 0.0
    at: int | None = None
    ids: dict[str, str] = field(default_factory=dict)
    targets: list[JsonObject] = field(default_factory=list)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def body(self, shape: Shape) -> JsonObject:
        """The body, checked and without unknown fields; raises `Refusal` 400."""
        return self.checked(self.request.json(), shape)

    def checked(self, value: JsonObject, shape: Shape) -> JsonObject:
        """A value, checked and without unknown fields; raises `Refusal` 400."""
        problems = Problems(self.world.switches.length_unit)
        cleaned = shape.clean(value, "", problems)
        if problems.violations:
            raise Refusal(400, violations=problems.violations)
        return as_object(cleaned)


@dataclass(slots=True)
class Upload:
    """An upload address that was given out."""

    site_id: str
    mime_type: str
    expires: float
