"""How far a device's clock runs ahead of UTC, learnt from the times that it sends.

Firmware writes local time where its document says UTC, or the other way round; the difference is whole quarters of an hour, and it
stays. What a device that is merely late, stored, or stuck on its last fix sends does neither: it differs by anything, or its clock
does not go on with ours.
"""

from __future__ import annotations

QUARTER_MS = 15 * 60_000
NEEDED = 4
"""Live frames that agree before an offset is believed."""
GAP_MS = 10_000
"""Frames nearer to one another count as one: a burst proves nothing."""
SLACK_MS = 120_000
"""How far a device's clock may be off, its frame late, or both."""
MOST_MS = 14 * 3_600_000
CLOCK_SET_MS = 1704067200000
"""2024-01-01: a clock of ours before this was never set and teaches nothing."""


class LearntZone:
    """The offset of one device. `is_set`: an installer has named it, nothing is learnt. Times are epoch milliseconds."""

    def __init__(self, *, is_set: bool = False) -> None:
        self._is_set = is_set
        self._ahead_ms = 0
        self._quarters = 0
        self._agreed = 0
        self._last = (0, 0)
        self._news = False
        self._state = b""

    @property
    def minutes(self) -> int:
        """Minutes that the clock was found ahead of what it is read as."""
        return self._ahead_ms // 60_000

    def news(self) -> int | None:
        """The minutes, once after they were learnt."""
        if not self._news:
            return None
        self._news = False
        return self.minutes

    def stored(self, at_ms: int | None) -> int | None:
        """UTC of a time in a record that was kept: corrected by what is known, nothing is learnt."""
        return None if at_ms is None else at_ms - self._ahead_ms

    def live(self, at_ms: int | None, received_ms: int) -> int | None:
        """UTC of a time in a frame that was sent at once."""
        if at_ms is None:
            return None
        if not self._is_set:
            self._see(at_ms - self._ahead_ms, received_ms)
        return at_ms - self._ahead_ms

    def forget(self) -> None:
        """The device reads its clock otherwise from now on."""
        self._ahead_ms = self._agreed = 0
        self._news, self._state = False, b""

    def dump(self) -> bytes:
        """The offset; empty while nothing was learnt."""
        return self._state

    def load(self, state: bytes) -> None:
        """Take the offset back; a damaged one, or one that an installer has overruled, is ignored."""
        text = state.decode("ascii", "replace").removeprefix("zone ")
        if self._is_set or not text.removeprefix("-").isdecimal() or len(text) > 4 or abs(int(text) * 60_000) > MOST_MS:
            return
        self._ahead_ms, self._state = int(text) * 60_000, state

    def _see(self, at_ms: int, received_ms: int) -> None:
        ahead_ms = at_ms - received_ms
        if -QUARTER_MS // 2 < ahead_ms < QUARTER_MS // 2 and not self._agreed:
            return
        quarters = (ahead_ms + QUARTER_MS // 2) // QUARTER_MS
        found_ms = self._ahead_ms + quarters * QUARTER_MS
        if not quarters or abs(ahead_ms - quarters * QUARTER_MS) > SLACK_MS or abs(found_ms) > MOST_MS or received_ms < CLOCK_SET_MS:
            self._agreed = 0
            return
        last_at_ms, last_received_ms = self._last
        if self._agreed and quarters == self._quarters and received_ms - last_received_ms < GAP_MS:
            return
        goes_on = abs((at_ms - last_at_ms) - (received_ms - last_received_ms)) <= SLACK_MS and at_ms > last_at_ms
        self._agreed = self._agreed + 1 if self._agreed and quarters == self._quarters and goes_on else 1
        self._quarters, self._last = quarters, (at_ms, received_ms)
        if self._agreed >= NEEDED:
            self._ahead_ms, self._agreed = found_ms, 0
            self._news, self._state = True, b"zone %d" % (found_ms // 60_000)
