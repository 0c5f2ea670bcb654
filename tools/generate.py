"""The files that are made from the code: `python tools/generate.py` writes them, `--check` fails when one is stale.

config.schema.json and config.example.toml come from the settings' models, docs/operate/commands.md from the command
line's own help.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMANDS_PAGE = Path("docs/operate/commands.md")
HELP_COLUMNS = "100"
HELP_TIMEOUT_SECONDS = 60

_HEAD = """\
# Commands

Made from `inbox-sync --help` by `make generate`; `make check` fails when it is stale.
Exit codes are explained in [exit-codes.md](exit-codes.md).
"""


def generated() -> dict[Path, str]:
    """Every generated file, by its path in the repository, with its text."""
    return {
        Path("config.schema.json"): _inbox_sync("config", "schema"),
        Path("config.example.toml"): _inbox_sync("config", "example"),
        COMMANDS_PAGE: commands_page(),
    }


def commands_page() -> str:
    """The help of every command, outermost first."""
    sections = [_HEAD]
    waiting: list[list[str]] = [[]]
    while waiting:
        command = waiting.pop(0)
        text = _inbox_sync(*command, "--help")
        title = " ".join(["inbox-sync", *command])
        body = "\n".join(line.rstrip() for line in text.strip().splitlines())
        sections.append(f"## {title}\n\n```text\n{body}\n```\n")
        waiting += [[*command, name] for name in _subcommands(text)]
    return "\n".join(sections)


def _subcommands(help_text: str) -> list[str]:
    """The names below "Commands:" in a help text."""
    _, _, below = help_text.partition("\nCommands:\n")
    listed = below.partition("\n\n")[0].splitlines()
    return [line.split()[0] for line in listed if line.startswith("  ") and not line.startswith("   ")]


def _inbox_sync(*arguments: str) -> str:
    plain = {"COLUMNS": HELP_COLUMNS, "NO_COLOR": "1", "TERM": "dumb", "INBOX_SYNC_CONFIG": ""}
    environ = {key: value for key, value in os.environ.items() if key != "FORCE_COLOR"} | plain
    done = subprocess.run(
        [sys.executable, "-m", "sync.cli", *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=HELP_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        sys.exit(f"inbox-sync {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a file is stale")
    options = parser.parse_args()
    stale = 0
    for path, text in generated().items():
        target = ROOT / path
        if target.exists() and target.read_text(encoding="utf-8") == text:
            continue
        if options.check:
            sys.stderr.write(f"{path} is stale: make generate\n")
            stale = 1
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path} written\n")
    return stale


if __name__ == "__main__":
    sys.exit(main())
