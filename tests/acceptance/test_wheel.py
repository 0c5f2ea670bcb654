"""The wheel is whole: built, installed into an empty environment by pip, and run from an unrelated folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTALL_SECONDS = 300
DEMO_SECONDS = 150

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("wheel")]


def call(*command: str | Path, cwd: Path, seconds: float = INSTALL_SECONDS) -> str:
    environ = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=ROOT)
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that holds the wheel and what it needs, in the locked versions."""
    folder = tmp_path_factory.mktemp("installed")
    locked = re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?(==\S+)", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE)
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{name}{version}\n" for name, version in locked))
    call(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv/bin/python"
    call(python, "-m", "pip", "install", "--quiet", "--constraint", constraints, wheel, cwd=folder)
    return folder / "venv/bin"


def test_the_wheel_holds_what_the_program_needs_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    in_repository = {
        str(Path("sync/migrations") / file.relative_to(ROOT / "alembic")) for file in (ROOT / "alembic").rglob("*.py")
    }
    assert in_repository
    assert in_repository <= names
    assert {"sync/py.typed", "connectors/py.typed", "sync/demo/mails/manifest.toml"} <= names
    assert len([name for name in names if name.endswith(".eml")]) >= 36
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"sync", "connectors", "inbox_sync"}
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_the_installed_wheel_knows_its_connectors_and_its_licence(installed: Path, tmp_path: Path) -> None:
    listed = json.loads(call(installed / "inbox-sync", "connector", "list", "--json", cwd=tmp_path))
    assert {entry["name"] for entry in listed["connectors"]} == {
        "freshdesk",
        "imap",
        "jmap",
        "maildir",
        "pop3",
        "zammad",
        "zendesk",
    }
    call(installed / "python", "-m", "pip", "check", cwd=tmp_path)
    metadata = "import importlib.metadata as m; print(m.metadata('inbox-sync')['License-Expression'])"
    assert call(installed / "python", "-c", metadata, cwd=tmp_path).strip() == "Apache-2.0"


def test_the_installed_wheel_plays_the_demo(installed: Path, tmp_path: Path) -> None:
    out = call(installed / "inbox-sync", "demo", "--json", cwd=tmp_path, seconds=DEMO_SECONDS)
    assert json.loads(out)["ok"]
