"""A data file of the sandbox: JSON lines, one for each change, which survive a killed process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from sync.sandbox.errors import SandboxError
from sync.sandbox.values import JsonObject, dump_json


class JsonLines:
    """Appends records. What was appended is in the kernel's hands at once, so kill -9 loses nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def replay(self, apply: Callable[[JsonObject], None]) -> None:
        """Apply every record. A torn last line (the machine stopped) is cut off.

        Raises `SandboxError` with the line that cannot be read or applied.
        """
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._path, whole)
        for number, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
            try:
                apply(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as problem:
                raise SandboxError(
                    f"{self._path}, line {number}: {type(problem).__name__} {problem}; move the file away"
                ) from problem

    def append(self, record: JsonObject) -> None:
        """Write one record."""
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        line = dump_json(record) + b"\n"
        written = os.write(self._file, line)
        if written != len(line):
            raise OSError(f"{self._path}: only {written} of {len(line)} bytes could be written")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
