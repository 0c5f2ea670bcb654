"""`python -m bench [NAME…]`: every benchmark, or those named, each in a process of its own.

Absolute figures drift from machine to machine and from day to day; the ratios within one run are what counts.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def names() -> list[str]:
    """Every benchmark: the modules beside this one."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))


def main(wanted: list[str]) -> int:
    """The exit code: 1 when a benchmark failed, 2 for a name that is none."""
    unknown = set(wanted) - set(names())
    if unknown:
        sys.stderr.write(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names())}\n")
        return 2
    failed = 0
    for name in wanted or names():
        print(f"--- {name}", flush=True)
        failed |= subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
