"""The tutorial for connector authors, as it stands on its page: its files extracted, its commands and settings used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from sync import scaffold
from sync.sandbox import Sandbox
from tests.servers.ports import free_port
from tests.servers.roundup import Roundup, needs_roundup

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/connectors/tutorial.md").read_text(encoding="utf-8")
SECONDS = 120

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("tutorial")]


def files() -> dict[str, str]:
    """The files that the page tells to write, by their path."""
    return dict(re.findall(r"`inbox-sync-roundup/([\w./]+)`[^\n]*:\n\n```python\n(.*?)```", PAGE, re.DOTALL))


def block(kind: str) -> str:
    found = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def call(*command: str | Path, cwd: Path, environ: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environ, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the page, built and unpacked where Python finds it."""
    folder = tmp_path_factory.mktemp("evening")
    package = folder / "inbox-sync-roundup"
    scaffold.write("roundup", package)
    written = files()
    assert set(written) == {f"inbox_sync_roundup/{name}.py" for name in ("config", "connector", "world")}
    for path, text in written.items():
        (package / path).write_text(text, encoding="utf-8")
    command = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    call(*command, cwd=package, environ={})
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as whole:
        whole.extractall(folder / "site")
    return folder / "site"


def test_the_connector_of_the_tutorial_keeps_the_contract(site: Path, tmp_path: Path) -> None:
    environ = {"PYTHONPATH": str(site)}
    listed = json.loads(
        call(sys.executable, "-m", "sync.cli", "connector", "list", "--json", cwd=tmp_path, environ=environ)
    )
    assert "roundup" in {one["name"] for one in listed["connectors"]}
    said = call(sys.executable, "-m", "sync.cli", "connector", "test", "roundup", cwd=tmp_path, environ=environ)
    assert "passed" in said
    assert "failed" not in said


def test_the_tutorial_ends_with_the_messages_of_a_real_roundup_in_the_sandbox(site: Path, tmp_path: Path) -> None:
    needs_roundup()
    data = tomllib.loads(block("toml"))
    environ = {"PYTHONPATH": str(site), "SANDBOX_KEY": "sandbox-api-key", "TRACKER_PASSWORD": "secret12"}
    with Roundup(tmp_path, free_port(), "secret12") as tracker, Sandbox() as sandbox:
        assert data["inbox"]["main"]["site_id"] == sandbox.site_id, "as `inbox-sync sandbox` serves it"
        call("sh", "-e", "-c", block("sh"), cwd=tmp_path, environ=environ)
        text = block("toml").replace("http://127.0.0.1:8917/support", tracker.url)
        text = text.replace("/tmp/evening.db", f"{tmp_path}/evening.db")
        (tmp_path / "config.toml").write_text(text.replace("http://127.0.0.1:8025", sandbox.url))
        program = (sys.executable, "-m", "sync.cli", "-c", "config.toml")
        assert "Reads messages, issues and users" in call(*program, "check", "--json", cwd=tmp_path, environ=environ)
        for _time in range(2):
            call(*program, "sync", cwd=tmp_path, environ=environ)
        (conversation,) = sandbox.conversations()
        assert conversation["emails"] == ["jo@example.net"]
        directions = [str(message["direction"]) for message in conversation["messages"]]
        assert directions == ["PARTICIPANT_TO_BUSINESS", "PARTICIPANT_TO_BUSINESS", "BUSINESS_TO_PARTICIPANT"]
        words = [json.dumps(message) for message in conversation["messages"]]
        for said, expected in zip(words, ("has not arrived", "number 17", "leaves the house"), strict=True):
            assert expected in said
        environ["TRACKER_PASSWORD"] = "wrong"
        done = subprocess.run(
            [*program, "check"], cwd=tmp_path, env=os.environ | environ, capture_output=True, check=False
        )
        assert done.returncode != 0
