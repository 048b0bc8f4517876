from __future__ import annotations

import asyncio

import pytest

from simulator.agenda import Agenda
from simulator.clock import Moment, RealClock, ScaledClock, VirtualClock

T0 = 1795336212000


async def test_the_virtual_clock_wakes_sleepers_in_order_of_their_time() -> None:
    clock, woken = VirtualClock(T0), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.now().ms))

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2)]
    await clock.advance(2.5)
    assert woken == [(1, T0 + 1000), (2, T0 + 2000)]
    await clock.advance(3600)
    assert clock.now() == Moment(T0 + 3_602_500, 3602.5)
    await asyncio.gather(*tasks)


async def test_a_sleeper_that_sleeps_again_wakes_within_one_advance() -> None:
    clock, ticks = VirtualClock(T0), []

    async def tick() -> None:
        while True:
            await clock.sleep(1)
            ticks.append(clock.now().s)

    task = asyncio.create_task(tick())
    await clock.advance(5)
    task.cancel()
    assert ticks == [1, 2, 3, 4, 5]


def test_a_scaled_clock_runs_ahead() -> None:
    clock = ScaledClock(10_000, T0)
    first = clock.now()
    while clock.now().s < first.s + 10:
        pass
    assert clock.now().ms >= T0 + 10_000


@pytest.mark.parametrize("speed", [0, -1, 1e9])
def test_impossible_speeds_are_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        ScaledClock(speed)


async def test_an_agenda_does_what_was_added_while_it_waited() -> None:
    agenda, done = Agenda(), []
    agenda.at(60.0, lambda now: done.append("late"))
    running = asyncio.create_task(agenda.run(RealClock(), 0.2))
    await asyncio.sleep(0)
    agenda.at(0.0, lambda now: done.append("early"))
    await running
    assert done == ["early"]


def test_an_agenda_in_virtual_time_keeps_the_order_of_equal_moments() -> None:
    agenda, done = Agenda(), []
    for n in range(5):
        agenda.at(1.0, lambda now, n=n: done.append((n, now.s)))
    for moment, deed in agenda.due(Moment(T0, 0.0), 2.0):
        deed(moment)
    assert done == [(n, 1.0) for n in range(5)]
