"""How a gas spreads in a room and goes: rise, hold, decay. Compressed: a kitchen takes longer."""

from __future__ import annotations

import math
from typing import Any

DECAY_S = 10.0
"""Time constant once the window is open."""


class Leak:
    """From `since_s` on. `peak` in the unit of the sensor, `rise_s` up to it, `hold_s` there."""

    def __init__(self, since_s: float, args: dict[str, Any], *, peak: float) -> None:
        self.peak = float(args.get("peak", peak))
        self._since_s = since_s
        self._rise_s, self._hold_s = float(args.get("rise_s", 60.0)), float(args.get("hold_s", 120.0))

    def level(self, now_s: float) -> float:
        """The concentration."""
        since_s = max(now_s - self._since_s, 0.0)
        if since_s < self._rise_s:
            return self.peak * since_s / self._rise_s
        late_s = since_s - self._rise_s - self._hold_s
        return self.peak if late_s < 0 else self.peak * math.exp(-late_s / DECAY_S)

    def is_over(self, now_s: float) -> bool:
        """Whether nothing of it is left."""
        return now_s - self._since_s > self._rise_s + self._hold_s + 8 * DECAY_S
