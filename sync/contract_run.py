"""Running the contract suite (`sync.testing.contract`) on an installed connector, in a process of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sync.errors import ConfigError

_SUITE = """\
from {module} import {world}
from sync.testing.contract import ConnectorContract


class TestContract(ConnectorContract):
    world_class = {world}
"""
_NEEDED = ("pytest", "pytest_asyncio")


def run_contract(name: str, worlds: Sequence[str], select: str = "") -> int:
    """Runs the suite; its words go to the terminal. Returns pytest's exit code. Raises ConfigError where the connector's
    package plays no service (`connector.no_world`), or pytest is not installed (`connector.no_pytest`)."""
    missing = [one for one in _NEEDED if importlib.util.find_spec(one) is None]
    if missing:
        raise ConfigError(
            f"the contract suite needs {' and '.join(missing)}, which is not installed here",
            code="connector.no_pytest",
            next_step='pip install "inbox-sync[testing]" into this environment',
            connector=name,
        )
    module, _, world = worlds[0].partition(":") if len(worlds) == 1 else ("", "", "")
    if not module or not world.isidentifier():
        raise ConfigError(
            f'the package of "{name}" plays no service to test it with',
            code="connector.no_world",
            next_step='offer one under [project.entry-points."inbox_sync.worlds"], as `connector new` writes it; what'
            " comes with inbox-sync is tested in its own repository",
            connector=name,
        )
    with tempfile.TemporaryDirectory(prefix="inbox-sync-contract-") as folder:
        suite = Path(folder) / f"test_contract_{name.replace('-', '_')}.py"
        suite.write_text(_SUITE.format(module=module, world=world), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto"]
        command += ["-o", "asyncio_default_fixture_loop_scope=function", "-p", "no:cacheprovider", "--rootdir", folder]
        command += ["-k", select] if select else []
        return subprocess.run([*command, str(suite)], cwd=folder, check=False).returncode  # noqa: S603  our own suite
