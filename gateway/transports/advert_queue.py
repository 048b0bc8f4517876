"""Advertisements that wait for their driver: a fair line, bounded per device and in all.

Each device has its turn, whatever its neighbours do. A device that floods loses its own oldest advertisement, never another's.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice

from drivers.api import Frame

PER_DEVICE = 128
"""Two seconds of the fastest device: a busy box may stand still for one."""
LOOKED_AT = 16
"""Devices among which the longest queue is sought when the line is full: a flood must not make each advertisement cost a walk."""


class AdvertQueue:
    """At most `limit` frames; `dropped` counts those that had to go."""

    def __init__(self, limit: int) -> None:
        self.dropped = 0
        self._limit = limit
        self._count = 0
        self._waiting: OrderedDict[str, deque[Frame]] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def put(self, frame: Frame) -> None:
        """The last of its device."""
        queue = self._waiting.get(frame.address)
        if queue is not None and len(queue) >= PER_DEVICE:
            queue.popleft()
            self._drop()
        elif self._count >= self._limit:
            self._make_room()
            queue = self._waiting.get(frame.address)
        if queue is None:
            queue = self._waiting[frame.address] = deque()
        queue.append(frame)
        self._count += 1

    def pop(self) -> Frame:
        """The oldest of the device whose turn it is. Raises KeyError when nothing waits."""
        address, queue = self._waiting.popitem(last=False)
        frame = queue.popleft()
        self._count -= 1
        if queue:
            self._waiting[address] = queue
        return frame

    def _make_room(self) -> None:
        address, longest = max(islice(self._waiting.items(), LOOKED_AT), key=lambda item: len(item[1]))
        longest.popleft()
        self._drop()
        if not longest:
            del self._waiting[address]

    def _drop(self) -> None:
        self._count -= 1
        self.dropped += 1
