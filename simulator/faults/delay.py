"""Late: everything takes longer."""

from __future__ import annotations

import random

from simulator.clock import Moment
from simulator.faults.fault import Timed


class Delay:
    """Each act goes out `seconds` later, give or take `jitter_s`; parcels of a stream never overtake each other."""

    def __init__(self, *, seed: int, seconds: float = 2.0, jitter_s: float = 0.0) -> None:
        self._dice = random.Random(seed)
        self._seconds = seconds
        self._jitter_s = jitter_s
        self._last_s = 0.0

    def carry(self, timed: list[Timed], now: Moment) -> list[Timed]:
        """Later, in the same order."""
        out = []
        for at_s, parcel in timed:
            later_s = at_s + max(self._seconds + self._dice.uniform(-self._jitter_s, self._jitter_s), 0.0)
            self._last_s = max(later_s, self._last_s)
            out.append(Timed(self._last_s, parcel))
        return out
