"""What is to be done when: one heap of callbacks drives every device of a run, on any clock.

`due` walks it synchronously in virtual time (a week in seconds, the same order every time); `run` runs it against a `Clock`
beside real wires, whose receivers may add to it at any moment.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator

from simulator.clock import Clock, Moment

Deed = Callable[[Moment], None]


class Agenda:
    """Callbacks in order of their time; those of the same moment in the order in which they were added."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Deed]] = []
        self._tickets = 0
        self._earlier = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, when_s: float, deed: Deed) -> None:
        """Do `deed` at `when_s` (the clock's `s`); a moment that has passed means at once."""
        is_first = not self._heap or when_s < self._heap[0][0]
        heapq.heappush(self._heap, (when_s, self._tickets, deed))
        self._tickets += 1
        if is_first:
            self._earlier.set()

    def due(self, start: Moment, seconds: float) -> Iterator[tuple[Moment, Deed]]:
        """What is due within `seconds` of virtual time after `start`, each with its moment; includes what is added on the way."""
        end_s = start.s + seconds
        heap, moment = self._heap, start
        while heap and heap[0][0] <= end_s:
            when_s, _, deed = heapq.heappop(heap)
            # Exactly `when_s`: a sum that rounds down would come before the moment that the deed waits for.
            if when_s > moment.s:
                moment = Moment(start.ms + round((when_s - start.s) * 1000), when_s)
            yield moment, deed

    async def run(self, clock: Clock, seconds: float | None = None) -> None:
        """Do everything when it is due, for `seconds` or until cancelled."""
        end_s = None if seconds is None else clock.now().s + seconds
        while True:
            now = clock.now()
            if end_s is not None and now.s >= end_s:
                return
            self._do_due(now)
            due_s = self._heap[0][0] if self._heap else None
            until = [moment for moment in (due_s, end_s) if moment is not None]
            self._earlier.clear()
            wait_s = min(until) - clock.now().s if until else 3600.0
            if wait_s > 0:
                await self._wait(clock, wait_s)
            else:
                await asyncio.sleep(0)

    def _do_due(self, now: Moment) -> None:
        # Bounded per turn, so that a storm of due callbacks does not starve the sockets.
        for _ in range(1000):
            if not self._heap or self._heap[0][0] > now.s:
                return
            heapq.heappop(self._heap)[2](now)

    async def _wait(self, clock: Clock, seconds: float) -> None:
        """Until the time has passed or something earlier was added."""
        sleeper = asyncio.ensure_future(clock.sleep(seconds))
        waker = asyncio.ensure_future(self._earlier.wait())
        try:
            await asyncio.wait({sleeper, waker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            waker.cancel()
