"""What every uplink does alike, whatever its wire: which rows come next, which are wanted, what is done, what is remembered.

One `Pump` per uplink, with a `LaneFeed` per lane. `take` reads the next rows; each ends in `done`, in `await_platform` (the wire has
it, the platform has not said so yet) or in `give_back`. The cursor is written with the store's next commit, at most `SETTLE_S` behind:
after a kill a few rows are sent twice, none is skipped.

Application acknowledgement. Rows that the platform has not acknowledged in time go out again: alarms after `alarm_ack_s`, others after
`REPEAT_S`, then after twice as long each time; the pauses start over when the link comes back or the platform speaks after a silence.
A platform that never acknowledges holds at most `MOST_AWAITING` rows per lane in memory. Numbers that it asks for and that are not to
be had are told by `on_gone`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from drivers.vocabulary import Lane
from gateway.metrics import Histogram
from gateway.settings import UplinkSection
from gateway.store.contract import LANES, Batch, Dead, Row, Stage, Store
from gateway.uplinks.feed import LaneFeed, common, join, without
from gateway.uplinks.messages import Ack

PAGE_ROWS = 500
SETTLE_S, SETTLE_SOON_S = 0.5, 0.1
"""Cursors are written so often; the shorter one while few rows are open, for a gateway that is killed again and again."""
FEW_OPEN = 500
REPEAT_S, LONGEST_REPEAT_S = 30.0, 300.0
MOST_AWAITING = 5000
MOST_BURIED = 10_000
"""Dead letters of which is remembered that they were told."""
ORDERLY_S = {Lane.ALARM: 0.1, Lane.STATE: 1.0, Lane.TELEMETRY: 1.0}
"""So long after the link is back its backlog goes first, oldest first: most outages then change no order at all. Never longer, because
a fresh event must not wait for days of replay."""
FRESH_S = 600.0
"""Latency counts only what was delivered within so long: a replay of days says nothing about the way of a fresh event."""


class Pump:
    """The sending side of one uplink. `wall_ms` gives UTC milliseconds for stage times."""

    def __init__(self, settings: UplinkSection, store: Store, wall_ms: Callable[[], int]) -> None:
        self.settings = settings
        self.name = settings.name
        self.is_application = settings.ack == "application" and settings.kind == "mqtt"
        self.sent = 0
        self.delivered = 0
        self.skipped = 0
        self.dead = 0
        self.repeated = 0
        self.acks_refused = 0
        self.latency = {lane: Histogram() for lane in LANES}
        self.on_done: list[Callable[[str, str], None]] = []
        """Heard with (uplink, event id) for each alarm that the platform has."""
        self.on_gone: Callable[[Lane, list[tuple[int, int]]], None] = lambda lane, ranges: None
        """Heard with the ranges that the platform will never get: it has asked for them, or they became dead letters."""
        self.lanes = [lane for lane in LANES if lane.value in settings.lanes]
        self.feeds: dict[Lane, LaneFeed] = {}
        self.news = asyncio.Event()
        self._store = store
        self._wall_ms = wall_ms
        self._subjects = [f'"subject":"{subject}"'.encode() for subject in settings.subjects]
        self._awaited: dict[Lane, dict[int, tuple[Row, float]]] = {lane: {} for lane in LANES}
        """Rows that the platform has not acknowledged, and when they go out again."""
        self._tries: dict[tuple[Lane, int], int] = {}
        self._asked: dict[Lane, list[tuple[int, int]]] = {lane: [] for lane in LANES}
        self._buried: set[tuple[Lane, int]] = set()
        self._heard_s = float("-inf")
        self._unsettled = False
        self._orderly_until = dict.fromkeys(LANES, float("inf"))

    def start(self) -> Callable[[], None]:
        """Take up the cursors; the result ends the listening to commits and writes them back."""
        for lane in self.lanes:
            self.feeds[lane] = LaneFeed(self._store.cursor(self.name, lane), self._store.high(lane), application=self.is_application)
        stop = self._store.subscribe(self.news.set)

        def end() -> None:
            stop()
            self.settle()

        return end

    def link_lost(self) -> None:
        """Nothing can be sent for now: what is tried meanwhile is tried in order."""
        self._orderly_until = dict.fromkeys(LANES, float("inf"))

    def link_back(self) -> None:
        """The platform can be reached (again): what has waited is backlog from now on."""
        now = asyncio.get_running_loop().time()
        self._orderly_until = {lane: now + ORDERLY_S[lane] for lane in LANES}
        for lane, feed in self.feeds.items():
            feed.set_aside(self._store.high(lane))
        # What the platform has not acknowledged may have died with its broker.
        self._start_over(now)
        self._unsettled = True

    async def settle_often(self) -> None:
        """Write the cursors back while they move, and send again what is overdue, until cancelled."""
        while True:
            opened = sum(len(feed.in_flight) + len(feed.awaiting) for feed in self.feeds.values())
            await asyncio.sleep(SETTLE_SOON_S if opened < FEW_OPEN else SETTLE_S)
            self._repeat_overdue()
            if self._unsettled:
                self.settle()

    def settle(self) -> None:
        """Note how far this uplink is."""
        self._unsettled = False
        for lane, feed in self.feeds.items():
            self._store.settle(self.name, lane, feed.cursor())

    def waiting(self) -> dict[str, int]:
        """Rows that are not delivered yet, per lane."""
        found = {}
        for lane, feed in self.feeds.items():
            found[lane.value] = feed.waiting(self._store.high(lane)) + len(feed.in_flight) + len(feed.awaiting)
        return found

    def has_more(self, lane: Lane) -> bool:
        """Whether rows of a lane wait to be sent."""
        feed = self.feeds.get(lane)
        return feed is not None and feed.waiting(self._store.high(lane)) > 0

    def in_flight(self, lanes: list[Lane]) -> int:
        """Rows of these lanes that are under way."""
        return sum(len(self.feeds[lane].in_flight) for lane in lanes if lane in self.feeds)

    async def take(self, lane: Lane, room: int) -> tuple[list[Row], bool] | None:
        """The next wanted rows of a lane, at most `room`, and whether they are backlog; None when there are none to be had now."""
        feed = self.feeds[lane]
        if self.is_application and len(feed.awaiting) >= MOST_AWAITING:
            if lane is not Lane.ALARM:
                return None
            # An alarm never waits for acknowledgements of older ones: those go back into the backlog instead.
            self._forget_awaiting(lane, sorted(feed.awaiting)[: MOST_AWAITING // 2])
        low = self._store.low(lane)
        feed.shed(low)
        self._tell_gone(lane, [(1, low - 1)])
        orderly = asyncio.get_running_loop().time() < self._orderly_until[lane]
        span, backlog = feed.plan(self._store.high(lane), min(room, PAGE_ROWS), orderly=orderly)
        if span is None:
            return None
        feed.take(*span, backlog=backlog)
        try:
            rows = await self._store.read(lane, *span, PAGE_ROWS)
        except BaseException:
            feed.give_back(range(span[0], span[1] + 1))
            raise
        wanted = [row for row in rows if self._wanted(row)]
        if len(wanted) != span[1] - span[0] + 1:
            left = {row.seq for row in wanted}
            gone = [seq for seq in range(span[0], span[1] + 1) if seq not in left]
            feed.skip(gone)
            self.skipped += len(rows) - len(wanted)
            self._unsettled = True
            if self._asked[lane]:
                # A page has fewer gaps than `join` keeps apart.
                self._tell_gone(lane, join([(seq, seq) for seq in gone]))
        if self._asked[lane]:
            self._asked[lane] = without(self._asked[lane], span)
        return wanted, backlog

    def published(self, lane: Lane, row: Row) -> None:
        """The row is on the wire."""
        self.feeds[lane].send(row.seq)
        self.sent += 1
        if lane is Lane.ALARM:
            self._store.note([Stage(row.id, f"published:{self.name}", self._wall_ms())])

    def done(self, lane: Lane, row: Row) -> None:
        """The wire has the row for good: delivered, or, with application acknowledgement, awaited from the platform."""
        feed = self.feeds[lane]
        if row.seq not in feed.in_flight:
            return
        feed.delivered(row.seq)
        self._unsettled = True
        if self.is_application:
            self._await(lane, row)
        else:
            self._delivered(lane, row)

    async def bury(self, lane: Lane, row: Row, why: str) -> None:
        """The row will never be delivered here (too large, refused for good): a dead letter, on disk before the cursor passes it. It is
        counted and logged once, however often the platform asks for it."""
        if (lane, row.seq) not in self._buried:
            if len(self._buried) >= MOST_BURIED:
                self._buried.clear()
            self._buried.add((lane, row.seq))
            self.dead += 1
            structlog.get_logger().warning("event became a dead letter", uplink=self.name, id=row.id, why=why)
            await self._store.append(Batch(dead=[Dead(self.name, lane, row.seq, row.received_ms, why, row.data)]))
        self.feeds[lane].skip([row.seq])
        self._unsettled = True
        self.on_gone(lane, [(row.seq, row.seq)])

    def give_back(self, lane: Lane, rows: list[Row]) -> None:
        """These could not be sent and wait again."""
        self.feeds[lane].give_back([row.seq for row in rows])

    def again(self, lane: Lane, seqs: list[int]) -> list[int]:
        """Send rows that were settled once more (dead letters whose fault is mended); which of them there still are."""
        feed = self.feeds.get(lane)
        if feed is None:
            return []
        found = [seq for seq in sorted(seqs) if self._store.low(lane) <= seq < feed.next]
        feed.give_back(found)
        self._buried.difference_update([(lane, seq) for seq in found])
        self.settle()
        self.news.set()
        return found

    def acknowledge(self, ack: Ack, epoch: str) -> str:
        """An acknowledgement of the platform; what is wrong with it, or an empty text."""
        wrong = self._ack_fault(ack, epoch)
        if wrong:
            self.acks_refused += 1
            return wrong
        now = asyncio.get_running_loop().time()
        if now - self._heard_s > REPEAT_S:
            self._start_over(now)
        self._heard_s = now
        awaited = self._awaited[ack.lane]
        feed = self.feeds[ack.lane]
        if ack.missing:
            self._asked[ack.lane] = common(feed.missing, [(1, ack.upto)])
        for seq in [seq for seq in awaited if seq not in feed.awaiting]:
            row, _ = awaited.pop(seq)
            self._tries.pop((ack.lane, seq), None)
            if not any(first <= seq <= last for first, last in feed.missing):
                self._delivered(ack.lane, row)
        self._unsettled = True
        self.news.set()
        return ""

    def _ack_fault(self, ack: Ack, epoch: str) -> str:
        feed = self.feeds.get(ack.lane)
        if feed is None:
            return f"lane {ack.lane.value} is not sent to this uplink"
        if ack.storeepoch and ack.storeepoch != epoch:
            return f"storeepoch {ack.storeepoch:.40} is not that of this database"
        return feed.acknowledged(ack.upto, ack.missing)

    def _delivered(self, lane: Lane, row: Row) -> None:
        self.delivered += 1
        now = self._wall_ms()
        spent = (now - row.received_ms) / 1000
        if spent <= FRESH_S:
            self.latency[lane].observe(spent)
        if lane is Lane.ALARM:
            ident = row.id
            self._store.note([Stage(ident, f"delivered:{self.name}", now)])
            for listener in self.on_done:
                listener(self.name, ident)

    def _wanted(self, row: Row) -> bool:
        if self.settings.kinds and row.kind not in self.settings.kinds:
            return False
        return not self._subjects or any(subject in row.data for subject in self._subjects)

    # --- application acknowledgement -----------------------------------------------------------------------------------------

    def _tell_gone(self, lane: Lane, ranges: list[tuple[int, int]]) -> None:
        gone = common(self._asked[lane], ranges)
        if gone:
            for span in gone:
                self._asked[lane] = without(self._asked[lane], span)
            self.on_gone(lane, gone)

    def _await(self, lane: Lane, row: Row) -> None:
        first = self._first_wait(lane)
        wait = min(first * (1 << min(self._tries.get((lane, row.seq), 0), 12)), max(LONGEST_REPEAT_S, first))
        self._awaited[lane][row.seq] = (row, asyncio.get_running_loop().time() + wait)

    def _first_wait(self, lane: Lane) -> float:
        return self.settings.alarm_ack_s if lane is Lane.ALARM else REPEAT_S

    def _start_over(self, now: float) -> None:
        """The platform may hear us again: nothing waits longer than it would have the first time."""
        self._tries.clear()
        for lane, awaited in self._awaited.items():
            latest = now + self._first_wait(lane)
            self._awaited[lane] = {seq: (row, min(due, latest)) for seq, (row, due) in awaited.items()}

    def _repeat_overdue(self) -> None:
        now = asyncio.get_running_loop().time()
        for lane, awaited in self._awaited.items():
            late = [seq for seq, (_, due) in awaited.items() if due <= now]
            for seq in late:
                self._tries[lane, seq] = self._tries.get((lane, seq), 0) + 1
            if late:
                self.repeated += len(late)
                self._forget_awaiting(lane, sorted(late))
                self.news.set()

    def _forget_awaiting(self, lane: Lane, seqs: list[int]) -> None:
        self.feeds[lane].overdue(seqs)
        for seq in seqs:
            self._awaited[lane].pop(seq, None)
        self._unsettled = True
