"""A damaged database: moved aside, and what can be read goes into a new one.

The new database has a new `storeepoch`, because its sequences start over: rows are numbered 1, 2, 3, ... per lane in their old
order. Cursors are carried over by row, so what was delivered is not sent again; where a cursor cannot be read its uplink begins
at the oldest row (doubles have equal ids, a platform drops them). Rule and driver states, commands and dead letters are copied as
far as they can be read. The damaged file stays beside it as `anhu.db.corrupt-<time>` for whoever wants to look.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import sqlite3
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from drivers.vocabulary import Lane
from gateway.store.contract import LANES
from gateway.store.opening import connect, migrate

CHUNK = 2000
DENSEST_BYTES = 40
"""No row is smaller: the size of the file bounds how many rows may stand behind the last readable one."""
PROBES = 64
"""Places at which a lane is tried before its tree is given up."""
CORRUPT_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_COPIED = ("quarantine", "discovered", "driver_state", "rule_state", "command", "dead", "trace", "desired")


class Recovered(NamedTuple):
    """What a recovery brought back: rows per lane, rows per lane that are known to be missing, where the old file lies."""

    kept: dict[Lane, int]
    lost: dict[Lane, int]
    moved_to: str

    @property
    def text(self) -> str:
        """One line for people."""
        kept = ", ".join(f"{count} {lane.value}" for lane, count in self.kept.items())
        lost = ", ".join(f"{count} {lane.value}" for lane, count in self.lost.items() if count)
        return f"recovered {kept} events; lost at least {lost or 'none that is known of'}; damaged file: {self.moved_to}"


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, as against a disk that is full, slow or read-only."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in CORRUPT_CODES


def mark(path: Path) -> None:
    """Have the next opening recover this database."""
    _flag(path).touch()


def is_marked(path: Path) -> bool:
    """Whether a damage was noted."""
    return _flag(path).exists()


def recover(path: Path, now_ms: int) -> Recovered:
    """Move the database aside and build a new one out of what can be read. Safe to be interrupted: it starts again from the old file."""
    stamp = f"{datetime.fromtimestamp(now_ms / 1000, UTC):%Y%m%dT%H%M%SZ}"
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    if path.exists():
        mark(path)
        for suffix in ("-shm", "-wal", ""):
            source = Path(f"{path}{suffix}")
            if source.exists():
                source.rename(f"{aside}{suffix}")
    fresh = path.with_name(f"{path.name}.rebuilding")
    for suffix in ("", "-wal", "-shm"):
        Path(f"{fresh}{suffix}").unlink(missing_ok=True)
    kept, lost = _rebuild(aside, fresh)
    fresh.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    _flag(path).unlink(missing_ok=True)
    return Recovered(kept, lost, aside.name)


def _rebuild(old_path: Path, new_path: Path) -> tuple[dict[Lane, int], dict[Lane, int]]:
    new = connect(new_path)
    kept = dict.fromkeys(LANES, 0)
    lost = dict.fromkeys(LANES, 0)
    try:
        migrate(new, new_path)
        with contextlib.suppress(sqlite3.Error):
            old = sqlite3.connect(old_path, isolation_level=None)
            old.execute("PRAGMA query_only=ON")
            cursors = _cursors(old)
            new.execute("BEGIN IMMEDIATE")
            for lane in LANES:
                kept[lane], lost[lane] = _copy_lane(old, new, lane, cursors, old_path.stat().st_size)
            for table in _COPIED:
                _copy_table(old, new, table)
            with contextlib.suppress(sqlite3.Error):
                new.executemany("INSERT OR REPLACE INTO meta VALUES (?,?)", old.execute("SELECT * FROM meta WHERE key<>'epoch'").fetchall())
            new.execute("COMMIT")
            old.close()
        if new.in_transaction:
            new.execute("COMMIT")
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        new.close()
    return kept, lost


def _cursors(old: sqlite3.Connection) -> dict[tuple[str, Lane], tuple[int, list[tuple[int, int]]]]:
    found = {}
    with contextlib.suppress(sqlite3.Error, msgspec.DecodeError, ValueError):
        for name, lane, following, missing in old.execute("SELECT uplink, lane, next, missing FROM cursor"):
            found[str(name), Lane(lane)] = (int(following), msgspec.json.decode(missing, type=list[tuple[int, int]]))
    return found


def _copy_lane(old: sqlite3.Connection, new: sqlite3.Connection, lane: Lane, cursors: Any, size: int) -> tuple[int, int]:
    """Every readable row of a lane under a new sequence, and its cursors; (rows kept, rows known to be lost)."""
    seqs: array[int] = array("q")
    highest = max([following - 1 for (_, other), (following, _) in cursors.items() if other is lane], default=0)
    for rows in _readable(old, lane, highest, size):
        first = len(seqs) + 1
        seqs.extend(row[0] for row in rows)
        values = [(first + index, *row[1:]) for index, row in enumerate(rows)]
        new.executemany(f"INSERT INTO {lane.value} VALUES (?,?,?,?,?)", values)  # noqa: S608 - lane is an enum
    for (name, other), (following, missing) in cursors.items():
        if other is lane:
            mapped = [(bisect.bisect_left(seqs, first) + 1, bisect.bisect_right(seqs, last)) for first, last in missing]
            mapped = [(first, last) for first, last in mapped if first <= last]
            text = msgspec.json.encode(mapped).decode()
            new.execute("INSERT INTO cursor VALUES (?,?,?,?)", (name, lane.value, bisect.bisect_left(seqs, following) + 1, text))
    span = max(highest, seqs[-1] if seqs else 0) - (seqs[0] if seqs else 1) + 1
    return len(seqs), max(0, span - len(seqs))


def _readable(old: sqlite3.Connection, lane: Lane, highest: int, size: int) -> Iterator[list[tuple[Any, ...]]]:
    """Rows in order; where a page is damaged its range is halved until only what is broken is left out."""
    try:
        low, high = old.execute(f"SELECT (SELECT min(seq) FROM {lane.value}), (SELECT max(seq) FROM {lane.value})").fetchone()  # noqa: S608 - lane is an enum
    except sqlite3.Error:
        low, high = 1, highest + size // DENSEST_BYTES
        if not any(_answers(old, lane, low + (high - low) * part // PROBES) for part in range(PROBES + 1)):
            return
    if low is None:
        return
    start = low
    while start <= high:
        end = min(start + CHUNK - 1, high)
        rows = _range(old, lane, start, end)
        if rows:
            yield rows
        start = end + 1


def _answers(old: sqlite3.Connection, lane: Lane, seq: int) -> bool:
    """Whether the way down the tree to this row can be read at all."""
    try:
        old.execute(f"SELECT seq FROM {lane.value} WHERE seq=?", (seq,)).fetchall()  # noqa: S608 - lane is an enum
    except sqlite3.Error:
        return False
    return True


def _range(old: sqlite3.Connection, lane: Lane, first: int, last: int) -> list[tuple[Any, ...]]:
    sql = f"SELECT seq, at_ms, received_ms, kind, data FROM {lane.value} WHERE seq BETWEEN ? AND ? ORDER BY seq"  # noqa: S608
    try:
        # A row whose text was overwritten still comes back: only an event that begins like one is kept.
        return [row for row in old.execute(sql, (first, last)) if isinstance(row[4], bytes) and row[4].startswith(b'{"id":"')]
    except (sqlite3.Error, UnicodeDecodeError):
        if first == last:
            return []
        middle = (first + last) // 2
        return _range(old, lane, first, middle) + _range(old, lane, middle + 1, last)


def _copy_table(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> None:
    """As many rows as can be read from its beginning. An older schema had fewer columns."""
    with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
        found = old.execute(f"SELECT * FROM {table}")  # noqa: S608 - names are ours
        columns = [str(column[0]) for column in found.description]
        sql = f"INSERT OR IGNORE INTO {table} ({','.join(columns)}) VALUES ({','.join('?' * len(columns))})"  # noqa: S608 - as above
        for row in found:
            new.execute(sql, row)


def _flag(path: Path) -> Path:
    return path.with_name(path.name + ".damaged")


__all__ = ["Recovered", "is_damaged", "is_marked", "mark", "recover"]
