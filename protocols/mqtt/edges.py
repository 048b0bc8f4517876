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
        self._on: dict[str, str] = {}  # what a dump holds of each key, as JSON
        self._dumped: bytes | None = b"[]"

    def turn(self, key: str, value: str, *, retained: bool = False) -> bool:
        """Whether `value` (empty = off) is news for `key`."""
        before = self._known.pop(key, None)
        if len(self._known) >= KEYS_LIMIT:
            self._drop(next(iter(self._known)))
        now = (value, not retained or (before is not None and before[0] == value and before[1]))
        self._known[key] = now
        text = self._on.pop(key, None)
        if value and now[1]:
            self._on[key] = text if text is not None and now == before else json.dumps([key, value])
        if now != before:
            self._dumped = None
        return not retained and now != before

    def last(self, key: str) -> str | None:
        """The last value, also a retained one; None when the key was never heard."""
        known = self._known.get(key)
        return known[0] if known else None

    def forget(self, prefix: str) -> None:
        """Drop every key that begins with `prefix`."""
        for key in [key for key in self._known if key.startswith(prefix)]:
            self._drop(key)

    def _drop(self, key: str) -> None:
        del self._known[key]
        if self._on.pop(key, None) is not None:
            self._dumped = None

    def dump(self) -> bytes:
        """What is on, as JSON; the newest where it would be too long. Asked for after each message, made anew after a change."""
        if self._dumped is None:
            kept: list[str] = []
            size = 2
            for text in reversed(self._on.values()):
                size += len(text) + 2
                if size > STATE_LIMIT:
                    break
                kept.append(text)
            self._dumped = f"[{', '.join(kept[::-1])}]".encode()
        return self._dumped

    def load(self, state: bytes) -> None:
        """Take a dump back; a damaged one is ignored."""
        try:
            pairs = json.loads(state)
            fresh = {str(key): (str(value), True) for key, value in pairs}
        except (ValueError, TypeError, RecursionError):
            return
        self._known.update(fresh)
        self._on.update((key, json.dumps([key, value])) for key, (value, _) in fresh.items() if value)
        self._dumped = None
