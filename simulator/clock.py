"""Time as a simulation sees it: real, faster than real, or jumping from one happening to the next.

Everything below asks a `Clock`, never the system, so that a week passes in minutes and a test in microseconds.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import NamedTuple, Protocol


class Moment(NamedTuple):
    """A moment on both clocks: `ms` UTC epoch milliseconds, `s` monotonic seconds since the clock was made."""

    ms: int
    s: float

    def after(self, seconds: float) -> Moment:
        """The moment `seconds` later."""
        return Moment(self.ms + round(seconds * 1000), self.s + seconds)


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> Moment:
        """The present moment."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of this clock; zero or less only lets others run."""
        ...


class RealClock:
    """The system's clocks; `s` counts from the making of the object."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def now(self) -> Moment:
        """UTC and monotonic time."""
        return Moment(time.time_ns() // 1_000_000, time.monotonic() - self._began_s)

    async def sleep(self, seconds: float) -> None:
        """`asyncio.sleep`."""
        await asyncio.sleep(max(seconds, 0.0))


class ScaledClock:
    """Runs `speed` times as fast as the system's clock, from `start_ms` on (default: now). For real wires and compressed days."""

    def __init__(self, speed: float, start_ms: int | None = None) -> None:
        if not 0 < speed <= 100_000:
            raise ValueError(f"speed: expected above 0 and at most 100000, got {speed}")
        self.speed = speed
        self.began_s = time.monotonic()
        self.start_ms = time.time_ns() // 1_000_000 if start_ms is None else start_ms

    def now(self) -> Moment:
        """Scaled time."""
        passed = (time.monotonic() - self.began_s) * self.speed
        return Moment(self.start_ms + round(passed * 1000), passed)

    async def sleep(self, seconds: float) -> None:
        """Sleeps `seconds / speed` of real time."""
        await asyncio.sleep(max(seconds, 0.0) / self.speed)


class VirtualClock:
    """Stands still until it is moved; sleepers wake in order of their time. No real time passes."""

    def __init__(self, start_ms: int) -> None:
        self._now = Moment(start_ms, 0.0)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._tickets = itertools.count()

    def now(self) -> Moment:
        """The time that was reached."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Waits until the clock was moved past the moment."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now.s + seconds, next(self._tickets), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, stopping at every sleeper on the way and letting it run before the next one wakes."""
        end = self._now.s + seconds
        start = self._now
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at_s, _, future = heapq.heappop(self._sleepers)
            self._now = Moment(start.ms + round((at_s - start.s) * 1000), max(at_s, self._now.s))
            if not future.done():
                future.set_result(None)
            await _settle()
        self._now = Moment(start.ms + round(seconds * 1000), end)


async def _settle() -> None:
    # A woken task may hand on to another through a queue or a lock: a few turns of the loop carry that through.
    for _ in range(8):
        await asyncio.sleep(0)
