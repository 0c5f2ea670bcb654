"""What an idle daemon costs: memory and CPU of `inbox-sync run` with many sources that have nothing new."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.harness import Options, Section, Table, cpu_seconds, resident_mib
from sync.sandbox import Sandbox

NAME = "idle"
TITLE = "A daemon with nothing to do"
SOURCES = 20


def write_config(folder: Path, sandbox: Sandbox, sources: int) -> Path:
    parts = [
        f"""[ledger]
url = "sqlite:///{folder}/ledger.db"
[inbox.main]
site_id = "{sandbox.site_id}"
api_key = {{ env = "WIX_KEY" }}
base_url = "{sandbox.url}"
own_addresses = ["support@shop.example"]
"""
    ]
    for number in range(sources):
        box = folder / f"box{number}"
        for part in ("new", "cur", "tmp"):
            (box / part).mkdir(parents=True)
        parts.append(f'[sources.s{number}]\nconnector = "maildir"\npath = "{box}"\nevery = "60s"\n')
    path = folder / "config.toml"
    path.write_text("\n".join(parts))
    return path


def measure(command: list[str], seconds: float, settle_seconds: float) -> tuple[float, float]:
    """Resident MiB, and the share of a core, over `seconds` after the start has settled."""
    process = subprocess.Popen(
        command, env={**os.environ, "WIX_KEY": "sandbox-api-key"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(settle_seconds)
        before, began = cpu_seconds(process.pid), time.monotonic()
        time.sleep(seconds)
        share = (cpu_seconds(process.pid) - before) / (time.monotonic() - began)
        return resident_mib(process.pid), share
    finally:
        process.terminate()
        process.wait(60)


def run(options: Options) -> Section:
    seconds = options.pick(60.0, 1.0)
    with Sandbox() as sandbox:
        config = write_config(options.folder, sandbox, SOURCES)
        memory, share = measure(
            [sys.executable, "-m", "sync.cli", "--config", str(config), "run"], seconds, options.pick(15.0, 3.0)
        )
    bare, _ = measure([sys.executable, "-c", "import time; time.sleep(999)"], 0.2, options.pick(1.0, 0.2))
    row = [f"`inbox-sync run`, {SOURCES} sources", f"{memory:.0f}", f"{memory / bare:.1f}", f"{share:.2%}"]
    return Section(
        f"{SOURCES} maildir sources polled every 60 s, one inbox, over {seconds:.0f} s after a start-up of 15 s.",
        [
            Table(
                ("", "resident MiB", "× a bare interpreter", "of a core"),
                [row, ["bare interpreter that sleeps", f"{bare:.0f}", "1.0", "0"]],
            )
        ],
    )
