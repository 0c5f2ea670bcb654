"""The wheel is whole: built, installed into an empty environment by pip, and run from an unrelated folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sync.registry import BUILT_IN
from sync.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
INSTALL_SECONDS = 300
DEMO_SECONDS = 150

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("wheel")]


def call(
    *command: str | Path, cwd: Path, seconds: float = INSTALL_SECONDS, environ: dict[str, str] | None = None
) -> str:
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command, cwd=cwd, env=kept | (environ or {}), capture_output=True, text=True, timeout=seconds, check=False
    )
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


CONFIGURATION = """
[ledger]
url = "sqlite:///{folder}/ledger.db"

[inbox.main]
site_id = "{site_id}"
api_key = {{ env = "WIX_KEY" }}
base_url = "{inbox_url}"
requests_per_minute = 6000

[sources.book]
connector = "guestbook"
start = "all"
{url}
token = {{ env = "BOOK_TOKEN" }}
"""


@contextmanager
def played(python: Path, cwd: Path) -> Iterator[str]:
    """The service that the package plays, as its author starts it; the line of a configuration that leads there."""
    command = [str(python), "-m", "inbox_sync_guestbook.world"]
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield running.stdout.readline().strip()
        finally:
            running.terminate()


def test_a_connector_from_an_empty_folder_is_found_checked_and_synced(installed: Path, tmp_path: Path) -> None:
    """`connector new`, pip, the contract suite, `check` and `sync`, without touching the core."""
    program, python = installed / "inbox-sync", installed / "python"
    call(program, "connector", "new", "guestbook", cwd=tmp_path)
    constraints = installed.parent.parent / "constraints.txt"
    call(
        *(python, "-m", "pip", "install", "--quiet", "--constraint", constraints, "./inbox-sync-guestbook[test]"),
        cwd=tmp_path,
    )
    try:
        listed = json.loads(call(program, "connector", "list", "--json", cwd=tmp_path))["connectors"]
        (ours,) = [one for one in listed if one["name"] == "guestbook"]
        assert (ours["state"], ours["experimental"], ours["fault"]) == ("ok", True, None)
        shown = json.loads(call(program, "connector", "show", "guestbook", "--json", cwd=tmp_path))
        assert {"url", "token", "internal_notes"} <= set(shown["settings"]["properties"])
        assert shown["capabilities"] == ["fetch", "list", "open_attachment"]
        assert "passed" in call(program, "connector", "test", "guestbook", "-k", "order or secret", cwd=tmp_path)
        call(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path / "inbox-sync-guestbook")
        with Sandbox() as sandbox, played(python, tmp_path) as url:
            environ = {"WIX_KEY": "sandbox-api-key", "BOOK_TOKEN": "a-token-for-tests"}
            text = CONFIGURATION.format(folder=tmp_path, site_id=sandbox.site_id, inbox_url=sandbox.url, url=url)
            file = tmp_path / "config.toml"
            file.write_text(text)
            ours = json.loads(call(program, "-c", file, "check", "--json", cwd=tmp_path, environ=environ))
            assert "Signed in at" in json.dumps(ours)
            call(program, "-c", file, "sync", cwd=tmp_path, environ=environ)
            (conversation,) = sandbox.conversations()
            said = json.dumps(conversation["messages"])
            assert said.index("is anybody there?") < said.index("order 17")
    finally:
        call(python, "-m", "pip", "uninstall", "--quiet", "--yes", "inbox-sync-guestbook", cwd=tmp_path)


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
    ours = [name for name in names if not name.startswith("sync/scaffold/template/")]
    assert len(names) - len(ours) == 10
    assert not [name for name in ours if "__pycache__" in name or "/tests/" in name]


def test_the_installed_wheel_knows_its_connectors_and_its_licence(installed: Path, tmp_path: Path) -> None:
    listed = json.loads(call(installed / "inbox-sync", "connector", "list", "--json", cwd=tmp_path))
    assert {entry["name"] for entry in listed["connectors"]} == set(BUILT_IN)
    call(installed / "python", "-m", "pip", "check", cwd=tmp_path)
    metadata = "import importlib.metadata as m; print(m.metadata('inbox-sync')['License-Expression'])"
    assert call(installed / "python", "-c", metadata, cwd=tmp_path).strip() == "Apache-2.0"


def test_the_installed_wheel_plays_the_demo(installed: Path, tmp_path: Path) -> None:
    out = call(installed / "inbox-sync", "demo", "--json", cwd=tmp_path, seconds=DEMO_SECONDS)
    assert json.loads(out)["ok"]
