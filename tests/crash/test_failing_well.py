"""What goes wrong costs what it concerns and nothing else: one message, one lane, one source, one inbox."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typing_extensions import TypedDict

from sync.clock import SystemClock
from sync.config import load
from sync.errors import InboxSyncError
from sync.ledger import MessageFilter
from sync.mail import parse
from sync.onepass import OnePass
from sync.runtime import InboxSide, Runtime
from sync.states import DeliveryState, MessageState, Reason
from tests.crash.pipeline import ADA, BOB, OWN, SECOND, Pipeline

MakePipeline = Callable[..., Pipeline]
HANG = b"HANG"
BOT = "bot@example.com"
DEAD, SENT = DeliveryState.DEAD, DeliveryState.SENT


@pytest.fixture
def make_pipeline(tmp_path: Path) -> MakePipeline:
    return lambda **more: Pipeline(tmp_path, f"sqlite:///{tmp_path}/ledger.db", **more)


def tokens(site: Pipeline, email: str = ADA) -> list[str]:
    return re.findall(r"T[0-9]+", " ".join(site.bodies(email)))


# ------------------------------------------------------------------ a bad message


@pytest.mark.parametrize("position", [0, 2, 4])
@pytest.mark.parametrize("poison", ["no header", "reader fails", "reader hangs"])
async def test_l2_poison_anywhere_costs_itself_and_the_others_arrive_in_the_same_pass(
    make_pipeline: MakePipeline, monkeypatch: pytest.MonkeyPatch, poison: str, position: int
) -> None:
    understand = parse._understand

    def fail(raw: bytes, size: int, *, is_cut: bool) -> parse.Understood:
        if HANG in raw:
            while poison == "reader hangs":
                sum(range(100))
            raise RecursionError
        return understand(raw, size, is_cut=is_cut)

    monkeypatch.setattr(parse, "READING_SECONDS", 0.1)
    monkeypatch.setattr(parse, "_understand", fail)
    raw = b"\x00\xff" * 300 if poison == "no header" else b"Subject: no sender\n\n" + HANG
    async with make_pipeline() as site:
        for number in range(5):
            site.put(f"T{number}", raw=raw if number == position else None)
        report = await site.runtime.poll("support")
        assert report is not None
        assert (report.error, report.new, report.deliveries) == (None, 5, 4)
        assert dict(report.dead) == {"unreadable": 1}
        await site.until(lambda: len(tokens(site)) == 4, "the others arrive")
        assert tokens(site) == [f"T{number}" for number in range(5) if number != position]
        [dead] = site.ledger.messages.list(MessageFilter(state=MessageState.DEAD))
        assert dead.raw_kept


async def test_29_a_message_refused_for_ever_holds_its_lane_so_long_and_nobody_else(
    make_pipeline: MakePipeline,
) -> None:
    async with make_pipeline() as site:
        site.sandbox.fault("status", call="messages.send", text="T1 poison", status=400, code="INVALID", times=None)
        began = site.clock.now()
        await site.arrive("T1 poison", "T2")
        await site.arrive("T3", sender=BOB)
        await site.until_state(SENT, 3)
        assert tokens(site) == []
        while (waiting := site.delivery(1)).state is not DEAD:
            if waiting.retry_at is not None:
                await site.pass_time(max(0.0, (waiting.retry_at - site.clock.now()).total_seconds()) + 0.1)
            await asyncio.sleep(0.02)
        assert 600 < (site.clock.now() - began).total_seconds() < 960, "lane_hold_seconds is 900"
        await site.until_state(SENT, 2)
        assert tokens(site) == ["T2"]
        story = site.delivery(1)
        assert story.failures <= 8
        assert story.reason in (Reason.REFUSED, Reason.HELD_TOO_LONG)
        refused = [event for event in site.story(1).events if event.kind == "delivery.refused"]
        assert len(refused) == story.failures - 1


# ------------------------------------------------------------------ a bad source, a bad inbox


async def test_a_source_that_fails_holds_up_no_other(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    async with make_pipeline(source=SECOND) as site:
        site.put("T1")
        for part in ("cur", "new", "tmp"):
            (tmp_path / "second" / part).rmdir()
        (tmp_path / "second").rmdir()
        bad = await site.runtime.poll("second")
        assert bad is not None
        assert bad.error is not None
        good = await site.runtime.poll("support")
        assert good is not None
        assert good.error is None
        await site.until(lambda: tokens(site) == ["T1"], "the other one's mail arrives")


OTHER_INBOX = """
[inbox.other]
site_id = "5a9d0b00-0000-4000-8000-0000000000ff"
api_key = {{ env = "WIX_KEY" }}
base_url = "http://127.0.0.1:9"
own_addresses = ["support@shop.example"]
connect_timeout_seconds = "1s"
"""


async def test_an_inbox_that_fails_holds_up_no_other(make_pipeline: MakePipeline) -> None:
    source = f'{SECOND}inbox = "other"\n{OTHER_INBOX}'
    async with make_pipeline(source=source, first='inbox = "main"') as site:
        site.put("T1", into="second")
        site.put("T2")
        for name in ("second", "support"):
            report = await site.runtime.poll(name)
            assert report is not None
            assert (report.error, report.deliveries) == (None, 1)
        await site.until(lambda: tokens(site) == ["T2"], "the well one gets its mail")
        assert site.ledger.overview.status().deliveries["pending"] == 1


async def test_a_sync_ends_when_the_delivery_side_fails_again_and_again(
    make_pipeline: MakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_self: object, _lease: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sync.runtime.RESTART_SECONDS", 0.05)
    async with make_pipeline() as site:
        site.put("T1")
        await site.runtime.stop(1.0)
        monkeypatch.setattr(InboxSide, "_serve", fail)
        loaded = load(site.config, environ={"WIX_KEY": site.sandbox.api_key})
        site.runtime = runtime = Runtime(loaded, site.ledger, clock=site.clock, holder="another")
        await runtime.start()
        alone = OnePass(
            runtime,
            site.ledger,
            SystemClock(),
            lambda _progress: None,
            poll=runtime.poll_fully,
            is_given_up=lambda: False,
        )
        with pytest.raises(InboxSyncError, match="delivering into main fails again and again: ZeroDivision") as told:
            await asyncio.wait_for(alone.run(["support"], named=False), 20)
        assert told.value.exit_code == 1
        assert told.value.next_step


# ------------------------------------------------------------------ duplicates


@pytest.mark.parametrize(("policy", "copies"), [("once", 1), ("each", 2)])
async def test_d15_one_mail_in_two_mailboxes_goes_by_the_policy_also_after_a_restart(
    make_pipeline: MakePipeline, policy: str, copies: int
) -> None:
    setting = f'duplicates = "{policy}"'
    async with make_pipeline(source=f"{SECOND}{setting}", first=setting) as site:
        for into in ("mail", "second"):
            site.put("T1", into=into, Message_ID="<one@mail.example>", Date="Mon, 02 Nov 2026 10:00:00 +0000")
        for _ in range(2):
            for name in ("support", "second"):
                report = await site.runtime.poll(name)
                assert report is not None
                assert report.error is None
            await site.until(lambda: len(tokens(site)) >= copies, "it arrives")
            await site.breathe()
            assert tokens(site) == ["T1"] * copies
            await site.restart()


async def test_d16_what_was_deleted_in_the_inbox_stays_deleted_when_the_cursor_is_lost(
    make_pipeline: MakePipeline, tmp_path: Path
) -> None:
    async with make_pipeline() as site:
        await site.arrive("T1", "T2")
        await site.until_all_sent()
        site.sandbox.reset()
        await site.restart()
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as tables, tables:
            tables.execute(
                "UPDATE streams SET cursor = NULL, epoch = NULL, complete_until = NULL, first_loaded_at = NULL"
            )
        for _ in range(2):
            report = await site.runtime.poll("support")
            assert report is not None
            assert (report.error, report.new, report.deliveries) == (None, 0, 0)
        await site.breathe()
        assert site.sandbox.stats()["messages"] == 0


# ------------------------------------------------------------------ loops


async def test_w24_a_responder_without_any_mark_is_stopped_by_the_rate_and_revivable(
    make_pipeline: MakePipeline,
) -> None:
    async with make_pipeline(first="participant_messages_per_hour = 5") as site:
        await site.arrive("T0", sender=BOB)  # the first look is not counted
        for number in range(1, 9):  # each delivery makes the program answer once more
            site.put(f"T{number}", BOT)
            report = await site.runtime.poll("support")
            assert report is not None
            await site.breathe()
        assert tokens(site, BOT) == [f"T{number}" for number in range(1, 6)]
        await site.arrive("T10", sender=BOB)
        await site.until(lambda: tokens(site, BOB) == ["T0", "T10"], "others are not concerned")
        held = site.ledger.messages.list(MessageFilter(reason="rate_limited"))
        assert len(held) == 3
        await site.pass_time(3600)
        await site.arrive("T11", sender=BOT)
        await site.until(lambda: tokens(site, BOT)[-1] == "T11", "the next hour begins anew")
        site.ledger.messages.retry(MessageFilter(reason="rate_limited"), site.clock.now())
        site.runtime.sides["main"].wake()
        await site.until(lambda: len(tokens(site, BOT)) == 9, "an operator sends what was held")


async def test_w24_own_output_back_through_a_second_mailbox_is_stopped(make_pipeline: MakePipeline) -> None:
    """By its mark, by its sender; and what has neither, by the rate, counted over both mailboxes."""
    limit = "participant_messages_per_hour = 3"
    async with make_pipeline(source=SECOND + limit, first=limit) as site:
        for into, name in (("mail", "support"), ("second", "second")):
            site.put("T0", BOB, into=into)
            await site.runtime.poll(name)
        site.put("T1", BOT, into="second", X_Inbox_Sync="1")
        site.put("T2", OWN, into="second")
        report = await site.runtime.poll("second")
        assert report is not None
        assert dict(report.skipped) == {"loop": 1, "own_address": 1}
        for number in range(3, 9):
            into, name = (("mail", "support"), ("second", "second"))[number % 2]
            site.put(f"T{number}", BOT, into=into)
            await site.runtime.poll(name)
            await site.breathe()
        assert len(tokens(site, BOT)) == 3


# ------------------------------------------------------------------ the wrong conversation

KNOWN = "<order@mail.example>"


class Headers(TypedDict, total=False):
    References: str
    In_Reply_To: str
    Message_ID: str
    Reply_To: str
    Sender: str
    Return_Path: str
    Subject: str
    From: str


FORGED: dict[str, Headers] = {
    "References": {"References": KNOWN},
    "In-Reply-To": {"In_Reply_To": KNOWN},
    "Message-ID": {"Message_ID": KNOWN},
    "Reply-To": {"Reply_To": ADA},
    "Sender": {"Sender": ADA, "Return_Path": f"<{ADA}>"},
    "subject and name": {"Subject": "Re: Order 7", "From": f'"{ADA}" <{BOT}>'},
}


@pytest.mark.parametrize("trick", FORGED)
async def test_w25_a_forged_reference_leads_into_the_forgers_own_conversation(
    make_pipeline: MakePipeline, trick: str
) -> None:
    async with make_pipeline() as site:
        site.put("T1", ADA, Message_ID=KNOWN, Subject="Order 7")
        site.put("T2", BOT, **FORGED[trick])
        report = await site.runtime.poll("support")
        assert report is not None
        assert report.deliveries == 2
        await site.until_all_sent()
        assert (tokens(site, ADA), tokens(site, BOT)) == (["T1"], ["T2"])
