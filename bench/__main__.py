"""`python -m bench [NAME…]`: every benchmark, or those named, each in a process of its own.

python -m bench --list                        what there is
python -m bench pipeline --rounds 3           one of them; prints its section
python -m bench --write docs/performance.md   all of them; the page keeps the newest section of each
python -m bench pipeline scale --share 0.25   with a quarter of the mails and rows; the sections say so
python -m bench --quick                       tiny sizes: proves that they work, measures nothing
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.harness import Missing, Options, Section
from bench.report import as_markdown, put

NO_BENCHMARKS = ("__main__", "harness", "report")
CANNOT_RUN = 69
"""Exit code of a benchmark that needs something which is not installed."""


def names() -> list[str]:
    """Every benchmark: the modules beside this one."""
    return sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in NO_BENCHMARKS)


def main(arguments: list[str]) -> int:
    """The exit code: 1 when a benchmark failed or missed a figure, 2 for a name that is none, 69 when one cannot run."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="names and titles")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: proves that they work, measures nothing")
    parser.add_argument("--rounds", type=int, help="how often each contestant takes its turn")
    parser.add_argument("--share", type=float, default=1.0, help="part of the full numbers of mails and rows")
    parser.add_argument("--cache", type=Path, help="keep large inputs (mails, filled ledgers) in this folder")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the sections into this page")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(names()):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    wanted = options.names or names()
    if options.list:
        for name in wanted:
            print(f"{name:12} {importlib.import_module(f'bench.{name}').TITLE}")
        return 0
    if len(options.names) == 1:
        return run_here(options.names[0], options)
    codes = [_run_apart(name, arguments) for name in wanted]
    return next((code for code in codes if code not in (0, CANNOT_RUN)), max(codes))


def _run_apart(name: str, arguments: list[str]) -> int:
    kept = [argument for argument in arguments if argument not in names()]
    return subprocess.run([sys.executable, "-m", "bench", name, *kept], check=False).returncode


def run_here(name: str, options: argparse.Namespace) -> int:
    """Runs one benchmark in this process and prints its section."""
    module = importlib.import_module(f"bench.{name}")
    print(f"--- {name}: {module.TITLE}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as folder:
        Path(folder).chmod(0o755)
        try:
            found = module.run(Options(Path(folder), options.cache, options.rounds, options.quick, options.share))
            section: Section = asyncio.run(found) if inspect.iscoroutine(found) else found
        except Missing as missing:
            print(f"    cannot run: {missing}", flush=True)
            return CANNOT_RUN
    markdown = as_markdown(module.TITLE, section)
    print(f"\n{markdown}\n    took {time.monotonic() - began:.0f} s\n", flush=True)
    if options.write is not None:
        put(options.write, name, markdown)
    missed = [target.what for target in section.targets if not target.reached]
    if missed and not options.quick:
        print(f"    not reached: {'; '.join(missed)}\n", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
