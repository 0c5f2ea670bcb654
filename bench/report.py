"""Results as Markdown: one section for each benchmark, and the page that keeps the newest of each."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

from bench.harness import Section, Table, Target

_PAGE = """# Performance

What the program costs and how fast it is, measured beside other ways to do the same. Absolute figures drift from machine
to machine and from day to day: contestants take turns within one run, and what counts are the ratios within each round,
of which the median is given (tables show the medians of each contestant, whose quotient may differ a little).
`make bench` measures everything again and writes this page; `.venv/bin/python -m bench --help` tells how to run a part.
"""


def machine() -> str:
    """Cores, processor, system and Python, in a sentence."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = platform.system()
    kernel = re.match(r"[\d.]+", platform.release())
    return (
        f"{len(os.sched_getaffinity(0))} cores of {cpu.group(1).strip() if cpu else platform.machine()}, {system},"
        f" Linux {kernel.group() if kernel else '?'}, Python {platform.python_version()}"
    )


def as_markdown(title: str, section: Section) -> str:
    """One section of the page."""
    parts = [f"## {title}", section.method.strip()]
    parts += [_table(table) for table in section.tables]
    if section.targets:
        rows = [[one.what, _bound(one), _number(one.value, one.unit), "yes" if one.reached else "**no**"]
                for one in section.targets]  # fmt: skip
        parts.append(_table(Table(("figure", "to reach", "measured", "reached"), rows)))
    if section.notes:
        parts.append(section.notes.strip())
    parts.append(f"Measured {datetime.now(UTC):%Y-%m-%d}: {machine()}.")
    return "\n\n".join(parts) + "\n"


def put(page: Path, name: str, markdown: str) -> None:
    """Replaces the section of this benchmark in the page, or adds it at the end; other sections stay as they are."""
    text = page.read_text(encoding="utf-8") if page.exists() else _PAGE
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    block = f"{begin}{markdown}{end}"
    before, found, rest = text.partition(begin)
    text = before + block + rest.partition(end)[2] if found else f"{text.rstrip()}\n\n{block}"
    page.write_text(text, encoding="utf-8")


def _table(table: Table) -> str:
    head = "| " + " | ".join(table.columns) + " |"
    rule = "| --- |" + " --: |" * (len(table.columns) - 1)
    body = ["| " + " | ".join(row) + " |" for row in table.rows]
    caption = [table.caption, ""] if table.caption else []
    return "\n".join([*caption, head, rule, *body])


def _bound(target: Target) -> str:
    return f"{'at least' if target.at_least else 'at most'} {_number(target.bound, target.unit)}"


def _number(value: float, unit: str) -> str:
    plain = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{plain}{unit}" if unit in ("", "%") else f"{plain} {unit}"
