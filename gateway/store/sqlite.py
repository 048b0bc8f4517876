"""The store: SQLite, WAL, `synchronous=FULL`, one writer thread, group commit.

`append` puts a batch into the group that is waiting; the group is committed when it is full, when it has waited `commit_ms`, or
at once when it holds an alarm. While one commit runs the next group fills (natural grouping), so a slow disk makes groups larger
and not queues longer. Nothing here acknowledges anything: the future of `append` resolves after COMMIT has returned, and only then
does the pipeline answer devices.

FULL and not NORMAL: after a power cut NORMAL may lose commits that were already acknowledged. `docs/decisions/0004-store.md`.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import structlog

from drivers.api import Instant
from drivers.events import Measurement, Occurrence, event_json, lane_of
from drivers.vocabulary import Lane
from gateway.errors import StoreError
from gateway.metrics import Histogram
from gateway.settings import StoreSection
from gateway.store import erasing, many, recovery
from gateway.store.contract import LANES, Batch, CommandRow, Cursor, Row, Shed, Stage
from gateway.store.opening import connect, migrate

TAIL_ROWS = 5000
"""Just-committed rows kept in memory per lane, so that a healthy uplink never reads the database."""
RETRY_S = (0.2, 1.0, 5.0)
"""Waits after a failed commit; the last one repeats. Nothing is acknowledged meanwhile."""
MOST_IN_COMMIT = 2000
"""Rows of one commit: what has gathered while the disk was busy with the last one goes together."""
CRAWLING_S = 0.25
"""After a commit that took longer all that waits goes with the next one: an alarm waits for two commits, however slow the disk."""
SETTLE_S = 1.0
"""A cursor alone waits so long for a commit to go with."""
HIGH_WATER_ROWS = 20_000
"""Rows that wait for the disk before transports are asked to pause."""
TRACED_ALARMS_S = 30 * 24 * 3600
"""Stage times of alarms are kept so long, and of so many:"""
TRACE_ROWS = 50_000
DEAD_ROWS = 20_000
"""Dead letters that are kept, besides alarms; the events themselves stay in the history."""
BOOTS_KEPT = 1000


_Waiting = tuple[Batch, asyncio.Future[None], int]
"""A batch, who waits for it, its rows."""


class SqliteStore:
    """The database of one gateway. Use `await SqliteStore.open(...)`, then `await close()`."""

    def __init__(self, path: Path, settings: StoreSection) -> None:
        self.path = path
        self.epoch = ""
        self.boot = 0
        self.failing: str | None = None
        """Why commits fail at the moment (disk full, read-only, ...), None when they do not."""
        self.damaged = False
        """The file is broken: nothing more is taken; the next opening recovers what can be read."""
        self.recovered: recovery.Recovered | None = None
        self.on_damage: Callable[[], None] = lambda: None
        self.commits = 0
        self.commit_times = Histogram()
        self.commit_s = 0.0
        self._begun_s: float | None = None
        self._last_s = 0.0
        self._settings = settings
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="anhu-store")
        self._read_lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._waiting_rows = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writer: asyncio.Task[None] | None = None
        self._next = dict.fromkeys(LANES, 1)
        self._low = dict.fromkeys(LANES, 1)
        self._tails: dict[Lane, deque[Row]] = {lane: deque(maxlen=TAIL_ROWS) for lane in LANES}
        self._cursors: dict[tuple[str, Lane], Cursor] = {}
        self._unsettled: set[tuple[str, Lane]] = set()
        self._stages: list[Stage] = []
        self._uplinks: dict[str, tuple[Lane, ...]] = {}
        self._boots: list[tuple[int, dict[Lane, int]]] = []
        self._listeners: list[Callable[[], None]] = []
        self.has_room = asyncio.Event()
        """Clear while too much waits for the disk: transports then stop reading."""
        self.has_room.set()
        self._steady: tuple[float, int] | None = None
        self._clock: Callable[[], Instant] | None = None
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    async def open(cls, path: Path, settings: StoreSection) -> SqliteStore:
        """Open or create. Raises StoreError."""
        store = cls(path, settings)
        store._loop = asyncio.get_running_loop()
        await asyncio.get_running_loop().run_in_executor(store._executor, store._open)
        return store

    async def close(self) -> None:
        """Commit what waits (bounded by one attempt), then close."""
        if self._closed:
            return
        self._closed = True
        self._kick()
        if self._writer is not None:
            await asyncio.shield(self._writer)
        for _, future, _ in self._waiting:
            future.cancel()
        await asyncio.get_running_loop().run_in_executor(self._executor, self._close)
        self._executor.shutdown()

    def keep_time(self, clock: Callable[[], Instant]) -> None:
        """Note the steady time with each commit, for deadlines that outlive a restart."""
        self._clock = clock

    @property
    def waiting_rows(self) -> int:
        """Rows that are not on disk yet."""
        return self._waiting_rows

    @property
    def commit_under_way_s(self) -> float:
        """How long the commit that runs has taken so far; 0 while none does. On a healthy disk a few hundredths."""
        return asyncio.get_running_loop().time() - self._begun_s if self._begun_s is not None else 0.0

    @property
    def last_steady(self) -> tuple[float, int] | None:
        """Steady seconds and wall milliseconds of the last commit before this start."""
        return self._steady

    # --- writing -----------------------------------------------------------------------------------------------------------

    def append(self, batch: Batch) -> asyncio.Future[None]:
        """Resolves once the batch is on disk."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        rows = batch.rows
        self._waiting.append((batch, future, rows))
        self._waiting_rows += rows
        if self._waiting_rows > HIGH_WATER_ROWS:
            self.has_room.clear()
        if batch.urgent or self._waiting_rows >= self._settings.commit_rows:
            self._kick()
        elif self._writer is None:
            self._kick_in(self._settings.commit_ms / 1000)
        return future

    def settle(self, uplink: str, lane: Lane, cursor: Cursor) -> None:
        """Note how far an uplink has been served; written with the next commit, or within a second."""
        self._cursors[uplink, lane] = cursor
        self._unsettled.add((uplink, lane))
        if self._writer is None and not self._closed:
            self._kick_in(SETTLE_S)

    def note(self, stages: list[Stage]) -> None:
        """Note when alarms passed a stage; written with the next commit, or within a second."""
        self._stages += stages
        if self._writer is None and not self._closed:
            self._kick_in(SETTLE_S)

    def _kick_in(self, delay_s: float) -> None:
        """Commit after so long at the latest: an earlier date stands, a later one gives way."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + delay_s:
                return
            self._timer.cancel()
        self._timer = loop.call_later(delay_s, self._kick)

    def _kick(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writer is None and (self._waiting or self._unsettled or self._stages) and not self.damaged:
            self._writer = asyncio.get_running_loop().create_task(self._write(), name="store writer")

    async def _write(self) -> None:
        try:
            while (self._waiting or self._unsettled or self._stages) and not self.damaged:
                await self._write_group(self._take_group())
        finally:
            self._writer = None
        if self._waiting and self._timer is None:
            self._kick()

    def _take_group(self) -> list[_Waiting]:
        group = []
        rows = 0
        most = MOST_IN_COMMIT if self._last_s < CRAWLING_S else HIGH_WATER_ROWS
        while self._waiting and rows < most:
            item = self._waiting.popleft()
            group.append(item)
            rows += item[2]
        return group

    async def _write_group(self, group: list[_Waiting]) -> None:
        """Commit one group, however long the disk takes to come back."""
        loop = asyncio.get_running_loop()
        cursors = [(name, lane, self._cursors[name, lane]) for name, lane in self._unsettled]
        self._unsettled.clear()
        stages, self._stages = self._stages, []
        attempt = 0
        while True:
            start = self._begun_s = loop.time()
            try:
                batches = [batch for batch, _, _ in group]
                fresh = await loop.run_in_executor(self._executor, self._commit, batches, cursors, stages)
                break
            except sqlite3.Error as error:
                self._note_failure(str(error))
                if recovery.is_damaged(error):
                    self._note_damage()
                if self._closed or self.damaged:
                    for _, future, _ in group:
                        future.cancel()
                    return
                await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1
        if self.failing is not None:
            structlog.get_logger().info("store writes again", after=self.failing)
            self.failing = None
        self.commits += 1
        self._begun_s, self._last_s = None, loop.time() - start
        self.commit_s += self._last_s
        self.commit_times.observe(self._last_s)
        self._waiting_rows -= sum(rows for _, _, rows in group)
        if self._waiting_rows < HIGH_WATER_ROWS // 2:
            self.has_room.set()
        for lane, rows in fresh.items():
            self._tails[lane].extend(rows)
            self._next[lane] = rows[-1].seq + 1
        told = 0
        for batch, future, rows_of in group:
            for trim in batch.trims:
                self._low[trim.lane] = max(self._low[trim.lane], trim.last + 1)
            if not future.done():
                future.set_result(None)
            told += rows_of
            if told > MOST_IN_COMMIT:
                # A crawling disk makes groups of many thousands: what hears of them must not keep everybody else waiting.
                told = 0
                await asyncio.sleep(0)
        if fresh:
            for listener in list(self._listeners):
                listener()

    def _note_damage(self) -> None:
        """The file is broken. Nothing waits for it any longer and nothing is acknowledged; whoever runs us opens the store anew."""
        if not self.damaged:
            self.damaged = True
            self.has_room.clear()
            structlog.get_logger().error("database damaged", path=str(self.path), next="recovered by the restart that follows")
            with contextlib.suppress(OSError):
                recovery.mark(self.path)
            self.on_damage()

    def _note_failure(self, why: str) -> None:
        if self.failing is None:
            structlog.get_logger().error("store cannot write", why=why, path=str(self.path), hint="anhu doctor; free space or remount")
        self.failing = why

    def _commit(self, batches: list[Batch], cursors: list[tuple[str, Lane, Cursor]], stages: list[Stage]) -> dict[Lane, list[Row]]:
        """In the writer thread: one transaction; the rows that it gave, per lane."""
        fresh: dict[Lane, list[Row]] = {}
        for batch in batches:
            for event in batch.events:
                body = event.body
                lane = lane_of(body)
                rows = fresh.get(lane)
                if rows is None:
                    rows = fresh[lane] = []
                rows.append(Row(self._next[lane] + len(rows), event.at_ms, event.received_ms, kind_of(body), event_json(event)))
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for lane, rows in fresh.items():
                many.insert(db, f"INSERT INTO {lane.value}", rows)
            for batch in batches:
                self._write_rest(batch)
            if cursors:
                values = [(name, lane.value, c.next, msgspec.json.encode(c.missing).decode()) for name, lane, c in cursors]
                db.executemany("INSERT OR REPLACE INTO cursor VALUES (?,?,?,?)", values)
            if stages:
                many.insert(db, "INSERT OR IGNORE INTO trace", stages)
            if self._clock is not None:
                now = self._clock()
                db.execute("INSERT OR REPLACE INTO meta VALUES ('steady', ?)", (f"{now.s:.3f} {now.ms}",))
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        return fresh

    def _write_rest(self, batch: Batch) -> None:
        db = self._db
        if batch.refused:
            db.executemany(
                "INSERT INTO quarantine (received_ms, driver, device, peer, topic, reason, detail, frame) VALUES (?,?,?,?,?,?,?,?)",
                batch.refused,
            )
            db.execute("DELETE FROM quarantine WHERE n <= (SELECT max(n) FROM quarantine) - ?", (self._settings.quarantine_rows,))
        if batch.discovered:
            db.executemany(
                "INSERT INTO discovered VALUES (?1,?2,?3,?4,?4,1) ON CONFLICT (device) DO UPDATE SET last_ms=?4, peer=?3, count=count+1",
                batch.discovered,
            )
        if batch.driver_states:
            many.insert(db, "INSERT OR REPLACE INTO driver_state", batch.driver_states)
        if batch.rule_states:
            self._write_rule_states(batch.rule_states)
        if batch.commands:
            db.executemany("INSERT OR REPLACE INTO command VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", batch.commands)
        if batch.dead:
            db.executemany("INSERT OR IGNORE INTO dead VALUES (?,?,?,?,?,?)", batch.dead)
        if batch.revived:
            db.executemany(
                "DELETE FROM dead WHERE uplink=? AND lane=? AND seq=?", [(name, lane.value, seq) for name, lane, seq in batch.revived]
            )
        if batch.desired:
            db.executemany("INSERT OR REPLACE INTO desired VALUES (?,?,?,?)", batch.desired)
        self._write_trims(batch)

    def _write_rule_states(self, states: list[tuple[str, str, bytes | None]]) -> None:
        last = {(rule, key): state for rule, key, state in states}
        gone = [place for place, state in last.items() if state is None]
        if gone:
            self._db.executemany("DELETE FROM rule_state WHERE rule=? AND key=?", gone)
        many.insert(self._db, "INSERT OR REPLACE INTO rule_state", [(*place, state) for place, state in last.items() if state is not None])

    def _write_trims(self, batch: Batch) -> None:
        db = self._db
        for trim in batch.trims:
            # The newest row stays: a lane that was emptied would begin its sequence anew.
            sql = f"DELETE FROM {trim.lane.value} WHERE seq BETWEEN ? AND min(?, (SELECT max(seq) FROM {trim.lane.value}) - 1)"  # noqa: S608
            db.execute(sql, (trim.first, trim.last))
        if batch.sheds:
            db.executemany(
                "INSERT INTO shed VALUES (?1,?2,?3,?4,?5,?6) ON CONFLICT (lane) DO UPDATE SET first=min(first,?2), last=max(last,?3), "
                "count=count+?4",
                batch.sheds,
            )
        if batch.quarantine_trim:
            db.execute("DELETE FROM quarantine WHERE n IN (SELECT n FROM quarantine ORDER BY n LIMIT ?)", (batch.quarantine_trim,))
        if batch.told:
            db.executemany("DELETE FROM shed WHERE lane=?", [(lane.value,) for lane in batch.told])

    # --- reading -----------------------------------------------------------------------------------------------------------

    def subscribe(self, on_commit: Callable[[], None]) -> Callable[[], None]:
        """Be called after each commit that added events; the result ends it."""
        self._listeners.append(on_commit)
        return lambda: self._listeners.remove(on_commit)

    def high(self, lane: Lane) -> int:
        """The highest committed sequence of a lane."""
        return self._next[lane] - 1

    def low(self, lane: Lane) -> int:
        """The lowest sequence of a lane that is still there."""
        return self._low[lane]

    def serve(self, uplinks: dict[str, tuple[Lane, ...]]) -> None:
        """These uplinks are configured: a row counts as delivered once each of them that takes its lane has it."""
        self._uplinks = uplinks

    def undelivered(self, lane: Lane) -> list[tuple[int, int]]:
        """Ranges of a lane that some configured uplink still needs, joined."""
        ranges: list[tuple[int, int]] = []
        for name, lanes in self._uplinks.items():
            if lane in lanes:
                cursor = self.cursor(name, lane)
                ranges += cursor.missing
                if cursor.next <= self.high(lane):
                    ranges.append((cursor.next, self.high(lane)))
        joined: list[tuple[int, int]] = []
        for first, last in sorted(ranges):
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(joined[-1][1], last))
            else:
                joined.append((first, last))
        return joined

    def boot_of(self, lane: Lane, seq: int) -> int:
        """The number of the boot in which a row was written."""
        boots = self._boots
        if not boots or seq >= boots[-1][1][lane]:
            return self.boot
        index = bisect.bisect_right(boots, seq, key=lambda entry: entry[1][lane]) - 1
        return boots[max(index, 0)][0]

    def used_bytes(self) -> int:
        """Bytes of the database that hold something (free pages are used again before the file grows)."""
        [(pages, free, size)] = self.query("SELECT * FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()")
        return (int(pages) - int(free)) * int(size)  # type: ignore[call-overload, no-any-return]  # INTEGER columns

    def file_bytes(self) -> int:
        """Size of the database file."""
        return self.path.stat().st_size

    def open_sheds(self) -> list[Shed]:
        """What caps took and no event has told yet."""
        return [Shed(Lane(row[0]), *row[1:]) for row in self.query("SELECT * FROM shed")]  # type: ignore[arg-type]  # columns of the tuple

    def unfinished_commands(self) -> list[CommandRow]:
        """Commands that a restart has interrupted, oldest first."""
        rows = self.query("SELECT * FROM command WHERE status IN ('accepted','running') ORDER BY received_ms, id")
        return [CommandRow(*row) for row in rows]  # type: ignore[arg-type]  # columns in the order of the tuple

    async def erase(self, subject: str, devices: list[str], now_ms: int) -> dict[str, int]:
        """Remove a person from the file; rows that went, by table (gateway/store/erasing.py). Raises sqlite3.Error."""
        loop = asyncio.get_running_loop()
        open_ = {lane: self.undelivered(lane) for lane in LANES}

        def open_in(lane: Lane, seqs: list[int]) -> int:
            return sum(1 for seq in seqs if any(first <= seq <= last for first, last in open_[lane]))

        for tail in self._tails.values():
            tail.clear()
        return await loop.run_in_executor(self._executor, lambda: erasing.erase(self._db, subject, devices, open_in, now_ms))

    async def tidy(self, now_ms: int, *, commands_before_ms: int) -> None:
        """Forget stage times and commands that nobody will ask for any more."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._tidy, now_ms, commands_before_ms)

    async def read(self, lane: Lane, first: int, last: int, limit: int) -> list[Row]:
        """Committed rows `first..last` in order, at most `limit`: from memory where they are fresh, else from disk."""
        last = min(last, self.high(lane))
        if first > last:
            return []
        tail = self._tails[lane]
        if tail and tail[0].seq <= first:
            offset = first - tail[0].seq
            return [tail[i] for i in range(offset, min(offset + limit, last - tail[0].seq + 1))]
        return await asyncio.to_thread(self._read, lane, first, last, limit)

    def cursor(self, uplink: str, lane: Lane) -> Cursor:
        """How far an uplink has been served; a new uplink begins at the oldest row."""
        return self._cursors.setdefault((uplink, lane), Cursor(next=self._low[lane]))

    def query(self, sql: str, values: Iterable[object] = ()) -> list[tuple[object, ...]]:
        """Read anything, on the reading connection (any thread)."""
        try:
            with self._read_lock:
                return self._reader.execute(sql, tuple(values)).fetchall()
        except sqlite3.Error as error:
            if recovery.is_damaged(error) and self._loop is not None:
                self._loop.call_soon_threadsafe(self._note_damage)
            raise

    def rule_states(self) -> list[tuple[str, str, bytes]]:
        """Every stored rule state."""
        return [(str(r), str(k), bytes(s)) for r, k, s in self.query("SELECT rule, key, state FROM rule_state")]  # type: ignore[call-overload]  # BLOB column

    def driver_state(self, device: str) -> bytes | None:
        """The stored state of a device's driver."""
        rows = self.query("SELECT state FROM driver_state WHERE device=?", (device,))
        return bytes(rows[0][0]) if rows else None  # type: ignore[call-overload]  # BLOB column

    def command_row(self, command: str) -> CommandRow | None:
        """A stored command."""
        rows = self.query("SELECT * FROM command WHERE id=?", (command,))
        return CommandRow(*rows[0]) if rows else None  # type: ignore[arg-type]  # columns in the order of the tuple

    def recent_ids(self, limit: int) -> list[str]:
        """Ids of the newest events of every lane, oldest first: what a device may send once more after a restart."""
        ids: list[str] = []
        for lane in LANES:
            sql = f"SELECT substr(data, 8, 26) FROM {lane.value} ORDER BY seq DESC LIMIT ?"  # noqa: S608 - lane is an enum
            ids += [bytes(row[0]).decode() for row in reversed(self.query(sql, (limit,)))]  # type: ignore[call-overload]  # BLOB column
        return ids

    def _read(self, lane: Lane, first: int, last: int, limit: int) -> list[Row]:
        sql = f"SELECT seq, at_ms, received_ms, kind, data FROM {lane.value} WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"  # noqa: S608
        return [Row(*row) for row in self.query(sql, (first, last, limit))]  # type: ignore[arg-type]  # columns in the order of the tuple

    # --- opening -----------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if recovery.is_marked(self.path):
                self._recover()
            try:
                self._connect()
            except sqlite3.Error as error:
                if not recovery.is_damaged(error):
                    raise
                self._close()
                self._recover()
                self._connect()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"{self.path}: cannot be opened: {error}", hint="check the folder's owner and free space: anhu doctor"
            ) from error

    def _recover(self) -> None:
        self.recovered = recovery.recover(self.path, time.time_ns() // 1_000_000)
        structlog.get_logger().error("database recovered", path=str(self.path), result=self.recovered.text)

    def _connect(self) -> None:
        self._db = connect(self.path)
        migrate(self._db, self.path)
        self._reader = connect(self.path)
        db = self._db
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        self.epoch, self.boot = meta["epoch"], int(meta["boot"]) + 1
        if "steady" in meta:
            steady, wall = meta["steady"].split()
            self._steady = (float(steady), int(wall))
        for lane in LANES:
            # Two queries: with both in one SQLite would read the whole table.
            low, high = db.execute(f"SELECT (SELECT min(seq) FROM {lane.value}), (SELECT max(seq) FROM {lane.value})").fetchone()  # noqa: S608 - lane is an enum
            high = max(high or 0, int(meta.get(f"high:{lane.value}", 0)))
            self._low[lane], self._next[lane] = low or high + 1, high + 1
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE meta SET value=? WHERE key='boot'", (str(self.boot),))
        values = (self.boot, *(self._next[lane] for lane in LANES), time.time_ns() // 1_000_000)
        db.execute("INSERT OR REPLACE INTO boot VALUES (?,?,?,?,?)", values)
        db.execute("DELETE FROM boot WHERE alarm < ? AND boot < ?", (self._low[Lane.ALARM], self.boot - BOOTS_KEPT))
        db.execute("COMMIT")
        for boot, *firsts in db.execute("SELECT boot, alarm, state, telemetry FROM boot ORDER BY boot"):
            self._boots.append((boot, dict(zip(LANES, firsts, strict=True))))
        for name, lane, following, missing in db.execute("SELECT * FROM cursor").fetchall():
            self._cursors[name, Lane(lane)] = Cursor(next=following, missing=msgspec.json.decode(missing, type=list[tuple[int, int]]))

    def _tidy(self, now_ms: int, commands_before_ms: int) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("DELETE FROM trace WHERE at_ms < ?", (now_ms - TRACED_ALARMS_S * 1000,))
            [(count,)] = self._db.execute("SELECT count(*) FROM trace").fetchall()
            if count > TRACE_ROWS:
                sql = "DELETE FROM trace WHERE id IN (SELECT id FROM trace ORDER BY at_ms LIMIT ?)"
                self._db.execute(sql, (count - TRACE_ROWS,))
            old = "SELECT uplink, lane, seq FROM dead WHERE lane != 'alarm' ORDER BY at_ms DESC LIMIT -1 OFFSET ?"
            self._db.execute(f"DELETE FROM dead WHERE (uplink, lane, seq) IN ({old})", (DEAD_ROWS,))  # noqa: S608 - our own text
            finished = "('done','failed','expired','unknown')"
            self._db.execute(f"DELETE FROM command WHERE updated_ms < ? AND status IN {finished}", (commands_before_ms,))  # noqa: S608

    def _close(self) -> None:
        for name in ("_reader", "_db"):
            with contextlib.suppress(sqlite3.Error, AttributeError):
                getattr(self, name).close()


def kind_of(body: object) -> str:
    """The short name of a body: kind, quantity or type; last part of the CloudEvents type."""
    if type(body) is Occurrence:
        return body.kind._value_
    if type(body) is Measurement:
        return body.quantity._value_
    return str(type(body).__struct_config__.tag)  # type: ignore[attr-defined]  # every other body is a tagged struct


__all__ = ["SqliteStore", "connect", "kind_of"]
