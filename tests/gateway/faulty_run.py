"""The process under the shim: opens, appends, trims and closes a store while step N of its disk fails, for N = 1, 2, ... until none does.

Prints one JSON line with what was tried. An assertion ends it with a traceback.
"""

from __future__ import annotations

import asyncio
import errno
import json
import sqlite3
import sys
from pathlib import Path

from drivers.vocabulary import Lane, OccurrenceKind
from gateway.errors import StoreError
from gateway.settings import StoreSection
from gateway.store import sqlite as module
from gateway.store.contract import Batch, Cursor, Trim
from gateway.store.sqlite import SqliteStore
from tests.gateway.faulty_disk import Disk
from tests.gateway.store_tools import events

ALARMS, STRIDE = int(sys.argv[3]), int(sys.argv[4])
module.RETRY_S = (0.001,)


async def attempt(path: Path, acknowledged: list[str], start: int = 0) -> None:
    """A short life of a store. Raises StoreError where it cannot be opened."""
    store = await SqliteStore.open(path, StoreSection(commit_ms=1))
    try:
        for number in range(ALARMS):
            [alarm] = events(1, OccurrenceKind.SOS, start=start + number)
            await asyncio.wait_for(store.append(Batch(events=[alarm, *events(40, start=start + 1000 + number * 40)])), 10)
            acknowledged.append(alarm.id)
        store.settle("city", Lane.STATE, Cursor(next=200))
        await asyncio.wait_for(store.append(Batch(trims=[Trim(Lane.STATE, 1, 150)])), 10)
    finally:
        await store.close()


def check(path: Path, acknowledged: list[str]) -> None:
    """On a disk that works again: everything acknowledged is there, once, in order."""
    db = sqlite3.connect(path)
    ids = [bytes(row[0])[7:33].decode() for row in db.execute("SELECT data FROM alarm ORDER BY seq")] if acknowledged else []
    missing = [ident for ident in acknowledged if ident not in ids]
    assert not missing, f"acknowledged and gone: {missing}"
    assert [ident for ident in ids if ident in acknowledged] == acknowledged
    assert len(set(ids)) == len(ids)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


async def main(library: str, folder: Path) -> dict[str, int]:
    disk = Disk(library, folder)
    runs = {"eio_once": 0, "enospc_burst": 0, "erofs_burst": 0, "refused_to_open": 0}
    for name, times, number in (("eio_once", 1, errno.EIO), ("enospc_burst", 7, errno.ENOSPC), ("erofs_burst", 7, errno.EROFS)):
        step = 1 - STRIDE
        while True:
            step += STRIDE if name == "eio_once" else 3 * STRIDE
            path = folder / f"{name}-{step}.db"
            acknowledged: list[str] = []
            disk.arm(step, times, number)
            try:
                await attempt(path, acknowledged)
            except StoreError:
                runs["refused_to_open"] += 1
            hit = disk.hits
            disk.disarm()
            runs[name] += 1
            await attempt(path, again := [], 100_000)
            check(path, again)
            check(path, acknowledged)
            for file in folder.glob(f"{path.name}*"):
                file.unlink()
            if not hit:
                break
    return runs


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], Path(sys.argv[2])))))
