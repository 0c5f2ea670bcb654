"""Secrets by reference: `{ credential = "…" }`, `{ file = "…" }` and `{ env = "…" }` become their values.

A secret never stands in the configuration file, and never in a message: every complaint in here names the key and the
reference only. `credential` is systemd's (systemd.exec(5), "Credentials"): a file in `$CREDENTIALS_DIRECTORY`, which
exists only inside the unit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from sync.config.locate import Path as KeyPath
from sync.registry import near_names

KINDS = ("credential", "file", "env")
SECRET_MAX_BYTES = 64 * 1024
UNRESOLVED = SecretStr("unresolved")
"""Stands for every secret where none is needed."""


class SecretError(Exception):
    """A reference that leads to no secret. Its text is the complaint; it never holds the secret."""


class SecretSource:
    """Looks secrets up. `folder` is where relative file names start; `environ` the environment; with `look_up` False
    references are only checked for their form, and every secret is `UNRESOLVED`."""

    def __init__(self, folder: Path, environ: Mapping[str, str], *, look_up: bool = True) -> None:
        self._folder = folder
        self._environ = environ
        self.look_up = look_up
        self.found: list[SecretStr] = []
        """Every secret that was found, so that logs can leave them out."""
        self.unresolved: set[KeyPath] = set()
        """Where `UNRESOLVED` stands for a secret: what validators think of it does not matter."""

    def resolve(self, reference: object, name: str, at: KeyPath = ()) -> SecretStr:
        """The secret behind a reference. `name` is what a file or credential for it would be called, `at` the key it
        belongs to. Raises SecretError."""
        kind, where = self._parse(reference, name)
        if not self.look_up:
            self.unresolved.add(at)
            return UNRESOLVED
        if kind == "env":
            text = self._from_environment(where)
        elif kind == "file":
            text = self._from_file(where)
        else:
            text = self._from_credential(where)
        text = text.removesuffix("\n").removesuffix("\r")
        if not text.strip():
            raise SecretError(f"the secret in {_words(kind, where)} is empty")
        secret = SecretStr(text)
        self.found.append(secret)
        return secret

    def _parse(self, reference: object, name: str) -> tuple[str, str]:
        if isinstance(reference, SecretStr):
            raise SecretError("this is a reference already")
        if not isinstance(reference, dict):
            raise SecretError(
                "a secret must not stand in this file; write a reference to it:"
                f' {{ credential = "{name}" }}, {{ file = "/etc/inbox-sync/{name}" }} or {{ env = "{name.upper()}" }}'
            )
        for key in reference:
            if key not in KINDS:
                near = near_names(str(key), KINDS)
                hint = f' (did you mean "{near[0]}"?)' if near else ""
                raise SecretError(f'a reference to a secret has no "{key}"{hint}: it is one of {", ".join(KINDS)}')
        if len(reference) != 1:
            raise SecretError(f"a reference to a secret names exactly one of {', '.join(KINDS)}")
        kind, where = next(iter(reference.items()))
        if not isinstance(where, str) or not where.strip():
            raise SecretError(f'{kind} takes a name in quotes, as in {{ {kind} = "{name}" }}')
        return str(kind), where

    def _from_environment(self, variable: str) -> str:
        value = self._environ.get(variable)
        if value is None:
            raise SecretError(f"the environment variable {variable} is not set; set it where inbox-sync is started")
        return value

    def _from_credential(self, name: str) -> str:
        if "/" in name or name in (".", ".."):
            raise SecretError(
                f'"{name}" is no name of a credential: it has no slash; for a path write {{ file = "…" }}'
            )
        directory = self._environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise SecretError(
                f'the credential "{name}" exists only inside the systemd unit: typed commands reach it through the'
                " running daemon (systemctl start inbox-sync); without systemd write a file or env reference"
            )
        path = Path(directory) / name
        if not path.exists():
            raise SecretError(
                f'systemd has not given the unit a credential "{name}": add LoadCredential={name}:/path/to/it to the'
                " unit (systemctl edit inbox-sync) and restart it"
            )
        return _read(path, private=False)

    def _from_file(self, name: str) -> str:
        return _read(self._folder / Path(name).expanduser(), private=True)


def _words(kind: str, where: str) -> str:
    return {"env": f"the environment variable {where}", "file": where}.get(kind, f'the credential "{where}"')


def _read(path: Path, *, private: bool) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SecretError(f"the file {path} does not exist") from None
    except PermissionError:
        raise SecretError(
            f"the file {path} cannot be read by this user: give it to the user inbox-sync runs as (chown), mode 600"
        ) from None
    except OSError as error:
        raise SecretError(f"the file {path} cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise SecretError(f"{path} is not a file")
        if private and status.st_mode & 0o077:
            raise SecretError(f"the file {path} can be read by other users: chmod 600 {path}")
        content = stream.read(SECRET_MAX_BYTES + 1)
    if len(content) > SECRET_MAX_BYTES:
        raise SecretError(f"the file {path} is larger than {SECRET_MAX_BYTES} bytes: it holds no secret")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SecretError(f"the file {path} is not UTF-8 text") from None
