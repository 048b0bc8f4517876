"""Which rows an uplink sends first when its link comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.vocabulary import Lane, OccurrenceKind
from gateway.settings import UplinkSection
from gateway.store.contract import Batch, Trim
from gateway.uplinks import pump as pumps
from gateway.uplinks.messages import Ack
from gateway.uplinks.pump import Pump
from tests.gateway.store_tools import events, opened


async def send(pump: Pump, room: int = 20, *, lane: Lane = Lane.STATE) -> tuple[list[int], bool]:
    """The next rows of a lane, all taken by the broker: sequence numbers, and whether they are a replay."""
    taken = await pump.take(lane, room)
    assert taken is not None
    for row in taken[0]:
        pump.published(lane, row)
        pump.done(lane, row)
    return [row.seq for row in taken[0]], taken[1]


async def after_outage(store: Any) -> Pump:
    """Rows 1..100 came while the link was away, 101..102 since it is back."""
    pump = Pump(UplinkSection(name="city", host="x"), store, lambda: 0)
    pump.start()
    pump.link_back()
    pump.link_lost()
    await store.append(Batch(events=events(100)))
    pump.link_back()
    await store.append(Batch(events=events(2, start=100)))
    return pump


async def test_a_short_outage_changes_no_order(tmp_path: Path) -> None:
    async with opened(tmp_path, commit_ms=1) as store:
        pump = await after_outage(store)
        seen = [await send(pump) for _ in range(6)]
        assert [seq for seqs, _ in seen for seq in seqs] == list(range(1, 103))
        assert [replayed for _, replayed in seen] == [True] * 5 + [False]


async def test_a_long_outage_delays_no_fresh_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pumps.ORDERLY_S, Lane.STATE, 0.0)
    async with opened(tmp_path, commit_ms=1) as store:
        pump = await after_outage(store)
        assert await send(pump) == ([101, 102], False)
        assert await send(pump) == (list(range(1, 21)), True)
        await store.append(Batch(events=events(1, start=102)))
        assert await send(pump) == ([103], False)


async def test_rows_that_could_not_be_sent_go_first_when_they_can(tmp_path: Path) -> None:
    async with opened(tmp_path, commit_ms=1) as store:
        pump = await after_outage(store)
        pump.link_lost()
        for _ in range(3):
            taken = await pump.take(Lane.STATE, 30)
            assert taken is not None
            assert taken[0][0].seq == 1
            pump.give_back(Lane.STATE, taken[0])
        pump.link_back()
        assert (await send(pump))[0] == list(range(1, 21))


def told_gone(pump: Pump) -> list[list[tuple[int, int]]]:
    said: list[list[tuple[int, int]]] = []
    pump.on_gone = lambda lane, ranges: said.append(ranges)
    return said


async def test_a_platform_that_acknowledged_and_forgot_gets_what_is_left_and_is_told_what_is_not(tmp_path: Path) -> None:
    erased = [msgspec.structs.replace(event, subject="r-2") for event in events(10, start=50)]
    async with opened(tmp_path, commit_ms=1) as store:
        pump = Pump(UplinkSection(name="city", host="x", ack="application"), store, lambda: 0)
        said = told_gone(pump)
        await store.append(Batch(events=[*events(50), *erased, *events(40, start=60)]))
        pump.start()
        pump.link_back()
        while pump.has_more(Lane.STATE):
            await send(pump, 50)
        assert pump.acknowledge(Ack(Lane.STATE, 100), store.epoch) == ""
        assert pump.waiting()["state"] == 0
        await store.append(Batch(trims=[Trim(Lane.STATE, 1, 30)], urgent=True))
        await store.erase("r-2", [], 0)
        assert pump.acknowledge(Ack(Lane.STATE, 100, [(1, 70)]), store.epoch) == ""
        seen: list[int] = []
        while pump.has_more(Lane.STATE):
            seen += (await send(pump, 50))[0]
        assert seen == [*range(31, 51), *range(61, 71)]
        assert said == [[(1, 30)], [(51, 60)]]


async def test_what_an_uplink_does_not_want_is_told_as_gone_when_it_is_asked_for(tmp_path: Path) -> None:
    async with opened(tmp_path, commit_ms=1) as store:
        pump = Pump(UplinkSection(name="city", host="x", ack="application", kinds=["sos"]), store, lambda: 0)
        said = told_gone(pump)
        await store.append(Batch(events=events(10)))
        pump.start()
        pump.link_back()
        assert (await send(pump, 50))[0] == []
        assert said == []
        pump.feeds[Lane.STATE].sent_high = 10
        pump.acknowledge(Ack(Lane.STATE, 10, [(4, 6)]), store.epoch)
        await send(pump, 50)
        assert said == [[(4, 6)]]


async def test_pauses_between_repetitions_start_over_when_the_link_is_back(tmp_path: Path) -> None:
    async with opened(tmp_path, commit_ms=1) as store:
        pump = Pump(UplinkSection(name="city", host="x", ack="application", alarm_ack_s=0.02), store, lambda: 0)
        await store.append(Batch(events=events(3, OccurrenceKind.SOS)))
        pump.start()
        pump.link_back()
        for _ in range(8):
            pump._tries = dict.fromkeys([(Lane.ALARM, seq) for seq in (1, 2, 3)], 12)
            assert (await send(pump, lane=Lane.ALARM))[0] == [1, 2, 3]
            await asyncio.sleep(0.03)
            pump._repeat_overdue()
            assert await pump.take(Lane.ALARM, 10) is None, "after many tries it waits for minutes"
            pump.link_lost()
            pump.link_back()
            await asyncio.sleep(0.03)
            pump._repeat_overdue()
