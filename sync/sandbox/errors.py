"""The refusals of the emulated service, in the form in which it words them."""

from __future__ import annotations

from pydantic import ValidationError

from sync.sandbox.values import JsonObject


class Refusal(Exception):
    """An answer other than 200: a status and an application code, or field violations."""

    def __init__(
        self,
        status: int,
        code: str = "",
        description: str = "",
        *,
        data: JsonObject | None = None,
        violations: list[JsonObject] | None = None,
        retry_after: str | None = None,
    ) -> None:
        super().__init__(f"{status} {code} {description}".strip())
        self.status = status
        self.code = code
        self.description = description
        self.data = data
        self.violations = violations
        self.retry_after = retry_after

    def body(self) -> JsonObject | None:
        """The error body of the service, or None for a 5xx: those are empty."""
        if self.status >= 500:
            return None
        if self.violations is not None:
            first = self.violations[0] if self.violations else {}
            message = f"{first.get('field', '')} {first.get('description', 'is invalid')}".strip()
            return {"message": message, "details": {"validationError": {"fieldViolations": self.violations}}}
        details: JsonObject = {}
        if self.code:
            error: JsonObject = {"code": self.code, "description": self.description}
            if self.data is not None:
                error["data"] = self.data
            details["applicationError"] = error
        return {"message": self.description or self.code, "details": details}


def not_found(code: str, what: str) -> Refusal:
    """A 404 with its application code."""
    return Refusal(404, code, f"{what} not found")


class SandboxError(ValueError):
    """A wrong use of the sandbox itself: an unknown switch, fault or site. The message says what to write."""


def explained(problem: ValidationError) -> str:
    """What is wrong with some settings, in one line: each field with its reason."""
    parts = []
    for error in problem.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(each) for each in error["loc"])
        parts.append(f"{place}: {error['msg']}" if place else error["msg"])
    return "; ".join(parts)
