"""Link lost: the connection breaks without a goodbye, again and again."""

from __future__ import annotations

import random
from collections.abc import Iterator

from simulator.clock import Moment
from simulator.faults.fault import Timed


class Flap:
    """The connection is cut every `every_s`, give or take half of it. The device comes back by itself."""

    def __init__(self, *, seed: int, every_s: float = 60.0) -> None:
        self._dice = random.Random(seed)
        self._every_s = every_s

    def carry(self, timed: list[Timed], now: Moment) -> list[Timed]:
        """What is sent while the link is there passes."""
        return timed

    def cuts(self) -> Iterator[float]:
        """Seconds after the beginning at which the link breaks, without end."""
        at_s = 0.0
        while True:
            at_s += self._every_s * self._dice.uniform(0.5, 1.5)
            yield at_s
