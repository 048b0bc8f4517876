"""In pieces: a stream arrives in segments that know nothing of frames."""

from __future__ import annotations

import random

from simulator.clock import Moment
from simulator.devices.device import Parcel
from simulator.faults.fault import Timed


class Slice:
    """Each parcel is cut into pieces of 1..`most` bytes, `pause_s` apart. For streams only."""

    def __init__(self, *, seed: int, most: int = 8, pause_s: float = 0.01) -> None:
        self._dice = random.Random(seed)
        self._most = most
        self._pause_s = pause_s
        self._free_s = 0.0

    def carry(self, timed: list[Timed], now: Moment) -> list[Timed]:
        """The same bytes, in pieces, in order."""
        out = []
        for at_s, parcel in timed:
            data, when_s = parcel.data, max(at_s, self._free_s)
            while data:
                size = self._dice.randint(1, self._most)
                out.append(Timed(when_s, Parcel(data[:size], parcel.to)))
                data, when_s = data[size:], when_s + self._pause_s
            self._free_s = when_s
        return out
