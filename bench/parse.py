"""How long a mail takes to be understood, compared with the standard library's parser on the same mails."""

from __future__ import annotations

import email
import email.policy
import statistics
import time
from collections.abc import Callable
from email.message import EmailMessage

from sync.demo.samples import load_samples
from sync.mail import understand

ROUNDS = 5
REPEATS = 20


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


def seconds(work: Callable[[bytes], object], mails: list[bytes]) -> float:
    """For all mails, `REPEATS` times."""
    begun = time.perf_counter()
    for _ in range(REPEATS):
        for raw in mails:
            work(raw)
    return time.perf_counter() - begun


def main() -> None:
    """Prints milliseconds a mail and the ratio."""
    mails = [sample.raw() for sample in load_samples()]
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(seconds(understand, mails))
        theirs.append(seconds(modern, mails))
    each = len(mails) * REPEATS
    mine, other = statistics.median(ours) / each * 1000, statistics.median(theirs) / each * 1000
    print(f"understand {mine:.2f} ms a mail, the standard library's modern policy {other:.2f} ms: {other / mine:.1f} x")


if __name__ == "__main__":
    main()
