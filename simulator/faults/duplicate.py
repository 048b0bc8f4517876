"""Twice: a parcel arrives again, as QoS 1 and impatient firmware make it."""

from __future__ import annotations

import random

from simulator.clock import Moment
from simulator.faults.fault import Timed


class Duplicate:
    """Each parcel comes again `after_s` later with `share` 0..1."""

    def __init__(self, *, seed: int, share: float = 0.2, after_s: float = 0.5) -> None:
        self._dice = random.Random(seed)
        self._share = share
        self._after_s = after_s

    def carry(self, timed: list[Timed], now: Moment) -> list[Timed]:
        """All of them, some twice."""
        again = [Timed(at_s + self._after_s, parcel) for at_s, parcel in timed if self._dice.random() < self._share]
        return timed + again
