"""The second half of the contract suite: ties and late rows, cancelling, silence, size, and bookmarks from elsewhere."""

# ruff: noqa: S101  this is a test suite; it is shipped because connectors live in other packages too

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from sync.connector import Aborts, Connector
from sync.errors import InboxSyncError
from sync.message import Json, Legibility, Message
from sync.testing.reader import Arrived, Reader
from sync.testing.world import StallingWorld, TimedWorld, World

PATIENCE_SECONDS = 30.0
SILENCE_SECONDS = 0.7
"""After which a pass over a silent service is cancelled."""
DOUBTFUL_PASSES = 4
"""Within which a connector has believed that a service is not where its bookmark says (it may be a glitch)."""
SMALL_LIMIT_BYTES = 32_768
ROOM_FOR_NOTES = 4_096


def texts_of(arrived: Sequence[Arrived]) -> list[str]:
    """The texts of what arrived, without white space around them."""
    return [one.text.strip() for one in arrived]


class StrainContract:
    """A part of `ConnectorContract`."""

    # -- time

    async def test_messages_of_the_same_moment_all_arrive(self, world: World) -> None:
        """Most services count in seconds, and a second holds many messages: also some that come after the look."""
        timed = _timed(world)
        moment = _now() - timedelta(seconds=90)
        wanted = [f"message number {number:03d}" for number in range(25)]
        for text in wanted:
            timed.put_at(text, moment)
        reader = Reader(world.connector())
        assert sorted(texts_of(await reader.run_pass())) == wanted
        timed.put_at("one more of that moment", moment)
        assert texts_of(await reader.run_pass()) == ["one more of that moment"]
        assert await reader.run_pass() == []
        await reader.connector.aclose()

    async def test_what_is_committed_late_is_found(self, world: World) -> None:
        """A message may show up after newer ones; a stream's `overlap_seconds` says how late."""
        timed = _timed(world)
        reader = Reader(world.connector())
        (stream, *_others) = await reader.connector.streams(reader.context())
        if not stream.overlap_seconds:
            await reader.connector.aclose()
            pytest.skip("this service files messages in the order in which it shows them")
        newest = _now() - timedelta(seconds=90)
        timed.put_at("the newer one", newest)
        assert texts_of(await reader.run_pass()) == ["the newer one"]
        timed.put_at("the older one", newest - timedelta(seconds=min(60.0, stream.overlap_seconds / 2)))
        assert texts_of(await reader.run_pass()) == ["the older one"]
        await reader.connector.aclose()

    async def test_a_cursor_from_the_future_passes_nothing_over(self, world: World) -> None:
        """After a clock was set back, a backup was restored, or the service was: rather look again than never."""
        world.put("one")
        reader = Reader(world.connector())
        await reader.run_pass()
        for key, cursor in list(reader.cursors.items()):
            reader.cursors[key] = json.dumps(_later(json.loads(cursor)))
        world.put("two")
        found: list[str] = []
        for _pass in range(DOUBTFUL_PASSES):
            found += texts_of(await reader.run_pass())
        assert "two" in found
        await reader.connector.aclose()

    # -- repeating

    async def test_two_that_read_at_the_same_time_find_the_same(self, world: World) -> None:
        """Two daemons at a restart: reading takes nothing away from another reader."""
        for number in range(12):
            world.put(f"mail {number}")
        readers = [Reader(world.connector()) for _reader in range(2)]
        found = await asyncio.gather(*(reader.run_pass() for reader in readers))
        one, other = ([(seen.epoch, seen.found.external_id, seen.text) for seen in arrived] for arrived in found)
        assert sorted(one) == sorted(other)
        assert len(one) == 12
        for reader in readers:
            await reader.connector.aclose()

    # -- ending

    @pytest.mark.parametrize("turns", [2, 7, 40])
    async def test_a_pass_that_is_cancelled_midway_loses_nothing(self, world: World, turns: int) -> None:
        """Cancelling comes at any await; what was recorded stays, what was not is found again."""
        wanted = [f"message number {number:03d}" for number in range(15)]
        for text in wanted:
            world.put(text)
        reader = Reader(world.connector())
        running = asyncio.ensure_future(reader.run_pass())
        for _turn in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running], timeout=PATIENCE_SECONDS)
        assert running.done()
        await reader.run_pass()
        recorded = {found.external_id for _stream, batch in reader.batches for found in batch.found}
        assert len(recorded) == len(wanted)
        await reader.connector.aclose()

    async def test_a_service_that_falls_silent_ends_with_the_deadline(self, world: World) -> None:
        """The core cancels, and closes what is open; nothing holds on, and the next pass works."""
        if not isinstance(world, StallingWorld):
            pytest.skip("this service cannot be made silent")
        world.put("are you there?")
        connector = world.connector()
        reader = Reader(connector)
        began = time.monotonic()
        with world.stall():
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await reader.run_pass()
            except (TimeoutError, InboxSyncError):
                _abort(connector)
            assert time.monotonic() - began < SILENCE_SECONDS + 5
        assert texts_of(await reader.run_pass()) == ["are you there?"]
        await connector.aclose()

    # -- size

    async def test_a_message_over_the_size_limit_costs_itself_only(self, world: World) -> None:
        """It comes shortened, and says so; its neighbours come whole."""
        world.put("before")
        world.put("a very long story, " * 10_000)
        world.put("after")
        reader = Reader(world.connector(), size_limit_bytes=SMALL_LIMIT_BYTES)
        arrived = await reader.run_pass()
        assert len(arrived) == 3
        assert {"before", "after"} <= set(texts_of(arrived))
        (large,) = [one for one in arrived if one.text.strip() not in {"before", "after"}]
        assert isinstance(large.content, Message), large.content
        assert len(large.text.encode()) <= SMALL_LIMIT_BYTES + ROOM_FOR_NOTES
        assert large.content.notes or large.content.legibility is not Legibility.FULL, "it says that it is not all"
        await reader.connector.aclose()

    # -- settings

    async def test_every_setting_says_what_it_is_for(self, world: World) -> None:
        """`connector show` and `config schema` have nothing else to say."""
        connector = world.connector()
        unsaid = [name for name, field in connector.Config.model_fields.items() if not field.description]
        assert unsaid == []
        assert connector.info.summary
        await connector.aclose()


def _timed(world: World) -> TimedWorld:
    if not isinstance(world, TimedWorld):
        pytest.skip("this service's clock cannot be told what it is")
    return world


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _abort(connector: Connector) -> None:
    if isinstance(connector, Aborts):
        connector.abort()


def _later(cursor: Json) -> Json:
    """The cursor with every time and number in it moved far ahead, except for its version."""
    match cursor:
        case dict():
            return {key: value if key in {"v", "version"} else _later(value) for key, value in cursor.items()}
        case list():
            return [_later(one) for one in cursor]
        case bool():
            return cursor
        case int() | float():
            return cursor + 1_000_000_000
        case str():
            try:
                moment = datetime.fromisoformat(cursor)
            except ValueError:
                return cursor
            return (moment + timedelta(days=3650)).isoformat() if "-" in cursor else cursor
    return cursor
