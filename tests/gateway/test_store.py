from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from drivers.vocabulary import Lane, OccurrenceKind
from gateway.errors import StoreError
from gateway.settings import StoreSection
from gateway.store.contract import Batch, CommandRow, Cursor, Discovered, Refused
from gateway.store.sqlite import SqliteStore
from tests.gateway.store_tools import events, opened


async def test_sequences_are_contiguous_per_lane_and_go_on_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append(Batch(events=events(5) + events(2, OccurrenceKind.SOS, start=50)))
        assert (store.high(Lane.STATE), store.high(Lane.ALARM), store.high(Lane.TELEMETRY)) == (5, 2, 0)
    async with opened(tmp_path) as store:
        await store.append(Batch(events=events(1, start=99)))
        rows = await store.read(Lane.STATE, 1, 99, 100)
        assert [row.seq for row in rows] == [1, 2, 3, 4, 5, 6]
        assert store.boot == 2


async def test_epoch_stays_with_the_database_and_changes_with_a_new_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        first = store.epoch
    async with opened(tmp_path) as store:
        assert store.epoch == first
    async with opened(tmp_path / "other") as store:
        assert store.epoch != first


async def test_an_alarm_does_not_wait_for_company(tmp_path: Path) -> None:
    async with opened(tmp_path, commit_ms=60_000) as store:
        waiting = store.append(Batch(events=events(1)))
        await asyncio.sleep(0)
        assert not waiting.done()
        await asyncio.wait_for(store.append(Batch(events=events(1, OccurrenceKind.SOS), urgent=True)), 5)
        assert waiting.done(), "the alarm's commit takes along what was waiting"


async def test_rows_come_equal_from_memory_and_from_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append(Batch(events=events(30)))
        fresh = await store.read(Lane.STATE, 3, 12, 100)
    async with opened(tmp_path) as store:
        assert await store.read(Lane.STATE, 3, 12, 100) == fresh
        assert fresh[0].id == events(30)[2].id
        assert [row.seq for row in await store.read(Lane.STATE, 1, 30, 4)] == [1, 2, 3, 4]


async def test_everything_of_a_batch_is_there_after_a_restart(tmp_path: Path) -> None:
    command = CommandRow("c1", "city", "locate", "watch:1", "{}", 1, None, "accepted", None, 1)
    batch = Batch(
        refused=[Refused(1, "watch", None, "peer", "", "INTEGRITY", "bad", b"\x00\xff")],
        discovered=[Discovered("watch:9", "watch", "1.2.3.4:5", 7)],
        driver_states=[("watch:1", b"abc")],
        rule_states=[("fall", "r-1", b"xyz"), ("fall", "r-2", b"gone")],
        commands=[command],
    )
    async with opened(tmp_path) as store:
        await store.append(batch)
        await store.append(Batch(rule_states=[("fall", "r-2", None)], discovered=[Discovered("watch:9", "watch", "5.6.7.8:9", 9)]))
        store.settle("city", Lane.ALARM, Cursor(next=7, missing=[(1, 2), (5, 5)]))
    async with opened(tmp_path) as store:
        assert store.driver_state("watch:1") == b"abc"
        assert store.rule_states() == [("fall", "r-1", b"xyz")]
        assert store.command_row("c1") == command
        assert store.cursor("city", Lane.ALARM) == Cursor(next=7, missing=[(1, 2), (5, 5)])
        assert store.query("SELECT count, last_ms, first_ms, peer FROM discovered") == [(2, 9, 7, "5.6.7.8:9")]
        assert store.query("SELECT reason, frame FROM quarantine") == [("INTEGRITY", b"\x00\xff")]


async def test_the_quarantine_is_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path, quarantine_rows=10) as store:
        refused = [Refused(i, "watch", None, "", "", "RANGE", "", b"") for i in range(50)]
        await store.append(Batch(refused=refused))
        assert store.query("SELECT count(*), min(received_ms) FROM quarantine") == [(10, 40)]


async def test_a_database_of_a_newer_anhu_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "anhu.db") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="newer Anhu"):
        await SqliteStore.open(tmp_path / "anhu.db", StoreSection())


async def test_a_commit_that_fails_is_waited_for_and_nothing_is_acknowledged_meanwhile(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        blocker = sqlite3.connect(tmp_path / "anhu.db", isolation_level=None)
        store._db.execute("PRAGMA busy_timeout=1")
        blocker.execute("BEGIN IMMEDIATE")
        future = store.append(Batch(events=events(3, OccurrenceKind.SOS), urgent=True))
        while store.failing is None:
            await asyncio.sleep(0.01)
        assert not future.done()
        assert store.high(Lane.ALARM) == 0
        blocker.execute("ROLLBACK")
        blocker.close()
        await asyncio.wait_for(future, 5)
        assert store.failing is None
        assert [row.seq for row in await store.read(Lane.ALARM, 1, 9, 9)] == [1, 2, 3]


async def test_transports_are_told_to_pause_while_the_disk_is_behind(tmp_path: Path) -> None:
    async with opened(tmp_path, commit_ms=10) as store:
        futures = [store.append(Batch(events=events(500, start=i * 500))) for i in range(60)]
        assert not store.has_room.is_set()
        await asyncio.gather(*futures)
        assert store.has_room.is_set()
        assert store.high(Lane.STATE) == 30_000


async def test_a_settled_cursor_does_not_make_events_wait(tmp_path: Path) -> None:
    async with opened(tmp_path, commit_ms=5) as store:
        loop = asyncio.get_running_loop()
        store.settle("city", Lane.STATE, Cursor(next=1))
        begun = loop.time()
        await store.append(Batch(events=events(1)))
        assert loop.time() - begun < 0.5
