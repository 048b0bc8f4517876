"""Erasing a person, provably: nothing of the pseudonym is left in the database file or its write-ahead log.

Rows of every lane, refused frames, states, commands and assignments of the person and of the devices that belong to them go. Deleted
bytes are overwritten (`secure_delete`), pages that were free before are overwritten too, and the write-ahead log is cut to nothing.
What was not delivered yet is told as a loss ("erased"), for its sequence numbers are missing from now on. The highest sequence of each
lane is noted, so that numbers go on even where the newest row went.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import msgspec

from drivers.vocabulary import Lane
from gateway.store.contract import LANES

FILLER_BYTES = 256 * 1024
CHECKPOINT_TRIES = 50


def erase(
    db: sqlite3.Connection, subject: str, devices: list[str], open_in: Callable[[Lane, list[int]], int], now_ms: int
) -> dict[str, int]:
    """In the writer thread: remove a person; rows that went, by table. `open_in` counts which sequences were undelivered."""
    needle = f'"{subject}"'.encode()
    marks = ",".join("?" * len(devices))
    gone: dict[str, int] = {}
    db.execute("PRAGMA secure_delete=ON")
    db.execute("BEGIN IMMEDIATE")
    try:
        for lane in LANES:
            gone[lane.value] = _erase_lane(db, lane, needle, open_in, now_ms)
        gone["dead"] = db.execute("DELETE FROM dead WHERE instr(data, ?)", (needle,)).rowcount
        for table, column in (("quarantine", "device"), ("discovered", "device"), ("driver_state", "device"), ("command", "device")):
            gone[table] = db.execute(f"DELETE FROM {table} WHERE {column} IN ({marks})", devices).rowcount  # noqa: S608 - names are ours
        sql = f"DELETE FROM rule_state WHERE key = ? OR key IN ({marks}) OR instr(state, CAST(? AS BLOB))"  # noqa: S608
        gone["rule_state"] = db.execute(sql, (subject, *devices, subject)).rowcount
        gone["command"] += db.execute("DELETE FROM command WHERE instr(args, ?)", (needle.decode(),)).rowcount
        gone["quarantine"] += db.execute("DELETE FROM quarantine WHERE instr(frame, CAST(? AS BLOB))", (subject,)).rowcount
        gone["desired"] = _erase_desired(db, needle.decode(), subject)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    _overwrite_free_pages(db)
    _cut_log(db)
    db.execute("PRAGMA secure_delete=FAST")
    return gone


def _erase_lane(db: sqlite3.Connection, lane: Lane, needle: bytes, open_in: Callable[[Lane, list[int]], int], now_ms: int) -> int:
    name = lane.value
    rows = db.execute(f"SELECT seq, substr(data, 8, 26) FROM {name} WHERE instr(data, ?) ORDER BY seq", (needle,)).fetchall()  # noqa: S608
    if not rows:
        return 0
    (high,) = db.execute(f"SELECT max(seq) FROM {name}").fetchone()  # noqa: S608 - lane is an enum
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"high:{name}", str(high)))
    db.executemany(f"DELETE FROM {name} WHERE seq=?", [(seq,) for seq, _ in rows])  # noqa: S608 - lane is an enum
    db.executemany("DELETE FROM trace WHERE id=?", [(bytes(ident).decode(),) for _, ident in rows])
    seqs = [seq for seq, _ in rows]
    number = open_in(lane, seqs)
    if number:
        db.execute(
            "INSERT INTO shed VALUES (?1,?2,?3,?4,'erased',?5) ON CONFLICT (lane) DO UPDATE SET first=min(first,?2), last=max(last,?3), "
            "count=count+?4",
            (name, seqs[0], seqs[-1], number, now_ms),
        )
    return len(rows)


def _erase_desired(db: sqlite3.Connection, needle: str, subject: str) -> int:
    """Assignments to the person are taken out of the newest version; older ones go."""
    rows = db.execute("SELECT version, patch FROM desired ORDER BY version DESC").fetchall()
    touched = 0
    for index, (version, patch) in enumerate(rows):
        if needle not in patch:
            continue
        touched += 1
        if index:
            db.execute("DELETE FROM desired WHERE version=?", (version,))
            continue
        found = msgspec.json.decode(patch, type=dict[str, dict[str, object]])
        left = {device: values for device, values in found.items() if values.get("subject") != subject}
        db.execute("UPDATE desired SET patch=? WHERE version=?", (msgspec.json.encode(left).decode(), version))
    return touched


def _overwrite_free_pages(db: sqlite3.Connection) -> None:
    """Fill free pages with zeros: rows that retention removed earlier may still be readable there."""
    db.execute("CREATE TABLE IF NOT EXISTS filler (data BLOB)")
    while True:
        free, size = db.execute("SELECT * FROM pragma_freelist_count(), pragma_page_size()").fetchone()
        if free < 2:
            break
        db.execute("INSERT INTO filler VALUES (zeroblob(?))", (max(1, min(FILLER_BYTES, (free - 1) * (size - 4) - 64)),))
    db.execute("DROP TABLE filler")


def _cut_log(db: sqlite3.Connection) -> None:
    """Empty the write-ahead log. A reader that is at work holds it for a moment."""
    db.execute("PRAGMA busy_timeout=200")
    for _ in range(CHECKPOINT_TRIES):
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            break
    else:
        raise sqlite3.OperationalError("the write-ahead log is held by a long reader; run the erasure again")
    db.execute("PRAGMA busy_timeout=10000")
