"""What an idle daemon costs: memory and CPU of `inbox-sync run` with many sources that have nothing new.

    python -m bench.idle [--sources 20] [--seconds 60]

Prints the resident memory, the share of one core, and the same for a bare interpreter that sleeps, as ratios.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sync.sandbox import Sandbox

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Sandbox() as sandbox:
        config = write_config(Path(name), sandbox, options.sources)
        memory, share = measure(
            [sys.executable, "-m", "sync.cli", "--config", str(config), "run"], options.seconds, settle_seconds=15.0
        )
        bare, _ = measure([sys.executable, "-c", "import time; time.sleep(999)"], 1.0, settle_seconds=1.0)
    print(
        f"sources {options.sources}: {memory:.0f} MiB ({memory / bare:.1f} x a bare interpreter), {share:.2%} of a core"
    )


if __name__ == "__main__":
    main()
