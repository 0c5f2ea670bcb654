"""What a benchmark is, and what all of them share: samples, interleaved rounds, tables, targets.

A benchmark is a module in this folder with

    NAME = "pipeline"                        the module's name; also the name of its section
    TITLE = "End to end"                     the heading of its section in docs/performance.md
    def run(options: Options) -> Section     or `async def`; runs in a process of its own

and nothing else is needed: `python -m bench` finds it. Modules that benchmarks share live in `bench.parts`.
Absolute figures drift from machine to machine and from day to day: contestants take turns within one run, and what
counts are the ratios within each round, of which the median is given.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

TICKS = os.sysconf("SC_CLK_TCK")
T = TypeVar("T")


class Missing(Exception):
    """Raised by a benchmark that cannot run here: a sentence that names what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run. `folder`: an empty scratch folder, removed afterwards (no spaces, readable by other users' servers).
    `cache`: where large inputs may be kept between runs, or None: then make them in `folder`. `rounds`: how often each
    contestant takes its turn, or None for what the benchmark thinks right. `share`: the part of the full numbers of mails
    and rows to measure with, which the section then states. `quick`: tiny sizes that only prove that the benchmark
    works."""

    folder: Path
    cache: Path | None = None
    rounds: int | None = None
    quick: bool = False
    share: float = 1.0

    def count(self, full: int, quick: int) -> int:
        """How many mails or rows: the share that was asked for of `full`, or `quick` in a quick run."""
        return quick if self.quick else max(1, round(full * self.share))

    def pick(self, full: T, quick: T) -> T:
        """`full`, or `quick` in a quick run."""
        return quick if self.quick else full

    def turns(self, full: int) -> int:
        """How many rounds: as asked for, else `full`, else one in a quick run."""
        return self.rounds or self.pick(full, 1)

    def kept(self, name: str) -> Path:
        """A path for something large to be made once and kept, where that is wished."""
        folder = self.cache or self.folder
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells as they are printed. The first column is the name of what was measured."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A figure to reach: `value` must be at most (or, with `at_least`, at least) `bound`. `unit` follows the numbers."""

    what: str
    value: float
    bound: float
    at_least: bool = False
    unit: str = ""

    @property
    def reached(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass(frozen=True, slots=True)
class Section:
    """What one benchmark found: `method` says in a paragraph or two how it was measured (Markdown); `notes` what the
    figures mean, where they fall short, and why."""

    method: str
    tables: Sequence[Table]
    targets: Sequence[Target] = ()
    notes: str = ""


# ---------------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn of one contestant: `count` things in `seconds` of wall time and `cpu_seconds` of its processes."""

    count: int
    seconds: float
    cpu_seconds: float
    more: Mapping[str, float] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """Of CPU, for each thing."""
        return self.cpu_seconds / self.count * 1e6


Samples = dict[str, list[Sample]]


def take_turns(contestants: Mapping[str, Callable[[], Sample]], rounds: int) -> Samples:
    """Runs all contestants `rounds` times, one after the other, each round starting with another one."""
    samples: Samples = {name: [] for name in contestants}
    names = list(contestants)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            sample = contestants[name]()
            samples[name].append(sample)
            print(
                f"    round {turn + 1}: {name}: {sample.per_second:,.0f}/s, {sample.cpu_microseconds:,.0f} µs",
                flush=True,
            )
    return samples


def median(samples: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    """The median of one figure over the rounds."""
    return statistics.median(of(sample) for sample in samples)


def ratio(samples: Samples, name: str, other: str, of: Callable[[Sample], float]) -> float:
    """The median over the rounds of `name`'s figure divided by `other`'s in the same round."""
    pairs = zip(samples[name], samples[other], strict=True)
    return statistics.median(of(mine) / of(theirs) for mine, theirs in pairs)


def per_second(sample: Sample) -> float:
    return sample.per_second


def cpu_microseconds(sample: Sample) -> float:
    return sample.cpu_microseconds


def cpu_seconds(pid: int, *, children: bool = False) -> float:
    """CPU a process has used so far, all its threads together (and the children it has waited for)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11 : 15 if children else 13]) / TICKS


def resident_mib(pid: int, *, peak: bool = False) -> float:
    """Resident memory of a process now, or at its peak."""
    name = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished process: its time, its CPU (children it waited for included) and its peak memory."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str


def run_program(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, codes: Sequence[int] = (0,)
) -> Ran:
    """Runs a program to its end. Raises RuntimeError with its output when its exit code is not among `codes`."""
    began = time.monotonic()
    process = subprocess.Popen(
        [str(part) for part in command], env=None if env is None else dict(env), text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout:
        output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in codes:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{output[-4000:]}")
    return Ran(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


# ---------------------------------------------------------------------------------------------------- telling


def speed_table(samples: Samples, *, baseline: str, things: str = "messages", caption: str = "") -> Table:
    """Medians of every contestant, and the ratios to `baseline`."""
    rows = [
        [
            name,
            f"{median(turns, per_second):,.0f}",
            f"{ratio(samples, name, baseline, per_second):.2f}",
            f"{median(turns, cpu_microseconds):,.0f}",
            f"{ratio(samples, name, baseline, cpu_microseconds):.2f}",
        ]
        for name, turns in samples.items()
    ]
    return Table(("", f"{things}/s", "× baseline", "CPU µs each", "× baseline"), rows, caption)
