"""Which rows an uplink sends first when its link comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drivers.vocabulary import Lane
from gateway.settings import UplinkSection
from gateway.store.contract import Batch
from gateway.uplinks import pump as pumps
from gateway.uplinks.pump import Pump
from tests.gateway.store_tools import events, opened


async def send(pump: Pump, room: int = 20) -> tuple[list[int], bool]:
    """The next rows of the state lane to their end: sequence numbers, and whether they are a replay."""
    taken = await pump.take(Lane.STATE, room)
    assert taken is not None
    for row in taken[0]:
        pump.published(Lane.STATE, row)
        pump.done(Lane.STATE, row)
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
