"""Caps and retention: what goes, in which order, and that nothing goes unsaid."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from drivers.api import Measurement, Quantity
from drivers.events import Event, Occurrence, seal
from drivers.vocabulary import Lane, OccurrenceKind
from gateway.clock import VirtualClock
from gateway.inventory import Inventory
from gateway.pipeline import Pipeline
from gateway.settings import StoreSection
from gateway.store import retention
from gateway.store.contract import Batch, Cursor, Refused
from gateway.store.retention import Keeper
from gateway.store.sqlite import SqliteStore
from tests.gateway.store_tools import events, opened

DAY_S = 24 * 3600


def telemetry(count: int, clock: VirtualClock, start: int = 0) -> list[Event]:
    body = Measurement(quantity=Quantity.HEART_RATE, value=70, channel="x" * 200)
    now = clock.now().ms
    made = [Event(device="watch:1", at_ms=now, body=body, evidence=f"{start + i:016x}") for i in range(count)]
    return seal(made, received_ms=now)


class Bench:
    def __init__(self, store: SqliteStore, **settings: float) -> None:
        self.store = store
        self.clock = VirtualClock()
        self.pipeline = Pipeline(self.clock, Inventory(), store)
        self.told: list[Event] = []
        self.pipeline.on_event.append(self.told.append)
        section = StoreSection(**settings)  # type: ignore[arg-type]
        self.keeper = Keeper(store, section, lambda e, b: self.pipeline.publish(e, batch=b), self.clock.now, "gateway:t")

    async def tidy(self) -> None:
        while await self.keeper.step():
            pass

    @property
    def losses(self) -> list[Any]:
        return [event.body.lost for event in self.told if isinstance(event.body, Occurrence) and event.body.kind is OccurrenceKind.LOSS]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with opened(tmp_path, commit_ms=1) as store:
        yield store


async def deliver(store: SqliteStore, lane: Lane, next_: int, missing: list[tuple[int, int]] | None = None) -> None:
    store.settle("city", lane, Cursor(next=next_, missing=missing or []))
    await store.append(Batch(urgent=True))


async def test_delivered_history_goes_after_its_days_and_the_sequence_goes_on(store: SqliteStore, tmp_path: Path) -> None:
    bench = Bench(store, keep_days=2)
    store.serve({"city": (Lane.TELEMETRY,)})
    await store.append(Batch(events=telemetry(2500, bench.clock)))
    await deliver(store, Lane.TELEMETRY, 2501)
    await bench.tidy()
    assert store.low(Lane.TELEMETRY) == 1, "young history stays"
    bench.clock.advance(3 * DAY_S)
    await bench.tidy()
    assert (store.low(Lane.TELEMETRY), store.high(Lane.TELEMETRY)) == (2500, 2500), "the newest row stays"
    assert store.query("SELECT count(*) FROM telemetry") == [(1,)]
    assert bench.losses == []
    await store.close()
    async with opened(tmp_path) as again:
        await again.append(Batch(events=telemetry(1, bench.clock, start=9000)))
        assert again.high(Lane.TELEMETRY) == 2501


async def test_undelivered_rows_are_kept_beyond_their_days(store: SqliteStore) -> None:
    bench = Bench(store, keep_days=1, telemetry_max_days=10)
    store.serve({"city": (Lane.STATE, Lane.ALARM)})
    await store.append(Batch(events=events(50) + events(5, OccurrenceKind.SOS, start=900)))
    await deliver(store, Lane.STATE, 41, [(11, 20)])
    bench.clock.advance(200 * DAY_S)
    await bench.tidy()
    assert store.low(Lane.STATE) == 11
    assert store.low(Lane.ALARM) == 1


async def test_an_uplink_that_left_the_settings_holds_nothing(store: SqliteStore) -> None:
    bench = Bench(store, keep_days=1)
    await store.append(Batch(events=events(50)))
    store.settle("gone", Lane.STATE, Cursor(next=1))
    store.serve({})
    bench.clock.advance(2 * DAY_S)
    await bench.tidy()
    assert store.low(Lane.STATE) == 50


async def test_old_undelivered_telemetry_is_shed_and_told_once(store: SqliteStore) -> None:
    bench = Bench(store, telemetry_max_days=5)
    store.serve({"city": (Lane.TELEMETRY, Lane.STATE)})
    await store.append(Batch(events=telemetry(3000, bench.clock)))
    await deliver(store, Lane.TELEMETRY, 1001, [(500, 599)])
    bench.clock.advance(6 * DAY_S)
    await bench.tidy()
    bench.clock.advance(retention.QUIET_S + 1)
    await bench.tidy()
    [lost] = bench.losses
    assert (lost.lane, lost.first, lost.last, lost.reason) == (Lane.TELEMETRY, 1, 2999, "telemetry_max_days")
    assert lost.count == 100 + 1999, "what was delivered is no loss"
    assert store.query("SELECT * FROM shed") == []


async def test_the_cap_takes_history_then_telemetry_then_state_and_never_alarms(store: SqliteStore) -> None:
    bench = Bench(store, max_mb=1.5)
    lanes = (Lane.ALARM, Lane.STATE, Lane.TELEMETRY)
    store.serve({"city": lanes})
    await store.append(Batch(events=events(1500)))
    await deliver(store, Lane.STATE, 1501)
    await store.append(Batch(events=telemetry(3500, bench.clock) + events(1500, start=5000) + events(300, OccurrenceKind.SOS, start=9000)))
    await bench.tidy()
    assert store.used_bytes() <= 1.5e6
    assert store.low(Lane.STATE) == 1501, "delivered history went first"
    assert 1 < store.low(Lane.TELEMETRY) < 3500
    bench.clock.advance(retention.QUIET_S + 1)
    await bench.tidy()
    [lost] = bench.losses
    assert (lost.lane, lost.first, lost.count) == (Lane.TELEMETRY, 1, store.low(Lane.TELEMETRY) - 1)
    await store.append(Batch(events=events(9000, OccurrenceKind.SOS, start=20_000)))
    await bench.tidy()
    assert bench.keeper.over_cap
    assert store.low(Lane.ALARM) == 1
    assert store.query("SELECT count(*) FROM alarm") == [(9301,)], "300, 9000 and the loss itself"


async def test_refused_frames_give_way_before_any_event(store: SqliteStore) -> None:
    bench = Bench(store, max_mb=1)
    await store.append(
        Batch(refused=[Refused(i, "watch", None, "", "", "RANGE", "", bytes(2000)) for i in range(1000)], events=events(100))
    )
    await bench.tidy()
    assert store.query("SELECT count(*) FROM quarantine") == [(0,)]
    assert store.query("SELECT count(*) FROM state") == [(100,)]


async def test_a_loss_is_told_after_a_restart_in_the_middle(tmp_path: Path) -> None:
    async with opened(tmp_path, commit_ms=1) as store:
        bench = Bench(store, telemetry_max_days=5)
        store.serve({"city": (Lane.TELEMETRY,)})
        await store.append(Batch(events=telemetry(2000, bench.clock)))
        bench.clock.advance(6 * DAY_S)
        assert await bench.keeper.step()
    async with opened(tmp_path, commit_ms=1) as store:
        bench = Bench(store, telemetry_max_days=50)
        store.serve({"city": (Lane.TELEMETRY,)})
        await bench.tidy()
        [lost] = bench.losses
        assert (lost.first, lost.last, lost.count) == (1, 1000, 1000)
        assert store.low(Lane.TELEMETRY) == 1001


async def test_a_clock_that_jumps_to_2038_erases_nothing(store: SqliteStore) -> None:
    bench = Bench(store, keep_days=90)
    await store.append(Batch(events=telemetry(2000, bench.clock)))
    await bench.tidy()
    bench.clock.step(2_145_916_800_000)
    await bench.tidy()
    assert store.low(Lane.TELEMETRY) == 1
    bench.clock.step(1_795_336_215_000)
    await bench.tidy()
    assert store.query("SELECT count(*) FROM telemetry") == [(2000,)]


async def test_an_alarm_overtakes_a_big_clean_up(store: SqliteStore) -> None:
    bench = Bench(store, keep_days=1)
    await store.append(Batch(events=telemetry(20_000, bench.clock)))
    bench.clock.advance(2 * DAY_S)
    cleaning = asyncio.create_task(bench.tidy())
    waits = []
    loop = asyncio.get_running_loop()
    for number in range(20):
        begun = loop.time()
        await store.append(Batch(events=events(1, OccurrenceKind.SOS, start=number), urgent=True))
        waits.append(loop.time() - begun)
    await cleaning
    assert sorted(waits)[len(waits) // 2] < 0.1
