"""Wrong time: the device's own clock is off, drifts, or starts in 1970. The truth keeps the right time."""

from __future__ import annotations

from simulator.clock import Moment
from simulator.faults.fault import Timed


class ClockSkew:
    """`seconds` off (negative: behind), `drift_ppm` on top; `unset`: the clock counts from 1970 since the device started."""

    def __init__(self, *, seed: int, seconds: float = 0.0, drift_ppm: float = 0.0, unset: bool = False) -> None:
        self._seconds = seconds
        self._drift_ppm = drift_ppm
        self._unset = unset

    def carry(self, timed: list[Timed], now: Moment) -> list[Timed]:
        """The wire is not touched."""
        return timed

    def seen(self, now: Moment) -> Moment:
        """What the device believes."""
        if self._unset:
            return Moment(round(now.s * 1000), now.s)
        return Moment(now.ms + round(1000 * self._seconds + now.s * self._drift_ppm / 1000), now.s)
