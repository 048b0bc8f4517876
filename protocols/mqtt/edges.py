"""Turning states that a wire repeats into changes.

A sensor that sends `gas: true` with every report has one alarm, not twenty. A message that the broker kept (retained) tells a
state but is no news: it is remembered without making a change, so that the same state heard live still is one.
"""

from __future__ import annotations

import json

KEYS_LIMIT = 8192
"""States remembered; the oldest goes first. A house has a few hundred."""
STATE_LIMIT = 4000
"""Bytes of a dump."""


class Edges:
    """The last known state of each key. Only what is on survives a restart."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, bool]] = {}

    def turn(self, key: str, value: str, *, retained: bool = False) -> bool:
        """Whether `value` (empty = off) is news for `key`."""
        before = self._known.pop(key, None)
        if len(self._known) >= KEYS_LIMIT:
            del self._known[next(iter(self._known))]
        if retained:
            self._known[key] = (value, before is not None and before[0] == value and before[1])
            return False
        self._known[key] = (value, True)
        return before is None or before[0] != value or not before[1]

    def last(self, key: str) -> str | None:
        """The last value, also a retained one; None when the key was never heard."""
        known = self._known.get(key)
        return known[0] if known else None

    def forget(self, prefix: str) -> None:
        """Drop every key that begins with `prefix`."""
        for key in [key for key in self._known if key.startswith(prefix)]:
            del self._known[key]

    def dump(self) -> bytes:
        """What is on, as JSON; the newest where it would be too long."""
        kept: list[list[str]] = []
        size = 2
        for key, (value, live) in reversed(self._known.items()):
            size += len(json.dumps([key, value])) + 2 if value and live else 0
            if size > STATE_LIMIT:
                break
            if value and live:
                kept.append([key, value])
        return json.dumps(kept[::-1]).encode()

    def load(self, state: bytes) -> None:
        """Take a dump back; a damaged one is ignored."""
        try:
            pairs = json.loads(state)
            fresh = {str(key): (str(value), True) for key, value in pairs}
        except (ValueError, TypeError, RecursionError):
            return
        self._known.update(fresh)
