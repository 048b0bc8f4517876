"""Acknowledgements in the order of arrival, whatever the order in which the disk was done (MQTT-4.6.0-2)."""

from __future__ import annotations

from collections import deque
from itertools import islice


class InOrder:
    """Tokens go in as messages arrive and come out, in that order, once each is done.

    >>> order = InOrder()
    >>> for token in (1, 2, 3): order.owe(token)
    >>> order.done([2]), order.done([1]), order.done([3])
    ([], [1, 2], [3])
    """

    __slots__ = ("_owed", "_ready", "owe")

    def __init__(self) -> None:
        self._owed: deque[int] = deque()
        self._ready: set[int] = set()
        self.owe = self._owed.append
        """A message has arrived."""

    def __len__(self) -> int:
        return len(self._owed)

    def done(self, tokens: list[int]) -> list[int]:
        """These are on disk; what may be acknowledged now."""
        owed, ready = self._owed, self._ready
        if not ready and len(tokens) <= len(owed) and tokens == list(islice(owed, len(tokens))):
            for _ in tokens:
                owed.popleft()
            return tokens
        ready.update(tokens)
        out = []
        while owed and owed[0] in ready:
            ready.discard(owed[0])
            out.append(owed.popleft())
        return out

    def clear(self) -> None:
        """The connection is gone: nobody can be answered any more."""
        self._owed.clear()
        self._ready.clear()
