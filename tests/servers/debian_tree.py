"""A clean Debian 12 in a folder, to install a package into: made by mmdebstrap from the machine's own package sources,
entered by chroot(2). It shares the network with the machine, so that servers of a test can be reached on loopback."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.needs import in_ci, require

SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))
RELEASE = "bookworm"
MAKE_SECONDS = 900


@dataclass(frozen=True)
class DebianTree:
    """The folder, and commands in it."""

    folder: Path

    def start(self, *command: str, environ: dict[str, str] | None = None, log: Path) -> subprocess.Popen[bytes]:
        """Starts a program in it."""
        with log.open("ab") as out:
            return subprocess.Popen(self._inside(command), env=_environ(environ), stdout=out, stderr=out)

    def run(self, *command: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a program in it to its end."""
        return subprocess.run(
            self._inside(command), env=_environ(environ), capture_output=True, text=True, timeout=300, check=False
        )

    def ok(self, *command: str, environ: dict[str, str] | None = None) -> str:
        """The same, which has to succeed; what it printed."""
        done = self.run(*command, environ=environ)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _inside(self, command: tuple[str, ...]) -> list[str]:
        return [str(require("chroot", package="coreutils")), str(self.folder), *command]


def _environ(more: dict[str, str] | None) -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root", **(more or {})}


def make_tree(folder: Path) -> DebianTree:
    """Makes one with Debian's Python. Skips (in CI: fails) where it cannot be made."""
    program = require("mmdebstrap", package="mmdebstrap")
    if os.geteuid() != 0 or platform.freedesktop_os_release().get("VERSION_CODENAME") != RELEASE:
        if in_ci():
            pytest.fail(f"needs root on Debian {RELEASE}", pytrace=False)
        pytest.skip(f"needs root on Debian {RELEASE}: a clean tree of it is made")
    lists = [SOURCES[0], *sorted(SOURCES[1].glob("*.list")), *sorted(SOURCES[1].glob("*.sources"))]
    found = [str(path) for path in lists if path.is_file() and path.stat().st_size]
    made = subprocess.run(
        [str(program), "--variant=minbase", "--include=python3,ca-certificates", RELEASE, str(folder), *found],
        capture_output=True,
        text=True,
        timeout=MAKE_SECONDS,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return DebianTree(folder)
