"""Lost: some parcels never arrive (radio, serial line, datagrams)."""

from __future__ import annotations

import random

from simulator.clock import Moment
from simulator.faults.fault import Timed


class Drop:
    """Each parcel is lost with `share` 0..1. With 1 the wire is a black hole."""

    def __init__(self, *, seed: int, share: float = 0.1) -> None:
        self._dice = random.Random(seed)
        self._share = share

    def carry(self, timed: list[Timed], now: Moment) -> list[Timed]:
        """What is not lost."""
        return [one for one in timed if self._dice.random() >= self._share]
