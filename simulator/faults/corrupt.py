"""Damaged: bits flip, as on a long serial line."""

from __future__ import annotations

import random

from simulator.clock import Moment
from simulator.devices.device import Parcel
from simulator.faults.fault import Timed


class Corrupt:
    """One bit of a parcel flips with `share` 0..1."""

    def __init__(self, *, seed: int, share: float = 0.1) -> None:
        self._dice = random.Random(seed)
        self._share = share

    def carry(self, timed: list[Timed], now: Moment) -> list[Timed]:
        """Some with one wrong bit."""
        return [Timed(at_s, self._damaged(parcel) if self._dice.random() < self._share else parcel) for at_s, parcel in timed]

    def _damaged(self, parcel: Parcel) -> Parcel:
        if not parcel.data:
            return parcel
        data = bytearray(parcel.data)
        data[self._dice.randrange(len(data))] ^= 1 << self._dice.randrange(8)
        return Parcel(bytes(data), parcel.to)
