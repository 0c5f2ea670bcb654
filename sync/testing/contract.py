"""The suite that every connector must pass (pytest and pytest-asyncio).

An author describes the service in a `World` (`sync.testing.world`) and derives a test class from `ConnectorContract`.
Each test says in its name what the daemon relies on. What a service does not have (a password, a host), its world leaves
at None, and the tests about it are skipped.
"""

# ruff: noqa: S101  this is a test suite; it is shipped because connectors live in other packages too

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from sync.connector import LISTED_MAX, Aborts, Connector, Fetches, Lists, Severity, Stream
from sync.errors import AuthError, ConfigError, InboxSyncError, TemporaryError
from sync.message import Json
from sync.testing.reader import Arrived, Reader
from sync.testing.strain import PATIENCE_SECONDS, StrainContract
from sync.testing.strain import texts_of as _texts
from sync.testing.world import BaseWorld, World

__all__ = ["BaseWorld", "ConnectorContract", "World"]

STRANGE_TEXTS = (
    "Grüße aus Köln — “zitiert” … €",
    "שלום עולם",
    "日本語のメッセージ",
    "👩‍👩‍👧 family, 🇩🇪 flag",
    "From here on it looks like an mbox",
    "Zeile eins\n.\nZeile drei",
    "é composed, é decomposed",
    "x" * 5000,
)
"""Texts that some layer of some service has mangled before. Compared by `_folded`: white space may differ."""

STRANGE_CURSORS: tuple[Json, ...] = (
    "not what this connector writes",
    17,
    [],
    {},
    {"v": 999, "next": "tomorrow"},
    {"v": 1},
    {"v": 1, "uidvalidity": "abc", "signature": 5},
)


class ConnectorContract(StrainContract):
    """Derive from it and name the world, or give a fixture `world` where one needs other fixtures:

    class TestDesk(ConnectorContract):
        world_class = DeskWorld
    """

    pytestmark = pytest.mark.asyncio
    world_class: ClassVar[Callable[[], BaseWorld] | None] = None

    @pytest.fixture
    def world(self) -> Iterator[World]:
        """The service under test."""
        made = type(self).world_class
        if made is None:
            raise NotImplementedError("name a `world_class`, or give a fixture `world`")
        with made() as world:
            yield world

    # -- what is found

    async def test_an_empty_account_gives_streams_and_no_message(self, world: World) -> None:
        """First sight of nothing still says up to when that is certain."""
        reader = Reader(world.connector())
        assert await reader.run_pass() == []
        assert reader.batches, "every stream gives at least one batch"
        for stream, batch in reader.batches:
            assert batch.complete_until is not None, f"{stream.key}: the last batch says complete_until"
        await reader.connector.aclose()

    async def test_one_message_arrives_with_its_text(self, world: World) -> None:
        """The simplest thing."""
        world.put("hello from a customer")
        reader = Reader(world.connector())
        assert _texts(await reader.run_pass()) == ["hello from a customer"]
        await reader.connector.aclose()

    async def test_many_messages_arrive_once_each_and_in_order(self, world: World) -> None:
        """Order of arrival within a batch, nothing twice, nothing left out."""
        wanted = [f"message number {number:03d}" for number in range(40)]
        for text in wanted:
            world.put(text)
        reader = Reader(world.connector())
        arrived = await reader.run_pass()
        assert sorted(_texts(arrived)) == wanted
        for _stream, batch in reader.batches:
            times = [found.arrived_at for found in batch.found]
            assert times == sorted(times), "a batch is in ascending order of arrival"
        assert _texts(sorted(arrived, key=lambda one: one.found.arrived_at)) == wanted
        await reader.connector.aclose()

    async def test_equal_messages_are_as_many_messages(self, world: World) -> None:
        """A customer who writes the same line twice has written twice."""
        for _time in range(3):
            world.put("are you there?")
        reader = Reader(world.connector())
        arrived = await reader.run_pass()
        assert _texts(arrived) == ["are you there?"] * 3
        assert len({one.found.external_id for one in arrived}) == 3
        assert await reader.run_pass() == []
        await reader.connector.aclose()

    @pytest.mark.parametrize("text", STRANGE_TEXTS, ids=range(len(STRANGE_TEXTS)))
    async def test_text_in_any_script_arrives_as_it_was_written(self, world: World, text: str) -> None:
        """Nothing replaced, nothing lost."""
        world.put(text)
        reader = Reader(world.connector())
        (arrived,) = await reader.run_pass()
        assert _folded(arrived.text) == _folded(text)
        await reader.connector.aclose()

    async def test_times_are_utc_and_plausible(self, world: World) -> None:
        """Arrival is what conversations are ordered by."""
        before = datetime.now(UTC) - timedelta(minutes=2)
        world.put("what time is it?")
        reader = Reader(world.connector())
        (arrived,) = await reader.run_pass()
        assert arrived.found.arrived_at.utcoffset() == timedelta(0), "arrived_at is aware and UTC"
        assert before <= arrived.found.arrived_at <= datetime.now(UTC) + timedelta(minutes=2)
        await reader.connector.aclose()

    # -- going on from a cursor

    async def test_a_second_pass_brings_nothing_again(self, world: World) -> None:
        """Not even the headers of what is known are worth loading."""
        world.put("once")
        reader = Reader(world.connector())
        await reader.run_pass()
        fetched = len(reader.fetched)
        for _pass in range(3):
            assert await reader.run_pass() == []
        assert len(reader.fetched) == fetched
        await reader.connector.aclose()

    async def test_what_comes_later_is_found_and_nothing_else(self, world: World) -> None:
        """Pass after pass."""
        reader = Reader(world.connector())
        for number in range(4):
            assert _texts(await reader.run_pass()) == ([f"mail {number - 1}"] if number else [])
            world.put(f"mail {number}")
        await reader.connector.aclose()

    async def test_another_process_goes_on_from_the_stored_cursor(self, world: World) -> None:
        """Cursors are JSON, and hold all the connector needs to remember."""
        world.put("before the restart")
        first = Reader(world.connector())
        await first.run_pass()
        await first.connector.aclose()
        world.put("after the restart")
        second = Reader(world.connector(), cursors=dict(first.cursors), seen=first.seen)
        assert _texts(await second.run_pass()) == ["after the restart"]
        await second.connector.aclose()

    async def test_ids_stay_the_same_when_everything_is_read_again(self, world: World) -> None:
        """The ledger knows messages by (stream, epoch, id)."""
        for number in range(5):
            world.put(f"mail {number}")
        places = []
        for _time in range(2):
            reader = Reader(world.connector())
            arrived = await reader.run_pass()
            places.append(sorted((one.stream.key, one.epoch, one.found.external_id, one.text) for one in arrived))
            await reader.connector.aclose()
        assert places[0] == places[1]

    @pytest.mark.parametrize("cursor", STRANGE_CURSORS, ids=range(len(STRANGE_CURSORS)))
    async def test_an_unreadable_cursor_is_first_sight(self, world: World, cursor: Json) -> None:
        """After a downgrade, or with a damaged row, mail may be looked at again but never passed over."""
        world.put("do not lose me")
        reader = Reader(world.connector())
        for stream in await reader.connector.streams(reader.context()):
            reader.cursors[stream.key] = json.dumps(cursor)
        assert _texts(await reader.run_pass()) == ["do not lose me"]
        await reader.connector.aclose()

    async def test_known_messages_are_not_loaded_again_when_the_cursor_is_lost(self, world: World) -> None:
        """`ctx.known` saves the work, not only the rows."""
        world.put("known")
        reader = Reader(world.connector())
        await reader.run_pass()
        world.put("new")
        reader.cursors.clear()
        reader.fetched.clear()
        reader.batches.clear()
        assert _texts(await reader.run_pass()) == ["new"]
        loaded = [found for _stream, batch in reader.batches for found in batch.found if found.content is not None]
        assert len(reader.fetched) + len(loaded) == 1
        await reader.connector.aclose()

    async def test_a_pass_that_dies_after_its_first_batch_is_taken_up_without_loss(self, world: World) -> None:
        """Each batch's cursor is right if it is the last one that was committed."""
        wanted = [f"message number {number:03d}" for number in range(30)]
        for text in wanted:
            world.put(text)
        first = Reader(world.connector())
        arrived: list[Arrived] = []
        for stream in await first.connector.streams(first.context()):
            arrived += await first.poll(stream, most_batches=1)
        await first.connector.aclose()
        second = Reader(world.connector(), cursors=dict(first.cursors), seen=first.seen)
        arrived += await second.run_pass()
        assert sorted(_texts(arrived)) == wanted
        await second.connector.aclose()

    async def test_a_horizon_in_the_past_loses_nothing(self, world: World) -> None:
        """Only what arrived and was written before it may be left out."""
        world.put("after the horizon")
        reader = Reader(world.connector(), since=datetime.now(UTC) - timedelta(days=3))
        assert _texts(await reader.run_pass()) == ["after the horizon"]
        await reader.connector.aclose()

    async def test_what_comes_after_a_start_from_now_is_found(self, world: World) -> None:
        """Whether the connector leaves the old mail out or leaves that to the core, the new one must come."""
        world.put("old")
        reader = Reader(world.connector(), since=datetime.now(UTC) + timedelta(seconds=1))
        before = await reader.run_pass()
        left_out = sum(batch.before_horizon for _stream, batch in reader.batches)
        assert len(before) + left_out == 1
        world.put("new")
        assert _texts(await reader.run_pass()) == ["new"]
        await reader.connector.aclose()

    async def test_complete_until_never_runs_ahead(self, world: World) -> None:
        """It promises that nothing older is still to come: it may be no later than the look itself."""
        world.put("one")
        reader = Reader(world.connector())
        await reader.run_pass()
        after = datetime.now(UTC)
        for _stream, batch in reader.batches:
            assert batch.complete_until is None or batch.complete_until <= after
        await reader.connector.aclose()

    async def test_an_id_that_does_not_exist_raises_nothing(self, world: World) -> None:
        """Messages vanish between list and fetch."""
        world.put("one")
        reader = Reader(world.connector())
        await reader.run_pass()
        connector = reader.connector
        if isinstance(connector, Fetches):
            stream, batch = reader.batches[0]
            answer = await connector.fetch(stream, batch.epoch, ["999999", "no-such-id"], reader.context(stream))
            assert set(answer) <= {"999999", "no-such-id"}
        await connector.aclose()

    # -- listing, where the connector can (`Lists`)

    async def test_a_listing_is_what_a_poll_from_the_start_finds(self, world: World) -> None:
        """Same places, same times, same fingerprints: or an audit would see faults that are none."""
        for number in range(20):
            world.put(f"mail {number}")
        reader = Reader(_lister(world))
        pieces = await reader.list_everything()
        assert pieces, "every stream gives at least one piece"
        assert all(one.content is None for _stream, piece in pieces for one in piece.found), "a listing loads nothing"
        listed = {
            (stream.key, piece.epoch, one.external_id): (one.arrived_at, one.fingerprint)
            for stream, piece in pieces
            for one in piece.found
        }
        await reader.run_pass()
        polled = {
            (stream.key, batch.epoch, one.external_id): (one.arrived_at, one.fingerprint)
            for stream, batch in reader.batches
            for one in batch.found
        }
        assert len(listed) == 20
        assert listed == polled
        await reader.connector.aclose()

    async def test_a_listing_can_be_repeated_and_changes_nothing(self, world: World) -> None:
        """Not at the service, and not in what a pass finds afterwards."""
        for number in range(5):
            world.put(f"mail {number}")
        before = world.state()
        reader = Reader(_lister(world))
        assert await reader.list_everything() == await reader.list_everything()
        assert world.state() == before
        assert len(await reader.run_pass()) == 5
        await reader.connector.aclose()

    async def test_a_listing_comes_in_bounded_pieces_and_nothing_twice(self, world: World) -> None:
        """Two hundred thousand messages must not be in memory at once."""
        for number in range(30):
            world.put(f"mail {number}")
        reader = Reader(_lister(world))
        pieces = await reader.list_everything()
        assert all(len(piece.found) + len(piece.known) <= LISTED_MAX for _stream, piece in pieces)
        ids = [(stream.key, one.external_id) for stream, piece in pieces for one in piece.found]
        assert len(ids) == len(set(ids)) == 30
        await reader.connector.aclose()

    async def test_a_listing_keeps_to_since(self, world: World) -> None:
        """Nothing that arrived before it, everything that arrived at it or later."""
        for number in range(6):
            world.put(f"mail {number}")
        reader = Reader(_lister(world))
        everything = [one for _stream, piece in await reader.list_everything() for one in piece.found]
        middle = sorted(one.arrived_at for one in everything)[3]
        some = [one for _stream, piece in await reader.list_everything(middle) for one in piece.found]
        assert {one.external_id for one in some} == {one.external_id for one in everything if one.arrived_at >= middle}
        tomorrow = datetime.now(UTC) + timedelta(days=3)
        assert not [one for _stream, piece in await reader.list_everything(tomorrow) for one in piece.found]
        await reader.connector.aclose()

    async def test_of_known_messages_a_listing_gives_the_ids_only(self, world: World) -> None:
        """Whatever else would be asked about them is asked for nothing."""
        for number in range(10):
            world.put(f"mail {number}")
        reader = Reader(_lister(world))
        ids = sorted(one.found.external_id for one in await reader.run_pass())
        world.put("new")
        pieces = [piece for _stream, piece in await reader.list_everything()]
        assert sorted(known for piece in pieces for known in piece.known) == ids
        assert len([one for piece in pieces for one in piece.found]) == 1
        await reader.connector.aclose()

    async def test_a_listing_can_be_polled_and_fetched_from_between_its_pieces(self, world: World) -> None:
        """Live mail does not wait until a long listing is through."""
        for number in range(3):
            world.put(f"mail {number}")
        reader = Reader(_lister(world))
        texts: list[str] = []
        connector = reader.connector
        assert isinstance(connector, Lists)
        for stream in await connector.streams(reader.context()):
            async for piece in connector.list(stream, None, reader.context(stream)):
                texts += _texts(await reader.run_pass())
                if isinstance(connector, Fetches) and piece.found:
                    ids = [one.external_id for one in piece.found]
                    contents = await connector.fetch(stream, piece.epoch, ids, reader.context(stream))
                    assert set(contents) == set(ids)
        assert sorted(texts) == ["mail 0", "mail 1", "mail 2"]
        await connector.aclose()

    # -- manners

    async def test_reading_changes_nothing_at_the_service(self, world: World) -> None:
        """No flag, no file, no mark."""
        for number in range(3):
            world.put(f"mail {number}")
        before = world.state()
        reader = Reader(world.connector())
        await reader.run_pass()
        await reader.connector.check(reader.context())
        await reader.connector.aclose()
        assert world.state() == before

    async def test_closing_twice_is_fine_and_it_works_again_afterwards(self, world: World) -> None:
        """The daemon closes a source between long pauses."""
        world.put("still here")
        reader = Reader(world.connector())
        await reader.connector.aclose()
        await reader.run_pass()
        await reader.connector.aclose()
        await reader.connector.aclose()
        world.put("and again")
        assert _texts(await reader.run_pass()) == ["and again"]
        await reader.connector.aclose()

    async def test_an_abort_ends_what_is_running_with_an_error_of_ours(self, world: World) -> None:
        """A pass beyond its deadline has its sockets closed; the next one works."""
        for number in range(20):
            world.put(f"mail {number}")
        connector = world.connector()
        reader = Reader(connector)
        if isinstance(connector, Aborts):
            running = asyncio.ensure_future(reader.run_pass())
            await asyncio.sleep(0)
            connector.abort()
            with contextlib.suppress(InboxSyncError):
                await asyncio.wait_for(running, PATIENCE_SECONDS)
        await reader.run_pass()
        assert sum(len(batch.found) for _stream, batch in reader.batches) >= 20
        await connector.aclose()

    async def test_a_cancelled_pass_leaves_a_working_connector(self, world: World) -> None:
        """Cancelling comes at any await."""
        world.put("patience")
        reader = Reader(world.connector())
        running = asyncio.ensure_future(reader.run_pass())
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await reader.run_pass()
        assert sum(len(batch.found) for _stream, batch in reader.batches) >= 1
        await reader.connector.aclose()

    async def test_streams_are_the_same_every_time(self, world: World) -> None:
        """Their keys are stored; their order is part of the order of delivery."""
        one, other = world.connector(), world.connector()
        reader = Reader(one)
        streams = await one.streams(reader.context())
        assert list(streams) == list(await other.streams(reader.context())) == list(await one.streams(reader.context()))
        assert len({stream.key for stream in streams}) == len(streams)
        await one.aclose()
        await other.aclose()

    async def test_the_account_is_stable_and_says_no_secret(self, world: World) -> None:
        """When it changes, every stream counts as renumbered."""
        account = world.connector().account
        assert account
        assert account == world.connector().account
        _no_secret(world, account)

    # -- faults

    async def test_check_says_that_all_is_well(self, world: World) -> None:
        """With sentences, not codes."""
        connector = world.connector()
        findings = await connector.check(Reader(connector).context())
        assert findings
        assert all(finding.severity is not Severity.ERROR for finding in findings), findings
        assert all(finding.sentence.strip() for finding in findings)
        await connector.aclose()

    async def test_a_wrong_secret_is_the_operators_to_mend(self, world: World) -> None:
        """AuthError parks the source instead of hammering the service."""
        await self._fails_with(world, world.with_wrong_secret(), AuthError)

    async def test_a_wrong_host_says_what_to_do(self, world: World) -> None:
        """It may be down (temporary) or misspelt (configuration)."""
        await self._fails_with(world, world.with_wrong_host(), TemporaryError, ConfigError)

    async def test_a_missing_stream_is_named_and_holds_up_no_other(self, world: World) -> None:
        """Streams that do not exist come last, or not at all, and say so in `check`."""
        connector = world.with_missing_stream()
        if connector is None:
            pytest.skip("this service has no named streams")
        world.put("the others go on")
        reader = Reader(connector)
        texts: list[str] = []
        failures: list[ConfigError] = []
        try:
            for stream in await connector.streams(reader.context()):
                texts += _texts(await self._poll(reader, stream, failures))
        except ConfigError as error:
            failures.append(error)
        assert texts == ["the others go on"]
        assert failures, "the missing stream raises ConfigError"
        assert all(failure.next_step for failure in failures)
        findings = await connector.check(reader.context())
        assert any(finding.severity is Severity.ERROR and finding.next_step for finding in findings)
        await connector.aclose()

    @staticmethod
    async def _poll(reader: Reader, stream: Stream, failures: list[ConfigError]) -> list[Arrived]:
        assert not failures, "a stream that does not exist comes after all that do"
        try:
            return await reader.poll(stream)
        except ConfigError as error:
            failures.append(error)
            return []

    @staticmethod
    async def _fails_with(world: World, connector: Connector | None, *wanted: type[InboxSyncError]) -> None:
        if connector is None:
            pytest.skip("this service has none")
        reader = Reader(connector)
        with pytest.raises(wanted) as caught:
            await reader.run_pass()
        error = caught.value
        assert str(error).endswith((".", "!", '"')), "a sentence"
        assert error.next_step, "and what to do about it"
        findings = await connector.check(reader.context())
        bad = [finding for finding in findings if finding.severity is Severity.ERROR]
        assert bad, "check finds it too"
        assert all(finding.next_step for finding in bad)
        _no_secret(world, str(error), error.next_step, repr(error.ids), repr(findings), repr(reader.log.events))
        await connector.aclose()

    async def test_no_secret_shows_up_anywhere(self, world: World) -> None:
        """Not in logs, findings, cursors, nor in what the objects say of themselves."""
        world.put("hello")
        connector = world.connector()
        reader = Reader(connector)
        await reader.run_pass()
        findings = await connector.check(reader.context())
        _no_secret(
            world, repr(connector), repr(vars(connector)), repr(reader.log.events), repr(reader.cursors), repr(findings)
        )
        await connector.aclose()


def _lister(world: World) -> Connector:
    connector = world.connector()
    if not isinstance(connector, Lists):
        pytest.skip("this connector does not list")
    return connector


def _folded(text: str) -> str:
    return " ".join(text.split())


def _no_secret(world: World, *said: str) -> None:
    for text in said:
        for secret in world.secrets:
            assert secret not in text, f"the secret shows up in {text[:200]!r}"
