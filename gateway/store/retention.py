"""What leaves the database, and in which order.

1. Delivered history goes after `keep_days`. The newest row of a lane always stays, so that its sequence goes on.
2. Undelivered telemetry goes after `telemetry_max_days`; that is a loss.
3. Above `max_mb`, or where the disk itself is nearly full: refused frames, then the oldest delivered history of any lane, then the
   oldest undelivered telemetry, then state. Alarms never.

Rows go in chunks of `CHUNK_ROWS`, each a commit of its own, so that an alarm never waits longer than for one of them. Everything
that a cap takes before every configured uplink had it is counted; each range becomes one `loss` event once it has stopped growing
(or has grown for `LONGEST_RANGE_S`). The range and the deletion are one commit, and so are its end and its event: a power cut loses
neither.

Ages are measured with a wall clock that may be wrong. A clock that has just jumped ahead by more than a day must not erase a house's
history: ages count for nothing until it has been steady for `DISTRUST_S`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable

import structlog

from drivers.api import Instant, LossRange, Occurrence, OccurrenceKind
from drivers.events import Event
from drivers.vocabulary import Lane
from gateway.settings import StoreSection
from gateway.store.contract import LANES, Batch, Shed, Trim
from gateway.store.sqlite import SqliteStore

CHUNK_ROWS = 1000
TICK_S = 5.0
QUIET_S = 30.0
"""A loss range that has not grown for so long is told."""
LONGEST_RANGE_S = 600.0
"""One that keeps growing is told after so long and a new one begins."""
BREATH_S = 0.01
"""Between two chunks: events come first."""
RESERVE_BYTES = 32 * 1024 * 1024
"""Free space that is left on the disk: the write-ahead log and a checkpoint must always fit."""
DISTRUST_S = 24 * 3600.0
JUMP_MS = 24 * 3600 * 1000
DAY_MS = 24 * 3600 * 1000
COMMANDS_KEPT_MS = 7 * DAY_MS
TIDY_S = 600.0

Publish = Callable[[list[Event], Batch], asyncio.Future[None]]


class Keeper:
    """Applies caps and retention to one store. `publish` brings an event of the gateway into the store with a batch."""

    def __init__(self, store: SqliteStore, settings: StoreSection, publish: Publish, clock: Callable[[], Instant], device: str) -> None:
        self.shed = dict.fromkeys(LANES, 0)
        self.trimmed = dict.fromkeys(LANES, 0)
        self.over_cap = False
        """Full of alarms alone: nothing is left that may go."""
        self._store = store
        self._settings = settings
        self._publish = publish
        self._clock = clock
        self._device = device
        self._offset_ms: int | None = None
        self._distrusted_until_s = 0.0
        self._grew_s: dict[Lane, float] = {}
        self._began_s: dict[Lane, float] = {}
        self._tidied_s = 0.0
        if store.last_steady is not None:
            steady_s, wall_ms = store.last_steady
            self._offset_ms = wall_ms - round(steady_s * 1000)

    async def run(self) -> None:
        """Keep the store within its limits until cancelled."""
        while True:
            if not await self.step():
                await asyncio.sleep(TICK_S)

    async def step(self) -> bool:
        """One chunk at most; whether there is more to do at once."""
        if self._store.failing is not None:
            return False
        now = self._clock()
        self._judge_clock(now)
        await self._tell_losses(now)
        batch = await asyncio.to_thread(self._choose, now)
        if batch is None:
            if now.s - self._tidied_s > TIDY_S:
                self._tidied_s = now.s
                await self._store.tidy(now.ms, commands_before_ms=now.ms - COMMANDS_KEPT_MS)
            return False
        for shed in batch.sheds:
            self.shed[shed.lane] += shed.number
            self._grew_s[shed.lane] = now.s
            self._began_s.setdefault(shed.lane, now.s)
        for trim in batch.trims:
            self.trimmed[trim.lane] += trim.last - trim.first + 1
        await self._store.append(batch)
        await asyncio.sleep(BREATH_S)
        return True

    def _judge_clock(self, now: Instant) -> None:
        offset = now.ms - round(now.s * 1000)
        if self._offset_ms is not None and offset - self._offset_ms > JUMP_MS:
            self._distrusted_until_s = now.s + DISTRUST_S
            structlog.get_logger().warning(
                "clock jumped ahead, no history is removed by age for a day", by_s=(offset - self._offset_ms) // 1000
            )
        self._offset_ms = offset

    def _choose(self, now: Instant) -> Batch | None:
        """The next chunk that has to go."""
        if now.s >= self._distrusted_until_s:
            batch = self._by_age(now)
            if batch is not None:
                return batch
        if not self._is_full():
            self.over_cap = False
            return None
        return self._by_cap(now)

    def _by_age(self, now: Instant) -> Batch | None:
        before = now.ms - round(self._settings.keep_days * DAY_MS)
        for lane in LANES:
            trim = self._oldest(lane, self._delivered_below(lane), before)
            if trim is not None:
                return Batch(trims=[trim])
        before = now.ms - round(self._settings.telemetry_max_days * DAY_MS)
        trim = self._oldest(Lane.TELEMETRY, self._store.high(Lane.TELEMETRY) + 1, before)
        if trim is None:
            return None
        open_ = self._open_in(trim)
        if not open_ and self._settings.telemetry_max_days < self._settings.keep_days:
            # Delivered, and younger than `keep_days`: it stays.
            return None
        return Batch(trims=[trim], sheds=[Shed(*trim, open_, "telemetry_max_days", now.ms)] if open_ else [])

    def _by_cap(self, now: Instant) -> Batch | None:
        store = self._store
        [(refused,)] = store.query("SELECT count(*) FROM (SELECT 1 FROM quarantine LIMIT 20)")
        if int(refused) >= 20:  # type: ignore[call-overload]  # INTEGER column
            return Batch(quarantine_trim=CHUNK_ROWS)
        oldest = []
        for lane in LANES:
            trim = self._oldest(lane, self._delivered_below(lane), None)
            if trim is not None:
                [(received,)] = store.query(f"SELECT received_ms FROM {lane.value} WHERE seq=?", (store.low(lane),)) or [(0,)]  # noqa: S608
                oldest.append((received, trim))
        if oldest:
            return Batch(trims=[min(oldest, key=lambda entry: entry[0])[1]])  # type: ignore[arg-type, return-value]  # INTEGER column
        for lane in (Lane.TELEMETRY, Lane.STATE):
            trim = self._oldest(lane, store.high(lane) + 1, None)
            if trim is not None:
                return Batch(trims=[trim], sheds=[Shed(*trim, self._open_in(trim), "max_mb", now.ms)])
        if not self.over_cap:
            self.over_cap = True
            structlog.get_logger().error("database is over its cap with alarms alone", hint="raise store.max_mb or mend the uplink")
        return None

    def _oldest(self, lane: Lane, below: int, before_ms: int | None) -> Trim | None:
        """The oldest rows under sequence `below`, received before a moment, without the newest row of the lane."""
        first = self._store.low(lane)
        last = min(first + CHUNK_ROWS, below, self._store.high(lane)) - 1
        if last < first:
            return None
        if before_ms is not None:
            # Sequences follow receive times but for a clock that was set back: the first row that is young enough ends the chunk.
            sql = f"SELECT min(seq) FROM {lane.value} WHERE seq BETWEEN ? AND ? AND received_ms >= ?"  # noqa: S608 - lane is an enum
            [(young,)] = self._store.query(sql, (first, last, before_ms))
            if young is not None:
                last = int(young) - 1  # type: ignore[call-overload]  # INTEGER column
        return Trim(lane, first, last) if last >= first else None

    def _delivered_below(self, lane: Lane) -> int:
        open_ = self._store.undelivered(lane)
        return open_[0][0] if open_ else self._store.high(lane) + 1

    def _open_in(self, trim: Trim) -> int:
        """How many rows of a chunk some uplink still needs."""
        spans = self._store.undelivered(trim.lane)
        return sum(max(0, min(last, trim.last) - max(first, trim.first) + 1) for first, last in spans)

    def _is_full(self) -> bool:
        used = self._store.used_bytes()
        if used > self._settings.max_mb * 1e6:
            return True
        free = shutil.disk_usage(self._store.path.parent).free
        return free < RESERVE_BYTES and self._store.file_bytes() - used < RESERVE_BYTES

    async def _tell_losses(self, now: Instant) -> None:
        """Loss ranges that have come to an end become events."""
        for shed in await asyncio.to_thread(self._store.open_sheds):
            quiet = now.s - self._grew_s.get(shed.lane, float("-inf")) > QUIET_S
            if quiet or now.s - self._began_s.get(shed.lane, now.s) > LONGEST_RANGE_S:
                self._grew_s.pop(shed.lane, None)
                self._began_s.pop(shed.lane, None)
                await self._publish([self._loss(shed, now)], Batch(told=[shed.lane]))

    def _loss(self, shed: Shed, now: Instant) -> Event:
        lost = LossRange(lane=shed.lane, first=shed.first, last=shed.last, count=shed.number, reason=shed.reason)
        body = Occurrence(kind=OccurrenceKind.LOSS, lost=lost, detail=f"{shed.number} {shed.lane.value} events shed by {shed.reason}")
        return Event(device=self._device, at_ms=now.ms, body=body)


__all__ = ["Keeper"]
