"""What is installed is known: the bill of materials names every package that the program needs at run time, and an audit
that learnt nothing says so."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("", "google", "postgres", "binary")


def needed_at_run_time() -> dict[str, str]:
    """Every package that inbox-sync needs with all its extras, by its normalised name, with its version."""
    found: dict[str, str] = {}
    waiting = ["inbox-sync"]
    while waiting:
        distribution = importlib.metadata.distribution(waiting.pop())
        for line in distribution.requires or ():
            requirement = Requirement(line)
            wanted = requirement.marker is None or any(requirement.marker.evaluate({"extra": one}) for one in EXTRAS)
            name = normalised(requirement.name)
            if wanted and name not in found:
                try:
                    found[name] = importlib.metadata.version(name)
                except importlib.metadata.PackageNotFoundError:
                    continue  # an extra of somebody else's that has the name of one of ours
                waiting.append(name)
    return found


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_bill_of_materials_names_every_package_with_its_version(tmp_path: Path) -> None:
    target = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nsbom:")[2].partition("\n\n")[0]
    assert "--output-reproducible" in target
    file = tmp_path / "sbom.json"
    command = ["environment", "--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible"]
    command += ["--output-format", "JSON", "--output-file", str(file), sys.executable]
    program = Path(sys.executable).with_name("cyclonedx-py")
    done = subprocess.run([program, *command], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    bill = json.loads(file.read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "inbox-sync"
    listed = {normalised(one["name"]): one["version"] for one in bill["components"]}
    needed = needed_at_run_time()
    assert {"sqlalchemy", "httpx", "httpcore", "psycopg", "cryptography", "mako"} <= needed.keys()
    assert {name: listed.get(name) for name in needed} == needed
    assert all(one["purl"].startswith("pkg:pypi/") for one in bill["components"] if normalised(one["name"]) in needed)


def audit(folder: Path, *lines: str, code: int) -> subprocess.CompletedProcess[str]:
    """tools/audit with a pip-audit that says these lines."""
    program = folder / "pip-audit"
    words = "\n".join(f"echo '{line}'" for line in lines)
    program.write_text(f"#!/bin/sh\n{words}\nexit {code}\n", encoding="utf-8")
    program.chmod(0o755)
    return subprocess.run(
        [ROOT / "tools/audit", folder, "requirements.txt"], capture_output=True, text=True, timeout=30, check=False
    )


def test_an_audit_that_learnt_nothing_is_no_clean_one(tmp_path: Path) -> None:
    mirror = audit(tmp_path, "No known vulnerabilities found", "x Dependency not found; could not be audited", code=0)
    assert mirror.returncode == 75
    assert "NOT AUDITED" in mirror.stderr
    cut_off = audit(tmp_path, "ConnectionError: no route", code=1)
    assert cut_off.returncode == 75
    assert "NOT AUDITED" in cut_off.stderr


def test_an_audit_lists_what_it_found(tmp_path: Path) -> None:
    found = audit(tmp_path, "Found 1 known vulnerability in 1 package", "h11 0.1 CVE-1", code=1)
    assert found.returncode == 1
    assert "CVE-1" in found.stdout
    clean = audit(tmp_path, "No known vulnerabilities found", code=0)
    assert clean.returncode == 0
    assert "No known" in clean.stdout
