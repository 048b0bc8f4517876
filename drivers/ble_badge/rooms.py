"""In which room a badge is, by the signal strength at several receivers.

Each receiver keeps an exponential average; the strongest wins if it beats the present room by some decibels in two advertisements
running, so that a person in a doorway does not flicker between rooms.
"""

from __future__ import annotations

import math
from typing import NamedTuple

MOST_RECEIVERS = 32
WEAKEST_DBM = -105.0
"""Stands for an unknown signal strength: heard, and no more."""
CONFIRMATIONS = 2


class Move(NamedTuple):
    """The badge went from room `before` to room `after`; None: nowhere."""

    before: str | None
    after: str | None


class Rooms:
    """Signal strengths of one badge. `average_s` time constant, `hysteresis_db`, `expiry_s` after which a receiver counts no more."""

    def __init__(self, *, average_s: float, hysteresis_db: float, expiry_s: float) -> None:
        self.room: str | None = None
        self.seen_s = -math.inf
        self._average_s = average_s
        self._hysteresis_db = hysteresis_db
        self._expiry_s = expiry_s
        self._heard: dict[str, tuple[float, float]] = {}
        self._candidate = ""
        self._confirmed = 0

    def hear(self, receiver: str, rssi_dbm: float | None, now_s: float) -> Move | None:
        """One advertisement at one receiver; the move that it completes, if any."""
        rssi = WEAKEST_DBM if rssi_dbm is None else float(rssi_dbm)
        known = self._heard.get(receiver)
        if known is not None and now_s - known[1] <= self._expiry_s:
            weight = 1 - math.exp(-max(now_s - known[1], 0.1) / self._average_s)
            rssi = known[0] + weight * (rssi - known[0])
        self._heard[receiver] = (rssi, now_s)
        self.seen_s = now_s
        self._heard = {name: pair for name, pair in self._heard.items() if now_s - pair[1] <= self._expiry_s}
        if len(self._heard) > MOST_RECEIVERS:
            del self._heard[min(self._heard, key=lambda name: self._heard[name][0])]
        best = max(self._heard, key=lambda name: self._heard[name][0])
        if self.room is None or self.room not in self._heard:
            return self._go(best)
        if best == self.room or self._heard[best][0] - self._heard[self.room][0] < self._hysteresis_db:
            self._confirmed = 0
            return None
        if receiver != best:
            # Only what the other room itself hears can confirm it.
            return None
        self._confirmed = self._confirmed + 1 if best == self._candidate else 1
        self._candidate = best
        return self._go(best) if self._confirmed >= CONFIRMATIONS else None

    def leave(self) -> Move:
        """The badge is not heard any more."""
        before, self.room, self._confirmed = self.room, None, 0
        self._heard.clear()
        return Move(before, None)

    def _go(self, room: str) -> Move | None:
        before, self.room, self._confirmed = self.room, room, 0
        return Move(before, room) if before != room else None
