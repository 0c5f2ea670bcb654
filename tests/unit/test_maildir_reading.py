"""The `maildir` connector: formats, ids, order, horizon, and files that cannot be read."""

from __future__ import annotations

import mailbox
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from connectors.maildir import MaildirConfig, MaildirConnector
from connectors.maildir.files import MaildirFolder, name_time, unique_name
from connectors.maildir.mbox import from_line_time
from connectors.maildir.store import Scan
from sync.connector import Severity, Stream, StreamRole
from sync.errors import ConfigError
from sync.message import Gone, Message
from sync.testing import Arrived, Reader

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def mail(number: int, body: str = "", *, date: datetime | None = NOW) -> bytes:
    dated = f"Date: {date:%a, %d %b %Y %H:%M:%S} +0000\r\n" if date else ""
    return (
        f"From: c{number}@example.net\r\nMessage-ID: <{number}@example.net>\r\n{dated}Subject: mail {number}\r\n\r\n"
        f"{body or f'text {number}'}\r\n"
    ).encode()


def texts(arrived: Sequence[Arrived]) -> list[str]:
    return [one.text for one in arrived]


def reader_of(path: Path, *, since: datetime | None = None, **more: object) -> Reader:
    config = MaildirConfig.model_validate({"path": path, "settle_seconds": 0, **more})
    return Reader(MaildirConnector(config), since=since)


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    path = tmp_path / "Maildir"
    mailbox.Maildir(path, create=True).close()
    return path


def deliver(
    maildir: Path, number: int, *, at: datetime | None = None, raw: bytes | None = None, name: str = ""
) -> Path:
    path = maildir / "new" / (name or f"mail{number}")
    path.write_bytes(mail(number) if raw is None else raw)
    if at:
        os.utime(path, (at.timestamp(), at.timestamp()))
    return path


class TestMaildir:
    async def test_a_mail_keeps_its_id_when_it_is_read_and_flagged(self, maildir: Path) -> None:
        path = deliver(maildir, 1)
        reader = reader_of(maildir)
        (arrived,) = await reader.run_pass()
        path.rename(maildir / "cur" / "mail1:2,S")
        assert await reader.run_pass() == []
        (maildir / "cur" / "mail1:2,S").rename(maildir / "cur" / "mail1:2,FS")
        assert await reader.run_pass() == []
        assert arrived.found.external_id == "mail1"

    @pytest.mark.parametrize("name", ["a.b:2,FRS", "a.b:2,", "a.b;2,S", "a.b!2,S", "a.b"])
    def test_flags_are_no_part_of_the_name(self, name: str) -> None:
        assert unique_name(name) == "a.b"

    def test_a_mail_seen_in_both_places_while_it_moves_is_one(self, maildir: Path) -> None:
        folder = maildir / "cur" / "mail1:2,S"
        deliver(maildir, 1)
        folder.write_bytes(mail(1))
        assert len(MaildirFolder(maildir).scan(time.time(), 0).entries) == 1

    async def test_order_is_the_order_of_arrival(self, maildir: Path) -> None:
        for number, minutes in ((1, 30), (2, 10), (3, 20)):
            deliver(maildir, number, at=NOW + timedelta(minutes=minutes))
        assert texts(await reader_of(maildir).run_pass()) == ["text 2", "text 3", "text 1"]

    async def test_a_copied_archive_is_ordered_by_the_names_of_its_files(self, maildir: Path) -> None:
        for number, seconds in ((1, 1_700_000_300), (2, 1_700_000_100), (3, 1_700_000_200)):
            deliver(maildir, number, at=NOW, name=f"{seconds}.M5P1.host")
        arrived = await reader_of(maildir).run_pass()
        assert texts(arrived) == ["text 2", "text 3", "text 1"]
        assert arrived[0].found.arrived_at == datetime.fromtimestamp(1_700_000_100.000005, UTC)

    @pytest.mark.parametrize(
        ("name", "seconds"),
        [
            ("1700000000.M123456P1.host", 1_700_000_000.123456),
            ("1700000000.P1Q2.host", 1_700_000_000.0),
            ("1700000000.V1I2M7.host", 1_700_000_000.000007),
            ("17.host", None),
            ("mail", None),
        ],
    )
    def test_the_time_in_a_name_is_read(self, name: str, seconds: float | None) -> None:
        assert name_time(name) == seconds

    async def test_mail_that_comes_during_set_up_is_delivered_whatever_its_name_says(self, maildir: Path) -> None:
        deliver(maildir, 1, at=NOW + timedelta(seconds=1), name="1500000000.M1P1.host", raw=mail(1, date=None))
        assert texts(await reader_of(maildir, since=NOW).run_pass()) == ["text 1"]

    async def test_what_lies_before_the_horizon_is_counted_once_and_not_opened_again(self, maildir: Path) -> None:
        for number in range(30):
            deliver(maildir, number, at=NOW - timedelta(days=30), raw=mail(number, date=NOW - timedelta(days=30)))
        reader = reader_of(maildir, since=NOW)
        assert await reader.run_pass() == []
        for number in (100, 101):
            deliver(maildir, number, at=NOW + timedelta(hours=number))
            assert texts(await reader.run_pass()) == [f"text {number}"]
        assert sum(batch.before_horizon for _stream, batch in reader.batches) == 30

    async def test_an_old_mail_that_comes_later_is_left_to_the_core(self, maildir: Path) -> None:
        reader = reader_of(maildir, since=NOW)
        await reader.run_pass()
        deliver(maildir, 1, at=NOW - timedelta(days=30), raw=mail(1, date=NOW - timedelta(days=30)))
        assert texts(await reader.run_pass()) == ["text 1"]

    async def test_folders_are_found_in_both_layouts_and_sent_by_itself(self, maildir: Path) -> None:
        for name in (".Sent", ".Clients.Wix", "Plain"):
            mailbox.Maildir(maildir / name, create=True).close()
        deliver(maildir / ".Sent", 1)
        deliver(maildir / ".Clients.Wix", 2)
        deliver(maildir / "Plain", 3)
        reader = reader_of(maildir)
        assert await reader.connector.streams(reader.context()) == [Stream("INBOX"), Stream("Sent", StreamRole.SENT)]
        reader = reader_of(maildir, folders=["Clients/Wix", "Plain"], sent=[".Sent"])
        assert texts(await reader.run_pass()) == ["text 2", "text 3", "text 1"]
        assert await reader.run_pass() == []

    async def test_a_named_folder_called_sent_holds_what_agents_sent(self, maildir: Path) -> None:
        mailbox.Maildir(maildir, create=True).add_folder("Sent").close()
        reader = reader_of(maildir, folders=["INBOX", "Sent"])
        roles = {stream.key: stream.role for stream in await reader.connector.streams(reader.context())}
        assert roles == {"INBOX": StreamRole.RECEIVED, "Sent": StreamRole.SENT}

    async def test_a_single_mail_is_loaded_again_and_one_that_went_is_gone(self, maildir: Path) -> None:
        kept, lost = deliver(maildir, 1), deliver(maildir, 2)
        reader = reader_of(maildir)
        assert len(await reader.run_pass()) == 2
        lost.unlink()
        kept.rename(maildir / "cur" / f"{kept.name}:2,S")
        connector = reader.connector
        assert isinstance(connector, MaildirConnector)
        contents = await connector.fetch(Stream("INBOX"), "", [kept.name, lost.name], reader.context())
        content = contents[kept.name]
        assert isinstance(content, Message)
        assert content.text == "text 1"
        assert isinstance(contents[lost.name], Gone)

    async def test_loading_one_by_one_looks_through_an_unchanged_folder_once(
        self, maildir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(5):
            deliver(maildir, number)
        for part in ("new", "cur"):
            os.utime(maildir / part, (time.time() - 60, time.time() - 60))
        scans: list[float] = []
        scan = MaildirFolder.scan

        def counted(self: MaildirFolder, now: float, settle_seconds: float) -> Scan:
            scans.append(now)
            return scan(self, now, settle_seconds)

        monkeypatch.setattr(MaildirFolder, "scan", counted)
        reader = reader_of(maildir)
        connector = reader.connector
        assert isinstance(connector, MaildirConnector)
        for number in range(5):
            assert isinstance(
                (await connector.fetch(Stream("INBOX"), "", [f"mail{number}"], reader.context()))[f"mail{number}"],
                Message,
            )
        assert len(scans) == 1

    async def test_an_unchanged_folder_is_not_even_listed(self, maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        deliver(maildir, 1)
        long_ago = time.time() - 100
        for name in ("new", "cur"):
            os.utime(maildir / name, (long_ago, long_ago))
        reader = reader_of(maildir)
        await reader.run_pass()
        monkeypatch.setattr("connectors.maildir.files.MaildirFolder.scan", fail)
        assert await reader.run_pass() == []

    async def test_a_mail_delivered_in_the_same_instant_as_the_look_is_not_missed(self, maildir: Path) -> None:
        reader = reader_of(maildir)
        for number in range(20):
            deliver(maildir, number)
            assert texts(await reader.run_pass()) == [f"text {number}"]

    async def test_names_that_are_no_unicode_are_ids_all_the_same(self, maildir: Path) -> None:
        deliver(maildir, 1, name=os.fsdecode(b"m\xe4il"))
        (arrived,) = await reader_of(maildir).run_pass()
        assert arrived.found.external_id == "m\\xe4il"
        arrived.found.external_id.encode()

    async def test_one_bad_mail_costs_one_mail(self, maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(3):
            deliver(maildir, number)
        original = Path.open

        def refuse(path: Path, *arguments: object, **named: object) -> object:
            if path.name == "mail1":
                raise PermissionError(13, "Permission denied")
            return original(path, *arguments, **named)  # type: ignore[call-overload]

        monkeypatch.setattr(Path, "open", refuse)
        reader = reader_of(maildir)
        assert sorted(texts(await reader.run_pass())) == ["text 0", "text 2"]
        assert reader.log.names() == ["maildir.file_unreadable"]
        findings = await reader.connector.check(reader.context())
        assert [finding.code for finding in findings if finding.severity is Severity.ERROR] == [
            "maildir.file_unreadable"
        ]
        assert await reader.run_pass() == []
        assert reader.log.names() == ["maildir.file_unreadable"], "said once"
        monkeypatch.undo()
        assert texts(await reader.run_pass()) == ["text 1"], "and tried again until it can be read"

    async def test_a_pipe_in_the_folder_does_not_block(self, maildir: Path) -> None:
        os.mkfifo(maildir / "new" / "pipe")
        deliver(maildir, 1)
        assert texts(await reader_of(maildir).run_pass()) == ["text 1"]

    async def test_a_mail_over_the_limit_comes_as_its_beginning_with_a_note(self, maildir: Path) -> None:
        deliver(maildir, 1, raw=mail(1, "the start " + "x" * 100_000))
        (arrived,) = await reader_of(maildir, max_message_bytes=10_000).run_pass()
        assert isinstance(arrived.content, Message)
        assert arrived.text.startswith("the start xxx")
        assert len(arrived.text) <= 10_000
        assert arrived.content.notes

    async def test_large_mails_make_small_batches(self, maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("connectors.maildir.connector.BATCH_BYTES", 2500)
        for number in range(6):
            deliver(maildir, number, raw=mail(number, "x" * 1000))
        reader = reader_of(maildir)
        assert len(await reader.run_pass()) == 6
        assert [len(batch.found) for _stream, batch in reader.batches] == [3, 3]


def fail(*_arguments: object) -> None:
    pytest.fail("this was not to be called")


class TestMbox:
    def write(self, path: Path, *mails: bytes, start: datetime = NOW) -> None:
        with path.open("ab") as file:
            for number, raw in enumerate(mails):
                at = start + timedelta(minutes=number)
                file.write(f"From c@example.net {at:%a %b %d %H:%M:%S %Y}\n".encode() + raw + b"\n")

    async def test_mails_come_with_the_time_of_their_from_line(self, tmp_path: Path) -> None:
        path = tmp_path / "mail.mbox"
        self.write(path, mail(1), mail(2))
        arrived = await reader_of(path).run_pass()
        assert [(one.text, one.found.arrived_at) for one in arrived] == [
            ("text 1", NOW),
            ("text 2", NOW + timedelta(minutes=1)),
        ]

    async def test_quoted_from_lines_are_restored_and_unquoted_ones_do_not_split(self, tmp_path: Path) -> None:
        path = tmp_path / "mail.mbox"
        self.write(path, mail(1, "one\n\n>From now on\n>>From twice\n\nFrom here it is free text\nend"))
        (arrived,) = await reader_of(path).run_pass()
        assert arrived.text == "one\n\nFrom now on\n>From twice\n\nFrom here it is free text\nend"

    async def test_ids_survive_what_mail_programs_write_into_headers(self, tmp_path: Path) -> None:
        path = tmp_path / "mail.mbox"
        self.write(path, mail(1), mail(2))
        reader = reader_of(path)
        await reader.run_pass()
        touched = path.read_bytes().replace(b"Subject:", b"Status: RO\r\nX-Keywords: a\r\n b\r\nSubject:")
        path.write_bytes(touched)
        assert await reader.run_pass() == []

    async def test_twins_are_two_and_removing_another_mail_moves_no_id(self, tmp_path: Path) -> None:
        path = tmp_path / "mail.mbox"
        self.write(path, mail(1), mail(2), mail(2))
        reader = reader_of(path)
        assert texts(await reader.run_pass()) == ["text 1", "text 2", "text 2"]
        path.unlink()
        self.write(path, mail(2), mail(2))
        assert await reader.run_pass() == []
        self.write(path, mail(2))
        assert texts(await reader.run_pass()) == ["text 2"]

    async def test_the_last_mail_of_a_file_that_is_being_written_waits(self, tmp_path: Path) -> None:
        path = tmp_path / "mail.mbox"
        self.write(path, mail(1), mail(2))
        reader = reader_of(path, settle_seconds=30)
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        reader.now = modified + timedelta(seconds=1)
        assert texts(await reader.run_pass()) == ["text 1"]
        assert reader.batches[-1][1].complete_until == NOW + timedelta(minutes=1)
        reader.now = modified + timedelta(seconds=31)
        assert texts(await reader.run_pass()) == ["text 2"]

    async def test_a_folder_of_mboxes_has_a_stream_each(self, tmp_path: Path) -> None:
        self.write(tmp_path / "inbox.mbox", mail(1))
        self.write(tmp_path / "Sent.mbox", mail(2))
        (tmp_path / "notes.txt").write_text("no mail")
        reader = reader_of(tmp_path)
        assert [(one.stream.key, one.stream.role) for one in await reader.run_pass()] == [
            ("Sent.mbox", StreamRole.SENT),
            ("inbox.mbox", StreamRole.RECEIVED),
        ]

    @pytest.mark.parametrize(
        ("line", "when"),
        [
            (b"From a@b.example Fri Nov 20 12:00:00 2026", NOW),
            (b"From a@b.example  Fri Nov 20 12:00:00 2026", NOW),
            (b"From - Fri Nov 20 12:00:00 2026", NOW),
            (b"From a@b.example Fri Nov 20 14:00:00 2026 +0200", NOW),
            (b"From a@b.example Fri Nov 20 12:00:00 UTC 2026", NOW),
            (b"From a@b.example Fri Nov 20 12:00 2026", NOW),
            (b'From "a b"@c.example Fri Nov 20 12:00:00 2026', NOW),
            (b"From here on it is text", None),
            (b"From a@b.example Fri Foo 20 12:00:00 2026", None),
        ],
    )
    def test_from_lines_of_every_habit_are_read(self, line: bytes, when: datetime | None) -> None:
        assert from_line_time(line + b"\n") == (when.timestamp() if when else None)


class TestEml:
    async def test_a_file_may_be_renamed_and_moved(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        path = tmp_path / "a.eml"
        path.write_bytes(mail(1))
        reader = reader_of(tmp_path)
        assert texts(await reader.run_pass()) == ["text 1"]
        path.rename(tmp_path / "sub" / "b.EML")
        assert await reader.run_pass() == []

    async def test_a_file_that_is_being_written_waits_for_the_next_pass(self, tmp_path: Path) -> None:
        path = tmp_path / "a.eml"
        path.write_bytes(mail(1)[:40])
        reader = reader_of(tmp_path, settle_seconds=10)
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        reader.now = modified + timedelta(seconds=1)
        assert await reader.run_pass() == []
        path.write_bytes(mail(1))
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        reader.now = modified + timedelta(seconds=11)
        assert texts(await reader.run_pass()) == ["text 1"]

    async def test_a_clock_behind_the_files_holds_nothing_back(self, tmp_path: Path) -> None:
        (tmp_path / "a.eml").write_bytes(mail(1))
        reader = reader_of(tmp_path, settle_seconds=10)
        reader.now = datetime.now(UTC) - timedelta(days=1)
        assert texts(await reader.run_pass()) == ["text 1"]

    async def test_known_files_are_not_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a.eml").write_bytes(mail(1))
        reader = reader_of(tmp_path)
        await reader.run_pass()
        monkeypatch.setattr(Path, "open", fail)
        assert await reader.run_pass() == []

    async def test_an_export_is_ordered_by_when_the_mails_were_written(self, tmp_path: Path) -> None:
        for number, hours in ((1, 3), (2, 1), (3, 2)):
            (tmp_path / f"{number}.eml").write_bytes(mail(number, date=NOW - timedelta(hours=hours)))
        assert texts(await reader_of(tmp_path).run_pass()) == ["text 1", "text 3", "text 2"]

    async def test_a_sent_folder_below_is_a_stream_of_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "sent").mkdir()
        (tmp_path / "a.eml").write_bytes(mail(1))
        (tmp_path / "sent" / "b.eml").write_bytes(mail(2))
        arrived = await reader_of(tmp_path).run_pass()
        assert [(one.stream, one.text) for one in arrived] == [
            (Stream("INBOX"), "text 1"),
            (Stream("sent", StreamRole.SENT), "text 2"),
        ]

    async def test_a_single_file_is_a_mailbox_of_one(self, tmp_path: Path) -> None:
        (tmp_path / "a.eml").write_bytes(mail(1))
        (tmp_path / "b.eml").write_bytes(mail(2))
        assert texts(await reader_of(tmp_path / "a.eml").run_pass()) == ["text 1"]


def no_mbox(path: Path) -> None:
    path.write_text("Dear diary")


class TestPlaces:
    @pytest.mark.parametrize(
        ("make", "mail_format", "code"),
        [
            (lambda _path: None, "auto", "maildir.missing"),
            (no_mbox, "auto", "maildir.no_mbox"),
            (no_mbox, "mbox", "maildir.no_mbox"),
            (Path.mkdir, "maildir", "maildir.no_maildir"),
        ],
    )
    async def test_a_path_that_is_no_mail_is_named_with_the_next_step(
        self, tmp_path: Path, make: Callable[[Path], object], mail_format: str, code: str
    ) -> None:
        make(tmp_path / "place")
        reader = reader_of(tmp_path / "place", format=mail_format)
        with pytest.raises(ConfigError) as caught:
            await reader.run_pass()
        assert (caught.value.code, bool(caught.value.next_step)) == (code, True)
        (finding,) = await reader.connector.check(reader.context())
        assert (finding.severity, finding.code) == (Severity.ERROR, code)

    async def test_a_missing_folder_names_its_neighbours(self, maildir: Path) -> None:
        mailbox.Maildir(maildir / ".Support", create=True).close()
        deliver(maildir, 1)
        reader = reader_of(maildir, folders=["Suport", "INBOX"])
        inbox, missing = await reader.connector.streams(reader.context())
        assert texts(await reader.poll(inbox)) == ["text 1"]
        with pytest.raises(ConfigError) as caught:
            await reader.poll(missing)
        assert caught.value.code == "maildir.folder_missing"
        assert '"Support"' in caught.value.next_step

    async def test_an_empty_folder_is_no_fault(self, tmp_path: Path) -> None:
        reader = reader_of(tmp_path)
        assert await reader.run_pass() == []
        findings = await reader.connector.check(reader.context())
        assert all(finding.severity is Severity.OK for finding in findings)

    def test_folders_outside_the_path_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValidationError, match="must lie below path"):
            reader_of(tmp_path, folders=["../other"])
