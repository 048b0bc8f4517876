"""The one source of time.

Two clocks in one `Instant`: `ms` is UTC wall time, for stamps only; `s` is steady seconds, for every wait and deadline. The
steady clock never steps and goes on across restarts (the store keeps its last value with the wall time of then), so that a
deadline of a rule neither fires nor vanishes when somebody sets the clock.
"""

from __future__ import annotations

import time
from typing import Protocol

from drivers.api import Instant

LONGEST_OFF_S = 30 * 24 * 3600.0
"""A box may have been off for so long; a larger difference of wall clocks is a clock that was wrong, not time that passed."""


STEP_MS = 2000
"""A larger step is an event: a platform may want to re-date what came before it."""


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> Instant:
        """This moment on both clocks."""
        ...


class SystemClock:
    """The clocks of the machine."""

    def __init__(self, *, steady_offset_s: float = 0.0) -> None:
        self._offset = steady_offset_s

    def now(self) -> Instant:
        """This moment on both clocks."""
        return Instant(time.time_ns() // 1_000_000, time.monotonic() + self._offset)

    def resume(self, *, steady_s: float, wall_ms: int) -> None:
        """Go on from a steady time that was noted at `wall_ms` before a restart."""
        away = min(max((time.time_ns() // 1_000_000 - wall_ms) / 1000, 0.0), LONGEST_OFF_S)
        self._offset = steady_s + away - time.monotonic()


class ClockWatch:
    """Notices that somebody set the wall clock: a step is what the wall clock moved beyond the steady one between two looks."""

    def __init__(self) -> None:
        self._offset_ms: int | None = None

    def look(self, now: Instant) -> int:
        """Milliseconds by which the clock was stepped since the last look; 0 for slewing and steps below `STEP_MS`."""
        offset = now.ms - round(now.s * 1000)
        step = 0 if self._offset_ms is None else offset - self._offset_ms
        self._offset_ms = offset
        return step if abs(step) > STEP_MS else 0


class VirtualClock:
    """A clock that stands until it is moved: replay, tests, simulation."""

    def __init__(self, ms: int = 1795336215000, s: float = 1000.0) -> None:
        self._ms = ms
        self._s = s

    def now(self) -> Instant:
        """The moment it was last set to."""
        return Instant(self._ms, self._s)

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._s += seconds
        self._ms += round(seconds * 1000)

    def move_to(self, ms: int) -> None:
        """Pass the time up to this wall time (never back)."""
        if ms > self._ms:
            self.advance((ms - self._ms) / 1000)

    def step(self, ms: int) -> None:
        """Set the wall clock alone, as a person or NTP does."""
        self._ms = ms
