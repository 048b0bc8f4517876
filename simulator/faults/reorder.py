"""Out of order: a parcel is overtaken by later ones (mobile networks with several paths, buffers that are emptied backwards)."""

from __future__ import annotations

import random

from simulator.clock import Moment
from simulator.faults.fault import Timed


class Reorder:
    """Each parcel is held back for up to `seconds` with `share` 0..1."""

    def __init__(self, *, seed: int, share: float = 0.2, seconds: float = 3.0) -> None:
        self._dice = random.Random(seed)
        self._share = share
        self._seconds = seconds

    def carry(self, timed: list[Timed], now: Moment) -> list[Timed]:
        """Some later than those behind them."""
        return [
            Timed(at_s + self._dice.uniform(0, self._seconds), parcel) if self._dice.random() < self._share else Timed(at_s, parcel)
            for at_s, parcel in timed
        ]
