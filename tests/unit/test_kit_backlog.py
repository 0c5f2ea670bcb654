"""The mails of a backlog, read on a second core."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from sync.kit import backlog
from sync.kit.backlog import BACKLOG_MAILS, Mail, understand_each
from sync.mail import Understood, understand_with_files
from sync.message import Legibility, Message
from tests.mailbag import Mailbag

ROOT = Path(__file__).resolve().parents[2]


class Endless(Mail):
    """A mail on which reading never ends."""

    def understand(self) -> Understood:
        while True:
            pass


class Telling(Mail):
    """A mail that says what its reader has in its environment."""

    def understand(self) -> Understood:
        return Understood(Message(text="\n".join(sorted(os.environ))))


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[backlog._Beside]:
    """A process of this test's own, which finds the classes above."""
    made = backlog._Beside()
    monkeypatch.setattr(backlog, "_beside", made)
    monkeypatch.setattr(backlog, "_has_second_core", lambda: True)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield made
    made.end()


def corpus(kind: type[Mail] = Mail) -> list[Mail]:
    """More than `BACKLOG_MAILS` mails, ordinary and broken ones; one is cut at its limit, one has only its beginning."""
    raws = [path.read_bytes() for path in sorted((ROOT / "tests" / "corpus" / "mail").glob("*.eml"))]
    raws += [mail.raw for mail in Mailbag(seed=7).more(BACKLOG_MAILS)]
    return [*(kind(raw, 1_000_000) for raw in raws), kind(raws[0], 200), kind(raws[1][:500], 1_000_000, 5_000_000)]


def same(one: Understood, mail: Mail) -> bool:
    """Whether it is what reading it here gives, files included."""
    here = understand_with_files(mail.raw, limit_bytes=mail.limit_bytes, full_size=mail.full_size)
    if one.content != here.content or (one.files is None) != (here.files is None):
        return False
    attachments = here.content.attachments if isinstance(here.content, Message) else ()
    return one.files is None or all(one.files.open(a.ref) == here.files.open(a.ref) for a in attachments if here.files)


def test_a_backlog_is_read_beside_with_the_same_results_in_order(beside: backlog._Beside) -> None:
    mails = corpus()
    understood = list(understand_each(mails))
    assert beside.reader is not None
    assert beside.reader.has_started
    assert len(understood) == len(mails)
    assert all(same(one, mail) for one, mail in zip(understood, mails, strict=True))
    assert any(one.files is not None for one in understood)


def test_a_few_mails_start_no_process(beside: backlog._Beside) -> None:
    mails = corpus()[: BACKLOG_MAILS - 1]
    assert all(same(one, mail) for one, mail in zip(understand_each(mails), mails, strict=True))
    assert beside.reader is None


def test_where_there_is_one_core_nothing_is_started(beside: backlog._Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "_has_second_core", lambda: False)
    assert len(list(understand_each(corpus()))) == len(corpus())
    assert beside.reader is None


def test_a_process_that_is_killed_takes_no_mail_with_it(beside: backlog._Beside) -> None:
    mails = corpus()
    reading = understand_each(mails)
    understood = list(islice(reading, 3))
    assert beside.reader is not None
    first = beside.reader
    os.kill(first._process.pid, signal.SIGKILL)
    understood += reading
    assert all(same(one, mail) for one, mail in zip(understood, mails, strict=True))
    assert beside.reader is not first


def test_a_mail_on_which_reading_never_ends_is_given_up_with_its_process_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backlog, "STUCK_SECONDS", 0.2)
    monkeypatch.setattr(backlog, "LOOK_SECONDS", 0.05)
    mails = corpus()
    mails[5] = Endless(b"From: Anna <a@example.com>\r\nSubject: trap\r\n\r\ntext\r\n", 1_000)
    understood = list(understand_each(mails))
    given_up = understood[5].content
    assert isinstance(given_up, Message)
    assert given_up.legibility is Legibility.UNREADABLE
    assert given_up.subject == "trap"
    assert all(same(one, mail) for n, (one, mail) in enumerate(zip(understood, mails, strict=True)) if n != 5)


def test_a_batch_that_nobody_reads_to_its_end_confuses_no_other() -> None:
    mails = corpus()
    reading = understand_each(mails)
    assert same(next(reading), mails[0])
    del reading
    assert all(same(one, mail) for one, mail in zip(understand_each(mails[1:]), mails[1:], strict=True))


def test_a_second_batch_at_the_same_time_is_read_by_its_own_thread(beside: backlog._Beside) -> None:
    mails = corpus()
    assert beside.taken.acquire(blocking=False)
    assert all(same(one, mail) for one, mail in zip(understand_each(mails), mails, strict=True))
    assert beside.reader is None


def test_a_process_that_cannot_be_started_is_done_without(
    beside: backlog._Beside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    mails = corpus()
    for _ in range(2):
        assert all(same(one, mail) for one, mail in zip(understand_each(mails), mails, strict=True))
    assert beside.in_vain == backlog.STARTS_IN_VAIN


def test_the_process_has_no_secrets_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIX_KEY", "secret")
    told = next(understand_each(corpus(Telling))).content
    assert isinstance(told, Message)
    names = told.text.splitlines()
    assert "PATH" in names
    assert "WIX_KEY" not in names


def test_the_process_ends_when_the_program_does(beside: backlog._Beside) -> None:
    assert list(understand_each(corpus()))
    assert beside.reader is not None
    process = beside.reader._process
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0


def test_the_process_ends_when_nothing_comes_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = os.pipe()
    ended = threading.Event()
    monkeypatch.setattr(backlog, "QUIET_SECONDS", 0.05)

    def run() -> None:
        backlog.serve(mine, other)
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    assert ended.wait(10)
    os.close(mine)
    os.close(other)
