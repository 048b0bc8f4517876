"""Clocks that are not set, that are set later, and that step."""

from __future__ import annotations

from pathlib import Path

import msgspec

from drivers.api import Frame, Instant
from drivers.events import Occurrence
from drivers.vocabulary import Lane, OccurrenceKind, TimeQuality
from gateway.clock import ClockWatch, VirtualClock
from gateway.inventory import Inventory
from gateway.pipeline import Pipeline
from gateway.store.contract import Batch
from tests.gateway.store_tools import events, opened

UNSET, REAL = 30_000, 1_795_336_215_000


def test_a_step_is_told_and_slewing_is_not() -> None:
    clock, watch = VirtualClock(UNSET), ClockWatch()
    assert watch.look(clock.now()) == 0
    for _ in range(100):
        clock.advance(1)
        clock.step(clock.now().ms + 100)
        assert watch.look(clock.now()) == 0, "a slewed clock never adds up to a step"
    clock.step(REAL)
    assert watch.look(clock.now()) == REAL - UNSET - 110_000
    clock.step(REAL - 5000)
    assert watch.look(clock.now()) == -5000
    assert watch.look(clock.now()) == 0


async def test_stamps_of_an_unset_clock_are_marked_and_kept_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path, commit_ms=1) as store:
        clock = VirtualClock(UNSET)
        pipeline = Pipeline(clock, Inventory(), store)
        body = Occurrence(kind=OccurrenceKind.STARTED)
        [sample] = events(1)
        for ms in (UNSET, REAL, REAL - 3_600_000):
            clock.step(ms)
            event = msgspec.structs.replace(sample, id="", at_ms=ms, body=body, time_quality=TimeQuality.RECEIVED, received_ms=0)
            await pipeline.publish([event])
        rows = await store.read(Lane.STATE, 1, 9, 9)
        assert [row.at_ms for row in rows] == [UNSET, REAL, REAL - 3_600_000], "the order is that of the sequence, whatever the clock says"
        assert [msgspec.json.decode(row.data)["time_quality"] for row in rows] == ["unknown", "received", "received"]


def test_a_device_that_knows_the_time_is_believed_while_we_do_not() -> None:
    frame = Frame(data=b"x", received=Instant(UNSET, 1.0))
    event = frame.event("watch:1", Occurrence(kind=OccurrenceKind.SOS), at_ms=REAL)
    assert (event.at_ms, event.time_quality) == (REAL, TimeQuality.DEVICE)


async def test_every_row_knows_its_boot(tmp_path: Path) -> None:
    for start in (0, 10, 20):
        async with opened(tmp_path, commit_ms=1) as store:
            await store.append(Batch(events=events(3, start=start)))
            boots = [store.boot_of(Lane.STATE, seq) for seq in range(1, store.high(Lane.STATE) + 1)]
    assert boots == [1, 1, 1, 2, 2, 2, 3, 3, 3]
