"""Disks that fail, fill up, crawl or rot: nothing is acknowledged before it is safe, and all comes back."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.vocabulary import Lane, OccurrenceKind
from gateway.settings import StoreSection
from gateway.store import recovery
from gateway.store.contract import Batch, Cursor
from gateway.store.sqlite import SqliteStore
from tests.conftest import need
from tests.gateway import faulty_disk
from tests.gateway.store_tools import events, opened


@pytest.mark.parametrize(("alarms", "stride"), [(2, 3), pytest.param(12, 1, marks=pytest.mark.slow)])
def test_every_step_of_the_disk_may_fail_and_nothing_acknowledged_is_gone(tmp_path: Path, alarms: int, stride: int) -> None:
    need("gcc")
    library = faulty_disk.build(tmp_path)
    folder = tmp_path / "disk"
    folder.mkdir()
    program = [sys.executable, "-W", "ignore", "-m", "tests.gateway.faulty_run", str(library), str(folder), str(alarms), str(stride)]
    result = subprocess.run(program, capture_output=True, text=True, env={**os.environ, "LD_PRELOAD": str(library)}, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    runs = json.loads(result.stdout.splitlines()[-1])
    assert runs["eio_once"] * stride > 40, runs
    assert runs["enospc_burst"] * stride > 10, runs


SLOW = """
import asyncio, sys, time
from pathlib import Path
from gateway.settings import StoreSection
from gateway.store.contract import Batch
from gateway.store.sqlite import SqliteStore
from drivers.vocabulary import OccurrenceKind
from tests.gateway.faulty_disk import Disk
from tests.gateway.store_tools import events

async def main():
    disk = Disk(sys.argv[1], Path(sys.argv[2]))
    store = await SqliteStore.open(Path(sys.argv[2]) / "a.db", StoreSection(commit_ms=1))
    disk.slow(int(sys.argv[3]))
    begun = time.monotonic()
    future = store.append(Batch(events=events(1, OccurrenceKind.SOS)))
    ticks, paused = 0, False
    while not future.done():
        await asyncio.sleep(0.01)
        ticks += 1
        store.append(Batch(events=events(1500, start=ticks * 1500)))
        paused = paused or not store.has_room.is_set()
    spent = time.monotonic() - begun
    assert spent >= int(sys.argv[3]) / 1000, spent
    assert ticks > spent * 10, "the event loop stood still"
    assert paused, "transports were not asked to pause"
    disk.slow(0)
    await store.close()
    assert store.failing is None

asyncio.run(main())
"""


@pytest.mark.parametrize("ms", [1500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_disk_that_crawls_makes_groups_larger_and_acknowledges_nothing_early(tmp_path: Path, ms: int) -> None:
    need("gcc")
    library = faulty_disk.build(tmp_path)
    program = [sys.executable, "-c", SLOW, str(library), str(tmp_path), str(ms)]
    result = subprocess.run(program, capture_output=True, text=True, env={**os.environ, "LD_PRELOAD": str(library)}, timeout=120)
    assert result.returncode == 0, result.stderr[-3000:]


async def test_a_full_disk_is_waited_for_until_there_is_room(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a small tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        (disk / "ballast").write_bytes(bytes(700_000))
        async with opened(disk, commit_ms=1) as store:
            held = None
            for number in range(200):
                future = store.append(Batch(events=events(50, OccurrenceKind.SOS, start=number * 50)))
                done, _ = await asyncio.wait([future], timeout=0.5)
                if not done:
                    held = future
                    break
            assert held is not None
            assert "full" in str(store.failing)
            acknowledged = store.high(Lane.ALARM)
            (disk / "ballast").unlink()
            await asyncio.wait_for(held, 20)
            assert store.high(Lane.ALARM) == acknowledged + 50
            assert store.failing is None
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def damage(path: Path, first: float, last: float) -> None:
    """Overwrite a part of the file, given as shares of its length."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(int(size * first) // 4096 * 4096)
        file.write(b"\xa5" * (int(size * (last - first)) // 4096 * 4096))


async def fill(path: Path) -> str:
    async with opened(path, commit_ms=1) as store:
        await store.append(Batch(events=events(200, OccurrenceKind.SOS), rule_states=[("fall", "r-1", b"x")]))
        for start in range(1000, 11_000, 1000):
            await store.append(Batch(events=events(1000, start=start)))
        store.settle("city", Lane.STATE, Cursor(next=9001, missing=[(21, 30)]))
        store.settle("city", Lane.ALARM, Cursor(next=201))
        return store.epoch


async def test_a_damaged_middle_costs_what_stood_there_and_no_more(tmp_path: Path) -> None:
    epoch = await fill(tmp_path)
    damage(tmp_path / "anhu.db", 0.4, 0.6)
    recovery.mark(tmp_path / "anhu.db")
    async with opened(tmp_path) as store:
        recovered = store.recovered
        assert recovered is not None
        assert recovered.kept[Lane.ALARM] == 200
        assert 6000 < recovered.kept[Lane.STATE] < 9000
        assert recovered.kept[Lane.STATE] + recovered.lost[Lane.STATE] == 10_000
        assert store.epoch != epoch, "sequences start over, so the epoch is new"
        assert store.rule_states() == [("fall", "r-1", b"x")]
        assert store.cursor("city", Lane.ALARM).next == 201
        cursor = store.cursor("city", Lane.STATE)
        left = sum(last - first + 1 for first, last in cursor.missing) + store.high(Lane.STATE) - cursor.next + 1
        assert left == 1010, "what was delivered is not sent again, what was not still is"
        rows = await store.read(Lane.STATE, 1, 10_000, 20_000)
        assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
        times = [row.at_ms for row in rows]
        assert times == sorted(times)
    assert list(tmp_path.glob("anhu.db.corrupt-*"))
    async with opened(tmp_path) as store:
        assert store.recovered is None


@pytest.mark.parametrize("part", [(0, 0.01), (0, 1.0)])
async def test_a_database_that_cannot_be_opened_at_all_is_moved_aside(tmp_path: Path, part: tuple[float, float]) -> None:
    await fill(tmp_path)
    damage(tmp_path / "anhu.db", *part)
    async with opened(tmp_path) as store:
        assert store.recovered is not None
        await store.append(Batch(events=events(1, OccurrenceKind.SOS)))
        assert store.high(Lane.ALARM) >= 1


async def test_a_damage_found_while_reading_ends_the_store_and_the_next_start_recovers(tmp_path: Path) -> None:
    await fill(tmp_path)
    damage(tmp_path / "anhu.db", 0.1, 0.12)
    async with opened(tmp_path) as store:
        told = asyncio.Event()
        store.on_damage = told.set
        with pytest.raises(sqlite3.DatabaseError):
            await store.read(Lane.STATE, 1, 10_000, 20_000)
        await asyncio.wait_for(told.wait(), 2)
        future = store.append(Batch(events=events(1, OccurrenceKind.SOS, start=99_999)))
        await asyncio.sleep(0.05)
        assert not future.done(), "nothing is acknowledged on a broken file"
    async with opened(tmp_path) as store:
        assert store.recovered is not None


async def test_a_recovery_that_was_interrupted_is_done_again(tmp_path: Path) -> None:
    await fill(tmp_path)
    path = tmp_path / "anhu.db"
    recovery.mark(path)
    shutil.copy(path, tmp_path / "anhu.db.rebuilding")
    async with opened(tmp_path) as store:
        assert store.recovered is not None
        assert store.high(Lane.STATE) == 10_000


async def test_the_first_schema_is_brought_forward_with_its_rows(tmp_path: Path) -> None:
    script = Path("gateway/store/schema/0001_start.sql").read_text()
    db = sqlite3.connect(tmp_path / "anhu.db")
    db.executescript("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;" + script + "PRAGMA user_version=1;")
    db.execute("INSERT INTO meta VALUES ('epoch','abcd'), ('boot','4')")
    db.execute("INSERT INTO alarm VALUES (7, 1, 1, 'sos', ?)", (b'{"id":"01K00000000000000000000000"}',))
    db.commit()
    db.close()
    store = await SqliteStore.open(tmp_path / "anhu.db", StoreSection())
    assert (store.epoch, store.boot, store.high(Lane.ALARM)) == ("abcd", 5, 7)
    assert store.query("SELECT count(*) FROM dead") == [(0,)]
    await store.close()
