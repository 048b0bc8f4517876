"""Replayed: somebody records what is on the air and sends it again later."""

from __future__ import annotations

import random
from collections import deque

from simulator.clock import Moment
from simulator.faults.fault import Timed

RECORDED = 100


class Replayed:
    """Behind each act an old parcel is sent again with `share` 0..1, at least `age_s` after it was first heard."""

    def __init__(self, *, seed: int, share: float = 0.3, age_s: float = 30.0) -> None:
        self._dice = random.Random(seed)
        self._share = share
        self._age_s = age_s
        self._heard: deque[Timed] = deque(maxlen=RECORDED)

    def carry(self, timed: list[Timed], now: Moment) -> list[Timed]:
        """The parcels, and now and then an old one."""
        old = [one for one in self._heard if one.at_s <= now.s - self._age_s]
        self._heard.extend(timed)
        if old and self._dice.random() < self._share:
            return [*timed, Timed(now.s, self._dice.choice(old).parcel)]
        return timed
