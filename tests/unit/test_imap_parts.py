"""The pure parts of the `imap` connector: names, UIDs, cursors, answers, folders, settings, errors."""

from __future__ import annotations

import imaplib
import socket
import ssl
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from connectors.imap.answers import (
    Part,
    read_esearch,
    read_fetch,
    read_internaldate,
    read_list,
    read_search,
    read_status,
    search_date,
)
from connectors.imap.bookmark import DOUBT_PASSES, Bookmark, Look, Verdict, doubting, judge, turn_after
from connectors.imap.config import ImapConfig
from connectors.imap.faults import Stage, translate
from connectors.imap.folders import Folder, find_folder, near_names
from connectors.imap.uids import UidRanges, uid_set
from connectors.imap.utf7 import decode_folder_name, encode_folder_name
from connectors.imap.wire import Refused
from connectors.pop3.config import Pop3Config
from connectors.pop3.faults import Stage as Pop3Stage
from connectors.pop3.faults import translate as translate_pop3
from sync.errors import AuthError, ConfigError, InboxSyncError, TemporaryError
from sync.examine import CHECK_SECONDS
from sync.kit.tls import Tls

PASSWORD = "s3cret-word"
CONFIG = ImapConfig.model_validate(
    {"host": "imap.example.com", "username": "support@example.com", "password": PASSWORD}
)


class TestFolderNamesOnTheWire:
    @pytest.mark.parametrize(
        ("name", "wire"),
        [
            ("INBOX", b"INBOX"),
            ("Entwürfe", b"Entw&APw-rfe"),
            ("Tom & Jerry", b"Tom &- Jerry"),
            ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501's own example
            ("🎉", b"&2DzfiQ-"),
            ("", b""),
        ],
    )
    def test_a_name_travels_both_ways(self, name: str, wire: bytes) -> None:
        assert encode_folder_name(name) == wire
        assert decode_folder_name(wire) == name

    @given(st.text())
    def test_every_name_survives(self, name: str) -> None:
        assert decode_folder_name(encode_folder_name(name)) == name

    @given(st.binary())
    def test_no_name_is_too_broken_to_be_shown(self, wire: bytes) -> None:
        decode_folder_name(wire)

    def test_a_broken_shift_stays_as_it_is(self) -> None:
        assert decode_folder_name(b"A & B") == "A & B"
        assert decode_folder_name(b"A &x- B") == "A &x- B"
        assert decode_folder_name("Gelöscht".encode()) == "Gelöscht"


class TestUids:
    @given(st.sets(st.integers(1, 2000)))
    def test_a_set_is_the_same_however_it_is_written(self, uids: set[int]) -> None:
        ranges = UidRanges(sorted(uids))
        assert list(ranges) == sorted(uids)
        assert len(ranges) == len(uids)
        assert [uid for piece in ranges.slices(7) for uid in piece] == sorted(uids)
        assert list(UidRanges(uids)) == sorted(uids)
        read_back = read_esearch([b'(TAG "A") UID ALL ' + str(ranges).encode()]) if uids else UidRanges()
        assert read_back is not None
        assert list(read_back) == sorted(uids)

    @given(st.sets(st.integers(1, 200)), st.integers(1, 200), st.integers(1, 200))
    def test_a_part_of_it_lies_between_two_uids(self, uids: set[int], one: int, other: int) -> None:
        low, high = sorted((one, other))
        assert list(UidRanges(uids).within(low, high)) == sorted(uid for uid in uids if low <= uid <= high)

    def test_neighbours_become_one_range(self) -> None:
        assert uid_set([3, 4, 5, 9]) == "3:5,9"

    def test_half_a_million_in_a_row_take_one_range(self) -> None:
        assert str(UidRanges.of_ranges([(1, 500_000)])) == "1:500000"


class TestBookmark:
    def test_it_survives_json(self) -> None:
        mark = doubting(Bookmark(uidvalidity=7, next=44, uidnext=44, messages=3, first=True), Look(5))
        assert Bookmark.read(mark.write()) == mark

    @pytest.mark.parametrize("cursor", [None, 1, "x", [], {}, {"v": 2, "uidvalidity": 1}, {"v": 1, "uidvalidity": "1"}])
    def test_what_it_did_not_write_is_first_sight(self, cursor: None) -> None:
        assert Bookmark.read(cursor) is None

    @pytest.mark.parametrize("field", ["next", "uidvalidity"])
    def test_impossible_numbers_are_first_sight(self, field: str) -> None:
        assert Bookmark.read({"v": 1, "uidvalidity": 1, "next": 1, field: -1}) is None
        assert Bookmark.read({"v": 1, "uidvalidity": 1, "next": 2**32 + 2}) is None


class TestJudge:
    mark = Bookmark(uidvalidity=100, next=51, uidnext=51, messages=50)

    def test_without_a_bookmark_it_is_first_sight(self) -> None:
        assert judge(None, Look(100, 51, 50)) is Verdict.FIRST

    def test_the_same_numbers_mean_nothing_new(self) -> None:
        assert judge(self.mark, Look(100, 51, 50)) is Verdict.NOTHING_NEW

    @pytest.mark.parametrize("look", [Look(100, 52, 51), Look(100, None, 50), Look(100, 51, 49), Look(100, 51, 51)])
    def test_any_other_number_is_worth_a_look(self, look: Look) -> None:
        assert judge(self.mark, look) is Verdict.GO_ON

    def test_an_unfinished_first_look_goes_on_whatever_the_numbers_say(self) -> None:
        assert judge(self.mark.model_copy(update={"first": True}), Look(100, 51, 50)) is Verdict.GO_ON

    def test_a_higher_numbering_is_believed_at_once(self) -> None:
        assert judge(self.mark, Look(101, 1, 0)) is Verdict.FIRST

    @pytest.mark.parametrize("lower", [99, 0])
    def test_a_lower_numbering_is_a_glitch_for_two_passes(self, lower: int) -> None:
        mark, look = self.mark, Look(lower, 1, 0)
        for _pass in range(DOUBT_PASSES):
            assert judge(mark, look) is Verdict.DOUBTFUL
            mark = doubting(mark, look)
        assert judge(mark, look) is Verdict.FIRST

    def test_another_lower_numbering_is_doubted_anew(self) -> None:
        mark = doubting(doubting(self.mark, Look(99)), Look(99))
        assert judge(mark, Look(98)) is Verdict.DOUBTFUL

    def test_a_bookmark_beyond_the_end_is_a_glitch_for_two_passes_and_then_another_turn(self) -> None:
        mark, look = Bookmark(uidvalidity=100, next=9000, turn=1), Look(100, 51, 50)
        for _pass in range(DOUBT_PASSES):
            assert judge(mark, look, top=50) is Verdict.DOUBTFUL
            mark = doubting(mark, look)
        assert judge(mark, look, top=50) is Verdict.FIRST
        assert turn_after(mark, look, Verdict.FIRST) == 2
        assert turn_after(mark, look, Verdict.GO_ON) == 1
        assert turn_after(mark, Look(101, 51, 50), Verdict.FIRST) == 0

    def test_a_uidnext_that_lags_behind_proves_nothing(self) -> None:
        assert judge(self.mark, Look(100, 7, 50), top=50) is Verdict.GO_ON

    def test_removing_the_newest_mail_is_no_new_numbering(self) -> None:
        assert judge(self.mark, Look(100, 51, 49), top=49) is Verdict.GO_ON


class TestAnswers:
    def test_literals_quoted_strings_and_nil_are_all_content(self) -> None:
        parts: list[Part] = [
            (b'1 (UID 5 RFC822.SIZE 99 INTERNALDATE "17-Jul-1996 02:44:25 -0700" BODY[] {5}', b"hello"),
            b")",
            b'2 (BODY[] "say \\"hi\\"" UID 6)',
            b"3 (UID 7 BODY[HEADER.FIELDS (SUBJECT)]<0> NIL)",
            (b"4 (RFC822 {2}", b"ok"),
            b" UID 8)",
        ]
        five, six, seven, eight = read_fetch(parts)
        assert (five.uid, five.size, five.whole()) == (5, 99, b"hello")
        assert five.arrived_at == datetime(1996, 7, 17, 9, 44, 25, tzinfo=UTC)
        assert six.whole() == b'say "hi"'
        assert (seven.header(), seven.whole()) == (b"", None)
        assert (eight.uid, eight.whole()) == (8, b"ok")

    def test_flags_that_nobody_asked_for_are_passed_over(self) -> None:
        assert list(read_fetch([b"1 (FLAGS (\\Seen))", None, b"2 (FLAGS () UID 0)"])) == []

    def test_content_cannot_pose_as_an_answer(self) -> None:
        (only,) = read_fetch([(b"1 (UID 5 BODY[] {20}", b"UID 99 RFC822.SIZE 1"), b")"])
        (quoted,) = read_fetch([b'1 (BODY[] "UID 99 RFC822.SIZE 1" UID 5)'])
        assert (only.uid, only.size) == (quoted.uid, quoted.size) == (5, None)

    @pytest.mark.parametrize("text", ["", "yesterday", "99-Jul-1996 02:44:25 +0000", "01-Foo-2020 00:00:00 +0000"])
    def test_a_date_that_is_none_is_none(self, text: str) -> None:
        assert read_internaldate(text) is None

    def test_a_date_may_have_a_leading_space_or_no_zone(self) -> None:
        assert read_internaldate(" 1-Feb-2026 23:59:60 +0000") == datetime(2026, 2, 1, 23, 59, 59, tzinfo=UTC)
        assert read_internaldate("01-Feb-2026 10:00:00") == datetime(2026, 2, 1, 10, 0, tzinfo=UTC)

    def test_search_dates_know_no_locale(self) -> None:
        assert search_date(date(2026, 3, 1)) == "1-Mar-2026"

    def test_search_answers_come_in_several_lines_and_with_modseq(self) -> None:
        assert list(read_search([b"1 2 3", None, b"", b"9 7 (MODSEQ 917162500)"])) == [1, 2, 3, 7, 9]

    def test_an_esearch_without_all_is_empty_and_no_esearch_is_none(self) -> None:
        assert list(read_esearch([b'(TAG "A9") UID']) or [-1]) == [-1]
        assert not read_esearch([b'(TAG "A9") UID'])
        assert read_esearch([None]) is None

    def test_status_numbers_are_found_behind_any_name(self) -> None:
        assert read_status([b'"a (b) 7" (MESSAGES 3 UIDNEXT 4)']) == {"MESSAGES": 3, "UIDNEXT": 4}
        assert read_status([(b"{5}", b"a (b)"), b" (UIDVALIDITY 9)"]) == {"UIDVALIDITY": 9}
        assert read_status([None]) == {}

    def test_folders_come_as_atoms_quoted_and_as_literals(self) -> None:
        parts: list[Part] = [
            b'(\\HasNoChildren \\Sent) "/" Sent',
            b'() "." "INBOX.Entw&APw-rfe"',
            (b"(\\Noselect) NIL {7}", b'we"ird '),
            b"",
            b'() "\\\\" "back\\\\slash"',
            b'() "/" inbox',
            b"nonsense",
        ]
        sent, drafts, weird, slash, inbox = read_list(parts)
        assert (sent.name, sent.has_use("\\Sent"), sent.delimiter) == ("Sent", True, "/")
        assert (drafts.name, drafts.wire) == ("INBOX.Entwürfe", b"INBOX.Entw&APw-rfe")
        assert (weird.name, weird.wire, weird.can_be_opened, weird.delimiter) == ('we"ird ', b'we"ird ', False, "")
        assert (slash.name, slash.delimiter) == ("back\\slash", "\\")
        assert (inbox.name, inbox.wire) == ("INBOX", b"inbox")

    @given(st.lists(st.one_of(st.binary(), st.tuples(st.binary(), st.binary()), st.none())))
    def test_nothing_a_server_says_raises(self, parts: list[Part]) -> None:
        list(read_fetch(parts))
        list(read_list(parts))
        read_status(parts)


def folders(*names: str, delimiter: str = "/") -> list[Folder]:
    return [Folder(name, encode_folder_name(name), delimiter) for name in names]


class TestFolders:
    def found(self, name: str, there: list[Folder]) -> str | None:
        folder = find_folder(name, there)
        return folder.name if folder else None

    def test_what_the_server_says_goes_before_names(self) -> None:
        there = [*folders("Sent"), Folder("Postausgang", b"Postausgang", "/", frozenset({"\\sent"}))]
        assert self.found("\\Sent", there) == "Postausgang"
        assert self.found("\\sent", there) == "Postausgang"

    @pytest.mark.parametrize(
        "name",
        ["Gesendete Elemente", "Éléments envoyés", "Отправленные", "送信済み", "INBOX/Sent", "[Gmail]/Sent Mail"],
    )
    def test_without_special_uses_common_names_do(self, name: str) -> None:
        assert self.found("\\Sent", folders("INBOX", name)) == name

    def test_a_sent_folder_deep_in_an_archive_is_none(self) -> None:
        assert self.found("\\Sent", folders("INBOX", "Archive/2019/Sent")) is None

    def test_xlist_has_other_words(self) -> None:
        assert self.found("\\Junk", [Folder("Müll", b"x", "/", frozenset({"\\spam"}))]) == "Müll"

    def test_inbox_is_inbox_in_any_case(self) -> None:
        assert self.found("Inbox", folders("INBOX")) == "INBOX"

    @pytest.mark.parametrize("written", ["Clients/Wix", "Clients.Wix", "INBOX.Clients.Wix"])
    def test_delimiters_and_the_namespace_are_the_servers_business(self, written: str) -> None:
        assert self.found(written, folders("INBOX", "INBOX.Clients.Wix", delimiter=".")) == "INBOX.Clients.Wix"

    def test_composed_and_decomposed_names_are_the_same(self) -> None:
        assert self.found("Entwu\u0308rfe", folders("Entwürfe")) == "Entwürfe"

    def test_a_folder_that_cannot_be_opened_is_none(self) -> None:
        assert self.found("Public", [Folder("Public", b"Public", "/", frozenset({"\\noselect"}))]) is None

    def test_near_names_help_with_a_slip(self) -> None:
        there = folders("INBOX", "Support/Open", "Support/Closed", "Trash")
        assert near_names("Suport/Open", there)[0] == "Support/Open"
        assert "Support/Closed" in near_names("closed", there)
        assert near_names("zzz", there) == ["INBOX", "Support/Open", "Support/Closed", "Trash"]


class TestSettings:
    def config(self, **more: object) -> ImapConfig:
        return ImapConfig.model_validate({"host": "h.example", "username": "u", "password": PASSWORD, **more})

    def test_the_port_follows_the_kind_of_tls(self) -> None:
        assert self.config().effective_port == 993
        assert self.config(tls="starttls").effective_port == 143
        assert self.config(port=1143).effective_port == 1143

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
    def test_no_tls_is_fine_on_this_machine(self, host: str) -> None:
        assert self.config(host=host, tls="none").tls is Tls.NONE

    def test_no_tls_to_another_machine_must_be_meant(self) -> None:
        with pytest.raises(ValidationError, match="allow_plaintext"):
            self.config(tls="none")
        assert self.config(tls="none", allow_plaintext=True).allow_plaintext

    @pytest.mark.parametrize(
        "wrong",
        [{"password": "a\nb"}, {"password": ""}, {"username": "a\r\nb"}, {"folders": ["a\nb"]}, {"folders": [" "]}],
    )
    def test_line_breaks_cannot_smuggle_commands(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValidationError) as caught:
            self.config(**wrong)
        assert "a\nb" not in str(caught.value) or "password" not in wrong

    def test_the_password_does_not_show(self) -> None:
        assert PASSWORD not in repr(self.config())


class TestFaults:
    @pytest.mark.parametrize(
        ("text", "kind", "code"),
        [
            ("[AUTHENTICATIONFAILED] Authentication failed.", AuthError, "imap.auth_refused"),
            ("LOGIN failed.", AuthError, "imap.auth_refused"),
            ("[ALERT] Application-specific password required", AuthError, "imap.auth_refused"),
            ("[UNAVAILABLE] Temporary authentication failure.", TemporaryError, "imap.unavailable"),
            ("[THROTTLED] slow down", TemporaryError, "imap.throttled"),
            ("[INUSE] mailbox in use", TemporaryError, "imap.throttled"),
            ("[LIMIT] too many", TemporaryError, "imap.throttled"),
            ("[ALERT] Too many simultaneous connections. (Failure)", TemporaryError, "imap.unavailable"),
            ("Account exceeded command or bandwidth limits.", TemporaryError, "imap.unavailable"),
            ("[PRIVACYREQUIRED] TLS first", ConfigError, "imap.tls_required"),
        ],
    )
    def test_a_refused_login_is_sorted_by_who_acts_next(self, text: str, kind: type[InboxSyncError], code: str) -> None:
        error = translate(Refused("LOGIN", "NO", text), CONFIG, Stage.LOGIN)
        assert type(error) is kind
        assert error.code == code
        assert error.next_step

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("[THROTTLED] Request is throttled. Suggested Backoff Time: 299961 milliseconds", 299.961),
            ("[UNAVAILABLE] try again in 5 minutes", 300.0),
            ("[LIMIT] wait 30 seconds", 30.0),
            ("[UNAVAILABLE] Backoff time: 999999999 ms", 3600.0),
            ("[UNAVAILABLE] later", None),
        ],
    )
    def test_a_wish_to_be_left_alone_is_heard(self, text: str, seconds: float | None) -> None:
        error = translate(Refused("LOGIN", "NO", text), CONFIG, Stage.LOGIN)
        assert isinstance(error, TemporaryError)
        assert error.retry_after_seconds == seconds

    @pytest.mark.parametrize(
        ("error", "kind", "code"),
        [
            (socket.gaierror(-2, "Name or service not known"), TemporaryError, "imap.host_unknown"),
            (ConnectionRefusedError(), TemporaryError, "imap.refused"),
            (TimeoutError("timed out"), TemporaryError, "imap.timeout"),
            (ConnectionResetError(), TemporaryError, "imap.connection_lost"),
            (OSError(101, "Network is unreachable"), TemporaryError, "imap.unreachable"),
            (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), TemporaryError, "imap.connection_lost"),
            (imaplib.IMAP4.abort("socket error: EOF"), TemporaryError, "imap.connection_lost"),
            (imaplib.IMAP4.abort("[UNAVAILABLE] Too many connections"), TemporaryError, "imap.throttled"),
            (imaplib.IMAP4.error("not compliant"), TemporaryError, "imap.not_imap"),
            (UnicodeError("label too long"), TemporaryError, "imap.host_unknown"),
            (ValueError("surprise"), TemporaryError, "imap.unreachable"),
        ],
    )
    def test_the_networks_failures_have_names(self, error: Exception, kind: type[InboxSyncError], code: str) -> None:
        meaning = translate(error, CONFIG, Stage.CONNECT)
        assert (type(meaning), meaning.code) == (kind, code)

    @pytest.mark.parametrize(("tls", "is_told"), [("starttls", True), ("none", True), ("implicit", False)])
    def test_a_silent_server_may_wait_for_tls_and_check_waits_long_enough_to_say_so(
        self, tls: str, is_told: bool
    ) -> None:
        config = CONFIG.model_copy(update={"tls": Tls(tls)})
        pop3 = Pop3Config(host="127.0.0.1", username="u", password=SecretStr(PASSWORD), tls=Tls(tls))
        error = TimeoutError("timed out")
        for meaning in (translate(error, config, Stage.CONNECT), translate_pop3(error, pop3, Pop3Stage.CONNECT)):
            assert ("waits for TLS" in meaning.next_step) is is_told
        assert max(config.read_timeout_seconds, pop3.read_timeout_seconds) < CHECK_SECONDS

    def test_a_server_that_echoes_the_password_does_not_leak_it(self) -> None:
        said = f"[AUTHENTICATIONFAILED] support@example.com/{PASSWORD} is wrong\x1b[2J" + "x" * 1000
        error = translate(Refused("LOGIN", "NO", said), CONFIG, Stage.LOGIN)
        assert PASSWORD not in str(error)
        assert "support@example.com" not in str(error)
        assert "\x1b" not in str(error)
        assert len(str(error)) < 400

    def test_unknown_errors_never_show_content(self) -> None:
        error = translate(imaplib.IMAP4.abort("unexpected response: b'Dear Sir'"), CONFIG, Stage.COMMAND)
        assert "Dear Sir" not in str(error)
