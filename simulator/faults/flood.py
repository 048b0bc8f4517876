"""Too much: a device gone mad, or noise on a line, before every parcel."""

from __future__ import annotations

import random

from simulator.clock import Moment
from simulator.devices.device import Parcel
from simulator.faults.fault import Timed


class Flood:
    """`size` random bytes (in one parcel to the same place) go before each parcel; with `copies` also so many copies of it behind."""

    def __init__(self, *, seed: int, size: int = 4096, copies: int = 0) -> None:
        self._dice = random.Random(seed)
        self._size = size
        self._copies = copies

    def carry(self, timed: list[Timed], now: Moment) -> list[Timed]:
        """The parcels, buried."""
        out = []
        for at_s, parcel in timed:
            if self._size:
                out.append(Timed(at_s, Parcel(self._dice.randbytes(self._size), parcel.to)))
            out += [Timed(at_s, parcel)] * (1 + self._copies)
        return out
