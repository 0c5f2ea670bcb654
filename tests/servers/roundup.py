"""A real Roundup: the tracker of the tutorial, set up by its own programs from `.tools/roundup` (tools/servers)."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.needs import require_file

HOME = Path(__file__).resolve().parents[2] / ".tools/roundup"
START_SECONDS = 60
_SERVER = """
import os
if os.geteuid() == 0:  # it refuses to run as root, which tests in a container are
    os.getuid = os.geteuid = lambda: 65534
from roundup.scripts.roundup_server import run
run()
"""


def needs_roundup() -> None:
    """Skips, or fails in CI, where it is not installed."""
    require_file(HOME / "installed.txt", "Roundup from PyPI, into .tools")


class Roundup:
    """A tracker in `folder`/tracker, with the user admin and the password `password`. `folder`/roundup-env is where its
    programs are."""

    def __init__(self, folder: Path, port: int, password: str) -> None:
        self.folder = folder
        self.port = port
        self.url = f"http://127.0.0.1:{port}/support"
        self._password = password
        self._running: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        (self.folder / "roundup-env").symlink_to(HOME)
        self._admin("install", "classic", "anydbm")
        settings = self.folder / "tracker/config.ini"
        text = settings.read_text()
        for name, value in (("web", f"{self.url}/"), ("domain", "example.com"), ("host", "localhost")):
            text = text.replace(f"\n#{name} = NO DEFAULT", f"\n{name} = {value}", 1)
        settings.write_text(text)
        self._admin("initialise", self._password)
        command = [str(HOME / "bin/python"), "-c", _SERVER, "-n", "127.0.0.1", "-p", str(self.port), "support=tracker"]
        self._running = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._running.terminate()
            self._running.wait(START_SECONDS)

    def _admin(self, *words: str) -> None:
        command = [str(self.folder / "roundup-env/bin/roundup-admin"), "-i", "tracker", *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def _wait(self) -> None:
        give_up_at = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/rest/", timeout=5).close()
            except urllib.error.HTTPError as answer:
                answer.close()
                return  # it talks
            except OSError:
                assert time.monotonic() < give_up_at, f"Roundup does not answer ({sys.executable})"
                time.sleep(0.05)
            else:
                return
