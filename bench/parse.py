"""How long a mail takes to be understood, compared with the standard library's parser on the same mails."""

from __future__ import annotations

import email
import email.policy
import statistics
import time
from collections.abc import Callable
from email.message import EmailMessage

from bench.harness import Options, Sample, Samples, Section, Target, speed_table, take_turns
from bench.parts.mails import make_mails
from sync.demo.samples import load_samples
from sync.mail import understand

NAME = "parse"
TITLE = "Understanding a mail"
MODERN = "standard library, modern policy"
OURS = "`sync.mail.understand`"


def modern(raw: bytes) -> None:
    """What a program gets from the standard library with its modern policy: subject, sender, and the text."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    try:
        _ = message["subject"], message["from"]
        body = message.get_body(("plain", "html"))
        _ = body.get_content() if body is not None else ""
    except (LookupError, ValueError, AttributeError):
        pass  # it raises on some of the broken mails; the time up to there counts in its favour


def turn(work: Callable[[bytes], object], mails: list[bytes], repeats: int) -> Sample:
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        for raw in mails:
            work(raw)
    return Sample(len(mails) * repeats, time.perf_counter() - begun, time.process_time() - cpu)


def compared(mails: list[bytes], repeats: int, rounds: int) -> Samples:
    return take_turns(
        {OURS: lambda: turn(understand, mails, repeats), MODERN: lambda: turn(modern, mails, repeats)}, rounds
    )


def run(options: Options) -> Section:
    odd = [sample.raw() for sample in load_samples()]
    ordinary = list(make_mails(options.pick(400, 20)))
    repeats = options.pick(20, 1)
    of_odd = compared(odd, repeats, options.turns(5))
    of_ordinary = compared(ordinary, 1, options.turns(5))
    each = statistics.median(sample.cpu_microseconds for sample in of_ordinary[OURS])
    return Section(
        f"The {len(odd)} sample mails of the demo (broken ones among them), {repeats} times a round, and {len(ordinary)}"
        " ordinary ones (`bench/parts/mails.py`: 13 KB, one in five with files). `understand` gives everything: text"
        " without quotes, participants, files, dates. The standard library gives subject, sender, text.",
        [
            speed_table(of_odd, baseline=MODERN, things="mails", caption="the demo's samples"),
            speed_table(of_ordinary, baseline=MODERN, things="mails", caption="ordinary mails"),
        ],
        [Target("ordinary mails understood in a second of one core", 1e6 / each, 1_500, at_least=True)],
    )
